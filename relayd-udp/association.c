#include "relayd-udp/association.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "relayd-udp/datagram.h"
#include "relayd-udp/fragments.h"
#include "relayd-udp/names.h"
#include "relayd-udp/socket.h"
#include "shared/base/log.h"
#include "shared/relay/protect.h"
#include "shared/relay/relay_address.h"

static const struct sm_state states[] = {
    [ASSOC_NEW] = {"new", SM_TO(ASSOC_UNLOCKED) | SM_TO(ASSOC_LOCKED) | SM_TO(ASSOC_GONE)},
    [ASSOC_UNLOCKED] = {"unlocked", SM_TO(ASSOC_LOCKED) | SM_TO(ASSOC_GONE)},
    [ASSOC_LOCKED] = {"locked", SM_TO(ASSOC_GONE)},
    [ASSOC_GONE] = {"gone", 0},
};

#define DROP_WORD(symbol, word) [symbol] = word,
const char *drop_name(enum drop why)
{
    static const char *const words[] = {DROPS(DROP_WORD)};

    return words[why];
}
#undef DROP_WORD

const char *association_state_name(const struct association *a)
{
    return sm_name(&a->sm);
}

void association_counters(const struct association *a, struct n2_counters *ret)
{
    *ret = (struct n2_counters){
        .octets_up = a->count.octets_up,
        .octets_down = a->count.octets_down,
        .datagrams_up = a->count.datagrams_up,
        .datagrams_down = a->count.datagrams_down,
        .dropped = a->count.dropped,
        .duration_ms = udp_now(a->relay) - a->started,
    };
}

void association_drop(struct association *a, enum drop why, unsigned datagrams)
{
    a->relay->stats.dropped[why] += datagrams;
    a->count.dropped += datagrams;
}

void association_used(struct association *a)
{
    if (a->used)
        return;
    a->used = true;
    a->relay->stats.used++;
    a->last_activity = udp_now(a->relay);
    loop_timer_start(a->relay->base.loop, &a->timer, a->idle_ms);
}

/* ---- the one way out ---- */

static void free_association(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct association, grave));
}

static void close_outer(struct udp_relay *r, struct hot *outer)
{
    if (outer->fd < 0)
        return;
    r->stats.outer_overflows += udp_socket_overflows(outer->fd);
    close(hot_take(outer));
    r->stats.outer_sockets--;
}

/* Lets go of all it holds, and of what is queued in its name. */
static void let_go(struct association *a)
{
    struct udp_relay *r = a->relay;

    engine_flush(r->engine);
    close_outer(r, &a->outer[0]);
    close_outer(r, &a->outer[1]);
    names_abandon(a);
    fragments_abandon(a);
    peers_fini(&a->peers);
    routes_forget(r->routes, a);
    policy_unref(&r->policies, a->policy);
    if (a->port != NULL) {
        ports_release(a->port->ports, &a->claim, udp_now(r));
        client_port_leave(a->port);
    }
}

void association_finish(struct association *a, const struct n2_refusal *refused, enum n2_end why)
{
    struct udp_relay *r = a->relay;
    struct n2_counters c;

    let_go(a);
    sm_move(&a->sm, ASSOC_GONE);
    loop_timer_stop(r->base.loop, &a->timer); /* its place is the grave's from here on */
    association_counters(a, &c);
    r->stats.associations--;
    r->stats.used -= a->used;
    if (refused != NULL) {
        relay_counts_refused(&r->base.counts, refused);
        n2_grant_refused(a->grant, refused->code, refused->cause, refused->text);
    } else {
        relay_counts_ended(&r->base.counts, why, &c);
        n2_grant_ended(a->grant, why, &c);
    }
    /* Events of this iteration may still point at its sockets. */
    loop_bury(r->base.loop, &a->grave, free_association);
}

static void refuse(struct association *a, enum n2_refusal_code code, const char *text)
{
    const struct n2_refusal refused = {code, N2_CAUSE_NONE, text};

    association_finish(a, &refused, N2_END_NONE);
}

/* ---- time and limits ---- */

static void check_idle(struct association *a)
{
    struct udp_relay *r = a->relay;
    uint64_t now = udp_now(r), quiet = now - a->last_activity;

    if (quiet >= a->idle_ms)
        association_finish(a, NULL, N2_END_IDLE);
    else
        loop_timer_start(r->base.loop, &a->timer, a->idle_ms - quiet);
}

/* Activity moves no timer; the timer looks how long ago it was, and comes again. */
static void on_timer(struct wheel_timer *t)
{
    struct association *a = LIST_ENTRY(t, struct association, timer);

    if (!a->used)
        association_finish(a, NULL, N2_END_UNUSED);
    else
        check_idle(a);
}

static bool within_limit(struct association *a)
{
    if (a->octet_limit == 0 || a->count.octets_up + a->count.octets_down <= a->octet_limit)
        return true;
    association_finish(a, NULL, N2_END_LIMIT);
    return false;
}

void association_count_up(struct association *a, uint64_t datagrams, uint64_t octets)
{
    struct udp_relay *r = a->relay;

    a->last_activity = udp_now(r);
    a->count.datagrams_up += datagrams;
    a->count.octets_up += octets;
    r->stats.datagrams_up += datagrams;
    r->stats.octets_up += octets;
    within_limit(a);
}

void association_count_down(struct association *a, uint64_t datagrams, uint64_t octets)
{
    struct udp_relay *r = a->relay;

    a->last_activity = udp_now(r);
    a->count.datagrams_down += datagrams;
    a->count.octets_down += octets;
    r->stats.datagrams_down += datagrams;
    r->stats.octets_down += octets;
    within_limit(a);
}

static void set_limits(struct association *a, const struct n2_limits *wanted)
{
    uint64_t idle = wanted->idle_ms != 0 ? wanted->idle_ms : a->relay->config.base.relay.idle_ms;

    a->idle_ms = idle < UINT32_MAX ? (uint32_t)idle : UINT32_MAX;
    a->octet_limit = wanted->octets;
}

/* ---- sockets ---- */

bool association_lock(struct association *a, uint16_t client_port)
{
    struct udp_relay *r = a->relay;

    if (!ports_lock(a->port->ports, &a->claim, client_port, udp_now(r)))
        return false;
    a->locked_at = udp_now(r);
    if (a->sm.state == ASSOC_UNLOCKED) {
        sm_move(&a->sm, ASSOC_LOCKED);
        r->stats.locks_learned++;
    }
    n2_grant_locked(a->grant, &a->claim.client);
    return true;
}

static int open_outer(struct association *a, enum addr_family family, enum drop *ret_why)
{
    struct udp_relay *r = a->relay;

    *ret_why = DROP_NO_SOCKET;
    int fd = udp_socket(r, family, 0, r->config.target_octets);
    if (fd < 0) {
        if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
            *ret_why = DROP_FAMILY;
        return -1;
    }
    if (hot_add(r->base.loop, &a->outer[family == ADDR_IPV6], fd, EPOLLIN) != 0) {
        close(fd);
        return -1;
    }
    r->stats.outer_sockets++;
    return fd;
}

int association_outer(struct association *a, enum addr_family family, enum drop *ret_why)
{
    const struct hot *outer = &a->outer[family == ADDR_IPV6];

    return outer->fd >= 0 ? outer->fd : open_outer(a, family, ret_why);
}

/* ---- Open ---- */

bool association_own_port(struct udp_relay *r, const struct addr *a)
{
    return client_ports_own(r->client_ports, a) || client_ports_own(r->plain_client_ports, a);
}

static struct client_ports *sockets_of(const struct association *a)
{
    return a->transparent ? a->relay->plain_client_ports : a->relay->client_ports;
}

static bool port_usable(void *arg, enum addr_family family, uint16_t port)
{
    return client_ports_open(arg, family, port);
}

/* Why no port was found, in the words of N2. */
static void refuse_port(struct association *a, enum ports_result why)
{
    int error = client_ports_error(sockets_of(a));

    if (why == PORTS_CAPPED)
        refuse(a, N2_FULL, "associations of this client that were not used yet");
    else if (why == PORTS_NO_MEMORY || error == ENOMEM || error == ENOBUFS)
        refuse(a, N2_FULL, "memory");
    else if (error == EMFILE || error == ENFILE)
        refuse(a, N2_FULL, "descriptors");
    else if (error == EAFNOSUPPORT)
        refuse(a, N2_UNSUPPORTED, "family");
    else if (error != 0 && error != EADDRINUSE)
        refuse(a, N2_CANNOT_BIND, "the configured address cannot be bound");
    else
        refuse(a, N2_NO_PORT, "no port for this client");
}

/* What the client shall send to. */
static struct addr reachable(const struct udp_relay *r, const struct n2_open *o)
{
    struct addr local;

    udp_local_address(r, (enum addr_family)o->client.family, &local);
    return relay_address_reachable(&r->config.base.relay, &local, o);
}

/* The client's word for where it sends from, if it is about itself. */
static bool truthful_hint(const struct n2_open *o)
{
    return o->destination_count == 1 && o->destinations[0].port != 0 &&
           addr_ip_equal(&o->destinations[0], &o->client);
}

/* The client's port as far as it is known: 0 is learned. */
static uint16_t port_of(const struct n2_open *o)
{
    if (o->kind == N2_TRANSPARENT)
        return o->client.port;
    return truthful_hint(o) ? o->destinations[0].port : 0;
}

static void open_association(struct association *a, const struct n2_open *o)
{
    struct udp_relay *r = a->relay;
    struct client_ports *sockets = sockets_of(a);
    struct addr client = o->client;

    errno = 0;
    struct addr bound = reachable(r, o);
    if (bound.family == ADDR_NONE) {
        if (errno == EMFILE || errno == ENFILE)
            refuse(a, N2_FULL, "descriptors");
        else
            refuse(a, N2_CANNOT_BIND, "no address that the client could reach");
        return;
    }
    client.port = port_of(o);
    client_ports_forgive(sockets);
    enum ports_result got =
        ports_claim(a->transparent ? r->plain_ports : r->ports, &a->claim, &client, o->owner,
                    udp_now(r), port_usable, sockets);
    if (got != PORTS_OK) {
        refuse_port(a, got);
        return;
    }
    a->port = client_port_use(sockets, (enum addr_family)client.family, a->claim.port);
    bound.port = a->claim.port;
    a->locked_at = udp_now(r);
    r->stats.locks_hinted += a->claim.locked;
    sm_move(&a->sm, a->claim.locked ? ASSOC_LOCKED : ASSOC_UNLOCKED);
    loop_timer_start(r->base.loop, &a->timer, r->config.unused_ms);
    r->base.counts.opened[o->kind]++;
    if (a->claim.locked)
        n2_grant_locked(a->grant, &a->claim.client);
    n2_grant_listening(a->grant, &bound, r->engine->ops->name);
}

/* It was judged by the server; what we protect we judge ourselves. */
static void open_transparent(struct association *a, const struct n2_open *o)
{
    struct udp_relay *r = a->relay;
    const struct addr *to = &o->destinations[0];
    struct addr local;

    a->target[0] = *to;
    if (protect_forbids(&r->base, to) || association_own_port(r, to))
        refuse(a, N2_POLICY, "protected");
    else if (!udp_local_address(r, (enum addr_family)to->family, &local))
        refuse(a, N2_UNSUPPORTED, "family");
    else
        open_association(a, o);
}

static bool take_policy(struct udp_relay *r, const struct n2_grant *g, const struct n2_rules *rules,
                        struct policy **ret, struct n2_refusal *ret_refused)
{
    struct err e;
    enum n2_refusal_code code = policies_get(&r->policies, rules, ret, &e);

    if (code == N2_REFUSAL_NONE)
        return true;
    log_warn("rules_refused", LOG_STR("server", n2_grant_server_id(g)), LOG_STR("error", e.text));
    *ret_refused = (struct n2_refusal){code, N2_CAUSE_NONE, "rules"};
    return false;
}

static void service_open(void *arg, struct n2_grant *g, const struct n2_open *o)
{
    struct udp_relay *r = arg;
    bool transparent = o->kind == N2_TRANSPARENT;
    struct association *a =
        calloc(1, sizeof(*a) + (transparent ? sizeof(a->target[0]) : 0));
    struct n2_refusal refused = {N2_FULL, N2_CAUSE_NONE, "memory"};

    if (a == NULL || !take_policy(r, g, o->rules, &a->policy, &refused)) {
        free(a);
        relay_counts_refused(&r->base.counts, &refused);
        n2_grant_refused(g, refused.code, refused.cause, refused.text);
        return;
    }
    a->relay = r;
    a->grant = g;
    a->transparent = transparent;
    a->started = a->last_activity = udp_now(r);
    g->impl = a;
    r->stats.associations++;
    hot_init(&a->outer[0], datagrams_from_ipv4);
    hot_init(&a->outer[1], datagrams_from_ipv6);
    sm_init(&a->sm, states, sizeof(states) / sizeof(states[0]), ASSOC_NEW);
    wheel_timer_init(&a->timer, on_timer);
    set_limits(a, &o->limits);
    if (o->ptcl != IPPROTO_UDP)
        refuse(a, N2_UNSUPPORTED, "ptcl");
    else if (o->bind.family != ADDR_NONE || o->bind.port != 0)
        refuse(a, N2_UNSUPPORTED, "bind");
    else if (o->client.family == ADDR_NONE || addr_is_any(&o->client))
        refuse(a, N2_BAD, "client");
    else if (transparent)
        open_transparent(a, o);
    else
        open_association(a, o);
}

/* ---- Update, and the rest of the service ---- */

static bool still_allowed(const struct peer *p, void *arg)
{
    const struct association *a = arg;
    struct dest dest = {.addr = {.family = p->family, .port = p->port}};

    for (size_t i = 0; i < sizeof(p->ip); i++)
        dest.addr.ip[i] = p->ip[i];
    return policy_allows(a->policy, &dest, &dest.addr);
}

/* Who was let in by the old rules is judged by the new ones, by address: a name does not come with
 * what it sends. */
static void set_policy(struct association *a, struct policy *policy)
{
    bool same = policy == a->policy; /* one object per content */

    policy_unref(&a->relay->policies, a->policy);
    a->policy = policy;
    if (same)
        return;
    routes_forget(a->relay->routes, a);
    peers_filter(&a->peers, still_allowed, a);
}

static bool service_update(void *arg, struct n2_grant *g, const struct n2_update *u,
                           struct n2_refusal *ret)
{
    struct udp_relay *r = arg;
    struct association *a = g->impl;
    struct policy *policy = NULL;

    if (u->rules != NULL && a->transparent) {
        *ret = (struct n2_refusal){N2_BAD, N2_CAUSE_NONE, "rules"};
        return false;
    }
    if (u->rules != NULL && !take_policy(r, g, u->rules, &policy, ret))
        return false;
    if (policy != NULL)
        set_policy(a, policy);
    set_limits(a, &u->limits);
    if (a->used && within_limit(a))
        check_idle(a);
    return true;
}

/* Never called: nothing is attachable here, as datagrams need no leg. */
static void service_attach(void *arg, struct n2_grant *g, const struct n2_attach *at, int fd)
{
    (void)arg;
    (void)g;
    (void)at;
    if (fd >= 0)
        close(fd);
}

static void service_end(void *arg, struct n2_grant *g, enum n2_end why)
{
    (void)arg;
    association_finish(g->impl, NULL, why);
}

static void service_counters(void *arg, const struct n2_grant *g, struct n2_counters *ret)
{
    (void)arg;
    association_counters(g->impl, ret);
}

static void service_load(void *arg, struct n2_load *ret)
{
    const struct udp_relay *r = arg;
    uint32_t held = r->stats.associations, sockets = r->stats.outer_sockets;
    uint32_t most = r->base.capacity * 2;

    *ret = (struct n2_load){
        .associations = held,
        .capacity = r->base.capacity,
        .descriptors_free = most > sockets ? most - sockets : 0,
    };
}

const struct n2_service association_service = {
    service_open,     service_update, service_attach, service_end,
    service_counters, service_load,   relay_drained,
};
