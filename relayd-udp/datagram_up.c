/* From clients to targets. */
#include <stdlib.h>
#include <string.h>

#include "relayd-udp/datagram.h"
#include "relayd-udp/fragments.h"
#include "relayd-udp/names.h"
#include "relayd-udp/socket.h"
#include "shared/relay/protect.h"
#include "shared/socks/socks5_udp.h"

enum {
    HEADER_FIXED = 3, /* RSV, FRAG */
};

/* ---- where it may go ---- */

static bool may_reach(struct udp_relay *r, const struct addr *to, enum drop *ret_why)
{
    *ret_why = DROP_PROTECTED;
    return to->port != 0 && !protect_forbids(&r->base, to) && !association_own_port(r, to);
}

bool datagram_choose(struct association *a, const struct dest *dest, const struct addr *addrs,
                     size_t count, struct addr *ret, enum drop *ret_why)
{
    struct udp_relay *r = a->relay;
    uint32_t now_s = (uint32_t)(udp_now(r) / 1000);
    bool found = false;

    *ret_why = DROP_NAME;
    for (size_t i = 0; i < count; i++) {
        struct addr to = addrs[i];
        struct addr local;

        to.port = dest->addr.port;
        if (!udp_local_address(r, to.family, &local)) {
            *ret_why = DROP_FAMILY;
        } else if (!policy_allows(a->policy, dest, &to)) {
            *ret_why = DROP_DENIED;
        } else if (may_reach(r, &to, ret_why)) {
            if (peers_find(&a->peers, &to, now_s, 0) != NULL) {
                *ret = to;
                return true;
            }
            if (!found)
                *ret = to;
            found = true;
        }
    }
    return found;
}

/* ---- sending ---- */

/* The last step; everything is allowed. */
static void forward(struct association *a, const struct addr *to, const uint8_t *payload,
                    size_t len)
{
    enum drop why;
    struct engine_datagram d = {.to = *to};

    d.fd = association_outer(a, (enum addr_family)to->family, &why);
    if (d.fd < 0) {
        association_drop(a, why, 1);
        return;
    }
    d.iov[0] = (struct iovec){(void *)(uintptr_t)payload, len};
    d.iov_count = 1;
    engine_send(a->relay->engine, &d);
    association_count_up(a, 1, len);
}

/* Who is sent to may answer. */
static bool note_peer(struct association *a, const struct addr *to, bool by_name)
{
    const struct udp_relay *r = a->relay;

    return peers_note(&a->peers, to, by_name, (uint32_t)(udp_now(r) / 1000),
                      (uint32_t)r->config.peers);
}

void datagram_send(struct association *a, const struct dest *dest, const struct addr *to,
                   const uint8_t *payload, size_t len)
{
    if (note_peer(a, to, dest->name[0] != '\0'))
        forward(a, to, payload, len);
    else
        association_drop(a, DROP_NO_SOCKET, 1);
}

/* FRAG of what is remembered is 0: a reassembled datagram's header is that of one which came whole.
 */
static void remember(struct association *a, const struct datagram *d, const struct addr *to)
{
    uint8_t header[SOCKS5_UDP_HEADER_MAX] = {0};

    memcpy(header + HEADER_FIXED, d->header, d->header_len);
    routes_remember(a->relay->routes, a, header, HEADER_FIXED + d->header_len, to,
                    d->dest->name[0] != '\0', udp_now(a->relay));
}

/* ---- one datagram ---- */

static void send_to_name(struct association *a, const struct datagram *d)
{
    struct udp_relay *r = a->relay;
    struct addr known[RESOLVE_MAX], to;
    size_t count;
    enum drop why;

    if (policy_judge(a->policy, d->dest) == RULES_DENY) {
        association_drop(a, DROP_DENIED, 1);
    } else if (names_waited_for(a, d->dest) ||
               !resolver_cached(r->resolver, d->dest->name, known, RESOLVE_MAX, &count)) {
        names_wait(a, d->dest, d->payload, d->len);
    } else if (!datagram_choose(a, d->dest, known, count, &to, &why)) {
        association_drop(a, why, 1);
    } else {
        remember(a, d, &to);
        datagram_send(a, d->dest, &to, d->payload, d->len);
    }
}

static void send_to_address(struct association *a, const struct datagram *d)
{
    struct addr local;
    enum drop why = DROP_DENIED;

    if (!policy_allows(a->policy, d->dest, &d->dest->addr) ||
        !may_reach(a->relay, &d->dest->addr, &why)) {
        association_drop(a, why, 1);
        return;
    }
    if (!udp_local_address(a->relay, (enum addr_family)d->dest->addr.family, &local)) {
        association_drop(a, DROP_FAMILY, 1);
        return;
    }
    remember(a, d, &d->dest->addr);
    datagram_send(a, d->dest, &d->dest->addr, d->payload, d->len);
}

void datagram_take(struct association *a, const struct datagram *d)
{
    if (d->dest->name[0] != '\0')
        send_to_name(a, d);
    else
        send_to_address(a, d);
}

/* ---- what a client sent ---- */

/* An address that was sent as a name is judged as what it is. */
static void unmask(struct dest *dest)
{
    struct addr literal;

    if (dest->name[0] == '\0' || !addr_parse_ip(dest->name, &literal))
        return;
    literal = addr_unmap(&literal);
    literal.port = dest->addr.port;
    *dest = (struct dest){.addr = literal};
}

static void take_datagram(struct association *a, const uint8_t *data, size_t len)
{
    struct socks5_udp head;

    int n = socks5_udp_decode(data, len, &head);
    if (n <= 0) {
        association_drop(a, DROP_HEADER, 1);
        return;
    }
    unmask(&head.dest);
    struct datagram d = {
        .dest = &head.dest,
        .header = data + HEADER_FIXED,
        .header_len = (size_t)n - HEADER_FIXED,
        .payload = data + n,
        .len = len - (size_t)n,
    };
    if (head.frag != 0) {
        fragments_take(a, head.frag, &d);
        return;
    }
    fragments_abandon(a);
    datagram_take(a, &d);
}

static void drop_unowned(struct udp_relay *r, const struct engine_run *run, enum drop why)
{
    r->stats.dropped[why] += engine_run_count(run);
}

/* A datagram that fixes its client's port has to be one of ours at least. Where in the run the
 * first such one begins; its length if there is none. */
static uint32_t first_valid(const struct engine_run *run)
{
    struct socks5_udp head;

    for (uint32_t at = 0; at < run->len; at += run->segment) {
        uint32_t left = run->len - at, len = run->segment < left ? run->segment : left;
        if (socks5_udp_decode(run->data + at, len, &head) > 0)
            return at;
    }
    return run->len;
}

/* Rate-limited, and only where it is unmistakable whose the datagram would be. */
static bool may_relock(const struct udp_relay *r, const struct association *a)
{
    return r->config.relock_ms != 0 && udp_now(r) - a->locked_at >= r->config.relock_ms;
}

/* Its client's port becomes that of the run, from its first valid datagram on (*ret_from): true.
 * invalid: what those before it are dropped as. */
static bool lock_to(struct association *a, const struct engine_run *run, enum drop invalid,
                    uint32_t *ret_from)
{
    struct udp_relay *r = a->relay;
    struct engine_run before = *run;
    uint32_t at = a->transparent ? 0 : first_valid(run);

    if (at == run->len && !a->transparent) {
        drop_unowned(r, run, invalid);
        return false;
    }
    if (!association_lock(a, run->from.port)) {
        drop_unowned(r, run, DROP_SOURCE_PORT);
        return false;
    }
    before.len = at;
    if (at > 0)
        drop_unowned(r, &before, invalid);
    *ret_from = at;
    return true;
}

/* Whose it is, from *ret_from on; NULL: nobody's, and counted. */
static struct association *owner_of(struct client_port *p, const struct engine_run *run,
                                    uint32_t *ret_from)
{
    static const enum drop no_owner[] = {
        [PORTS_OTHER_PORT] = DROP_SOURCE_PORT,
        [PORTS_LATE] = DROP_LATE,
        [PORTS_STRANGER] = DROP_STRANGER,
    };
    struct udp_relay *r = p->relay;
    struct ports_claim *claim = NULL;
    enum ports_found found = ports_find(p->ports, &run->from, p->port, &claim);
    struct association *a = claim != NULL ? association_of_claim(claim) : NULL;

    *ret_from = 0;
    if (found == PORTS_LOCKED)
        return a;
    if (found == PORTS_UNLOCKED)
        return lock_to(a, run, DROP_HEADER, ret_from) ? a : NULL;
    if (found == PORTS_OTHER_PORT && a != NULL && may_relock(r, a)) {
        if (!lock_to(a, run, DROP_SOURCE_PORT, ret_from))
            return NULL;
        r->stats.relocks++;
        return a;
    }
    drop_unowned(r, run, no_owner[found]);
    return NULL;
}

/* While fragments wait, everything is looked at: FRAG 0 abandons them. */
static const struct route *find_route(const struct association *a, const uint8_t *data, size_t len)
{
    return a->fragments == NULL ? routes_find(a->relay->routes, a, data, len, udp_now(a->relay))
                                : NULL;
}

/* Without a header there is one way to go. */
static void forward_plain(struct association *a, const struct engine_run *run)
{
    for (uint32_t at = 0; a->sm.state != ASSOC_GONE;) {
        uint32_t left = run->len - at, len = run->segment < left ? run->segment : left;
        forward(a, &a->target[0], run->data + at, len);
        at += len;
        if (at >= run->len)
            break;
    }
}

static void take_run(struct client_port *p, const struct engine_run *run)
{
    uint32_t at;
    struct association *a = owner_of(p, run, &at);

    if (a == NULL)
        return;
    a->local = run->local;
    association_used(a);
    if (a->transparent) {
        forward_plain(a, run);
        return;
    }
    bool noted = false;
    while (a->sm.state != ASSOC_GONE) {
        uint32_t left = run->len - at, len = run->segment < left ? run->segment : left;
        const struct route *route = find_route(a, run->data + at, len);
        if (route == NULL) {
            take_datagram(a, run->data + at, len);
        } else {
            if (!noted) /* one of a run says it for all */
                note_peer(a, &route->to, route->by_name);
            noted = true;
            forward(a, &route->to, run->data + at + route->header_len, len - route->header_len);
        }
        at += len;
        if (at >= run->len)
            break;
    }
}

void datagrams_from_clients(struct client_port *p)
{
    struct udp_relay *r = p->relay;
    const struct engine_run *runs;
    size_t n = engine_receive(r->engine, p->hot.fd, &runs);

    for (size_t i = 0; i < n; i++)
        take_run(p, &runs[i]);
    engine_flush(r->engine);
}
