/* recvmmsg with UDP_GRO, sendmmsg with UDP_SEGMENT.
 *
 *   engine_send ─► queue of runs ─► engine_flush ─► sendmmsg, one for neighbours with one socket
 *                                                     └─ a run is refused ─► its pieces, sendmmsg
 *
 * A datagram joins the newest run of its socket and peer, if it fits, even when others came
 * between: then each peer's datagrams are still in order. It never joins an older one. */
#include <assert.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <time.h>

#include "relayd-udp/engine_msg.h"
#include "relayd-udp/gso_refusals.h"

#define QUEUE_MAX    64
#define SEGMENTS_MAX 64 /* kernels before 6.9 take no more in one send */
#define LOOK_BACK    16 /* runs that grow side by side */
#define IOV_COUNT    ((size_t)SEGMENTS_MAX * ENGINE_IOV_MAX)

/* Leaves as one message: datagrams of `segment` octets, the last one may be shorter. */
struct run {
    int fd;
    struct addr to, local;
    uint32_t len, segment, count;
    bool open; /* may grow */
    size_t iov_count;
    struct iovec iov[IOV_COUNT];
};

struct batch {
    struct engine engine;
    bool knows_gso; /* a kernel that does not would send a run as one datagram */
    struct gso_refusals refusals;
    struct inbox in;
    size_t queued;
    struct run queue[QUEUE_MAX];
    struct mmsghdr msgs[QUEUE_MAX];
    struct envelope envelopes[QUEUE_MAX];
    /* A refused run's. */
    struct mmsghdr pieces[SEGMENTS_MAX];
    struct iovec piece_iov[IOV_COUNT];
    struct envelope piece_envelope;
};

static struct engine *batch_new(void)
{
    struct batch *b = calloc(1, sizeof(*b));

    if (b == NULL || !inbox_init(&b->in)) {
        free(b);
        return NULL;
    }
    b->engine.ops = &engine_batch;
    return &b->engine;
}

static void batch_free(struct engine *e)
{
    struct batch *b = (struct batch *)e;

    inbox_fini(&b->in);
    free(b);
}

static int batch_prepare(struct engine *e, int fd, enum addr_family family, bool want_local)
{
    struct batch *b = (struct batch *)e;
    const int on = 1;
    int segment;
    socklen_t len = sizeof(segment);

    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)); /* without it: one by one */
    b->knows_gso = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, &len) == 0;
    return want_local ? socket_want_local(fd, family) : 0;
}

/* ---- in ---- */

static size_t batch_receive(struct engine *e, int fd, const struct engine_run **ret)
{
    struct batch *b = (struct batch *)e;

    engine_flush(e);
    *ret = b->in.runs;
    for (unsigned errors = 0; errors < RECEIVE_ERRORS_MAX; errors++) {
        int n = recvmmsg(fd, b->in.msgs, ENGINE_RUNS_MAX, MSG_DONTWAIT, NULL);
        e->stats.receives++;
        if (n >= 0)
            return inbox_take(&b->in, (size_t)n, &e->stats);
        if (!receive_passes_over(e, fd, errno))
            break;
    }
    return 0;
}

/* ---- out: the queue ---- */

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool may_grow(const struct batch *b, const struct addr *to, uint32_t segment)
{
    /* Port 0 will be refused: of the destination, which is not to be remembered as of a run. */
    if (segment == 0 || !b->knows_gso || (to->family != ADDR_NONE && to->port == 0))
        return false;
    return b->refusals.last_until == 0 || !gso_refusals_find(&b->refusals, to, segment, now_ms());
}

static struct run *run_begin(struct batch *b, const struct engine_datagram *d, uint32_t len)
{
    if (b->queued == QUEUE_MAX)
        engine_flush(&b->engine);
    struct run *r = &b->queue[b->queued++];
    r->fd = d->fd;
    r->to = d->to;
    r->local = d->local;
    r->len = 0;
    r->segment = len;
    r->count = 0;
    r->iov_count = 0;
    r->open = may_grow(b, &d->to, len);
    return r;
}

static bool run_takes(const struct run *r, const struct engine_datagram *d, uint32_t len)
{
    uint32_t most = r->to.family == ADDR_IPV4 ? ENGINE_PAYLOAD_MAX : ENGINE_PAYLOAD_MAX - 20;

    return r->open && len > 0 && len <= r->segment && r->len + len <= most &&
           addr_equal(&r->local, &d->local);
}

/* The newest run of that socket and peer, if d may join it. */
static struct run *run_find(struct batch *b, const struct engine_datagram *d, uint32_t len)
{
    size_t oldest = b->queued > LOOK_BACK ? b->queued - LOOK_BACK : 0;

    for (size_t i = b->queued; i > oldest; i--) {
        struct run *r = &b->queue[i - 1];
        if (r->fd == d->fd && addr_equal(&r->to, &d->to))
            return run_takes(r, d, len) ? r : NULL;
    }
    return NULL;
}

static void run_add(struct run *r, const struct engine_datagram *d, uint32_t len)
{
    for (unsigned i = 0; i < d->iov_count; i++) {
        const struct iovec *piece = &d->iov[i];
        struct iovec *last = r->iov_count > 0 ? &r->iov[r->iov_count - 1] : NULL;
        if (piece->iov_len == 0)
            continue;
        if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == piece->iov_base)
            last->iov_len += piece->iov_len;
        else
            r->iov[r->iov_count++] = *piece;
    }
    r->len += len;
    r->count++;
    if (len < r->segment || r->count == SEGMENTS_MAX)
        r->open = false;
}

static void batch_send(struct engine *e, const struct engine_datagram *d)
{
    struct batch *b = (struct batch *)e;
    uint32_t len = 0;

    assert(d->iov_count <= ENGINE_IOV_MAX);
    for (unsigned i = 0; i < d->iov_count; i++)
        len += (uint32_t)d->iov[i].iov_len;
    struct run *r = run_find(b, d, len);
    if (r == NULL)
        r = run_begin(b, d, len);
    run_add(r, d, len);
}

/* ---- out: the kernel ---- */

static void messages_send(struct batch *b, int fd, struct mmsghdr *msgs, size_t count,
                          const struct run *runs);

/* Cuts the octets of r from *at on (an iovec, and an offset in it) to one datagram; returns how
 * many iovecs were written. */
static size_t piece_cut(const struct run *r, size_t *iov_at, size_t *octet_at, struct iovec *to)
{
    uint32_t left = r->segment;
    size_t count = 0;

    while (left > 0 && *iov_at < r->iov_count) {
        const struct iovec *from = &r->iov[*iov_at];
        size_t n = from->iov_len - *octet_at;
        n = n < left ? n : left;
        to[count++] = (struct iovec){(uint8_t *)from->iov_base + *octet_at, n};
        left -= (uint32_t)n;
        *octet_at += n;
        if (*octet_at == from->iov_len) {
            *octet_at = 0;
            ++*iov_at;
        }
    }
    return count;
}

static void run_send_pieces(struct batch *b, const struct run *r)
{
    size_t iov_at = 0, octet_at = 0, used = 0;

    for (size_t i = 0; i < r->count; i++) {
        struct msghdr *m = &b->pieces[i].msg_hdr;
        envelope_write(&b->piece_envelope, m, &r->to, &r->local, 0);
        m->msg_iov = &b->piece_iov[used];
        m->msg_iovlen = piece_cut(r, &iov_at, &octet_at, m->msg_iov);
        used += m->msg_iovlen;
    }
    messages_send(b, r->fd, b->pieces, r->count, NULL);
}

static void run_refused(struct batch *b, const struct run *r, int err)
{
    b->engine.stats.gso_refused++;
    if (err == EIO || err == EOPNOTSUPP || err == ENOPROTOOPT)
        gso_refusals_note_absent(&b->refusals, now_ms());
    else
        gso_refusals_note(&b->refusals, &r->to, r->segment, now_ms());
    run_send_pieces(b, r);
}

static void count_sent(struct engine_stats *s, const struct mmsghdr *m, uint32_t datagrams)
{
    s->datagrams_out += datagrams;
    s->octets_out += m->msg_len;
    if (datagrams > 1)
        s->gso_datagrams += datagrams;
}

/* runs: what the messages are made of; NULL for pieces. */
static void messages_send(struct batch *b, int fd, struct mmsghdr *msgs, size_t count,
                          const struct run *runs)
{
    struct engine_stats *s = &b->engine.stats;
    unsigned tries = 0;

    for (size_t at = 0; at < count;) {
        int n = sendmmsg(fd, &msgs[at], (unsigned)(count - at), MSG_DONTWAIT | MSG_NOSIGNAL);
        int err = errno;
        s->sends++;
        for (int i = 0; i < n; i++, at++)
            count_sent(s, &msgs[at], runs != NULL ? runs[at].count : 1);
        if (n > 0) {
            tries = 0; /* which of them failed, and why, the next call tells */
            continue;
        }
        uint32_t datagrams = runs != NULL ? runs[at].count : 1;
        enum send_fate fate = send_fate(fd, err, ++tries, datagrams > 1);
        if (fate == SEND_RETRY)
            continue;
        if (fate == SEND_REFUSED)
            run_refused(b, &runs[at], err);
        else if (fate == SEND_FULL)
            s->send_full += datagrams;
        else
            s->send_failed += datagrams;
        at++;
        tries = 0;
    }
}

static void batch_flush(struct engine *e)
{
    struct batch *b = (struct batch *)e;

    for (size_t i = 0; i < b->queued; i++) {
        struct run *r = &b->queue[i];
        struct msghdr *m = &b->msgs[i].msg_hdr;
        m->msg_iov = r->iov;
        m->msg_iovlen = r->iov_count;
        envelope_write(&b->envelopes[i], m, &r->to, &r->local,
                       r->count > 1 ? (uint16_t)r->segment : 0);
    }
    for (size_t first = 0, end = 0; first < b->queued; first = end) {
        while (end < b->queued && b->queue[end].fd == b->queue[first].fd)
            end++;
        messages_send(b, b->queue[first].fd, &b->msgs[first], end - first, &b->queue[first]);
    }
    b->queued = 0;
}

const struct engine_ops engine_batch = {
    "batch", batch_new, batch_free, batch_prepare, batch_receive, batch_send, batch_flush,
};
