#include "relayd-tcp/flow.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/n2/n2_audit.h"
#include "shared/net/sockopt.h"
#include "shared/relay/protect.h"

enum {
    ATTACH_MIN_MS = 10000,
    /* Young streams get no keepalive: most end long before it could tell anything. */
    KEEPALIVE_AFTER_MS = 15000,
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 20,
    KEEPALIVE_COUNT = 4,
};

static const struct sm_state states[] = {
    [FLOW_NEW] = {"new", SM_TO(FLOW_DIALING) | SM_TO(FLOW_LISTENING) | SM_TO(FLOW_PARKED) |
                             SM_TO(FLOW_AWAITING) | SM_TO(FLOW_GONE)},
    [FLOW_DIALING] = {"dialing", SM_TO(FLOW_PARKED) | SM_TO(FLOW_GONE)},
    [FLOW_LISTENING] = {"listening", SM_TO(FLOW_PARKED) | SM_TO(FLOW_GONE)},
    [FLOW_PARKED] = {"parked", SM_TO(FLOW_RELAYING) | SM_TO(FLOW_GONE)},
    [FLOW_AWAITING] = {"awaiting", SM_TO(FLOW_REACHING) | SM_TO(FLOW_RELAYING) | SM_TO(FLOW_GONE)},
    [FLOW_REACHING] = {"reaching", SM_TO(FLOW_AWAITING) | SM_TO(FLOW_RELAYING) | SM_TO(FLOW_GONE)},
    [FLOW_RELAYING] = {"relaying", SM_TO(FLOW_AWAITING) | SM_TO(FLOW_GONE)},
    [FLOW_GONE] = {"gone", 0},
};

const char *flow_state_name(const struct flow *f)
{
    return sm_name(&f->sm);
}

void flow_counters(const struct flow *f, struct n2_counters *ret)
{
    const struct transparent *t = f->transparent;
    uint64_t since = t != NULL ? t->opened : f->started;

    *ret = (struct n2_counters){
        .octets_up = f->stream.dir[0].octets + (t != NULL ? t->before[0] : 0),
        .octets_down = f->stream.dir[1].octets + (t != NULL ? t->before[1] : 0),
        .duration_ms = loop_now(f->relay->base.loop) - since,
    };
}

bool flow_forbids(const struct tcp_relay *r, const struct addr *to)
{
    return protect_forbids(&r->base, to) || accept_ports_own(r->accept_ports, to);
}

/* ---- the record ---- */

static void log_access(const struct flow *f, enum n2_end why)
{
    struct log_field fields[16 + N2_AUDIT_MAX];
    char id[ID_TEXT_LEN];
    size_t n = 0;

    fields[n++] = (struct log_field)LOG_STR("id", id_format(f->grant->node.id, id));
    fields[n++] = (struct log_field)LOG_STR("kind", n2_kind_name((enum n2_kind)f->grant->kind));
    fields[n++] = (struct log_field)LOG_ADDR("client", &f->client);
    fields[n++] = (struct log_field)LOG_ADDR("target", &f->peer);
    fields[n++] = (struct log_field)LOG_ADDR("bound", &f->bound);
    fields[n++] = (struct log_field)LOG_U64("octets_up", f->stream.dir[0].octets);
    fields[n++] = (struct log_field)LOG_U64("octets_down", f->stream.dir[1].octets);
    fields[n++] =
        (struct log_field)LOG_U64("duration_ms", loop_now(f->relay->base.loop) - f->started);
    fields[n++] = (struct log_field)LOG_STR("reason", n2_end_name(why));
    fields[n++] = (struct log_field)LOG_STR("relay", f->relay->base.id);
    fields[n++] = (struct log_field)LOG_STR("server", n2_grant_server_id(f->grant));
    n2_audit_put(f->audit, fields, n);
    log_emit(LOG_INFO, "access", fields);
}

/* ---- the one way out ---- */

static void flow_free(struct loop_grave *g)
{
    struct flow *f = LIST_ENTRY(g, struct flow, grave);

    free(f->transparent);
    free(f->audit);
    free(f);
}

/* Lets go of whatever the state holds. */
static void let_go(struct flow *f)
{
    int fd;

    switch ((enum flow_state)f->sm.state) {
    case FLOW_DIALING:
        dial_cancel(f->dial);
        break;
    case FLOW_LISTENING:
        fd = hot_remove(f->relay->base.loop, &f->stream.leg[1]);
        if (fd >= 0)
            close(fd);
        free(f->expected.peers);
        break;
    case FLOW_PARKED:
        close(f->target_fd);
        break;
    case FLOW_REACHING:
        dial_cancel(f->dial);
        break;
    case FLOW_RELAYING: /* the stream has closed its sockets */
    case FLOW_AWAITING:
    case FLOW_NEW:
    case FLOW_GONE:
        break;
    }
    if (f->transparent != NULL)
        flow_transparent_let_go(f);
}

void flow_finish(struct flow *f, const struct n2_refusal *refused, enum n2_end why)
{
    struct tcp_relay *r = f->relay;
    struct n2_counters c;

    bool relayed = f->sm.state == FLOW_RELAYING;
    let_go(f);
    sm_move(&f->sm, FLOW_GONE);
    loop_timer_stop(r->base.loop, &f->timer);
    flow_counters(f, &c);
    r->stats.flows--;
    r->stats.attached -= relayed;
    if (relayed && f->transparent == NULL)
        log_access(f, why);
    if (refused != NULL) {
        relay_counts_refused(&r->base.counts, refused);
        n2_grant_refused(f->grant, refused->code, refused->cause, refused->text);
    } else {
        relay_counts_ended(&r->base.counts, why, &c);
        n2_grant_ended(f->grant, why, &c);
    }
    loop_bury(r->base.loop, &f->grave, flow_free);
}

static void flow_end(struct flow *f, enum n2_end why)
{
    flow_finish(f, NULL, why);
}

/* ---- timers: one per flow, its meaning is the state's ---- */

static uint64_t idle_limit(const struct flow *f)
{
    return stream_half_closed(&f->stream) ? f->limits.half_closed_ms : f->limits.idle_ms;
}

/* A direction may finish before then, which shortens the limit; and young streams get old. */
static uint64_t next_check(const struct flow *f, uint64_t ms)
{
    if (ms > f->limits.half_closed_ms)
        ms = f->limits.half_closed_ms;
    return !f->kept_alive && ms > KEEPALIVE_AFTER_MS ? KEEPALIVE_AFTER_MS : ms;
}

/* Activity moves no timer; the timer looks how long ago it was, and comes again. */
static void check_idle(struct flow *f)
{
    struct tcp_relay *r = f->relay;
    uint64_t quiet = loop_now(r->base.loop) - f->stream.last_activity, limit = idle_limit(f);

    if (quiet >= limit) {
        f->timer.due = 0;
        stream_cut(&f->stream);
        return;
    }
    if (!f->kept_alive && loop_now(r->base.loop) - f->started >= KEEPALIVE_AFTER_MS) {
        f->kept_alive = true;
        sockopt_keep_alive(f->stream.leg[0].fd, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S,
                           KEEPALIVE_COUNT);
        sockopt_keep_alive(f->stream.leg[1].fd, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S,
                           KEEPALIVE_COUNT);
    }
    loop_timer_start(r->base.loop, &f->timer, next_check(f, limit - quiet));
}

static void on_timer(struct wheel_timer *t)
{
    struct flow *f = LIST_ENTRY(t, struct flow, timer);
    const struct n2_refusal timed_out = {N2_UNREACHABLE, N2_CAUSE_TIMED_OUT, "no peer came"};

    switch ((enum flow_state)f->sm.state) {
    case FLOW_LISTENING:
        flow_finish(f, &timed_out, N2_END_NONE);
        break;
    case FLOW_PARKED:
        flow_end(f, N2_END_ATTACH_TIMEOUT);
        break;
    case FLOW_AWAITING:
        flow_check_waiting(f);
        break;
    case FLOW_RELAYING:
        check_idle(f);
        break;
    case FLOW_NEW:
    case FLOW_DIALING:
    case FLOW_REACHING:
    case FLOW_GONE:
        break;
    }
}

void flow_wait_for_leg(struct flow *f)
{
    uint32_t ms = f->limits.connect_ms > ATTACH_MIN_MS ? f->limits.connect_ms : ATTACH_MIN_MS;

    loop_timer_start(f->relay->base.loop, &f->timer, ms);
}

/* ---- the service behind N2 ---- */

static void set_limits(struct flow *f, const struct n2_limits *wanted)
{
    const struct tcp_config *c = &f->relay->config;
    uint64_t idle_ms = c->base.relay.idle_ms;

    f->limits = *wanted;
    if (f->limits.connect_ms == 0 || f->limits.connect_ms > N2_DEADLINE_MAX_MS * 10)
        f->limits.connect_ms = (uint32_t)c->connect_ms;
    if (f->limits.idle_ms == 0)
        f->limits.idle_ms = (uint32_t)(idle_ms < UINT32_MAX ? idle_ms : UINT32_MAX);
    if (f->limits.half_closed_ms == 0)
        f->limits.half_closed_ms =
            (uint32_t)(c->half_closed_ms < UINT32_MAX ? c->half_closed_ms : UINT32_MAX);
}

static void service_open(void *arg, struct n2_grant *g, const struct n2_open *o)
{
    struct tcp_relay *r = arg;
    struct flow *f = calloc(1, sizeof(*f));

    if (f == NULL || (f->audit = n2_audit_pack(o->audit, o->audit_count)) == NULL) {
        free(f);
        n2_grant_refused(g, N2_FULL, N2_CAUSE_NONE, "memory");
        return;
    }
    f->relay = r;
    f->grant = g;
    f->client = o->client;
    f->started = loop_now(r->base.loop);
    g->impl = f;
    r->stats.flows++;
    sm_init(&f->sm, states, sizeof(states) / sizeof(states[0]), FLOW_NEW);
    wheel_timer_init(&f->timer, on_timer);
    set_limits(f, &o->limits);
    if (o->ptcl != IPPROTO_TCP) {
        const struct n2_refusal unsupported = {N2_UNSUPPORTED, N2_CAUSE_NONE, "ptcl"};
        flow_finish(f, &unsupported, N2_END_NONE);
    } else if (o->kind == N2_BIND) {
        flow_open_bind(f, o);
    } else if (o->kind == N2_TRANSPARENT) {
        flow_open_transparent(f, o);
    } else {
        flow_open_connect(f, o);
    }
}

static void service_end(void *arg, struct n2_grant *g, enum n2_end why)
{
    struct flow *f = g->impl;
    (void)arg;

    if (f->sm.state == FLOW_RELAYING)
        stream_cut(&f->stream);
    flow_end(f, why);
}

static bool service_update(void *arg, struct n2_grant *g, const struct n2_update *u,
                           struct n2_refusal *ret)
{
    struct flow *f = g->impl;

    if (u->rules != NULL) {
        *ret = (struct n2_refusal){N2_BAD, N2_CAUSE_NONE, "rules without datagrams"};
        return false;
    }
    set_limits(f, &u->limits);
    f->stream.octet_limit = flow_octet_limit(f);
    if (f->transparent != NULL && f->sm.state != FLOW_AWAITING && flow_used_up(f))
        service_end(arg, g, N2_END_LIMIT);
    else if (f->sm.state == FLOW_AWAITING)
        flow_check_waiting(f);
    else if (f->sm.state == FLOW_RELAYING)
        check_idle(f);
    return true;
}

static void on_stream_end(struct stream *s, enum stream_end why)
{
    static const enum n2_end ends[] = {
        [STREAM_CLOSED] = N2_END_CLOSED,
        [STREAM_CLIENT_GONE] = N2_END_CLIENT_GONE,
        [STREAM_CLIENT_RESET] = N2_END_CLIENT_RESET,
        [STREAM_TARGET_RESET] = N2_END_TARGET_RESET,
        [STREAM_LIMIT] = N2_END_LIMIT,
        [STREAM_NO_MEMORY] = N2_END_RELAY_ERROR,
    };
    struct flow *f = LIST_ENTRY(s, struct flow, stream);

    if (f->transparent != NULL && flow_waits_again(f, why))
        return;
    if (why != STREAM_CUT)
        flow_end(f, ends[why]);
    else if (f->timer.due == 0)
        flow_end(f, stream_half_closed(s) ? N2_END_HALF_CLOSED_IDLE : N2_END_IDLE);
    /* Otherwise service_end cut it and says why. */
}

void flow_relay(struct flow *f, const struct stream_start *with)
{
    struct tcp_relay *r = f->relay;

    sm_move(&f->sm, FLOW_RELAYING);
    r->stats.attached++;
    f->started = loop_now(r->base.loop);
    f->kept_alive = false;
    hot_init(&f->stream.leg[0], stream_on_client);
    hot_init(&f->stream.leg[1], stream_on_target);
    loop_timer_start(r->base.loop, &f->timer, next_check(f, f->limits.idle_ms));
    stream_start(&f->stream, r->pump, with, on_stream_end);
}

static void service_attach(void *arg, struct n2_grant *g, const struct n2_attach *a, int fd)
{
    struct flow *f = g->impl;
    (void)arg;

    if (fd < 0) {
        flow_end(f, N2_END_RELAY_ERROR);
        return;
    }
    const struct stream_start with = {
        .client_fd = fd,
        .target_fd = f->target_fd,
        .to_client = a->to_client,
        .to_client_len = a->to_client_len,
        .to_target = a->to_target,
        .to_target_len = a->to_target_len,
        .octet_limit = f->limits.octets,
    };
    flow_relay(f, &with);
}

static void service_counters(void *arg, const struct n2_grant *g, struct n2_counters *ret)
{
    (void)arg;
    flow_counters(g->impl, ret);
}

static void service_load(void *arg, struct n2_load *ret)
{
    const struct tcp_relay *r = arg;
    uint32_t held = r->stats.flows;

    *ret = (struct n2_load){
        .associations = held,
        .capacity = r->base.capacity,
        .descriptors_free = (r->base.capacity > held ? r->base.capacity - held : 0) * 2,
        .ports_free = accept_ports_max(r->accept_ports) - accept_ports_count(r->accept_ports),
    };
}

const struct n2_service flow_service = {
    service_open,     service_update, service_attach, service_end,
    service_counters, service_load,   relay_drained,
};
