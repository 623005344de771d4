/* socket -> pipe -> socket, without the octets entering user space.
 *
 * A short splice does not mean that the reader is empty (the pipe's slots may be used up by small
 * fragments), so nothing is concluded from it: level-triggered events call again. Nor does 0 mean
 * the end: splice cannot pass an urgent octet, and once the sender has ended it says 0 there. */
#include <errno.h>
#include <fcntl.h>

#include "shared/stream/engine.h"

enum { TURN_ROUNDS = 4 };

static bool splice_holds(const struct stream_dir *d)
{
    return d->pipe->filled > 0;
}

static void splice_drop(struct stream_pump *p, struct stream_dir *d)
{
    pipe_return(p, d);
}

static bool would_block(int err)
{
    return err == EAGAIN || err == EINTR;
}

/* False: the writer is reset. */
static bool drain_pipe(struct stream_pump *p, struct stream_dir *d, int to, bool more)
{
    struct pipe_loan *l = d->pipe;
    unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0);
    ssize_t n = splice(l->rd, NULL, to, NULL, l->filled, flags);

    if (n < 0)
        return would_block(errno);
    l->filled -= (uint32_t)n;
    d->octets += (uint64_t)n;
    p->stats.octets_splice += (uint64_t)n;
    return true;
}

static void downgrade(struct stream_pump *p, struct stream_dir *d)
{
    p->stats.downgrades++;
    pipe_return(p, d);
}

static void turn_was_small(struct stream_pump *p, struct stream_dir *d, uint64_t moved)
{
    if (moved >= ENGINE_SMALL_TURN)
        d->small_turns = 0;
    else if (++d->small_turns >= ENGINE_SMALL_TURNS)
        downgrade(p, d);
}

static enum engine_turn splice_pump(struct stream_pump *p, struct stream_dir *d, int from, int to,
                                    bool readable, uint64_t at_most)
{
    struct pipe_loan *l = d->pipe;
    uint64_t moved = 0;

    pipe_touch(p, l);
    for (int round = 0; round < TURN_ROUNDS; round++) {
        if (l->filled > 0 && !drain_pipe(p, d, to, false))
            return ENGINE_WRITE_ERROR;
        if (l->filled > 0 || !readable)
            return ENGINE_MORE;
        uint64_t left = at_most - moved;
        size_t room = left < l->capacity ? (size_t)left : l->capacity;
        if (room == 0)
            return ENGINE_MORE;
        ssize_t n = splice(from, NULL, l->wr, NULL, room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n == 0 && leg_at_eof(from))
            return ENGINE_EOF;
        if (n == 0) {
            downgrade(p, d);
            return ENGINE_MORE;
        }
        if (n < 0 && !would_block(errno))
            return ENGINE_READ_ERROR;
        if (n < 0) {
            turn_was_small(p, d, moved);
            return ENGINE_MORE;
        }
        l->filled += (uint32_t)n;
        moved += (uint64_t)n;
    }
    if (l->filled > 0 && !drain_pipe(p, d, to, false))
        return ENGINE_WRITE_ERROR;
    return ENGINE_MORE;
}

const struct engine engine_splice = {"splice", splice_pump, splice_holds, splice_drop};
