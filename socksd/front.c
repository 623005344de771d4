#include "socksd/front.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/net/sockaddr.h"
#include "socksd/session.h"

enum { ACCEPTS_PER_EVENT = 64, BACKLOG = 1024, DEFER_S = 1, SAY_AGAIN_MS = 10000, REST_MS = 100 };

struct door {
    struct hot hot;
    struct front *front;
    const struct listener_keys *keys;
    struct addr address;
};

struct front {
    struct server *server;
    struct door *doors;
    size_t count;
    bool started, resting;
    uint64_t said_at;
    struct wheel_timer rest; /* after EMFILE: others may have given some back */
};

static bool is_full(const struct server *s)
{
    return s->stats.sessions + s->stats.controls >= s->sessions_max;
}

static void set_doors(struct front *f, uint32_t mask)
{
    for (size_t i = 0; i < f->count; i++) {
        if (f->doors[i].hot.fd >= 0)
            hot_mask(f->server->loop, &f->doors[i].hot, mask);
    }
}

static void rest(struct front *f, const char *why)
{
    struct server *s = f->server;
    uint64_t now = loop_now(s->loop);

    if (f->resting)
        return;
    f->resting = true;
    s->stats.accept_pauses++;
    set_doors(f, EPOLLET);
    if (f->said_at == 0 || now - f->said_at >= SAY_AGAIN_MS) {
        f->said_at = now;
        log_warn("accept_paused", LOG_STR("why", why), LOG_U64("sessions", s->stats.sessions),
                 LOG_U64("sessions_max", s->sessions_max), LOG_U64("pauses", s->stats.accept_pauses));
    }
}

static void go_on(struct front *f)
{
    if (!f->resting || !f->started || is_full(f->server))
        return;
    f->resting = false;
    set_doors(f, EPOLLIN);
}

static void on_rest_over(struct wheel_timer *t)
{
    go_on(LIST_ENTRY(t, struct front, rest));
}

void front_session_ended(struct front *f)
{
    go_on(f);
}

/* False: none is waiting, or we may not take it. */
static bool accept_one(struct door *d)
{
    struct front *f = d->front;
    struct server *s = f->server;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct addr peer;

    if (is_full(s)) {
        rest(f, "sessions");
        return false;
    }
    int fd = accept4(d->hot.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM) {
            s->stats.accept_errors++;
            rest(f, strerror(err));
            loop_timer_start(s->loop, &f->rest, REST_MS);
        }
        return err == ECONNABORTED || err == EINTR || err == EPROTO;
    }
    s->stats.accepted++;
    sockaddr_to((struct sockaddr *)&ss, &peer);
    session_start(s, fd, &peer, d->keys, &d->address);
    return true;
}

static void on_clients(struct hot *h, uint32_t events)
{
    struct door *d = LIST_ENTRY(h, struct door, hot);
    (void)events;

    for (int i = 0; i < ACCEPTS_PER_EVENT && !d->front->resting; i++) {
        if (!accept_one(d))
            break;
    }
}

/* Options on the listener are inherited by what it accepts: none has to be set per client. */
static void set_options(int fd, const struct listener_keys *k)
{
    int one = 1, defer = DEFER_S;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (k->listen.family == ADDR_IPV6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (k->defer_accept)
        setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
}

static int open_door(struct door *d, const struct listener_keys *k, struct err *e)
{
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&k->listen, &ss);

    hot_init(&d->hot, on_clients);
    d->keys = k;
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, "socket: %s", strerror(errno));
    set_options(fd, k);
    if (bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, BACKLOG) != 0) {
        err_set(e, "listen on %s: %s", addr_format(&k->listen, text), strerror(errno));
        close(fd);
        return -1;
    }
    sockaddr_local(fd, &d->address);
    int rc = hot_add(d->front->server->loop, &d->hot, fd, EPOLLET);
    if (rc != 0) {
        close(fd);
        return err_set(e, "epoll: %s", strerror(-rc));
    }
    return 0;
}

int front_open(struct server *s, struct err *e)
{
    const struct config *c = &s->config;
    struct front *f = calloc(1, sizeof(*f));

    if (f == NULL || (f->doors = calloc(c->listeners.count, sizeof(*f->doors))) == NULL) {
        free(f);
        return err_set(e, "out of memory");
    }
    f->server = s;
    wheel_timer_init(&f->rest, on_rest_over);
    for (size_t i = 0; i < c->listeners.count; i++) {
        f->doors[i].front = f;
        if (open_door(&f->doors[i], &c->listeners.items[i], e) != 0) {
            front_close(f);
            return -1;
        }
        f->count++;
    }
    s->front = f;
    return 0;
}

void front_start(struct front *f)
{
    f->started = true;
    set_doors(f, EPOLLIN);
}

void front_stop(struct front *f)
{
    f->started = false;
    for (size_t i = 0; i < f->count; i++) {
        int fd = hot_remove(f->server->loop, &f->doors[i].hot);
        if (fd >= 0)
            close(fd);
    }
}

void front_close(struct front *f)
{
    if (f == NULL)
        return;
    front_stop(f);
    loop_timer_stop(f->server->loop, &f->rest);
    free(f->doors);
    free(f);
}

size_t front_count(const struct front *f)
{
    return f->count;
}

const struct addr *front_address(const struct front *f, size_t i)
{
    return &f->doors[i].address;
}

bool front_resting(const struct front *f)
{
    return f->resting;
}
