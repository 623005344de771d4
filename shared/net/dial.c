#include "shared/net/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"

struct attempt {
    struct hot hot;
    struct dial *dial;
    struct addr to;
};

struct dial {
    struct loop_grave grave;
    struct loop *loop;
    dial_cb cb;
    void *arg;
    struct addr from4, from6;
    struct wheel_timer next, deadline;
    int error; /* the most telling one so far */
    uint8_t count, started, running;
    struct attempt attempts[]; /* count of them */
};

/* A refusal proves that the host is there; a time-out proves nothing. */
static int telling(int error)
{
    static const int order[] = {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT};

    for (int i = 0; i < 4; i++) {
        if (error == -order[i])
            return 4 - i;
    }
    return error == 0 ? -1 : 0;
}

static void note_error(int *best, int error)
{
    if (telling(error) > telling(*best))
        *best = error;
}

/* A connected descriptor, or -EINPROGRESS with *ret_fd on its way, or another -errno. */
static int connect_to(const struct addr *to, const struct addr *from, int *ret_fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);
    int one = 1;

    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (from->family != ADDR_NONE && (!addr_is_any(from) || from->port != 0)) {
        struct sockaddr_storage local;
        socklen_t local_len = sockaddr_from(from, &local);
        /* The port is chosen by connect, with the whole 4-tuple to choose from. */
        if (from->port == 0)
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
        else
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&local, local_len) != 0)
            goto out_close;
    }
    if (connect(fd, (struct sockaddr *)&ss, len) == 0)
        return fd;
    /* On loopback the handshake is over before the first call has returned: ask once more. */
    if (errno == EINPROGRESS && addr_is_loopback(to) &&
        connect(fd, (struct sockaddr *)&ss, len) == 0)
        return fd;
    if (errno == EINPROGRESS || errno == EALREADY) {
        *ret_fd = fd;
        return -EINPROGRESS;
    }
out_close:;
    int rc = -errno;
    close(fd);
    return rc;
}

/* ---- the race ---- */

static void dial_free(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct dial, grave));
}

void dial_cancel(struct dial *d)
{
    if (d == NULL)
        return;
    loop_timer_stop(d->loop, &d->next);
    loop_timer_stop(d->loop, &d->deadline);
    for (int i = 0; i < d->started; i++) {
        int fd = hot_remove(d->loop, &d->attempts[i].hot);
        if (fd >= 0)
            close(fd);
    }
    loop_bury(d->loop, &d->grave, dial_free);
}

static void finish(struct dial *d, int status, int fd, const struct addr *peer)
{
    dial_cb cb = d->cb;
    void *arg = d->arg;
    struct addr to = peer != NULL ? *peer : (struct addr){0};

    dial_cancel(d);
    cb(arg, status, fd, &to);
}

static void start_next(struct dial *d);

static void on_attempt(struct hot *h, uint32_t events)
{
    struct attempt *a = LIST_ENTRY(h, struct attempt, hot);
    struct dial *d = a->dial;
    int err = 0;
    socklen_t len = sizeof(err);
    (void)events;

    int fd = hot_remove(d->loop, h);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        err = errno;
    if (err == 0) {
        finish(d, 0, fd, &a->to);
        return;
    }
    close(fd);
    d->running--;
    note_error(&d->error, -err);
    start_next(d);
}

/* Starts attempts until one is on its way; ends the dial when nothing is left to hope for. */
static void start_next(struct dial *d)
{
    while (d->started < d->count) {
        struct attempt *a = &d->attempts[d->started++];
        const struct addr *to = &a->to;
        int fd = -1;
        int rc = connect_to(to, to->family == ADDR_IPV4 ? &d->from4 : &d->from6, &fd);
        if (rc >= 0) {
            finish(d, 0, rc, to);
            return;
        }
        if (rc == -EINPROGRESS && (rc = hot_add(d->loop, &a->hot, fd, EPOLLOUT)) == 0) {
            d->running++;
            if (d->started < d->count)
                loop_timer_start(d->loop, &d->next, DIAL_ATTEMPT_MS);
            return;
        }
        if (fd >= 0)
            close(fd);
        note_error(&d->error, rc);
    }
    loop_timer_stop(d->loop, &d->next);
    if (d->running == 0)
        finish(d, d->error, -1, NULL);
}

static void on_next(struct wheel_timer *t)
{
    start_next(LIST_ENTRY(t, struct dial, next));
}

static void on_deadline(struct wheel_timer *t)
{
    struct dial *d = LIST_ENTRY(t, struct dial, deadline);

    note_error(&d->error, -ETIMEDOUT);
    finish(d, d->error, -1, NULL);
}

static struct dial *dial_new(struct loop *l, const struct dial_config *c, dial_cb cb, void *arg)
{
    struct dial *d = calloc(1, sizeof(*d) + c->count * sizeof(d->attempts[0]));

    if (d == NULL)
        return NULL;
    d->loop = l;
    d->cb = cb;
    d->arg = arg;
    d->from4 = c->from4;
    d->from6 = c->from6;
    d->count = (uint8_t)c->count;
    for (size_t i = 0; i < c->count; i++) {
        d->attempts[i].dial = d;
        d->attempts[i].to = c->to[i];
        hot_init(&d->attempts[i].hot, on_attempt);
    }
    wheel_timer_init(&d->next, on_next);
    wheel_timer_init(&d->deadline, on_deadline);
    return d;
}

int dial_start(struct loop *l, const struct dial_config *c, dial_cb cb, void *arg,
               struct dial **ret, struct addr *ret_peer)
{
    int error = 0;

    for (uint8_t i = 0; i < c->count; i++) {
        const struct addr *to = &c->to[i];
        int fd = -1;
        int rc = connect_to(to, to->family == ADDR_IPV4 ? &c->from4 : &c->from6, &fd);
        if (rc >= 0) {
            *ret_peer = *to;
            return rc;
        }
        if (rc != -EINPROGRESS) {
            note_error(&error, rc);
            continue;
        }
        struct dial *d = dial_new(l, c, cb, arg);
        if (d == NULL) {
            close(fd);
            return -ENOMEM;
        }
        d->started = (uint8_t)(i + 1);
        d->running = 1;
        d->error = error;
        if ((rc = hot_add(l, &d->attempts[i].hot, fd, EPOLLOUT)) != 0) {
            close(fd);
            free(d);
            return rc;
        }
        loop_timer_start(l, &d->deadline, c->timeout_ms);
        if (d->started < d->count)
            loop_timer_start(l, &d->next, DIAL_ATTEMPT_MS);
        *ret = d;
        return -EINPROGRESS;
    }
    return error;
}
