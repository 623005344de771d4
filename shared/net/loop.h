/* The one event loop of a process: libuv for timers, signals, processes and other libraries'
 * descriptors, and beside it what a data path needs and libuv makes dear:
 *
 *   hot sockets   one private epoll set under a single uv_poll: one epoll_ctl per change of
 *                 interest and nothing else (a uv_poll_t per socket costs eight more calls)
 *   timers        a wheel (shared/base/wheel.h) on one uv_timer
 *   loop_post     work for the end of the iteration: batches are sent once, just before sleeping
 *   loop_bury     memory that events of this iteration may still point at is freed after them
 *
 *   iteration:  timers ─► [posted work, burials, log] ─► sleep ─► sockets, messages ─► again
 *
 * Everything here is for the loop's own thread. */
#pragma once

#include <stdint.h>
#include <sys/epoll.h>
#include <uv.h>

#include "shared/base/list.h"
#include "shared/base/wheel.h"

struct loop {
    uv_loop_t uv;
    struct wheel wheel;
    uv_timer_t tick;
    int hot_fd;
    uv_poll_t hot_poll;
    uv_prepare_t before_sleep;
    struct list posted; /* struct loop_task */
    struct list graves; /* struct loop_grave */
    uint64_t iterations;
};

/* A socket of the data path. Embed it; zero is not a valid state, use hot_init. */
struct hot {
    int fd; /* -1: none; events of this iteration are then dropped */
    uint32_t mask;
    void (*on_event)(struct hot *h, uint32_t events);
};

struct loop_task {
    struct list node;
    void (*run)(struct loop_task *t);
};

struct loop_grave {
    struct list node;
    void (*fini)(struct loop_grave *g);
};

/* 0, or -errno with nothing open. */
int loop_init(struct loop *l);
/* Runs until nothing is left that keeps it alive (uv handles that are active and referenced; the
 * loop's own are not). */
void loop_run(struct loop *l);
/* Everything else must be closed before; runs what was posted and buried. */
void loop_fini(struct loop *l);

/* Monotonic milliseconds, as of this iteration. */
static inline uint64_t loop_now(const struct loop *l)
{
    return uv_now(&l->uv);
}

void loop_timer_start(struct loop *l, struct wheel_timer *t, uint64_t after_ms);
void loop_timer_stop(struct loop *l, struct wheel_timer *t);

void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *t));
/* Runs t once before the loop sleeps; posting it again before that changes nothing. */
void loop_post(struct loop *l, struct loop_task *t);
void loop_unpost(struct loop_task *t);
/* Calls fini once no event of this iteration can reach the object any more. */
void loop_bury(struct loop *l, struct loop_grave *g, void (*fini)(struct loop_grave *g));

void hot_init(struct hot *h, void (*on_event)(struct hot *h, uint32_t events));
/* Watches fd; mask is EPOLLIN and so on (level-triggered unless it says EPOLLET; EPOLLERR and
 * EPOLLHUP always come). 0, or -errno and h is as before. The caller keeps fd. */
int hot_add(struct loop *l, struct hot *h, int fd, uint32_t mask);
/* Changes the interest; free of cost when it is the same. */
void hot_mask(struct loop *l, struct hot *h, uint32_t mask);
/* Stops watching and returns the descriptor, which the caller owns (-1 if there was none). To be
 * called before close() wherever another process may hold the same file: events would go on. */
int hot_remove(struct loop *l, struct hot *h);
/* The same for a file that nobody else can hold and that is closed at once, which spares a call. */
int hot_take(struct hot *h);
