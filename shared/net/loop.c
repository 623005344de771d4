#include "shared/net/loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"

enum { HOT_EVENTS = 256 };

static void on_hot(uv_poll_t *poll, int status, int events)
{
    struct loop *l = poll->data;
    struct epoll_event ev[HOT_EVENTS];
    (void)status;
    (void)events;

    int n = epoll_wait(l->hot_fd, ev, HOT_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        struct hot *h = ev[i].data.ptr;
        if (h->fd >= 0)
            h->on_event(h, ev[i].events);
    }
}

static void run_posted(struct loop *l)
{
    while (!list_empty(&l->posted)) {
        struct loop_task *t = LIST_ENTRY(l->posted.next, struct loop_task, node);
        list_remove(&t->node);
        t->run(t);
    }
    while (!list_empty(&l->graves)) {
        struct loop_grave *g = LIST_ENTRY(l->graves.next, struct loop_grave, node);
        list_remove(&g->node);
        g->fini(g);
    }
}

static void on_before_sleep(uv_prepare_t *p)
{
    struct loop *l = p->data;

    l->iterations++;
    run_posted(l);
    log_flush();
}

static void on_tick(uv_timer_t *t)
{
    struct loop *l = t->data;

    wheel_advance(&l->wheel, loop_now(l));
    if (l->wheel.count == 0)
        uv_timer_stop(&l->tick);
}

int loop_init(struct loop *l)
{
    memset(l, 0, sizeof(*l));
    int rc = uv_loop_init(&l->uv);
    if (rc != 0)
        return rc;
    l->hot_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->hot_fd < 0) {
        rc = -errno;
        uv_loop_close(&l->uv);
        return rc;
    }
    list_init(&l->posted);
    list_init(&l->graves);
    wheel_init(&l->wheel, loop_now(l));

    uv_timer_init(&l->uv, &l->tick);
    uv_prepare_init(&l->uv, &l->before_sleep);
    uv_poll_init(&l->uv, &l->hot_poll, l->hot_fd);
    l->tick.data = l->before_sleep.data = l->hot_poll.data = l;
    uv_prepare_start(&l->before_sleep, on_before_sleep);
    uv_poll_start(&l->hot_poll, UV_READABLE, on_hot);
    uv_unref((uv_handle_t *)&l->tick);
    uv_unref((uv_handle_t *)&l->before_sleep);
    uv_unref((uv_handle_t *)&l->hot_poll);
    return 0;
}

void loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_fini(struct loop *l)
{
    run_posted(l);
    uv_close((uv_handle_t *)&l->tick, NULL);
    uv_close((uv_handle_t *)&l->before_sleep, NULL);
    uv_close((uv_handle_t *)&l->hot_poll, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    uv_loop_close(&l->uv);
    close(l->hot_fd);
    log_flush();
}

void loop_timer_start(struct loop *l, struct wheel_timer *t, uint64_t after_ms)
{
    /* A wheel that stood still while it was empty must not think that it slept. */
    if (l->wheel.count == 0)
        wheel_advance(&l->wheel, loop_now(l));
    wheel_start(&l->wheel, t, loop_now(l) + after_ms);
    if (!uv_is_active((uv_handle_t *)&l->tick))
        uv_timer_start(&l->tick, on_tick, WHEEL_TICK_MS, WHEEL_TICK_MS);
}

void loop_timer_stop(struct loop *l, struct wheel_timer *t)
{
    wheel_stop(&l->wheel, t);
}

void loop_task_init(struct loop_task *t, void (*run)(struct loop_task *t))
{
    list_init(&t->node);
    t->run = run;
}

void loop_post(struct loop *l, struct loop_task *t)
{
    if (list_empty(&t->node))
        list_append(&l->posted, &t->node);
}

void loop_unpost(struct loop_task *t)
{
    list_remove(&t->node);
}

void loop_bury(struct loop *l, struct loop_grave *g, void (*fini)(struct loop_grave *g))
{
    g->fini = fini;
    list_append(&l->graves, &g->node);
}

void hot_init(struct hot *h, void (*on_event)(struct hot *h, uint32_t events))
{
    h->fd = -1;
    h->mask = 0;
    h->on_event = on_event;
}

int hot_add(struct loop *l, struct hot *h, int fd, uint32_t mask)
{
    struct epoll_event ev = {.events = mask, .data.ptr = h};

    if (epoll_ctl(l->hot_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        return -errno;
    h->fd = fd;
    h->mask = mask;
    return 0;
}

void hot_mask(struct loop *l, struct hot *h, uint32_t mask)
{
    if (h->mask == mask)
        return;
    struct epoll_event ev = {.events = mask, .data.ptr = h};
    epoll_ctl(l->hot_fd, EPOLL_CTL_MOD, h->fd, &ev);
    h->mask = mask;
}

int hot_take(struct hot *h)
{
    int fd = h->fd;

    h->fd = -1;
    h->mask = 0;
    return fd;
}

int hot_remove(struct loop *l, struct hot *h)
{
    if (h->fd >= 0)
        epoll_ctl(l->hot_fd, EPOLL_CTL_DEL, h->fd, NULL);
    return hot_take(h);
}
