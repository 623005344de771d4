/* A timer wheel: starting, moving and stopping a timer costs a few instructions and no system call,
 * whatever their number.
 *
 * Pure: it is told the time (monotonic milliseconds). Timers fire in wheel_advance, up to one tick
 * (WHEEL_TICK_MS) late and never early. A timer may be started or stopped from any callback, its
 * own included. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/base/list.h"

#define WHEEL_TICK_MS 32
#define WHEEL_SLOTS   1024 /* one turn is about 33 s; longer timers wait for their turn */

struct wheel_timer {
    struct list node;
    uint64_t due; /* absolute, monotonic milliseconds */
    void (*fire)(struct wheel_timer *t);
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t tick;  /* the last tick handled */
    uint64_t count; /* timers running */
};

void wheel_init(struct wheel *w, uint64_t now);
void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t));
/* (Re)starts t to fire at `due`; a due in the past fires at the next tick. */
void wheel_start(struct wheel *w, struct wheel_timer *t, uint64_t due);
void wheel_stop(struct wheel *w, struct wheel_timer *t);
bool wheel_running(const struct wheel_timer *t);
/* Fires what is due. Call at least once per tick while count is not zero. */
void wheel_advance(struct wheel *w, uint64_t now);
