/* Between a request and its relay: Open, what the relay answers, and what becomes of the client's
 * socket. */
#include <stdlib.h>
#include <unistd.h>

#include "socksd/association.h"
#include "socksd/control.h"
#include "socksd/session.h"

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
    session_place(x);
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

void session_on_handed(struct loop_task *t)
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
    const struct rules_subject subject = session_subject(x);
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
        loop_timer_start(x->server->loop, &x->timer, session_time_left(x));
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
    int rc = n2_assoc_open(relay, &x->association->n2, &assoc_ops, o, session_time_left(x));
    free((void *)(uintptr_t)rules.items);
    return rc == 0;
}

bool session_open_at(struct session *x, struct n2_client *relay)
{
    struct server *s = x->server;
    const struct timeout_keys *t = &s->config.timeouts;
    const struct request *r = &x->dialect.request;
    struct n2_audit audit[SESSION_AUDIT];
    struct session_audit_text text;
    struct n2_open o = {
        .kind = session_kind(x),
        .ptcl = session_ptcl(x),
        .client = x->client,
        .destinations = x->destinations,
        .destination_count = x->destination_count,
        .limits = {.connect_ms = session_time_left(x), .idle_ms = (uint32_t)t->idle_ms},
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
    return n2_assoc_open(relay, &x->association->n2, &assoc_ops, &o, session_time_left(x)) == 0;
}
