/* From the request to the relay: rules, names, rules again, placement, Open, Attach. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/net/sockaddr.h"
#include "socksd/association.h"
#include "socksd/control.h"
#include "socksd/front.h"
#include "socksd/session.h"

enum {
    TRIES_MAX = 4,
    WAIT_FOR_RELAY_MS = 5000, /* a child that died is back long before */
};

static void place(struct session *x);
static void on_relay_ready(struct relays_waiter *w);
static void on_handed(struct loop_task *t);

static enum n2_kind kind_of(const struct session *x)
{
    static const enum n2_kind kinds[] = {
        [SOCKS_CONNECT] = N2_CONNECT,
        [SOCKS_BIND] = N2_BIND,
        [SOCKS_UDP_ASSOCIATE] = N2_UDP,
        [SOCKS_TRANSPARENT] = N2_TRANSPARENT,
    };

    return kinds[x->dialect.request.command];
}

static uint32_t ptcl_of(const struct session *x)
{
    enum n2_kind kind = kind_of(x);

    if (kind == N2_TRANSPARENT)
        return x->dialect.request.ptcl;
    return kind == N2_UDP ? IPPROTO_UDP : IPPROTO_TCP;
}

static struct rules_subject subject_of(const struct session *x)
{
    return (struct rules_subject){
        .source = x->client,
        .user = x->authenticated ? x->user : NULL,
        .command = x->dialect.request.command,
    };
}

static uint32_t time_left(const struct session *x)
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
    const struct rules_subject subject = subject_of(x);
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
    place(x);
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
    place(x);
}

/* ---- the request ---- */

void session_request_init(struct session *x)
{
    list_init(&x->waiter.node);
    x->waiter.ready = on_relay_ready;
    loop_task_init(&x->handed, on_handed);
}

void session_request(struct session *x)
{
    struct server *s = x->server;
    const struct request *r = &x->dialect.request;
    const struct rules_subject subject = subject_of(x);

    x->request_until = loop_now(s->loop) + s->config.timeouts.connect_ms;
    x->refusal = REPLY_OVERLOADED;
    if (!relays_may_serve(s->relays, kind_of(x), ptcl_of(x))) {
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
    loop_timer_start(x->server->loop, &x->timer, time_left(x));
    place(x);
}

static bool open_at(struct session *x, struct n2_client *relay);

static void place(struct session *x)
{
    struct server *s = x->server;
    struct n2_client *relay = NULL;

    if (x->tries < TRIES_MAX && time_left(x) > 0)
        relay = relays_choose(s->relays, kind_of(x), ptcl_of(x), x->tried);
    if (relay != NULL) {
        if (!open_at(x, relay))
            session_fail(x, REPLY_OVERLOADED, "no_memory");
        return;
    }
    uint32_t wait = time_left(x) < WAIT_FOR_RELAY_MS ? time_left(x) : WAIT_FOR_RELAY_MS;
    if (x->said_no || x->tries >= TRIES_MAX || wait == 0) {
        session_fail(x, x->refusal, x->said_no ? "refused_by_relay" : "no_relay");
        return;
    }
    loop_timer_start(s->loop, &x->timer, wait);
    relays_wait(s->relays, &x->waiter);
}

/* ---- what the relay says ---- */

static struct association *association_of(struct n2_assoc *n)
{
    return (struct association *)(void *)((char *)n - offsetof(struct association, n2));
}

/* Nothing has moved: another relay, or the same one again when it has been restarted. */
static void retry(struct session *x)
{
    x->server->stats.retries++;
    association_free(x->association);
    x->association = NULL;
    sm_move(&x->sm, SESSION_PLACING);
    place(x);
}

/* The client's socket is ours again. False when it cannot be watched: the session is over then. */
static bool watch_again(struct session *x, int fd)
{
    if (hot_add(x->server->loop, &x->hot, fd, EPOLLIN | EPOLLRDHUP | EPOLLET) == 0)
        return true;
    close(fd);
    session_log_access(x, REPLY_GENERAL_FAILURE, "no_memory");
    session_end(x, SESSION_FAILED);
    return false;
}

static void on_handed(struct loop_task *t)
{
    struct session *x = LIST_ENTRY(t, struct session, handed);

    session_count(x, REPLY_SUCCEEDED);
    association_handed_over(x->association);
    x->association = NULL;
    session_end(x, SESSION_HANDED_OVER);
}

/* The leg is queued. The session stays until the end of the iteration, when it has left: should the
 * channel turn out to be broken, it is still there to try elsewhere. */
static void hand_over(struct session *x, const struct addr *bound)
{
    uint8_t reply[DIALECT_OUT_MAX];
    size_t len = dialect_reply(&x->dialect, REPLY_SUCCEEDED, bound, reply);
    int fd = hot_remove(x->server->loop, &x->hot);

    if (n2_assoc_attach(&x->association->n2, fd, reply, len, x->in, x->in_len) == 0) {
        sm_move(&x->sm, SESSION_HANDING);
        loop_timer_stop(x->server->loop, &x->timer);
        loop_post(x->server->loop, &x->handed);
        return;
    }
    if (!watch_again(x, fd))
        return;
    if (x->sm.state == SESSION_LISTENING) {
        session_fail(x, REPLY_GENERAL_FAILURE, "no_leg");
        return;
    }
    n2_assoc_release(&x->association->n2);
    retry(x);
}

/* The control connection stays with us; what the client sends or receives goes elsewhere. */
static void keep_control(struct session *x, const struct addr *bound)
{
    uint8_t reply[DIALECT_OUT_MAX];
    size_t len = dialect_reply(&x->dialect, REPLY_SUCCEEDED, bound, reply), ahead = x->in_len;
    struct association *a = x->association;

    if (send(x->hot.fd, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
        session_log_access(x, REPLY_SUCCEEDED, "client_gone");
        session_end(x, SESSION_CLIENT_GONE);
        return;
    }
    int fd = hot_remove(x->server->loop, &x->hot);
    session_count(x, REPLY_SUCCEEDED);
    association_handed_over(a);
    x->association = NULL;
    control_start(a, fd, bound, ahead);
    session_end(x, SESSION_HANDED_OVER);
}

static void on_opened(struct n2_assoc *n, const struct n2_open_answer *o)
{
    struct session *x = association_of(n)->session;
    uint8_t reply[DIALECT_OUT_MAX];

    if (N2_OUT_OF_BAND(n->kind)) {
        keep_control(x, &o->bound);
        return;
    }
    if (n->kind != N2_BIND) {
        hand_over(x, &o->bound);
        return;
    }
    sm_move(&x->sm, SESSION_LISTENING);
    /* The relay ends the wait; a little later we do. */
    loop_timer_start(x->server->loop, &x->timer, x->server->config.timeouts.bind_ms + 2000);
    size_t len = dialect_reply(&x->dialect, REPLY_SUCCEEDED, &o->bound, reply);
    if (send(x->hot.fd, reply, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
        session_log_access(x, REPLY_SUCCEEDED, "client_gone");
        session_end(x, SESSION_CLIENT_GONE);
    }
}

static void on_peer(struct n2_assoc *n, const struct addr *peer)
{
    struct session *x = association_of(n)->session;
    const struct rules_subject subject = subject_of(x);
    struct dest dest = {.addr = *peer};

    dest.addr.port = x->dialect.request.dest.addr.port;
    /* A BIND for any peer was allowed without knowing which: now it is known. */
    if (addr_is_any(&x->destinations[0])) {
        struct rules_result r = rules_judge_address(x->server->config.rules, &subject, &dest, peer);
        if (r.verdict != RULES_ALLOW) {
            x->rule = r.rule;
            session_fail(x, REPLY_DENIED, r.why);
            return;
        }
    }
    hand_over(x, peer);
}

static enum reply_word word_of(const struct n2_refusal *r)
{
    static const enum reply_word causes[N2_CAUSES] = {
        [N2_CAUSE_NONE] = REPLY_GENERAL_FAILURE,
        [N2_CAUSE_GENERAL] = REPLY_GENERAL_FAILURE,
        [N2_CAUSE_NETWORK_UNREACHABLE] = REPLY_NETWORK_UNREACHABLE,
        [N2_CAUSE_HOST_UNREACHABLE] = REPLY_HOST_UNREACHABLE,
        [N2_CAUSE_REFUSED] = REPLY_REFUSED,
        [N2_CAUSE_TIMED_OUT] = REPLY_TIMED_OUT,
        [N2_CAUSE_TTL_EXPIRED] = REPLY_TIMED_OUT,
    };

    if (r->code == N2_UNREACHABLE)
        return causes[r->cause];
    return r->code == N2_POLICY ? REPLY_DENIED : REPLY_GENERAL_FAILURE;
}

static const char *why_of(const struct n2_refusal *r)
{
    return r->code == N2_UNREACHABLE ? n2_cause_name(r->cause) : n2_refusal_name(r->code);
}

static void on_refused(struct n2_assoc *n, const struct n2_refusal *r)
{
    struct session *x = association_of(n)->session;

    if (r->code == N2_UNREACHABLE || r->code == N2_POLICY || x->sm.state == SESSION_LISTENING) {
        session_fail(x, word_of(r), why_of(r));
        return;
    }
    /* A wanted port that is taken (PROTOCOL C9): any other will do, the reply tells which. */
    if (n->kind == N2_BIND && (r->code == N2_NO_PORT || r->code == N2_CANNOT_BIND) && !x->any_port &&
        x->dialect.request.dest.addr.port != 0)
        x->any_port = true;
    else
        x->said_no = true;
    x->refusal = r->code == N2_FULL || r->code == N2_DRAINING ? REPLY_OVERLOADED : REPLY_GENERAL_FAILURE;
    if (x->any_port)
        x->tried = 0;
    retry(x);
}

static void on_lost(struct n2_assoc *n)
{
    struct association *a = association_of(n);
    struct session *x = a->session;

    if (x == NULL) {
        a->server->stats.relay_lost++;
        association_log_lost(a, "relay_lost");
        association_free(a);
    } else if (x->sm.state == SESSION_OPENING) {
        retry(x);
    } else if (x->sm.state == SESSION_HANDING) {
        session_log_access(x, REPLY_GENERAL_FAILURE, "relay_lost");
        session_end(x, SESSION_HANDED_OVER);
    } else {
        session_fail(x, REPLY_GENERAL_FAILURE, "relay_lost");
    }
}

static void on_ended(struct n2_assoc *n, enum n2_end why, const struct n2_counters *c)
{
    struct association *a = association_of(n);
    struct session *x = a->session;
    (void)c;

    a->server->stats.assoc_ends[why]++;
    if (x == NULL) {
        association_free(a);
    } else if (x->sm.state == SESSION_HANDING) {
        /* It had our leg and is over already. */
        session_end(x, SESSION_HANDED_OVER);
    } else if (x->sm.state == SESSION_OPENING) {
        retry(x);
    } else {
        session_fail(x, REPLY_GENERAL_FAILURE, n2_end_name(why));
    }
}

static void on_leg_failed(struct n2_assoc *n, int fd)
{
    struct association *a = association_of(n);
    struct session *x = a->session;

    if (x == NULL) {
        /* It had waited so long in the channel that nobody is left who could answer. */
        association_log_lost(a, "relay_lost");
        association_free(a);
        close(fd);
        return;
    }
    loop_unpost(&x->handed);
    if (!watch_again(x, fd))
        return;
    if (n->kind == N2_BIND) {
        session_fail(x, REPLY_GENERAL_FAILURE, "relay_lost");
    } else {
        loop_timer_start(x->server->loop, &x->timer, time_left(x));
        retry(x);
    }
}

static const struct n2_assoc_ops assoc_ops = {
    .opened = on_opened,
    .refused = on_refused,
    .peer = on_peer,
    .ended = on_ended,
    .lost = on_lost,
    .leg_failed = on_leg_failed,
};

/* ---- Open ---- */

static bool open_datagrams(struct session *x, struct n2_client *relay, struct n2_open *o)
{
    struct n2_rules rules;

    if (!control_rules(x->server, &x->client, x->authenticated ? x->user : NULL, &rules))
        return false;
    session_client_local(x, &o->client_local);
    o->limits.connect_ms = 0;
    o->rules = &rules;
    int rc = n2_assoc_open(relay, &x->association->n2, &assoc_ops, o, time_left(x));
    free((void *)(uintptr_t)rules.items);
    return rc == 0;
}

static bool open_at(struct session *x, struct n2_client *relay)
{
    struct server *s = x->server;
    const struct timeout_keys *t = &s->config.timeouts;
    const struct request *r = &x->dialect.request;
    struct n2_audit audit[SESSION_AUDIT];
    struct session_audit_text text;
    struct n2_open o = {
        .kind = kind_of(x),
        .ptcl = ptcl_of(x),
        .client = x->client,
        .destinations = x->destinations,
        .destination_count = x->destination_count,
        .limits = {.connect_ms = time_left(x), .idle_ms = (uint32_t)t->idle_ms},
        .audit = audit,
        .audit_count = session_audit(x, &text, audit),
        .owner = x->user,
    };

    if (o.kind == N2_BIND) {
        /* What the peer is told when the relay knows nothing better. */
        session_client_local(x, &o.client_local);
        o.limits.connect_ms = (uint32_t)t->bind_ms;
        o.bind.port = x->any_port ? 0 : r->dest.addr.port;
    }
    if (o.kind == N2_TRANSPARENT) {
        session_client_local(x, &o.client_local);
        o.client = x->source;
        o.destination_count = 1; /* the relay is bound to it, so one is chosen here */
        o.limits.connect_ms = (uint32_t)t->connect_ms;
    }
    sm_move(&x->sm, SESSION_OPENING);
    x->tries++;
    x->tried |= relays_bit(s->relays, relay);
    x->association = association_new(x, audit, o.audit_count);
    if (x->association == NULL)
        return false;
    if (o.kind == N2_UDP)
        return open_datagrams(x, relay, &o);
    return n2_assoc_open(relay, &x->association->n2, &assoc_ops, &o, time_left(x)) == 0;
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
