/* recvmsg and sendmsg, one datagram each. Always works; the reference for the contract suite. */
#include <errno.h>
#include <stdlib.h>

#include "relayd-udp/engine_msg.h"

struct plain {
    struct engine engine;
    struct inbox in;
};

static struct engine *plain_new(void)
{
    struct plain *p = calloc(1, sizeof(*p));

    if (p == NULL || !inbox_init(&p->in)) {
        free(p);
        return NULL;
    }
    p->engine.ops = &engine_plain;
    return &p->engine;
}

static void plain_free(struct engine *e)
{
    struct plain *p = (struct plain *)e;

    inbox_fini(&p->in);
    free(p);
}

static int plain_prepare(struct engine *e, int fd, enum addr_family family, bool want_local)
{
    (void)e;
    return want_local ? socket_want_local(fd, family) : 0;
}

static size_t plain_receive(struct engine *e, int fd, const struct engine_run **ret)
{
    struct plain *p = (struct plain *)e;
    size_t filled = 0;
    unsigned errors = 0;

    while (filled < ENGINE_RUNS_MAX && errors < RECEIVE_ERRORS_MAX) {
        struct mmsghdr *m = &p->in.msgs[filled];
        ssize_t n = recvmsg(fd, &m->msg_hdr, MSG_DONTWAIT);

        e->stats.receives++;
        if (n >= 0) {
            m->msg_len = (unsigned)n;
            filled++;
        } else if (receive_passes_over(e, fd, errno)) {
            errors++;
        } else {
            break;
        }
    }
    *ret = p->in.runs;
    return inbox_take(&p->in, filled, &e->stats);
}

static void plain_send(struct engine *e, const struct engine_datagram *d)
{
    struct engine_stats *s = &e->stats;
    struct iovec iov[ENGINE_IOV_MAX];
    struct envelope envelope;
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = d->iov_count};
    enum send_fate fate;

    for (unsigned i = 0; i < d->iov_count; i++)
        iov[i] = d->iov[i];
    envelope_write(&envelope, &m, &d->to, &d->local, 0);
    unsigned tries = 0;
    do {
        ssize_t n = sendmsg(d->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        s->sends++;
        if (n >= 0) {
            s->datagrams_out++;
            s->octets_out += (uint64_t)n;
            return;
        }
        fate = send_fate(d->fd, errno, ++tries, false);
    } while (fate == SEND_RETRY);
    if (fate == SEND_FULL)
        s->send_full++;
    else
        s->send_failed++;
}

/* It has been sent. */
static void plain_flush(struct engine *e)
{
    (void)e;
}

const struct engine_ops engine_plain = {
    "plain", plain_new, plain_free, plain_prepare, plain_receive, plain_send, plain_flush,
};
