/* What a relay tells by itself: events, load and the lease by Watch; and by Inventory what it
 * holds, when events may have been missed. */
#include <string.h>

#include "shared/base/log.h"
#include "shared/n2/n2_client_impl.h"

enum { INVENTORY_PAGE = 512, PAGE_TIMEOUT_MS = 2000 };

/* ---- Inventory ---- */

void n2_client_ask_page(struct n2_client *c)
{
    struct n2_call call = {.what = N2_INVENTORY, .remaining_ms = PAGE_TIMEOUT_MS};

    call.u.inventory.after = c->inventory_first ? NULL : c->inventory_after;
    call.u.inventory.limit = INVENTORY_PAGE;
    c->page_owed = !n2_client_call(c, &call, NULL);
}

void n2_client_inventory(struct n2_client *c)
{
    c->stats.inventories++;
    c->inventory++;
    c->inventory_before = c->next_call;
    c->inventory_first = true;
    c->missing_owed = false;
    n2_client_ask_page(c);
}

/* Held by the relay and unknown here: we gave it up, or an earlier life of us opened it. What owns
 * its connections goes on; the rest is nobody's. */
static void release_unknown(struct n2_client *c, const struct n2_held *h)
{
    struct n2_call call = {.what = N2_RELEASE, .remaining_ms = N2_DEADLINE_MAX_MS};

    if (h->state == N2_HELD_ATTACHED)
        return;
    call.u.release = h->association;
    if (!n2_client_call(c, &call, h->association))
        c->unreleased = true;
}

static void settle_missing(struct n2_client *c)
{
    if (!c->missing_owed || c->after_seq < c->inventory_seq)
        return;
    c->missing_owed = false;
    n2_assoc_missing(c);
}

void n2_client_take_inventory(struct n2_client *c, const struct n2_inventory_answer *inv)
{
    for (size_t i = 0; i < inv->held_count; i++) {
        struct idmap_node *n = idmap_find(&c->assocs, inv->held[i].association);
        if (n != NULL)
            IDMAP_ENTRY(n, struct n2_assoc, node)->seen = c->inventory;
        else
            release_unknown(c, &inv->held[i]);
    }
    if (c->inventory_first)
        c->inventory_seq = inv->as_of_seq;
    c->inventory_first = false;
    if (inv->more && inv->held_count > 0) {
        memcpy(c->inventory_after, inv->held[inv->held_count - 1].association, ID_LEN);
        n2_client_ask_page(c);
        return;
    }
    /* Only where events were lost is there nothing to wait for below that. */
    if (c->events_lost && c->after_seq < c->inventory_seq)
        c->after_seq = c->inventory_seq;
    c->events_lost = false;
    c->missing_owed = true;
    settle_missing(c);
    if (c->sm.state != CLIENT_SYNC)
        return;
    n2_client_enter(c, CLIENT_READY);
    n2_client_connect_legs(c);
    n2_client_watch(c);
}

/* ---- Watch ---- */

void n2_client_watch(struct n2_client *c)
{
    struct n2_call call = {.what = N2_WATCH, .remaining_ms = N2_DEADLINE_MAX_MS};
    struct buf b;

    if (c->sm.state != CLIENT_READY || n2_exchange_busy(c->watch))
        return;
    call.id = c->watch_call = c->next_call++;
    call.u.watch = (struct n2_watch){c->after_seq, c->info.lease_ms / 3};
    c->watch_sent_at = loop_now(c->loop);
    buf_init(&b, N2_MESSAGE_MAX);
    n2_client_put_head(c, &b, false);
    n2_put_call(&b, &call);
    if (n2_exchange_send(c->watch, b.data, b.len, c->info.lease_ms) != 0)
        n2_client_down(c);
    buf_fini(&b);
}

static void take_watch(struct n2_client *c, const struct n2_watch_answer *w)
{
    bool changed = c->draining != w->draining;

    c->load = w->load;
    c->draining = w->draining;
    bool forgotten = w->last_seq < c->after_seq; /* it numbers anew: it has forgotten us */
    if (forgotten)
        c->after_seq = 0;
    for (size_t i = 0; i < w->event_count; i++) {
        /* One that was told before is told again when its answer was lost. */
        if (w->events[i].seq <= c->after_seq)
            continue;
        c->after_seq = w->events[i].seq;
        n2_assoc_take_event(c, &w->events[i]);
    }
    settle_missing(c);
    if (changed)
        c->ops->changed(c->arg);
    if ((w->gap || forgotten) && c->sm.state == CLIENT_READY) {
        c->stats.gaps++;
        c->events_lost = w->gap;
        log_warn("relay_events_lost", LOG_STR("relay", c->info.id));
        n2_client_enter(c, CLIENT_SYNC);
        n2_client_inventory(c);
    }
}

void n2_client_on_watch(void *arg, int status, const uint8_t *bytes, size_t len)
{
    struct n2_client *c = arg;
    struct n2_reply r;

    c->watch_call = 0;
    if (c->watch_stale) { /* of a conversation that was given up */
        c->watch_stale = false;
        n2_client_watch(c);
        return;
    }
    if (c->sm.state == CLIENT_DOWN || c->sm.state == CLIENT_HELLO)
        return;
    if (status != 0 || n2_reply_decode(c->arena, bytes, len, &r) != 0 ||
        r.relay_epoch != c->info.epoch || r.answer_count != 1 || r.answers[0].what != N2_WATCH) {
        c->stats.timeouts += status == -ETIMEDOUT;
        n2_client_down(c);
    } else {
        n2_client_believe(c, c->watch_sent_at);
        take_watch(c, &r.answers[0].u.watch);
        n2_client_watch(c);
    }
    n2_arena_reset(c->arena);
}
