#include "shared/base/wheel.h"

/* The tick at which a timer may fire: rounded up, never early. */
static uint64_t due_tick(uint64_t due)
{
    return due / WHEEL_TICK_MS + (due % WHEEL_TICK_MS != 0);
}

static struct list *slot_of(struct wheel *w, uint64_t tick)
{
    return &w->slots[tick % WHEEL_SLOTS];
}

void wheel_init(struct wheel *w, uint64_t now)
{
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    w->tick = now / WHEEL_TICK_MS;
    w->count = 0;
}

void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t))
{
    list_init(&t->node);
    t->due = 0;
    t->fire = fire;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t due)
{
    wheel_stop(w, t);
    /* A tick that has been handled does not come back: take the next one. */
    if (due_tick(due) <= w->tick)
        due = (w->tick + 1) * WHEEL_TICK_MS;
    t->due = due;
    list_append(slot_of(w, due_tick(due)), &t->node);
    w->count++;
}

void wheel_stop(struct wheel *w, struct wheel_timer *t)
{
    if (!wheel_running(t))
        return;
    list_remove(&t->node);
    w->count--;
}

bool wheel_running(const struct wheel_timer *t)
{
    return !list_empty(&t->node);
}

static void list_splice(struct list *to, struct list *from)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

/* The timers of the slot are taken out first: a callback may put new ones into this very slot, and
 * may stop any of those that still wait in `walk`. */
static void fire_slot(struct wheel *w, struct list *slot)
{
    struct list walk;

    list_splice(&walk, slot);
    while (!list_empty(&walk)) {
        struct wheel_timer *t = LIST_ENTRY(walk.next, struct wheel_timer, node);
        list_remove(&t->node);
        if (due_tick(t->due) > w->tick) {
            list_append(slot, &t->node);
            continue;
        }
        w->count--;
        t->fire(t); /* t may be gone after this */
    }
}

void wheel_advance(struct wheel *w, uint64_t now)
{
    uint64_t from = w->tick, to = now / WHEEL_TICK_MS;

    if (to <= from)
        return;
    /* From here on "now" is the tick `to`, for callbacks that start timers too. After a sleep of
     * more than a turn every slot is visited, and visited once. */
    w->tick = to;
    if (to - from > WHEEL_SLOTS)
        from = to - WHEEL_SLOTS;
    for (uint64_t tick = from + 1; tick <= to && w->count > 0; tick++)
        fire_slot(w, slot_of(w, tick));
}
