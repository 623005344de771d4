/* read, write, and hold what did not fit. Always works; the reference for the contract suite. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "shared/stream/engine.h"

static bool copy_holds(const struct stream_dir *d)
{
    return d->held != NULL;
}

static void copy_drop(struct stream_pump *p, struct stream_dir *d)
{
    p->stats.held_octets -= d->held_len - d->held_at;
    free(d->held);
    d->held = NULL;
    d->held_at = d->held_len = d->uncounted = 0;
}

static bool would_block(int err)
{
    return err == EAGAIN || err == EINTR || err == ENOBUFS;
}

static void count(struct stream_pump *p, struct stream_dir *d, size_t n)
{
    uint32_t skip = d->uncounted < n ? d->uncounted : (uint32_t)n;

    d->uncounted -= skip;
    d->octets += n - skip;
    p->stats.octets_copy += n - skip;
}

/* False: the writer is reset. */
static bool deliver_held(struct stream_pump *p, struct stream_dir *d, int to)
{
    ssize_t n =
        send(to, d->held + d->held_at, d->held_len - d->held_at, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0)
        return would_block(errno);
    count(p, d, (size_t)n);
    d->held_at += (uint32_t)n;
    p->stats.held_octets -= (uint64_t)n;
    if (d->held_at == d->held_len)
        copy_drop(p, d);
    return true;
}

static enum engine_turn copy_pump(struct stream_pump *p, struct stream_dir *d, int from, int to,
                                  bool readable, uint64_t at_most)
{
    if (d->held != NULL && !deliver_held(p, d, to))
        return ENGINE_WRITE_ERROR;
    if (d->held != NULL || !readable)
        return ENGINE_MORE;

    size_t room = at_most < sizeof(p->buffer) ? (size_t)at_most : sizeof(p->buffer);
    ssize_t n = recv(from, p->buffer, room, MSG_DONTWAIT);
    if (n == 0)
        return ENGINE_EOF;
    if (n < 0)
        return would_block(errno) ? ENGINE_MORE : ENGINE_READ_ERROR;

    ssize_t sent = send(to, p->buffer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && !would_block(errno))
        return ENGINE_WRITE_ERROR;
    if (sent < 0)
        sent = 0;
    count(p, d, (size_t)sent);
    if (sent < n) {
        d->held = malloc((size_t)(n - sent));
        if (d->held == NULL)
            return ENGINE_NO_MEMORY;
        memcpy(d->held, p->buffer + sent, (size_t)(n - sent));
        d->held_at = 0;
        d->held_len = (uint32_t)(n - sent);
        p->stats.held_octets += d->held_len;
    }
    if ((size_t)n == sizeof(p->buffer) && p->config.splice && d->pipe == NULL)
        d->pipe = pipe_borrow(p, d); /* stream.c changes the engine when nothing is held */
    return ENGINE_MORE;
}

const struct engine engine_copy = {"copy", copy_pump, copy_holds, copy_drop};
