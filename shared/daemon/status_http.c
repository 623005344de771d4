/*   MHD's epoll descriptor is readable ┐
 *   MHD has more to do, no event says  ├─► turn: drop what overran, MHD_run, drop what ended,
 *   a connection's time is over        ┘         then arrange for the next turn
 *
 * MHD could listen and accept by itself, but 0.9.75 then spins at full speed when descriptors run
 * out before its first connection, forgets to listen again when a full listener empties between two
 * events, and reads beyond its address buffer when a Unix client has bound itself to a long path.
 * So it is given connections.
 *
 * Its MHD_get_timeout matters: input that MHD has read but not yet used raises no event, and a
 * pipelined request would wait for the next one. Its own connection time-out is not used: that
 * starts anew with every octet. */
#include "shared/daemon/status_http.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/list.h"

#define REQUEST_MEMORY (16 << 10)         /* MHD's pool per connection: request line, headers */
#define BODY_MAX       ((size_t)64 << 10) /* of a body nobody asked for, read and forgotten */

/* Lives from status_http_add to MHD's notice that it is gone; only that frees it. */
struct connection {
    struct list node; /* in status_http.connections, or in none once it was dropped */
    uint64_t deadline;
    void *owner;
    size_t body;
    int fd; /* MHD's */
    bool tcp;
    bool asked; /* between a request's headers and the end of its answer */
};

struct status_http {
    struct status_http_config config;
    uv_loop_t *loop;
    struct MHD_Daemon *mhd;
    uv_poll_t poll;
    uv_idle_t again;  /* active while MHD has more to do than events tell */
    uv_timer_t timer; /* for the first deadline */
    unsigned handles; /* not yet closed */
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct list connections;     /* the soonest deadline first: all get the same time */
    struct connection *arriving; /* until MHD has announced it */
    bool started;
    struct err trouble; /* what MHD said before that */
};

/* ---- connections ------------------------------------------------------------------------- */

static void rearm(struct status_http *h, struct connection *c)
{
    c->deadline = uv_now(h->loop) + h->config.timeout_ms;
    list_remove(&c->node);
    list_append(&h->connections, &c->node);
}

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void connection_free(struct connection *c)
{
    list_remove(&c->node);
    free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct status_http *h = cls;
    struct connection *c = *socket_context;

    (void)mhd;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket_context = h->arriving;
        return;
    }
    /* MHD failed to add it: status_http_add says so to the owner. */
    if (c != h->arriving) {
        h->config.counters->connections--;
        h->config.gone(c->owner);
        connection_free(c);
    }
}

/* MHD meets the dead socket soon, by its event, and cleans up. */
static void drop(struct connection *c)
{
    list_remove(&c->node);
    shutdown(c->fd, SHUT_RDWR);
}

static void drop_overrun(struct status_http *h)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0}; /* what it did not read is void */

    LIST_FOREACH_SAFE (it, &h->connections) {
        struct connection *c = LIST_ENTRY(it, struct connection, node);

        if (c->deadline > uv_now(h->loop))
            break;
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        drop(c);
        h->config.counters->expired++;
    }
}

/* MHD stops at a short read. An end that came together with the last octets raises no event of its
 * own, and such a connection would hold its place until its deadline. */
static void drop_ended(struct status_http *h)
{
    char octet;

    LIST_FOREACH_SAFE (it, &h->connections) {
        struct connection *c = LIST_ENTRY(it, struct connection, node);

        if (!c->asked && recv(c->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            drop(c);
    }
}

/* ---- requests ---------------------------------------------------------------------------- */

static enum MHD_Result on_value(void *cls, enum MHD_ValueKind kind, const char *name,
                                size_t name_len, const char *value, size_t value_len)
{
    struct status_request *q = cls;

    if (kind == MHD_GET_ARGUMENT_KIND) {
        if (q->param_count < STATUS_PARAMS_MAX)
            q->params[q->param_count] =
                (struct status_param){name, value, name_len, value != NULL ? value_len : 0};
        q->param_count++;
    } else if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
        q->host = value != NULL ? value : "";
        q->host_count++;
    }
    return MHD_YES;
}

static enum MHD_Result send_reply(struct MHD_Connection *mhd, const struct status_reply *reply)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(reply->len, reply->body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result rc;

    if (r == NULL) {
        free(reply->body);
        return MHD_NO;
    }
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (reply->allow != NULL)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, reply->allow);
    rc = MHD_queue_response(mhd, reply->code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result answer(struct status_http *h, const struct connection *c,
                              struct MHD_Connection *mhd, const char *method, const char *path)
{
    struct status_request q = {.method = method, .path = path, .tcp = c->tcp};
    struct status_counters *n = h->config.counters;
    struct status_reply reply;

    MHD_get_connection_values_n(mhd, MHD_GET_ARGUMENT_KIND, on_value, &q);
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_value, &q);
    status_answer(h->config.site, &q, &reply);
    n->requests++;
    n->refused += reply.code / 100 == 4;
    n->failed += reply.code == 500;
    return send_reply(mhd, &reply);
}

/* MHD calls this with the headers, with each piece of a body, and at the end. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **request)
{
    struct status_http *h = cls;
    struct connection *c = connection_of(mhd);

    (void)version;
    (void)body;
    if (*request == NULL) {
        *request = c;
        c->body = 0;
        c->asked = true;
        rearm(h, c);
        return MHD_YES;
    }
    if (*body_len > 0) {
        c->body += *body_len;
        *body_len = 0;
        return c->body <= BODY_MAX ? MHD_YES : MHD_NO; /* MHD_NO closes it */
    }
    return answer(h, c, mhd, method, path);
}

static void on_request_end(void *cls, struct MHD_Connection *mhd, void **request,
                           enum MHD_RequestTerminationCode how)
{
    struct connection *c = connection_of(mhd);

    (void)request;
    c->asked = false;
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        rearm(cls, c);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void on_again(uv_idle_t *again);
static void on_timer(uv_timer_t *timer);

/* Not a timer of no length for MHD: libuv before 1.45 would run it over and over without looking at
 * anything else. An idle handle has its turn, then everybody else has theirs. */
static void schedule(struct status_http *h)
{
    uint64_t due = UINT64_MAX, now = uv_now(h->loop);
    MHD_UNSIGNED_LONG_LONG after;

    uv_idle_stop(&h->again);
    uv_timer_stop(&h->timer);
    if (!list_empty(&h->connections))
        due = LIST_ENTRY(h->connections.next, struct connection, node)->deadline;
    if (MHD_get_timeout(h->mhd, &after) == MHD_YES) {
        if (after == 0)
            uv_idle_start(&h->again, on_again);
        else if (now + after < due)
            due = now + after;
    }
    if (due != UINT64_MAX)
        uv_timer_start(&h->timer, on_timer, due > now ? due - now : 0, 0);
}

static void turn(struct status_http *h)
{
    drop_overrun(h);
    MHD_run(h->mhd);
    drop_ended(h);
    schedule(h);
}

static void on_again(uv_idle_t *again)
{
    turn(again->data);
}

static void on_timer(uv_timer_t *timer)
{
    turn(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

bool status_http_add(struct status_http *h, int fd, bool tcp, void *owner)
{
    struct connection *c = calloc(1, sizeof(*c));
    struct sockaddr sa = {.sa_family = tcp ? AF_INET : AF_UNIX};
    bool added;

    if (c == NULL) {
        close(fd);
        return false;
    }
    *c = (struct connection){.owner = owner, .fd = fd, .tcp = tcp};
    list_init(&c->node);
    h->arriving = c;
    /* MHD wants an address and looks at none. When this fails, fd is closed. */
    added = MHD_add_connection(h->mhd, fd, &sa, sizeof(sa)) == MHD_YES;
    h->arriving = NULL;
    if (!added) {
        connection_free(c);
        return false;
    }
    h->config.counters->connections++;
    h->config.counters->accepted++;
    rearm(h, c);
    schedule(h);
    return true;
}

/* ---- opening and closing ----------------------------------------------------------------- */

/* Of what MHD says, only what keeps it from starting is news. Later it speaks of bad clients, who
 * are counted, and with each answer of the TCP options that a Unix socket does not have. */
__attribute__((format(printf, 2, 0))) static void on_log(void *cls, const char *format,
                                                         va_list args)
{
    struct status_http *h = cls;
    char text[256];

    if (h->started)
        return;
    vsnprintf(text, sizeof(text), format, args);
    err_set(&h->trouble, "%.*s", (int)strcspn(text, "\n"), text);
}

static int start(struct status_http *h, struct err *e)
{
    /* The logger first, or what is said about the others goes to stderr. */
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_EXTERNAL_LOGGER, (intptr_t)on_log, h},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, h},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_request_end, h},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)h->config.connections, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    int rc;

    err_set(&h->trouble, "libmicrohttpd did not start");
    h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0, NULL,
                              NULL, on_request, h, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    h->started = true;
    if (h->mhd == NULL)
        return err_set(e, "%s", h->trouble.text);
    rc = uv_poll_init(h->loop, &h->poll,
                      MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd);
    h->poll.data = h;
    if (rc == 0)
        rc = uv_poll_start(&h->poll, UV_READABLE, on_readable);
    return rc == 0 ? 0 : err_set(e, "poll: %s", uv_strerror(rc));
}

struct status_http *status_http_open(uv_loop_t *loop, const struct status_http_config *c,
                                     struct err *e)
{
    struct status_http *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        err_set(e, "out of memory");
        return NULL;
    }
    h->config = *c;
    h->loop = loop;
    list_init(&h->connections);
    uv_idle_init(loop, &h->again);
    uv_timer_init(loop, &h->timer);
    h->again.data = h->timer.data = h;
    if (start(h, e) == 0)
        return h;
    status_http_close(h, NULL, NULL);
    return NULL;
}

static void on_closed(uv_handle_t *handle)
{
    struct status_http *h = handle->data;

    if (--h->handles > 0)
        return;
    if (h->closed != NULL)
        h->closed(h->closed_ctx);
    free(h);
}

void status_http_close(struct status_http *h, void (*closed)(void *ctx), void *ctx)
{
    h->closed = closed;
    h->closed_ctx = ctx;
    h->handles = 2;
    uv_close((uv_handle_t *)&h->again, on_closed);
    uv_close((uv_handle_t *)&h->timer, on_closed);
    /* Not there when opening did not come so far. libuv lets go of the descriptor before MHD
     * closes it. */
    if (uv_handle_get_type((uv_handle_t *)&h->poll) != UV_UNKNOWN_HANDLE) {
        h->handles++;
        uv_close((uv_handle_t *)&h->poll, on_closed);
    }
    if (h->mhd != NULL)
        MHD_stop_daemon(h->mhd);
}
