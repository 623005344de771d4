#include "shared/n2/n2_session.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/log.h"

/* ---- life ---- */

struct n2_session *n2_session_find(struct n2_server *s, const char *id)
{
    LIST_FOREACH(node, &s->sessions) {
        struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        if (strcmp(x->id, id) == 0)
            return x;
    }
    return NULL;
}

static void on_lease_end(struct wheel_timer *t)
{
    struct n2_session *x = LIST_ENTRY(t, struct n2_session, lease);

    x->leased = false;
    x->server->stats.leases_lost++;
    log_warn("n2_lease_lost", LOG_STR("server", x->id), LOG_U64("held", x->live_count));
    n2_session_end_grants(x, false, N2_END_LEASE_LOST);
    n2_session_sweep(x);
}

static void on_parked_end(struct wheel_timer *t)
{
    n2_session_answer_watch(LIST_ENTRY(t, struct n2_session, parked_until));
}

static void on_answer_watch(struct loop_task *t)
{
    n2_session_answer_watch(LIST_ENTRY(t, struct n2_session, answer_watch));
}

/* A server that holds nothing and has not been heard of is the first to make room. */
static void make_room(struct n2_server *s)
{
    LIST_FOREACH_SAFE(node, &s->sessions) {
        struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        if (s->session_count >= SESSIONS_MAX && !x->leased && x->live_count == 0)
            n2_session_free(x);
    }
}

struct n2_session *n2_session_new(struct n2_server *s, const char *id, uint64_t epoch)
{
    make_room(s);
    struct n2_session *x = s->session_count < SESSIONS_MAX ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL)
        return NULL;
    x->server = s;
    x->epoch = epoch;
    memcpy(x->id, id, strlen(id) + 1);
    idmap_init(&x->grants);
    n2_owners_init(&x->owners);
    list_init(&x->live);
    list_init(&x->tombstones);
    wheel_timer_init(&x->lease, on_lease_end);
    wheel_timer_init(&x->parked_until, on_parked_end);
    loop_task_init(&x->answer_watch, on_answer_watch);
    list_append(&s->sessions, &x->node);
    s->session_count++;
    return x;
}

void n2_session_free(struct n2_session *x)
{
    struct n2_server *s = x->server;

    x->parked = NULL;
    n2_session_end_grants(x, true, N2_END_DRAIN_DEADLINE);
    while (!list_empty(&x->tombstones))
        n2_grant_free(LIST_ENTRY(x->tombstones.next, struct n2_grant, in_session));
    loop_timer_stop(s->loop, &x->lease);
    loop_timer_stop(s->loop, &x->parked_until);
    loop_unpost(&x->answer_watch);
    idmap_fini(&x->grants);
    n2_owners_fini(&x->owners);
    free(x->events.slots);
    list_remove(&x->node);
    s->session_count--;
    free(x);
}

bool n2_session_is_retired(const struct n2_session *x, uint64_t epoch)
{
    uint32_t n = x->retired_count < RETIRED_MAX ? x->retired_count : RETIRED_MAX;

    for (uint32_t i = 0; i < n; i++) {
        if (x->retired[i] == epoch)
            return true;
    }
    return false;
}

void n2_session_retire(struct n2_session *x, uint64_t new_epoch)
{
    /* Events and calls are numbered anew; what follows is the first that the new epoch hears. */
    x->events.first = x->events.count = 0;
    x->events.last_seq = x->events.lost_seq = 0;
    n2_session_end_grants(x, false, N2_END_LEASE_LOST);
    while (!list_empty(&x->tombstones))
        n2_grant_free(LIST_ENTRY(x->tombstones.next, struct n2_grant, in_session));
    x->retired[x->retired_count++ % RETIRED_MAX] = x->epoch;
    x->epoch = new_epoch;
    x->acked = 0;
    LIST_FOREACH(node, &x->live)
        LIST_ENTRY(node, struct n2_grant, in_session)->call_id = 0;
}

void n2_session_renew_lease(struct n2_session *x)
{
    x->leased = true;
    loop_timer_start(x->server->loop, &x->lease, x->server->config.lease_ms);
}

void n2_session_end_grants(struct n2_session *x, bool all, enum n2_end why)
{
    struct n2_server *s = x->server;

    LIST_FOREACH_SAFE(node, &x->live) {
        struct n2_grant *g = LIST_ENTRY(node, struct n2_grant, in_session);
        if (all || g->state != N2_GRANT_ATTACHED)
            s->service->end(s->arg, g, why);
    }
}

void n2_session_sweep(struct n2_session *x)
{
    uint64_t now = loop_now(x->server->loop);

    LIST_FOREACH_SAFE(node, &x->tombstones) {
        struct n2_grant *g = LIST_ENTRY(node, struct n2_grant, in_session);
        if (g->call_id < x->acked || g->forget_at <= now)
            n2_grant_free(g);
    }
}

/* ---- events ---- */

static struct event_slot *ring_at(struct event_ring *r, size_t i)
{
    return &r->slots[(r->first + i) % r->cap];
}

static bool ring_grow(struct event_ring *r)
{
    size_t cap = r->cap ? r->cap * 2 : 64;
    struct event_slot *slots = cap <= EVENTS_KEPT_MAX ? malloc(cap * sizeof(*slots)) : NULL;

    if (slots == NULL)
        return false;
    for (size_t i = 0; i < r->count; i++)
        slots[i] = *ring_at(r, i);
    free(r->slots);
    r->slots = slots;
    r->cap = cap;
    r->first = 0;
    return true;
}

static void ring_drop_first(struct event_ring *r)
{
    r->first = (r->first + 1) % r->cap;
    r->count--;
}

void n2_session_event(struct n2_session *x, const struct n2_event *e, const uint8_t *ticket)
{
    struct event_ring *r = &x->events;
    struct n2_server *s = x->server;

    s->stats.events++;
    r->last_seq++;
    if (r->count == r->cap && !ring_grow(r)) {
        if (r->cap == 0) {
            r->lost_seq = r->last_seq;
            return;
        }
        if (r->lost_seq < ring_at(r, 0)->event.seq)
            s->stats.gaps++;
        r->lost_seq = ring_at(r, 0)->event.seq;
        ring_drop_first(r);
    }
    struct event_slot *slot = ring_at(r, r->count++);
    slot->event = *e;
    slot->event.seq = r->last_seq;
    memcpy(slot->ticket, ticket, N2_TICKET_LEN);
    if (x->parked != NULL)
        loop_post(s->loop, &x->answer_watch);
}

/* ---- Watch ---- */

void n2_session_watch(struct n2_session *x, struct n2_inbound *in, const struct n2_call *call)
{
    struct n2_server *s = x->server;
    struct event_ring *r = &x->events;
    uint32_t wait = call->u.watch.wait_ms, third = s->config.lease_ms / 3;

    n2_session_answer_watch(x);
    while (r->count > 0 && ring_at(r, 0)->event.seq <= call->u.watch.after_seq)
        ring_drop_first(r);
    x->parked = in;
    x->parked_call = call->id;
    x->parked_after = call->u.watch.after_seq;
    bool gap = x->parked_after < r->lost_seq;
    if (r->count > 0 || gap || wait == 0)
        n2_session_answer_watch(x);
    else
        loop_timer_start(s->loop, &x->parked_until, wait < third ? wait : third);
}

void n2_session_answer_watch(struct n2_session *x)
{
    struct n2_server *s = x->server;
    struct event_ring *r = &x->events;
    struct n2_answer a = {.id = x->parked_call, .what = N2_WATCH};
    struct n2_inbound *in = x->parked;

    if (in == NULL)
        return;
    x->parked = NULL;
    loop_timer_stop(s->loop, &x->parked_until);
    loop_unpost(&x->answer_watch);

    size_t n = r->count < N2_EVENTS_MAX ? r->count : N2_EVENTS_MAX;
    struct n2_event *events = calloc(n + 1, sizeof(*events));
    for (size_t i = 0; events != NULL && i < n; i++) {
        events[i] = ring_at(r, i)->event;
        events[i].opened.ticket = ring_at(r, i)->ticket;
    }
    a.u.watch = (struct n2_watch_answer){
        .events = events,
        .event_count = events != NULL ? n : 0,
        .gap = x->parked_after < r->lost_seq,
        .draining = s->draining,
        .last_seq = r->last_seq,
    };
    s->service->load(s->arg, &a.u.watch.load);
    buf_reset(&s->watch_reply);
    n2_put_reply_head(&s->watch_reply, s->epoch, NULL);
    n2_put_answer(&s->watch_reply, &a);
    n2_inbound_reply(in, s->watch_reply.data, s->watch_reply.len);
    free(events);
}

/* ---- Inventory ---- */

struct page {
    const struct n2_grant **grants;
    size_t count, cap;
    const uint8_t *after;
};

static int by_id(const void *a, const void *b)
{
    const struct n2_grant *const *x = a, *const *y = b;

    return memcmp((*x)->node.id, (*y)->node.id, ID_LEN);
}

void n2_session_inventory(struct n2_session *x, const struct n2_call *call, struct buf *out)
{
    struct n2_server *s = x->server;
    const uint8_t *after = call->u.inventory.after;
    const struct n2_grant **grants = calloc(x->live_count + 1, sizeof(const struct n2_grant *));
    struct n2_held *held = calloc(call->u.inventory.limit, sizeof(*held));
    struct n2_answer a = {.id = call->id, .what = N2_INVENTORY};
    size_t n = 0, shown = 0;

    if (grants == NULL || held == NULL) {
        a.what = N2_NONE;
        a.refused = (struct n2_refusal){.code = N2_FULL, .text = "memory"};
        goto out;
    }
    LIST_FOREACH(node, &x->live) {
        const struct n2_grant *g = LIST_ENTRY(node, struct n2_grant, in_session);
        if (after == NULL || memcmp(g->node.id, after, ID_LEN) > 0)
            grants[n++] = g;
    }
    qsort(grants, n, sizeof(const struct n2_grant *), by_id);
    for (; shown < n && shown < call->u.inventory.limit; shown++) {
        const struct n2_grant *g = grants[shown];
        memcpy(held[shown].association, g->node.id, ID_LEN);
        held[shown].kind = (enum n2_kind)g->kind;
        held[shown].state = (enum n2_held_state)g->state;
        held[shown].server_epoch = g->server_epoch;
        s->service->counters(s->arg, g, &held[shown].counters);
    }
    a.u.inventory = (struct n2_inventory_answer){held, shown, n > shown, x->events.last_seq};
out:
    n2_put_answer(out, &a);
    free(grants);
    free(held);
}
