/* From the request to the relay: rules, names, rules again, placement. */
#include <netinet/in.h>

#include "shared/net/sockaddr.h"
#include "socksd/association.h"
#include "socksd/session.h"

enum {
    TRIES_MAX = 4,
    WAIT_FOR_RELAY_MS = 5000, /* a child that died is back long before */
};

static void on_relay_ready(struct relays_waiter *w);

enum n2_kind session_kind(const struct session *x)
{
    static const enum n2_kind kinds[] = {
        [SOCKS_CONNECT] = N2_CONNECT,
        [SOCKS_BIND] = N2_BIND,
        [SOCKS_UDP_ASSOCIATE] = N2_UDP,
        [SOCKS_TRANSPARENT] = N2_TRANSPARENT,
    };

    return kinds[x->dialect.request.command];
}

uint32_t session_ptcl(const struct session *x)
{
    enum n2_kind kind = session_kind(x);

    if (kind == N2_TRANSPARENT)
        return x->dialect.request.ptcl;
    return kind == N2_UDP ? IPPROTO_UDP : IPPROTO_TCP;
}

struct rules_subject session_subject(const struct session *x)
{
    return (struct rules_subject){
        .source = x->client,
        .user = x->authenticated ? x->user : NULL,
        .command = x->dialect.request.command,
    };
}

uint32_t session_time_left(const struct session *x)
{
    uint64_t now = loop_now(x->server->loop);

    return x->request_until > now ? (uint32_t)(x->request_until - now) : 0;
}

/* ---- rules on addresses ---- */

static bool is_own_listener(const struct server *s, const struct addr *a)
{
    for (size_t i = 0; i < s->own_count; i++) {
        const struct addr *own = &s->own[i];
        if (own->port == a->port &&
            (addr_ip_equal(own, a) || ((addr_is_any(own) || addr_is_any(a)) && sockaddr_is_local(a))))
            return true;
    }
    return false;
}

/* Keeps the addresses that the rules and we ourselves allow. */
static void judge_addresses(struct session *x, const struct addr *addrs, size_t count,
                            const char **ret_why)
{
    const struct rules_subject subject = session_subject(x);
    const struct dest *dest = &x->dialect.request.dest;

    *ret_why = "no_address";
    for (size_t i = 0; i < count && x->destination_count < SESSION_DESTINATIONS_MAX; i++) {
        struct rules_result r =
            rules_judge_address(x->server->config.rules, &subject, dest, &addrs[i]);
        x->rule = r.rule;
        if (r.verdict != RULES_ALLOW) {
            *ret_why = r.why;
        } else if ((subject.command == SOCKS_CONNECT || subject.command == SOCKS_TRANSPARENT) &&
                   is_own_listener(x->server, &addrs[i])) {
            *ret_why = "own_listener";
        } else {
            x->destinations[x->destination_count++] = addrs[i];
        }
    }
}

static void decide(struct session *x, const struct addr *addrs, size_t count)
{
    const char *why;

    judge_addresses(x, addrs, count, &why);
    if (x->destination_count == 0) {
        session_fail(x, REPLY_DENIED, why);
        return;
    }
    addr_interleave(x->destinations, x->destination_count);
    sm_move(&x->sm, SESSION_PLACING);
    session_place(x);
}

/* ---- names ---- */

static void fail_name(struct session *x, enum resolve_status status)
{
    static const char *const why[] = {
        [RESOLVE_OK] = "resolved",
        [RESOLVE_NOT_FOUND] = "name_not_found",
        [RESOLVE_FAILED] = "name_server_failed",
        [RESOLVE_TIMED_OUT] = "name_server_timed_out",
        [RESOLVE_BUSY] = "resolver_busy",
        [RESOLVE_NO_MEMORY] = "no_memory",
    };
    enum reply_word word = status == RESOLVE_NOT_FOUND ? REPLY_NAME_NOT_FOUND : REPLY_HOST_UNREACHABLE;

    if (status == RESOLVE_BUSY || status == RESOLVE_NO_MEMORY)
        word = REPLY_OVERLOADED;
    session_fail(x, word, why[status]);
}

static void on_resolved(void *arg, enum resolve_status status, const struct addr *addrs, size_t count)
{
    struct session *x = arg;

    x->resolving = NULL;
    if (status != RESOLVE_OK)
        fail_name(x, status);
    else
        decide(x, addrs, count);
}

static void resolve_name(struct session *x)
{
    const struct dest *dest = &x->dialect.request.dest;
    struct addr known[SESSION_DESTINATIONS_MAX];
    size_t count = 0;

    if (x->sm.state != SESSION_RESOLVING)
        sm_move(&x->sm, SESSION_RESOLVING);
    if (resolver_cached(x->server->resolver, dest->name, known, SESSION_DESTINATIONS_MAX, &count)) {
        for (size_t i = 0; i < count; i++)
            known[i].port = dest->addr.port;
        if (count == 0)
            fail_name(x, RESOLVE_NOT_FOUND);
        else
            decide(x, known, count);
        return;
    }
    x->resolving = resolve_start(x->server->resolver, dest->name, dest->addr.port, on_resolved, x);
    if (x->resolving == NULL)
        fail_name(x, RESOLVE_BUSY);
}

static void go_to_destination(struct session *x)
{
    const struct dest *dest = &x->dialect.request.dest;

    if (dest->name[0] != '\0')
        resolve_name(x);
    else
        decide(x, &dest->addr, 1);
}

/* ---- TRANSPARENT ---- */

/* Packets may come from the client itself only: else third parties could be made clients of the relay
 * (PROTOCOL C11). */
static void take_source(struct session *x, bool own)
{
    x->source = x->client;
    x->source.port = x->dialect.request.source.addr.port;
    if (own)
        go_to_destination(x);
    else
        session_fail(x, REPLY_DENIED, "foreign_source");
}

static void on_source_resolved(void *arg, enum resolve_status status, const struct addr *addrs,
                               size_t count)
{
    struct session *x = arg;
    bool own = false;

    x->resolving = NULL;
    if (status != RESOLVE_OK) {
        fail_name(x, status);
        return;
    }
    for (size_t i = 0; i < count; i++)
        own |= addr_ip_equal(&addrs[i], &x->client);
    take_source(x, own);
}

/* Zeros stand for the client's own address; a name has to lead to it. */
static void check_source(struct session *x)
{
    const struct dest *source = &x->dialect.request.source;

    if (source->name[0] == '\0') {
        take_source(x, addr_is_any(&source->addr) || addr_ip_equal(&source->addr, &x->client));
        return;
    }
    sm_move(&x->sm, SESSION_RESOLVING);
    x->resolving = resolve_start(x->server->resolver, source->name, 0, on_source_resolved, x);
    if (x->resolving == NULL)
        fail_name(x, RESOLVE_BUSY);
}

/* ---- UDP ASSOCIATE ---- */

/* The destination is where the client says that it will send from (RFC 1928 section 6). Said of itself,
 * it is worth something; anything else (zeros, what a NAT has changed, the target) is not, and is refused
 * where the listener is strict. Datagrams are judged one by one at the relay. */
static void associate(struct session *x)
{
    const struct dest *dest = &x->dialect.request.dest;
    bool own = dest->name[0] == '\0' && dest->addr.port != 0 &&
               addr_ip_equal(&dest->addr, &x->client);

    if (!own && x->keys->udp_source == UDP_SOURCE_STRICT) {
        session_fail(x, REPLY_DENIED, "source_not_told");
        return;
    }
    if (own)
        x->destinations[x->destination_count++] = dest->addr;
    sm_move(&x->sm, SESSION_PLACING);
    session_place(x);
}

/* ---- the request ---- */

void session_request_init(struct session *x)
{
    list_init(&x->waiter.node);
    x->waiter.ready = on_relay_ready;
    loop_task_init(&x->handed, session_on_handed);
}

void session_request(struct session *x)
{
    struct server *s = x->server;
    const struct request *r = &x->dialect.request;
    const struct rules_subject subject = session_subject(x);

    x->request_until = loop_now(s->loop) + s->config.timeouts.connect_ms;
    x->refusal = REPLY_OVERLOADED;
    if (!relays_may_serve(s->relays, session_kind(x), session_ptcl(x))) {
        if (r->command == SOCKS_TRANSPARENT)
            session_fail(x, REPLY_PROTOCOL_UNSUPPORTED, "no_relay_for_protocol");
        else
            session_fail(x, REPLY_COMMAND_UNSUPPORTED, "no_relay_for_command");
        return;
    }
    struct rules_result verdict = rules_judge_request(s->config.rules, &subject, &r->dest);
    x->rule = verdict.rule;
    if (verdict.verdict == RULES_DENY) {
        session_fail(x, REPLY_DENIED, verdict.why);
        return;
    }
    loop_timer_start(s->loop, &x->timer, s->config.timeouts.connect_ms);
    if (r->command == SOCKS_UDP_ASSOCIATE) {
        associate(x);
        return;
    }
    if (r->command == SOCKS_TRANSPARENT)
        check_source(x);
    else
        go_to_destination(x);
}

/* ---- placement ---- */

static void on_relay_ready(struct relays_waiter *w)
{
    struct session *x = LIST_ENTRY(w, struct session, waiter);

    x->tried = 0; /* a relay that was restarted is not the one that failed */
    loop_timer_start(x->server->loop, &x->timer, session_time_left(x));
    session_place(x);
}

void session_place(struct session *x)
{
    struct server *s = x->server;
    struct n2_client *relay = NULL;

    if (x->tries < TRIES_MAX && session_time_left(x) > 0)
        relay = relays_choose(s->relays, session_kind(x), session_ptcl(x), x->tried);
    if (relay != NULL) {
        if (!session_open_at(x, relay))
            session_fail(x, REPLY_OVERLOADED, "no_memory");
        return;
    }
    uint32_t wait = session_time_left(x) < WAIT_FOR_RELAY_MS ? session_time_left(x) : WAIT_FOR_RELAY_MS;
    if (x->said_no || x->tries >= TRIES_MAX || wait == 0) {
        session_fail(x, x->refusal, x->said_no ? "refused_by_relay" : "no_relay");
        return;
    }
    loop_timer_start(s->loop, &x->timer, wait);
    relays_wait(s->relays, &x->waiter);
}

/* ---- time, and letting go ---- */

void session_request_timeout(struct session *x)
{
    switch ((enum session_state)x->sm.state) {
    case SESSION_RESOLVING:
        session_fail(x, REPLY_HOST_UNREACHABLE, "name_server_timed_out");
        break;
    case SESSION_PLACING:
        session_fail(x, x->refusal, "no_relay");
        break;
    case SESSION_OPENING:
        /* A relay that has not even said that it dials says nothing about the destination. */
        if (x->association->n2.state == N2_ASSOC_OPENING) {
            session_fail(x, REPLY_OVERLOADED, "relay_silent");
            break;
        }
        /* fallthrough */
    default:
        session_fail(x, REPLY_TIMED_OUT, "timed_out");
        break;
    }
}

void session_request_release(struct session *x)
{
    resolve_cancel(x->resolving);
    x->resolving = NULL;
    list_remove(&x->waiter.node);
    loop_unpost(&x->handed);
    if (x->association != NULL) {
        n2_assoc_release(&x->association->n2);
        association_free(x->association);
        x->association = NULL;
    }
}
