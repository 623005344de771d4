/* The happy path of a request, asking side:
 *
 *   n2_exchange_send   nng_ctx_send and at once nng_ctx_recv on the same context: nng needs no
 *                      callback in between, which saves two thread switches per message
 *   recv_done          (nng thread) queue the exchange, wake the loop
 *   deliver            (loop) hand the reply up
 *
 * and answering side:
 *
 *   recv_done          (nng thread) queue the inbound, wake the loop
 *   deliver            (loop) hand it up; when no context receives any more, open another one
 *   n2_inbound_reply   nng_ctx_send
 *   send_done          (nng thread) receive again
 *
 * What fails: no connection (receiving times out, and ends the sending), connection lost while in flight
 * (ECONNRESET: resending is off, the layer above retries), socket closed (everything ends; results
 * that arrive after close are dropped because their queue is not taken any more). */
#include "shared/n2/n2_link.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>

#include "shared/base/list.h"
#include "shared/n2/n2.h"

enum {
    RECONNECT_MIN_MS = 50,
    RECONNECT_MAX_MS = 1000,
    SEND_TIMEOUT_MS = 5000,
    CONTEXTS_AT_START = 4,
};

/* ---- the crossing ---- */

enum queued_kind { QUEUED_PIPE, QUEUED_EXCHANGE, QUEUED_INBOUND };

/* First member of everything that crosses. */
struct queued {
    struct list node;
    enum queued_kind kind;
};

struct crossing {
    uv_async_t async;
    uv_mutex_t lock;
    struct list queue; /* struct queued */
    void (*deliver)(struct crossing *c, struct queued *q);
    void (*closed)(struct crossing *c);
};

/* A connection that came or went. Unlike the others it belongs to the queue. */
struct pipe_note {
    struct queued queued;
    bool up;
    uint32_t pipe;
};

static void crossing_push(struct crossing *c, struct queued *q)
{
    uv_mutex_lock(&c->lock);
    bool was_empty = list_empty(&c->queue);
    list_append(&c->queue, &q->node);
    uv_mutex_unlock(&c->lock);
    if (was_empty)
        uv_async_send(&c->async);
}

static void free_notes(struct list *queue)
{
    LIST_FOREACH_SAFE(node, queue) {
        struct queued *q = LIST_ENTRY(node, struct queued, node);
        list_remove(node);
        if (q->kind == QUEUED_PIPE)
            free(q);
    }
}

static void crossing_wake(uv_async_t *async)
{
    struct crossing *c = async->data;
    struct list taken;

    list_init(&taken);
    uv_mutex_lock(&c->lock);
    if (!list_empty(&c->queue)) {
        taken = c->queue;
        taken.next->prev = taken.prev->next = &taken;
        list_init(&c->queue);
    }
    uv_mutex_unlock(&c->lock);
    /* A delivery may close the crossing; exchanges and inbounds then leave `taken` by themselves. */
    while (!list_empty(&taken) && !uv_is_closing((uv_handle_t *)async)) {
        struct queued *q = LIST_ENTRY(taken.next, struct queued, node);
        list_remove(&q->node);
        c->deliver(c, q);
    }
    free_notes(&taken);
}

static int crossing_init(struct crossing *c, struct loop *l,
                         void (*deliver)(struct crossing *c, struct queued *q))
{
    int rc = uv_async_init(&l->uv, &c->async, crossing_wake);
    if (rc != 0)
        return rc;
    uv_mutex_init(&c->lock);
    list_init(&c->queue);
    c->async.data = c;
    c->deliver = deliver;
    return 0;
}

static void on_async_closed(uv_handle_t *h)
{
    struct crossing *c = h->data;

    free_notes(&c->queue);
    uv_mutex_destroy(&c->lock);
    c->closed(c);
}

/* nng must have ended: nobody pushes any more. */
static void crossing_close(struct crossing *c, void (*closed)(struct crossing *c))
{
    c->closed = closed;
    uv_close((uv_handle_t *)&c->async, on_async_closed);
}

/* ---- connections coming and going, both sides ---- */

static void push_pipe(struct crossing *c, nng_pipe p, bool up)
{
    struct pipe_note *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return;
    n->queued.kind = QUEUED_PIPE;
    n->up = up;
    n->pipe = (uint32_t)nng_pipe_id(p);
    list_init(&n->queued.node);
    crossing_push(c, &n->queued);
}

/* Only ipc knows who the peer is; elsewhere TLS (or `insecure: true`) decides. */
static bool peer_allowed(nng_pipe p, const uint32_t *uids, size_t n)
{
    uint64_t uid;

    if (nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_UID, &uid) != 0)
        return true;
    if (uid == 0 || uid == geteuid())
        return true;
    for (size_t i = 0; i < n; i++) {
        if (uid == uids[i])
            return true;
    }
    return false;
}

static int errno_of(int nng)
{
    switch (nng) {
    case 0:
        return 0;
    case NNG_ETIMEDOUT:
        return -ETIMEDOUT;
    case NNG_ENOMEM:
        return -ENOMEM;
    case NNG_ECANCELED:
    case NNG_ECLOSED:
        return -ECANCELED;
    default:
        return -ECONNRESET;
    }
}

static bool is_url(const char *url)
{
    return strncmp(url, "ipc:///", 7) == 0 || strncmp(url, "tcp://", 6) == 0;
}

/* ---- asking side ---- */

struct n2_dialer {
    struct crossing crossing; /* first: crossing_close hands it back */
    nng_socket socket;
    const struct n2_dialer_ops *ops;
    void *arg;
    struct n2_exchange *exchanges;
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

static void exchange_recv_done(void *arg)
{
    struct n2_exchange *x = arg;

    crossing_push(&x->dialer->crossing, &x->queued);
}

static void exchange_deliver(struct n2_exchange *x)
{
    int rc = errno_of(nng_aio_result(x->recv));
    nng_msg *msg = rc == 0 ? nng_aio_get_msg(x->recv) : NULL;

    x->busy = false;
    /* Without a connection the send still waits, in a context that has forgotten its message: nng
     * 1.5 crashes when it is then cancelled or times out, but not when the context is closed. */
    if (rc != 0) {
        nng_ctx_close(x->ctx);
        x->open = false;
    }
    x->cb(x->arg, rc, msg != NULL ? nng_msg_body(msg) : NULL, msg != NULL ? nng_msg_len(msg) : 0);
    if (msg != NULL)
        nng_msg_free(msg);
}

static void dialer_deliver(struct crossing *c, struct queued *q)
{
    struct n2_dialer *d = (struct n2_dialer *)c;

    if (q->kind == QUEUED_EXCHANGE) {
        exchange_deliver((struct n2_exchange *)q);
        return;
    }
    bool up = ((struct pipe_note *)q)->up;
    free(q);
    if (up)
        d->ops->up(d->arg);
    else
        d->ops->down(d->arg);
}

static void dialer_pipe_event(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct n2_dialer *d = arg;

    if (ev == NNG_PIPE_EV_ADD_PRE && !peer_allowed(p, NULL, 0))
        nng_pipe_close(p);
    if (ev == NNG_PIPE_EV_ADD_POST)
        push_pipe(&d->crossing, p, true);
    if (ev == NNG_PIPE_EV_REM_POST)
        push_pipe(&d->crossing, p, false);
}

static int dialer_start(struct n2_dialer *d, const char *url)
{
    nng_dialer dialer;
    int rc;

    if ((rc = nng_req0_open(&d->socket)) != 0)
        return rc;
    if ((rc = nng_socket_set_size(d->socket, NNG_OPT_RECVMAXSZ, N2_MESSAGE_MAX)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS)) != 0 ||
        (rc = nng_socket_set_ms(d->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_ADD_PRE, dialer_pipe_event, d)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_ADD_POST, dialer_pipe_event, d)) != 0 ||
        (rc = nng_pipe_notify(d->socket, NNG_PIPE_EV_REM_POST, dialer_pipe_event, d)) != 0 ||
        (rc = nng_dialer_create(&dialer, d->socket, url)) != 0 ||
        (rc = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK)) != 0)
        nng_close(d->socket);
    return rc;
}

static void dialer_free(struct crossing *c)
{
    free((struct n2_dialer *)c);
}

int n2_dialer_open(struct loop *l, const char *url, const struct n2_dialer_ops *ops, void *arg,
                   struct n2_dialer **ret, struct err *e)
{
    if (!is_url(url))
        return err_set(e, "%s: not an ipc:///path or tcp://address:port URL", url);
    struct n2_dialer *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(e, "out of memory");
    d->ops = ops;
    d->arg = arg;
    if (crossing_init(&d->crossing, l, dialer_deliver) != 0) {
        free(d);
        return err_set(e, "out of descriptors");
    }
    int rc = dialer_start(d, url);
    if (rc != 0) {
        crossing_close(&d->crossing, dialer_free);
        return err_set(e, "%s: %s", url, nng_strerror(rc));
    }
    *ret = d;
    return 0;
}

/* The message of a send that failed is still ours. */
static void free_unsent(struct n2_exchange *x)
{
    if (x->send != NULL && nng_aio_result(x->send) != 0 && nng_aio_get_msg(x->send) != NULL)
        nng_msg_free(nng_aio_get_msg(x->send));
}

/* Its aios are stopped. */
static void exchange_free(struct n2_exchange *x)
{
    /* A reply that came and was not delivered. */
    if (x->busy && nng_aio_result(x->recv) == 0 && nng_aio_get_msg(x->recv) != NULL)
        nng_msg_free(nng_aio_get_msg(x->recv));
    free_unsent(x);
    nng_aio_free(x->send);
    nng_aio_free(x->recv);
    list_remove(&x->queued.node);
    free(x);
}

void n2_dialer_close(struct n2_dialer *d)
{
    if (d == NULL)
        return;
    nng_close(d->socket);
    /* First nobody pushes any more, then the queue may be touched without its lock. */
    for (struct n2_exchange *x = d->exchanges; x != NULL; x = x->next) {
        nng_aio_stop(x->send);
        nng_aio_stop(x->recv);
    }
    while (d->exchanges != NULL) {
        struct n2_exchange *x = d->exchanges;
        d->exchanges = x->next;
        exchange_free(x);
    }
    crossing_close(&d->crossing, dialer_free);
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
    if (nng_aio_alloc(&x->send, NULL, NULL) != 0 ||
        nng_aio_alloc(&x->recv, exchange_recv_done, x) != 0) {
        exchange_free(x);
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
    /* nng panics when an aio is used that has not ended; after a reply, or when its context was
     * closed, it has or is about to. */
    nng_aio_wait(x->send);
    free_unsent(x);
    nng_aio_set_timeout(x->send, NNG_DURATION_INFINITE); /* ends with receiving */
    nng_aio_set_timeout(x->recv, (nng_duration)timeout_ms);
    nng_aio_set_msg(x->send, msg);
    x->busy = true;
    nng_ctx_send(x->ctx, x->send);
    nng_ctx_recv(x->ctx, x->recv);
    return 0;
}

/* ---- answering side ---- */

struct n2_listener {
    struct crossing crossing;
    nng_socket socket;
    const struct n2_listener_ops *ops;
    void *arg;
    uint32_t *uids;
    size_t uid_count;
    struct n2_inbound *contexts;
    uint32_t context_count, contexts_max;
    atomic_uint receiving; /* contexts that receive or will as soon as their reply is out */
};

enum inbound_state { INBOUND_RECEIVING, INBOUND_HELD, INBOUND_SENDING };

struct n2_inbound {
    struct queued queued;
    struct n2_listener *listener;
    struct n2_inbound *next;
    nng_ctx ctx;
    nng_aio *aio;
    _Atomic enum inbound_state state;
};

static void inbound_receive(struct n2_inbound *in)
{
    in->state = INBOUND_RECEIVING;
    atomic_fetch_add(&in->listener->receiving, 1);
    nng_aio_set_timeout(in->aio, NNG_DURATION_INFINITE);
    nng_ctx_recv(in->ctx, in->aio);
}

static void inbound_done(void *arg)
{
    struct n2_inbound *in = arg;
    int rc = nng_aio_result(in->aio);

    if (in->state == INBOUND_SENDING) {
        if (rc != 0 && nng_aio_get_msg(in->aio) != NULL)
            nng_msg_free(nng_aio_get_msg(in->aio));
        if (rc != NNG_ECLOSED)
            inbound_receive(in);
        return;
    }
    atomic_fetch_sub(&in->listener->receiving, 1);
    if (rc == NNG_ECLOSED)
        return;
    if (rc != 0) {
        inbound_receive(in);
        return;
    }
    in->state = INBOUND_HELD;
    crossing_push(&in->listener->crossing, &in->queued);
}

static bool inbound_open(struct n2_listener *l)
{
    struct n2_inbound *in = calloc(1, sizeof(*in));

    if (in == NULL)
        return false;
    in->queued.kind = QUEUED_INBOUND;
    in->listener = l;
    list_init(&in->queued.node);
    if (nng_aio_alloc(&in->aio, inbound_done, in) != 0 || nng_ctx_open(&in->ctx, l->socket) != 0) {
        nng_aio_free(in->aio);
        free(in);
        return false;
    }
    in->next = l->contexts;
    l->contexts = in;
    l->context_count++;
    inbound_receive(in);
    return true;
}

static void inbound_deliver(struct n2_inbound *in)
{
    struct n2_listener *l = in->listener;
    nng_msg *msg = nng_aio_get_msg(in->aio);
    uint32_t pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(msg));
    bool overloaded = false;

    if (atomic_load(&l->receiving) == 0)
        overloaded = l->context_count >= l->contexts_max || !inbound_open(l);
    nng_aio_set_msg(in->aio, NULL);
    l->ops->request(l->arg, in, pipe, nng_msg_body(msg), nng_msg_len(msg), overloaded);
    nng_msg_free(msg);
}

void n2_inbound_reply(struct n2_inbound *in, const void *bytes, size_t len)
{
    nng_msg *msg;

    if (nng_msg_alloc(&msg, len) != 0) {
        inbound_receive(in); /* the peer's time-out tells it */
        return;
    }
    memcpy(nng_msg_body(msg), bytes, len);
    in->state = INBOUND_SENDING;
    nng_aio_set_timeout(in->aio, SEND_TIMEOUT_MS);
    nng_aio_set_msg(in->aio, msg);
    nng_ctx_send(in->ctx, in->aio);
}

static void listener_deliver(struct crossing *c, struct queued *q)
{
    struct n2_listener *l = (struct n2_listener *)c;

    if (q->kind == QUEUED_INBOUND) {
        inbound_deliver((struct n2_inbound *)q);
        return;
    }
    uint32_t pipe = ((struct pipe_note *)q)->pipe;
    free(q);
    l->ops->gone(l->arg, pipe);
}

static void listener_pipe_event(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct n2_listener *l = arg;

    if (ev == NNG_PIPE_EV_ADD_PRE && !peer_allowed(p, l->uids, l->uid_count))
        nng_pipe_close(p);
    if (ev == NNG_PIPE_EV_REM_POST)
        push_pipe(&l->crossing, p, false);
}

static int listen_one(struct n2_listener *l, const char *url)
{
    nng_listener listener;
    int rc;

    if ((rc = nng_listener_create(&listener, l->socket, url)) != 0)
        return rc;
    if (strncmp(url, "ipc://", 6) == 0 &&
        (rc = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, l->uid_count ? 0666 : 0600)) != 0)
        return rc;
    return nng_listener_start(listener, 0);
}

static int listener_start(struct n2_listener *l, const struct n2_listener_config *c, struct err *e)
{
    int rc;

    if ((rc = nng_rep0_open(&l->socket)) != 0)
        return err_set(e, "nng: %s", nng_strerror(rc));
    if ((rc = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, N2_MESSAGE_MAX)) != 0 ||
        (rc = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_PRE, listener_pipe_event, l)) != 0 ||
        (rc = nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, listener_pipe_event, l)) != 0) {
        nng_close(l->socket);
        return err_set(e, "nng: %s", nng_strerror(rc));
    }
    for (size_t i = 0; i < c->url_count; i++) {
        rc = is_url(c->urls[i]) ? listen_one(l, c->urls[i]) : NNG_EADDRINVAL;
        if (rc != 0) {
            nng_close(l->socket);
            return err_set(e, "%s: %s", c->urls[i], nng_strerror(rc));
        }
    }
    return 0;
}

static void listener_free(struct crossing *c)
{
    struct n2_listener *l = (struct n2_listener *)c;

    free(l->uids);
    free(l);
}

/* Its aio is stopped. */
static void inbound_free(struct n2_inbound *in)
{
    if (in->state == INBOUND_HELD && nng_aio_get_msg(in->aio) != NULL)
        nng_msg_free(nng_aio_get_msg(in->aio));
    nng_aio_free(in->aio);
    list_remove(&in->queued.node);
    free(in);
}

void n2_listener_close(struct n2_listener *l)
{
    if (l == NULL)
        return;
    nng_close(l->socket);
    for (struct n2_inbound *in = l->contexts; in != NULL; in = in->next)
        nng_aio_stop(in->aio);
    while (l->contexts != NULL) {
        struct n2_inbound *in = l->contexts;
        l->contexts = in->next;
        inbound_free(in);
    }
    crossing_close(&l->crossing, listener_free);
}

int n2_listener_open(struct loop *loop, const struct n2_listener_config *config,
                     const struct n2_listener_ops *ops, void *arg, struct n2_listener **ret,
                     struct err *e)
{
    struct n2_listener *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return err_set(e, "out of memory");
    l->ops = ops;
    l->arg = arg;
    l->contexts_max = config->contexts_max;
    if (crossing_init(&l->crossing, loop, listener_deliver) != 0) {
        free(l);
        return err_set(e, "out of descriptors");
    }
    l->uids = calloc(config->uid_count + 1, sizeof(*l->uids));
    if (l->uids != NULL && config->uid_count > 0) {
        memcpy(l->uids, config->uids, config->uid_count * sizeof(*l->uids));
        l->uid_count = config->uid_count;
    }
    if (listener_start(l, config, e) != 0) {
        crossing_close(&l->crossing, listener_free);
        return -1;
    }
    for (int i = 0; i < CONTEXTS_AT_START; i++)
        inbound_open(l);
    *ret = l;
    return 0;
}
