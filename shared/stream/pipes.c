/* Pipes are dear: an unprivileged user gets small ones after fs.pipe-user-pages-soft, and each is
 * two descriptors. So they are lent to directions that proved bulky and taken back when idle. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/stream/engine.h"

enum { IDLE_MS = 1000, RECLAIM_MS = 1000 };

static void pipe_destroy(struct stream_pump *p, struct pipe_loan *l)
{
    list_remove(&l->node);
    close(l->rd);
    close(l->wr);
    free(l);
    p->stats.pipes_total--;
}

static struct pipe_loan *pipe_create(struct stream_pump *p)
{
    struct pipe_loan *l = p->stats.pipes_total < p->config.pipes_max ? calloc(1, sizeof(*l)) : NULL;
    int fds[2];

    if (l == NULL)
        return NULL;
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(l);
        return NULL;
    }
    l->rd = fds[0];
    l->wr = fds[1];
    list_init(&l->node);
    p->stats.pipes_total++;
    fcntl(l->wr, F_SETPIPE_SZ, (int)p->config.pipe_octets);
    int size = fcntl(l->wr, F_GETPIPE_SZ);
    l->capacity = size > 0 ? (uint32_t)size : 0;
    /* A pipe smaller than the copy buffer is slower than copying. */
    if (l->capacity < ENGINE_COPY_BUFFER) {
        pipe_destroy(p, l);
        return NULL;
    }
    return l;
}

/* The least recently used loan whose pipe is empty and idle. */
static struct pipe_loan *pipe_steal(struct stream_pump *p)
{
    uint64_t now = loop_now(p->loop);

    LIST_FOREACH(node, &p->pipes_lent) {
        struct pipe_loan *l = LIST_ENTRY(node, struct pipe_loan, node);
        if (now - l->last_used < IDLE_MS)
            return NULL;
        if (l->filled == 0) {
            pipe_return(p, l->dir);
            return l;
        }
    }
    return NULL;
}

struct pipe_loan *pipe_borrow(struct stream_pump *p, struct stream_dir *d)
{
    struct pipe_loan *l = NULL;

    if (!list_empty(&p->pipes_free))
        l = LIST_ENTRY(p->pipes_free.prev, struct pipe_loan, node);
    if (l == NULL)
        l = pipe_create(p);
    if (l == NULL)
        l = pipe_steal(p);
    if (l == NULL) {
        p->stats.pipe_refusals++;
        return NULL;
    }
    list_remove(&l->node);
    list_append(&p->pipes_lent, &l->node);
    l->dir = d;
    l->filled = 0;
    l->last_used = loop_now(p->loop);
    p->stats.pipes_lent++;
    if (!wheel_running(&p->reclaim))
        loop_timer_start(p->loop, &p->reclaim, RECLAIM_MS);
    return l;
}

void pipe_return(struct stream_pump *p, struct stream_dir *d)
{
    struct pipe_loan *l = d->pipe;

    d->pipe = NULL;
    d->engine = &engine_copy;
    l->dir = NULL;
    p->stats.pipes_lent--;
    if (l->filled > 0) {
        pipe_destroy(p, l);
        return;
    }
    list_remove(&l->node);
    list_append(&p->pipes_free, &l->node);
}

void pipe_touch(struct stream_pump *p, struct pipe_loan *l)
{
    l->last_used = loop_now(p->loop);
    list_remove(&l->node);
    list_append(&p->pipes_lent, &l->node);
}

/* Idle borrowers give back; a pool that nobody uses shrinks to nothing. */
static void on_reclaim(struct wheel_timer *t)
{
    struct stream_pump *p = LIST_ENTRY(t, struct stream_pump, reclaim);
    uint64_t now = loop_now(p->loop);

    LIST_FOREACH_SAFE(node, &p->pipes_lent) {
        struct pipe_loan *l = LIST_ENTRY(node, struct pipe_loan, node);
        if (now - l->last_used < IDLE_MS)
            break;
        if (l->filled == 0) {
            p->stats.downgrades++;
            pipe_return(p, l->dir);
        }
    }
    if (p->stats.pipes_lent == 0) {
        while (!list_empty(&p->pipes_free))
            pipe_destroy(p, LIST_ENTRY(p->pipes_free.next, struct pipe_loan, node));
    } else {
        loop_timer_start(p->loop, &p->reclaim, RECLAIM_MS);
    }
}

void pipes_init(struct stream_pump *p)
{
    list_init(&p->pipes_free);
    list_init(&p->pipes_lent);
    wheel_timer_init(&p->reclaim, on_reclaim);
}

void pipes_fini(struct stream_pump *p)
{
    loop_timer_stop(p->loop, &p->reclaim);
    while (!list_empty(&p->pipes_free))
        pipe_destroy(p, LIST_ENTRY(p->pipes_free.next, struct pipe_loan, node));
}
