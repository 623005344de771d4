/* The asking side. The happy path of a request:
 *
 *   n2_exchange_send   nng_ctx_send and at once nng_ctx_recv on the same context: nng needs no
 *                      callback in between, which saves two thread switches per message
 *   recv_done          (nng thread) queue the exchange, wake the loop
 *   exchange_deliver   (loop) hand the reply up
 *
 * What fails: no connection (receiving times out), connection lost while in flight (ECONNRESET:
 * resending is off, the layer above retries), dialer closed (everything ends, nothing is told).
 * While there is no connection, nng's dialer is replaced from time to time: it may have given up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>

#include "shared/n2/n2.h"
#include "shared/n2/n2_link_impl.h"

enum { RECONNECT_MIN_MS = 50, RECONNECT_MAX_MS = 1000, REPLACE_MS = 3000 };

struct n2_dialer {
    struct crossing crossing; /* first */
    struct loop *loop;
    nng_socket socket;
    nng_dialer dialer;
    char *url;
    struct wheel_timer replace; /* runs while not up */
    const struct n2_dialer_ops *ops;
    void *arg;
    struct n2_exchange *exchanges;
    bool up; /* as the callbacks were told */
};

struct n2_exchange {
    struct queued queued;
    bool busy;
    struct n2_dialer *dialer;
    struct n2_exchange *next;
    bool open; /* ctx */
    nng_ctx ctx;
    nng_aio *send, *recv;
    n2_exchange_cb cb;
    void *arg;
};

/* ---- exchanges ---- */

static void recv_done(void *arg)
{
    struct n2_exchange *x = arg;

    crossing_push(&x->dialer->crossing, &x->queued);
}

static void exchange_deliver(struct n2_exchange *x)
{
    int rc = link_errno(nng_aio_result(x->recv));
    nng_msg *msg = rc == 0 ? nng_aio_get_msg(x->recv) : NULL;

    x->busy = false;
    if (rc != 0) {
        nng_ctx_close(x->ctx); /* its send may still wait, see n2_link.c */
        x->open = false;
    }
    x->cb(x->arg, rc, msg != NULL ? nng_msg_body(msg) : NULL, msg != NULL ? nng_msg_len(msg) : 0);
    if (msg != NULL)
        nng_msg_free(msg);
}

/* The message of a send that failed is still ours. */
static void free_unsent(struct n2_exchange *x)
{
    if (nng_aio_result(x->send) != 0 && nng_aio_get_msg(x->send) != NULL)
        nng_msg_free(nng_aio_get_msg(x->send));
}

struct n2_exchange *n2_exchange_new(struct n2_dialer *d, n2_exchange_cb cb, void *arg)
{
    struct n2_exchange *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    x->queued.kind = QUEUED_EXCHANGE;
    x->dialer = d;
    x->cb = cb;
    x->arg = arg;
    list_init(&x->queued.node);
    if (nng_aio_alloc(&x->send, NULL, NULL) != 0 || nng_aio_alloc(&x->recv, recv_done, x) != 0) {
        nng_aio_free(x->send);
        free(x);
        return NULL;
    }
    x->next = d->exchanges;
    d->exchanges = x;
    return x;
}

bool n2_exchange_busy(const struct n2_exchange *x)
{
    return x->busy;
}

int n2_exchange_send(struct n2_exchange *x, const void *bytes, size_t len, uint32_t timeout_ms)
{
    nng_msg *msg;

    if (!x->open && nng_ctx_open(&x->ctx, x->dialer->socket) != 0)
        return -ENOMEM;
    x->open = true;
    if (nng_msg_alloc(&msg, len) != 0)
        return -ENOMEM;
    memcpy(nng_msg_body(msg), bytes, len);
    /* nng panics when an aio is used that has not ended. After a reply, or with its context closed,
     * it has or is about to. */
    nng_aio_wait(x->send);
    free_unsent(x);
    nng_aio_set_timeout(x->send, NNG_DURATION_INFINITE);
    nng_aio_set_timeout(x->recv, (nng_duration)timeout_ms);
    nng_aio_set_msg(x->send, msg);
    x->busy = true;
    nng_ctx_send(x->ctx, x->send);
    nng_ctx_recv(x->ctx, x->recv);
    return 0;
}

/* ---- the dialer ---- */

static void dialer_deliver(struct crossing *c, struct queued *q)
{
    struct n2_dialer *d = (struct n2_dialer *)c;

    if (q->kind == QUEUED_EXCHANGE) {
        exchange_deliver((struct n2_exchange *)q);
        return;
    }
    bool up = ((struct pipe_note *)q)->up;
    free(q);
    if (d->up == up)
        return; /* a peer that was refused goes without having come */
    d->up = up;
    if (up) {
        loop_timer_stop(d->loop, &d->replace);
        d->ops->up(d->arg);
    } else {
        loop_timer_start(d->loop, &d->replace, REPLACE_MS);
        d->ops->down(d->arg);
    }
}

static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct n2_dialer *d = arg;

    if (ev == NNG_PIPE_EV_ADD_PRE && !link_peer_allowed(p, NULL, 0))
        nng_pipe_close(p);
    if (ev == NNG_PIPE_EV_ADD_POST || ev == NNG_PIPE_EV_REM_POST)
        crossing_push_pipe(&d->crossing, (uint32_t)nng_pipe_id(p), ev == NNG_PIPE_EV_ADD_POST);
}

static int dial(struct n2_dialer *d)
{
    int rc = nng_dialer_create(&d->dialer, d->socket, d->url);

    return rc != 0 ? rc : nng_dialer_start(d->dialer, NNG_FLAG_NONBLOCK);
}

static void on_replace(struct wheel_timer *t)
{
    struct n2_dialer *d = LIST_ENTRY(t, struct n2_dialer, replace);

    nng_dialer_close(d->dialer);
    dial(d);
    loop_timer_start(d->loop, &d->replace, REPLACE_MS);
}

static int dialer_start(struct n2_dialer *d)
{
    int rc;

    if ((rc = nng_req0_open(&d->socket)) != 0)
        return rc;
    if ((rc = nng_socket_set_size(d->socket, NNG_OPT_RECVMAXSZ, N2_MESSAGE_MAX)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, d)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_ADD_POST, on_pipe, d)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_REM_POST, on_pipe, d)) != 0)
        return rc;
    return dial(d);
}

/* Once the socket is closed and the aios are stopped, nobody calls us any more. */
static void dialer_teardown(struct crossing *c)
{
    struct n2_dialer *d = (struct n2_dialer *)c;

    nng_close(d->socket);
    while (d->exchanges != NULL) {
        struct n2_exchange *x = d->exchanges;
        d->exchanges = x->next;
        nng_aio_stop(x->send);
        nng_aio_stop(x->recv);
        free_unsent(x);
        /* A reply that came and was not delivered. */
        if (x->busy && nng_aio_result(x->recv) == 0 && nng_aio_get_msg(x->recv) != NULL)
            nng_msg_free(nng_aio_get_msg(x->recv));
        nng_aio_free(x->send);
        nng_aio_free(x->recv);
        free(x);
    }
}

static void dialer_free(struct crossing *c)
{
    struct n2_dialer *d = (struct n2_dialer *)c;

    free(d->url);
    free(d);
}

int n2_dialer_open(struct loop *l, const char *url, const struct n2_dialer_ops *ops, void *arg,
                   struct n2_dialer **ret, struct err *e)
{
    if (!link_is_url(url))
        return err_set(e, "%s: not an ipc:///path or tcp://address:port URL", url);
    struct n2_dialer *d = calloc(1, sizeof(*d));
    char *copy = strdup(url);
    if (d == NULL || copy == NULL || crossing_init(&d->crossing, l, dialer_deliver) != 0) {
        free(copy);
        free(d);
        return err_set(e, "out of memory or descriptors");
    }
    d->loop = l;
    d->url = copy;
    d->ops = ops;
    d->arg = arg;
    wheel_timer_init(&d->replace, on_replace);
    int rc = dialer_start(d);
    if (rc != 0) {
        n2_dialer_close(d);
        return err_set(e, "%s: %s", url, nng_strerror(rc));
    }
    loop_timer_start(l, &d->replace, REPLACE_MS);
    *ret = d;
    return 0;
}

void n2_dialer_close(struct n2_dialer *d)
{
    if (d == NULL)
        return;
    loop_timer_stop(d->loop, &d->replace);
    crossing_close(&d->crossing, dialer_teardown, dialer_free);
}
