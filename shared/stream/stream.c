#include "shared/stream/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/stream/engine.h"

/* ---- what they share ---- */

struct stream_pump *stream_pump_new(struct loop *l, const struct stream_pump_config *config)
{
    struct stream_pump *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->loop = l;
    p->config = *config;
    pipes_init(p);
    return p;
}

void stream_pump_free(struct stream_pump *p)
{
    if (p == NULL)
        return;
    pipes_fini(p);
    free(p);
}

const struct stream_stats *stream_pump_stats(const struct stream_pump *p)
{
    return &p->stats;
}

/* ---- the one way out ---- */

static void reset_on_close(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void end(struct stream *s, enum stream_end why)
{
    struct stream_pump *p = s->pump;

    if (s->ended)
        return;
    s->ended = true;
    for (int i = 0; i < 2; i++) {
        /* Nobody else can hold the socket that we made ourselves: closing it ends its events too.
         */
        int fd = i == 0 ? hot_remove(p->loop, &s->leg[i]) : hot_take(&s->leg[i]);
        if (fd >= 0 && why != STREAM_CLOSED)
            reset_on_close(fd);
        if (fd >= 0)
            close(fd);
        s->dir[i].engine->drop(p, &s->dir[i]);
        if (s->dir[i].pipe != NULL)
            pipe_return(p, &s->dir[i]);
        if (s->dir[i].held != NULL)
            engine_copy.drop(p, &s->dir[i]);
    }
    s->on_end(s, why);
}

void stream_cut(struct stream *s)
{
    end(s, STREAM_CUT);
}

/* ---- pumping ---- */

static bool dir_holds(const struct stream_dir *d)
{
    return d->engine->holds(d);
}

/* What it has read and not delivered. */
static uint64_t held_payload(const struct stream_dir *d)
{
    return d->held_len - d->held_at - d->uncounted + (d->pipe != NULL ? d->pipe->filled : 0);
}

/* What of the limit is left. What is held will be delivered, so it counts. */
static uint64_t allowance(const struct stream *s)
{
    uint64_t moved = 0;

    if (s->octet_limit == 0)
        return UINT64_MAX;
    for (int i = 0; i < 2; i++)
        moved += s->dir[i].octets + held_payload(&s->dir[i]);
    return moved < s->octet_limit ? s->octet_limit - moved : 0;
}

/* Copy found the direction bulky and got a pipe: the next turn splices, once nothing is held. */
static void maybe_upgrade(struct stream_pump *p, struct stream_dir *d)
{
    if (d->engine == &engine_copy && d->pipe != NULL && d->held == NULL) {
        d->engine = &engine_splice;
        d->small_turns = 0;
        p->stats.upgrades++;
    }
}

static void finish_dir(struct stream *s, int i)
{
    struct stream_dir *d = &s->dir[i];

    d->state = STREAM_DONE;
    if (d->pipe != NULL)
        pipe_return(s->pump, d);
    shutdown(s->leg[1 - i].fd, SHUT_WR);
}

bool leg_at_eof(int fd)
{
    uint8_t octet;

    return recv(fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* One turn of direction i. False when the stream has ended. */
static bool turn(struct stream *s, int i, bool readable)
{
    struct stream_dir *d = &s->dir[i];
    uint64_t left = allowance(s);

    if (d->state == STREAM_DONE)
        return true;
    if (left == 0 && readable && !dir_holds(d) && !leg_at_eof(s->leg[i].fd)) {
        end(s, STREAM_LIMIT);
        return false;
    }
    enum engine_turn t = d->engine->pump(s->pump, d, s->leg[i].fd, s->leg[1 - i].fd,
                                         readable && d->state == STREAM_OPEN, left != 0 ? left : 1);
    switch (t) {
    case ENGINE_MORE:
        maybe_upgrade(s->pump, d);
        break;
    case ENGINE_EOF:
        d->state = STREAM_ENDING;
        break;
    case ENGINE_READ_ERROR:
        end(s, i == 0 ? STREAM_CLIENT_RESET : STREAM_TARGET_RESET);
        return false;
    case ENGINE_WRITE_ERROR:
        end(s, i == 0 ? STREAM_TARGET_RESET : STREAM_CLIENT_RESET);
        return false;
    case ENGINE_NO_MEMORY:
        end(s, STREAM_NO_MEMORY);
        return false;
    }
    if (d->state != STREAM_ENDING || dir_holds(d))
        return true;
    if (s->dir[1 - i].state == STREAM_DONE) {
        end(s, STREAM_CLOSED); /* closing says the same as the shutdown that is left out */
        return false;
    }
    finish_dir(s, i);
    return true;
}

/* Read where nothing is held and EOF was not seen; write where something is. With nothing to wait
 * for, EPOLLET alone: a hang-up is then told once instead of for ever. */
static void set_interest(struct stream *s)
{
    for (int i = 0; i < 2; i++) {
        uint32_t mask = 0;
        if (s->dir[i].state == STREAM_OPEN && !dir_holds(&s->dir[i]))
            mask |= EPOLLIN;
        if (s->dir[1 - i].state != STREAM_DONE && dir_holds(&s->dir[1 - i]))
            mask |= EPOLLOUT;
        hot_mask(s->pump->loop, &s->leg[i], mask != 0 ? mask : EPOLLET);
    }
}

static bool has_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0;
}

static void on_leg(struct stream *s, int i, uint32_t events)
{
    s->last_activity = loop_now(s->pump->loop);
    /* A reset may stand behind octets that were received before it; they are lost with it, as they
     * would be for the program that owned the socket. */
    if ((events & EPOLLERR) && has_error(s->leg[i].fd)) {
        end(s, i == 0 ? STREAM_CLIENT_RESET : STREAM_TARGET_RESET);
        return;
    }
    if ((events & EPOLLOUT) && !turn(s, 1 - i, false))
        return;
    if ((events & (EPOLLIN | EPOLLHUP)) && !dir_holds(&s->dir[i]) && !turn(s, i, true))
        return;
    set_interest(s);
}

void stream_on_client(struct hot *h, uint32_t events)
{
    on_leg(LIST_ENTRY(h, struct stream, leg[0]), 0, events);
}

void stream_on_target(struct hot *h, uint32_t events)
{
    on_leg(LIST_ENTRY(h, struct stream, leg[1]), 1, events);
}

/* ---- the beginning ---- */

/* Writes what was said before; what does not fit is held by the copy engine. */
static bool write_first(struct stream *s, int i, const uint8_t *bytes, size_t len, bool counted)
{
    struct stream_dir *d = &s->dir[i];

    if (len == 0)
        return true;
    ssize_t n = send(s->leg[1 - i].fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN)
        return false;
    size_t sent = n > 0 ? (size_t)n : 0;
    if (counted) {
        d->octets += sent;
        s->pump->stats.octets_copy += sent;
    }
    if (sent == len)
        return true;
    d->held = malloc(len - sent);
    if (d->held == NULL)
        return false;
    memcpy(d->held, bytes + sent, len - sent);
    d->held_len = (uint32_t)(len - sent);
    d->uncounted = counted ? 0 : d->held_len;
    s->pump->stats.held_octets += d->held_len;
    return true;
}

void stream_start(struct stream *s, struct stream_pump *p, const struct stream_start *with,
                  void (*on_end)(struct stream *s, enum stream_end why))
{
    struct loop *l = p->loop;

    s->pump = p;
    s->on_end = on_end;
    s->ended = false;
    s->octet_limit = with->octet_limit;
    s->last_activity = loop_now(l);
    for (int i = 0; i < 2; i++)
        s->dir[i] = (struct stream_dir){.engine = &engine_copy};

    bool added = hot_add(l, &s->leg[0], with->client_fd, EPOLLIN) == 0;
    if (!added)
        close(with->client_fd);
    if (hot_add(l, &s->leg[1], with->target_fd, EPOLLIN) != 0) {
        close(with->target_fd);
        added = false;
    }
    if (!added) {
        end(s, STREAM_NO_MEMORY);
        return;
    }
    if (has_error(s->leg[1].fd)) {
        end(s, STREAM_TARGET_RESET);
        return;
    }
    if (!write_first(s, 1, with->to_client, with->to_client_len, false)) {
        end(s, STREAM_CLIENT_GONE);
        return;
    }
    if (!write_first(s, 0, with->to_target, with->to_target_len, true)) {
        end(s, STREAM_TARGET_RESET);
        return;
    }
    set_interest(s);
}

bool stream_half_closed(const struct stream *s)
{
    return (s->dir[0].state == STREAM_DONE) != (s->dir[1].state == STREAM_DONE);
}

const char *stream_engine_name(const struct stream *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->dir[i].engine == &engine_splice)
            return engine_splice.name;
    }
    return engine_copy.name;
}
