#include "shared/daemon/status.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/daemon/status_http.h"
#include "shared/daemon/status_listen.h"
#include "shared/net/sockaddr.h"

#define CONNECTIONS_DEFAULT 32
#define TIMEOUT_DEFAULT_MS  10000
#define MODE_DEFAULT        0660
#define REST_MS             1000
#define ACCEPT_AT_ONCE      16

struct listener {
    struct status *status;
    struct status_listen socket;
    uv_poll_t poll;  /* active while it accepts */
    uv_timer_t rest; /* active while it waits for descriptors or memory */
    unsigned connections;
    bool starved; /* has rested, and accepted nothing since */
};

struct status {
    uv_loop_t *loop;
    struct status_http *http;
    struct status_site site;
    struct status_counters counters;
    unsigned limit; /* connections per listener */
    bool closing;
    unsigned parts; /* not yet closed: handles, and http */
    void (*closed)(void *ctx);
    size_t listener_count;
    struct listener listeners[];
};

/* ---- accepting --------------------------------------------------------------------------- */

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void listener_update(struct listener *l)
{
    if (!l->status->closing && l->connections < l->status->limit &&
        !uv_is_active((uv_handle_t *)&l->rest))
        uv_poll_start(&l->poll, UV_READABLE, on_acceptable);
    else
        uv_poll_stop(&l->poll);
}

static void on_rested(uv_timer_t *timer)
{
    listener_update(timer->data);
}

static void on_gone(void *owner)
{
    struct listener *l = owner;

    l->connections--;
    if (!l->status->closing)
        listener_update(l);
}

static void listener_rest(struct listener *l, int error)
{
    uv_timer_start(&l->rest, on_rested, REST_MS, 0);
    l->status->counters.rests++;
    if (!l->starved)
        log_warn("status_accept", LOG_ERRNO("error", error));
    l->starved = true;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct listener *l = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_AT_ONCE && l->connections < l->status->limit; i++) {
        int fd = accept4(l->socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            l->connections++;
            l->starved = false;
            if (!status_http_add(l->status->http, fd, l->socket.tcp, l))
                l->connections--;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            if (errno != EAGAIN)
                listener_rest(l, errno);
            break;
        }
    }
    listener_update(l);
}

/* ---- opening and closing ----------------------------------------------------------------- */

int status_check(const struct status_config *c, struct err *e)
{
    for (size_t i = 0; i < c->listen_count; i++)
        if (status_listen_check(c->listen[i], e) != 0)
            return -1;
    return 0;
}

static int copy_hosts(struct status_site *site, const struct status_config *c, struct err *e)
{
    site->hosts = calloc(c->host_count + 1, sizeof(*site->hosts));
    if (site->hosts == NULL)
        return err_set(e, "out of memory");
    while (site->host_count < c->host_count) {
        char *name = strdup(c->hosts[site->host_count]);

        if (name == NULL)
            return err_set(e, "out of memory");
        site->hosts[site->host_count++] = name;
    }
    return 0;
}

static int listener_open(struct listener *l, struct status *s, const char *spec, mode_t mode,
                         struct err *e)
{
    int rc;

    l->status = s;
    if (status_listen_open(&l->socket, spec, mode, e) != 0)
        return -1;
    s->listener_count++;
    uv_timer_init(s->loop, &l->rest);
    l->rest.data = l;
    rc = uv_poll_init(s->loop, &l->poll, l->socket.fd);
    l->poll.data = l;
    return rc == 0 ? 0 : err_set(e, "%s: %s", spec, uv_strerror(rc));
}

static int start(struct status *s, const struct status_config *c, struct err *e)
{
    struct status_http_config http = {
        .site = &s->site,
        .counters = &s->counters,
        .connections = s->limit * (unsigned)c->listen_count,
        .timeout_ms = c->timeout_ms != 0 ? c->timeout_ms : TIMEOUT_DEFAULT_MS,
        .gone = on_gone,
    };
    mode_t mode = c->unix_mode != 0 ? c->unix_mode : MODE_DEFAULT;

    if (copy_hosts(&s->site, c, e) != 0)
        return -1;
    for (size_t i = 0; i < c->listen_count; i++)
        if (listener_open(&s->listeners[i], s, c->listen[i], mode, e) != 0)
            return -1;
    s->http = status_http_open(s->loop, &http, e);
    if (s->http == NULL)
        return -1;
    for (size_t i = 0; i < s->listener_count; i++)
        listener_update(&s->listeners[i]);
    return 0;
}

struct status *status_open(uv_loop_t *loop, const struct status_config *c,
                           const struct status_pages *pages, void *ctx, struct err *e)
{
    struct status *s = calloc(1, sizeof(*s) + c->listen_count * sizeof(s->listeners[0]));

    if (s == NULL) {
        err_set(e, "out of memory");
        return NULL;
    }
    s->loop = loop;
    s->limit = c->connections != 0 ? c->connections : CONNECTIONS_DEFAULT;
    s->site = (struct status_site){.pages = pages, .ctx = ctx, .detail = c->detail};
    if (start(s, c, e) == 0)
        return s;
    status_close(s, NULL);
    return NULL;
}

static void part_closed(struct status *s)
{
    if (--s->parts > 0)
        return;
    if (s->closed != NULL)
        s->closed(s->site.ctx);
    for (size_t i = 0; i < s->site.host_count; i++)
        free(s->site.hosts[i]);
    free(s->site.hosts);
    free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    part_closed(((struct listener *)handle->data)->status);
}

static void on_http_closed(void *ctx)
{
    part_closed(ctx);
}

static void listener_close(struct listener *l)
{
    l->status->parts++;
    uv_close((uv_handle_t *)&l->rest, on_handle_closed);
    /* Not there when opening did not come so far. */
    if (uv_handle_get_type((uv_handle_t *)&l->poll) != UV_UNKNOWN_HANDLE) {
        l->status->parts++;
        uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    }
    status_listen_close(&l->socket);
}

void status_close(struct status *s, void (*closed)(void *ctx))
{
    assert(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->parts = 1;
    if (s->http != NULL) {
        s->parts++;
        status_http_close(s->http, on_http_closed, s);
    }
    for (size_t i = 0; i < s->listener_count; i++)
        listener_close(&s->listeners[i]);
    part_closed(s);
}

bool status_local(const struct status *s, size_t i, struct addr *ret)
{
    return i < s->listener_count && s->listeners[i].socket.tcp &&
           sockaddr_local(s->listeners[i].socket.fd, ret);
}

const struct status_counters *status_counters(const struct status *s)
{
    return &s->counters;
}
