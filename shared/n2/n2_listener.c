/* The answering side. The happy path of a request:
 *
 *   inbound_done       (nng thread) queue the inbound, wake the loop
 *   inbound_deliver    (loop) hand it up; when no context receives any more, open another one
 *   n2_inbound_reply   nng_ctx_send
 *   inbound_done       (nng thread) receive again
 *
 * What fails: the asker is gone (nng drops the reply), it does not read (the send times out and the
 * reply is dropped), listener closed (everything ends, nothing is told). A door that may have
 * stopped accepting is knocked at; one that does not answer is opened anew, and who had come
 * through it has to come again. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>

#include "shared/base/log.h"
#include "shared/n2/n2.h"
#include "shared/n2/n2_link_impl.h"

enum { SEND_TIMEOUT_MS = 5000, CONTEXTS_AT_START = 4, CHECK_DOORS_MS = 1000, KNOCK_MS = 500 };

/* One URL. */
struct door {
    struct n2_listener *owner;
    char *url;
    nng_listener listener;
    uint64_t failures; /* of accepting, that it has been looked at for */
    bool broken;       /* could not be opened again; to be tried again */
    size_t heard;      /* octets, since we knocked */
    struct hot knock;  /* our own connection, waiting for an answer */
    struct wheel_timer no_answer;
};

struct n2_listener {
    struct crossing crossing; /* first */
    struct loop *loop;
    nng_socket socket;
    struct door *doors;
    size_t door_count;
    struct wheel_timer check_doors;
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

/* A greeting and a request of one word, which inbound_deliver answers by itself:
 *
 *   00 'S' 'P' 00  00 30 (REQ)  00 00 | 01 (message)  length be64  request id be32  "knock" */
static const uint8_t knock[] = {0, 'S', 'P', 0, 0,    0x30, 0, 0, 1,   0,   0,   0,   0,
                                0, 0,   0,   9, 0x80, 0,    0, 1, 'k', 'n', 'o', 'c', 'k'};
enum { KNOCK_WORD = 5, GREETING_LEN = 8 };

static bool is_knock(const nng_msg *msg)
{
    return nng_msg_len(msg) == KNOCK_WORD &&
           memcmp(nng_msg_body((nng_msg *)(uintptr_t)msg), "knock", KNOCK_WORD) == 0;
}

/* ---- contexts ---- */

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
    if (is_knock(msg)) {
        nng_msg_free(msg);
        n2_inbound_reply(in, "here", 4);
        return;
    }
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

/* ---- the listener ---- */

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

static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct n2_listener *l = arg;

    if (ev == NNG_PIPE_EV_ADD_PRE && !link_peer_allowed(p, l->uids, l->uid_count))
        nng_pipe_close(p);
    if (ev == NNG_PIPE_EV_REM_POST)
        crossing_push_pipe(&l->crossing, (uint32_t)nng_pipe_id(p), false);
}

static int door_open(struct n2_listener *l, struct door *d)
{
    int rc;

    if (!link_is_url(d->url))
        return NNG_EADDRINVAL;
    d->failures = 0;
    if ((rc = nng_listener_create(&d->listener, l->socket, d->url)) != 0)
        return rc;
    if (strncmp(d->url, "ipc://", 6) == 0 &&
        (rc = nng_listener_set_int(d->listener, NNG_OPT_IPC_PERMISSIONS,
                                   l->uid_count ? 0666 : 0600)) != 0)
        return rc;
    return nng_listener_start(d->listener, 0);
}

/* nng counts what ends its accepting among "other" failures. */
static uint64_t door_failures(nng_stat *stats, const struct door *d)
{
    nng_stat *door = nng_stat_find_listener(stats, d->listener);
    nng_stat *other = door != NULL ? nng_stat_find(door, "other") : NULL;

    return other != NULL ? nng_stat_value(other) : d->failures;
}

static void door_reopen(struct door *d)
{
    nng_listener_close(d->listener);
    int rc = door_open(d->owner, d);
    d->broken = rc != 0;
    log_warn("n2_listener_replaced", LOG_STR("url", d->url),
             LOG_STR("error", rc != 0 ? nng_strerror(rc) : NULL));
}

static void end_knock(struct door *d)
{
    int fd = hot_take(&d->knock);

    loop_timer_stop(d->owner->loop, &d->no_answer);
    if (fd >= 0)
        close(fd);
}

static void on_answer(struct hot *h, uint32_t events)
{
    struct door *d = LIST_ENTRY(h, struct door, knock);
    uint8_t octets[64];
    (void)events;

    ssize_t n = recv(h->fd, octets, sizeof(octets), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    d->heard += n > 0 ? (size_t)n : 0;
    if (n > 0 && d->heard <= GREETING_LEN)
        return; /* greeted, and that nng does even when it accepts nobody any more */
    end_knock(d);
    if (n <= 0)
        door_reopen(d);
}

static void on_no_answer(struct wheel_timer *t)
{
    struct door *d = LIST_ENTRY(t, struct door, no_answer);

    end_knock(d);
    door_reopen(d);
}

static void door_knock(struct door *d)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *path = d->url + strlen("ipc://");

    if (d->knock.fd >= 0 || strlen(path) >= sizeof(un.sun_path))
        return;
    memcpy(un.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    d->heard = 0;
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
        send(fd, knock, sizeof(knock), MSG_NOSIGNAL) == sizeof(knock) &&
        hot_add(d->owner->loop, &d->knock, fd, EPOLLIN) == 0) {
        loop_timer_start(d->owner->loop, &d->no_answer, KNOCK_MS);
        return;
    }
    close(fd);
    door_reopen(d); /* nobody there, or its queue is full */
}

static void on_check_doors(struct wheel_timer *t)
{
    struct n2_listener *l = LIST_ENTRY(t, struct n2_listener, check_doors);
    nng_stat *stats;

    loop_timer_start(l->loop, &l->check_doors, CHECK_DOORS_MS);
    if (nng_stats_get(&stats) != 0)
        return;
    for (size_t i = 0; i < l->door_count; i++) {
        struct door *d = &l->doors[i];
        uint64_t failures = door_failures(stats, d);
        if (strncmp(d->url, "ipc://", 6) != 0)
            continue; /* over TCP nng knows better */
        if (d->broken)
            door_reopen(d);
        else if (failures != d->failures)
            door_knock(d);
        d->failures = d->broken || failures < d->failures ? d->failures : failures;
    }
    nng_stats_free(stats);
}

static int listener_start(struct n2_listener *l, struct err *e)
{
    int rc;

    if ((rc = nng_rep0_open(&l->socket)) != 0)
        return err_set(e, "nng: %s", nng_strerror(rc));
    if ((rc = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, N2_MESSAGE_MAX)) != 0 ||
        (rc = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, l)) != 0 ||
        (rc = nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, on_pipe, l)) != 0)
        return err_set(e, "nng: %s", nng_strerror(rc));
    for (size_t i = 0; i < l->door_count; i++) {
        if ((rc = door_open(l, &l->doors[i])) != 0)
            return err_set(e, "%s: %s", l->doors[i].url, nng_strerror(rc));
    }
    for (uint32_t i = 0; i < CONTEXTS_AT_START && i < l->contexts_max; i++) {
        if (!inbound_open(l) && i == 0)
            return err_set(e, "out of memory");
    }
    loop_timer_start(l->loop, &l->check_doors, CHECK_DOORS_MS);
    return 0;
}

/* Once the socket is closed and the aios are stopped, nobody calls us any more. */
static void listener_teardown(struct crossing *c)
{
    struct n2_listener *l = (struct n2_listener *)c;

    nng_close(l->socket);
    while (l->contexts != NULL) {
        struct n2_inbound *in = l->contexts;
        l->contexts = in->next;
        nng_aio_stop(in->aio);
        /* A request that came and was not delivered. */
        if (in->state == INBOUND_HELD && nng_aio_get_msg(in->aio) != NULL)
            nng_msg_free(nng_aio_get_msg(in->aio));
        nng_aio_free(in->aio);
        free(in);
    }
}

static void listener_free(struct crossing *c)
{
    struct n2_listener *l = (struct n2_listener *)c;

    for (size_t i = 0; i < l->door_count; i++)
        free(l->doors[i].url);
    free(l->doors);
    free(l->uids);
    free(l);
}

void n2_listener_close(struct n2_listener *l)
{
    if (l == NULL)
        return;
    loop_timer_stop(l->loop, &l->check_doors);
    for (size_t i = 0; i < l->door_count; i++)
        end_knock(&l->doors[i]);
    crossing_close(&l->crossing, listener_teardown, listener_free);
}

/* False without memory. */
static bool copy_config(struct n2_listener *l, const struct n2_listener_config *config)
{
    l->contexts_max = config->contexts_max;
    l->uids = calloc(config->uid_count + 1, sizeof(*l->uids));
    l->doors = calloc(config->url_count + 1, sizeof(*l->doors));
    if (l->uids == NULL || l->doors == NULL)
        return false;
    for (; l->uid_count < config->uid_count; l->uid_count++)
        l->uids[l->uid_count] = config->uids[l->uid_count];
    for (; l->door_count < config->url_count; l->door_count++) {
        struct door *d = &l->doors[l->door_count];
        d->owner = l;
        hot_init(&d->knock, on_answer);
        wheel_timer_init(&d->no_answer, on_no_answer);
        if ((l->doors[l->door_count].url = strdup(config->urls[l->door_count])) == NULL)
            return false;
    }
    return true;
}

int n2_listener_open(struct loop *loop, const struct n2_listener_config *config,
                     const struct n2_listener_ops *ops, void *arg, struct n2_listener **ret,
                     struct err *e)
{
    struct n2_listener *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return err_set(e, "out of memory");
    if (!copy_config(l, config) || crossing_init(&l->crossing, loop, listener_deliver) != 0) {
        listener_free(&l->crossing);
        return err_set(e, "out of memory or descriptors");
    }
    l->loop = loop;
    l->ops = ops;
    l->arg = arg;
    wheel_timer_init(&l->check_doors, on_check_doors);
    if (listener_start(l, e) != 0) {
        n2_listener_close(l);
        return -1;
    }
    *ret = l;
    return 0;
}
