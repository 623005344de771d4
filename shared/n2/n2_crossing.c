#include "shared/n2/n2_crossing.h"

#include <pthread.h>
#include <stdlib.h>

enum { TEARDOWN_MS = 500 };

/* ---- handing over ---- */

void crossing_push(struct crossing *c, struct queued *q)
{
    uv_mutex_lock(&c->lock);
    if (c->shut) {
        uv_mutex_unlock(&c->lock);
        if (q->kind == QUEUED_PIPE)
            free(q);
        return;
    }
    if (list_empty(&c->queue))
        uv_async_send(&c->async);
    list_append(&c->queue, &q->node);
    uv_mutex_unlock(&c->lock);
}

void crossing_push_pipe(struct crossing *c, uint32_t pipe, bool up)
{
    struct pipe_note *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return;
    n->queued.kind = QUEUED_PIPE;
    n->up = up;
    n->pipe = pipe;
    list_init(&n->queued.node);
    crossing_push(c, &n->queued);
}

static void on_wake(uv_async_t *async)
{
    struct crossing *c = async->data;

    uv_mutex_lock(&c->lock);
    if (!list_empty(&c->queue)) {
        c->taken = c->queue;
        c->taken.next->prev = c->taken.prev->next = &c->taken;
        list_init(&c->queue);
    }
    uv_mutex_unlock(&c->lock);
    /* A delivery may close the crossing, which empties the list. */
    while (!list_empty(&c->taken)) {
        struct queued *q = LIST_ENTRY(c->taken.next, struct queued, node);
        list_remove(&q->node);
        c->deliver(c, q);
    }
}

int crossing_init(struct crossing *c, struct loop *l,
                  void (*deliver)(struct crossing *c, struct queued *q))
{
    int rc = uv_async_init(&l->uv, &c->async, on_wake);
    if (rc != 0)
        return rc;
    uv_mutex_init(&c->lock);
    uv_cond_init(&c->is_torn);
    list_init(&c->queue);
    list_init(&c->taken);
    c->async.data = c;
    c->deliver = deliver;
    return 0;
}

/* ---- closing: two owners, the loop's handle and the thread that tears down ---- */

static void drop_all(struct list *queue)
{
    LIST_FOREACH_SAFE(node, queue) {
        struct queued *q = LIST_ENTRY(node, struct queued, node);
        list_remove(node);
        if (q->kind == QUEUED_PIPE)
            free(q);
    }
}

static void release(struct crossing *c)
{
    uv_mutex_lock(&c->lock);
    bool last = --c->owners == 0;
    uv_mutex_unlock(&c->lock);
    if (!last)
        return;
    uv_cond_destroy(&c->is_torn);
    uv_mutex_destroy(&c->lock);
    c->gone(c);
}

static void tear_down(void *arg)
{
    struct crossing *c = arg;

    c->teardown(c);
    uv_mutex_lock(&c->lock);
    c->torn = true;
    uv_cond_signal(&c->is_torn);
    uv_mutex_unlock(&c->lock);
    release(c);
}

static void await_teardown(struct crossing *c, uv_thread_t thread)
{
    uint64_t until = uv_hrtime() + TEARDOWN_MS * UINT64_C(1000000), now;

    uv_mutex_lock(&c->lock);
    while (!c->torn && (now = uv_hrtime()) < until)
        uv_cond_timedwait(&c->is_torn, &c->lock, until - now);
    bool torn = c->torn;
    uv_mutex_unlock(&c->lock);
    if (torn)
        uv_thread_join(&thread);
    else
        pthread_detach(thread);
}

static void on_async_closed(uv_handle_t *h)
{
    release(h->data);
}

void crossing_close(struct crossing *c, void (*teardown)(struct crossing *c),
                    void (*gone)(struct crossing *c))
{
    uv_thread_t thread;

    uv_mutex_lock(&c->lock);
    c->shut = true;
    drop_all(&c->queue);
    uv_mutex_unlock(&c->lock);
    drop_all(&c->taken);
    c->teardown = teardown;
    c->gone = gone;
    c->owners = 2;
    if (uv_thread_create(&thread, tear_down, c) == 0)
        await_teardown(c, thread);
    else
        tear_down(c);
    uv_close((uv_handle_t *)&c->async, on_async_closed);
}
