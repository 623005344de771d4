/* An engine: one way to receive and send datagrams. It knows sockets and octets, and nothing of
 * associations.
 *
 *   readable ─► engine_receive ─► runs ─► (whoever decides) ─► engine_send ... ─► engine_flush
 *
 *   plain   recvmsg and sendmsg, one datagram each: the reference
 *   batch   recvmmsg with UDP_GRO; consecutive datagrams of one size to one peer leave as one
 *           UDP_SEGMENT send, the others by sendmmsg. What the kernel or the path refuses of it is
 *           sent piece by piece, and not tried again for a while
 *
 * Both keep the same promises:
 * - Datagrams keep their bounds, their octets and, between two sockets and one peer, their order.
 * - What cannot be sent is dropped and counted, alone: no other datagram suffers for it. Nothing
 *   blocks, and nothing is kept for later.
 * - An error that the network reports (ICMP) or a refused send never ends a socket: receive goes on
 *   behind it.
 * - One call of receive takes a bounded number of datagrams, however many wait, so that no socket
 *   starves the others; who has more is readable again.
 *
 * An engine holds its buffers once, not per socket. For the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "shared/base/addr.h"

/* Runs that one receive returns at most. */
#define ENGINE_RUNS_MAX 32
/* UDP payload at most: 65535 less the UDP header, and less the IPv4 header. */
#define ENGINE_PAYLOAD_MAX 65507

/* What one peer sent in a row: datagrams of `segment` octets each, the last one may be shorter. A
 * lone datagram has segment == len; an empty one has both 0. */
struct engine_run {
    struct addr from;
    struct addr local; /* the address it came to, without a port (the host's own if that was a
                          broadcast); family NONE when not asked for */
    uint8_t *data;     /* the engine's, until the next receive; may be written to */
    uint32_t len;
    uint32_t segment;
};

static inline unsigned engine_run_count(const struct engine_run *run)
{
    return run->segment == 0 ? 1 : (run->len + run->segment - 1) / run->segment;
}

/* One datagram to be sent: iov's octets in a row (at most ENGINE_IOV_MAX pieces, none is an empty
 * datagram). IPv6 addresses carry no scope: link-local ones cannot be sent to. */
#define ENGINE_IOV_MAX 2
struct engine_datagram {
    int fd;
    struct addr to;    /* family NONE: the socket is connected */
    struct addr local; /* the address to send from; family NONE: the kernel's choice */
    struct iovec iov[ENGINE_IOV_MAX];
    unsigned iov_count;
};

struct engine_stats {
    uint64_t datagrams_in, octets_in;
    uint64_t datagrams_out, octets_out; /* that the kernel took */
    uint64_t receives, sends;           /* system calls */
    uint64_t gro_datagrams;             /* in, that came as part of a longer run */
    uint64_t gso_datagrams;             /* out, that left as part of a longer run */
    uint64_t gso_refused;               /* runs that were sent piece by piece after all */
    uint64_t receive_errors;            /* passed over: reports of the network on a socket, and
                                           messages that the kernel had to cut */
    uint64_t send_full;                 /* datagrams dropped: the socket's buffer was full */
    uint64_t send_failed;               /* datagrams dropped: any other reason */
};

struct engine {
    const struct engine_ops *ops;
    struct engine_stats stats;
};

struct engine_ops {
    const char *name;
    struct engine *(*new)(void);
    void (*free)(struct engine *e);
    int (*prepare)(struct engine *e, int fd, enum addr_family family, bool want_local);
    size_t (*receive)(struct engine *e, int fd, const struct engine_run **ret);
    void (*send)(struct engine *e, const struct engine_datagram *d);
    void (*flush)(struct engine *e);
};

extern const struct engine_ops engine_plain, engine_batch;

/* NULL without memory. */
static inline struct engine *engine_new(const struct engine_ops *ops)
{
    return ops->new ();
}

/* NULL is allowed. What was not flushed may be lost. */
static inline void engine_free(struct engine *e)
{
    if (e != NULL)
        e->ops->free(e);
}

/* Sets what the engine wants of a socket (UDP, nonblocking, of that family, IPV6_V6ONLY if IPv6);
 * want_local: runs shall tell the address they came to. 0, or -errno when want_local cannot be had;
 * an acceleration that this kernel has not is no failure. Once per socket, before anything else. */
static inline int engine_prepare(struct engine *e, int fd, enum addr_family family, bool want_local)
{
    return e->ops->prepare(e, fd, family, want_local);
}

/* Takes what waits, to a bound; 0: nothing now. *ret is the engine's until the next receive. What
 * was sent and not flushed is flushed first, as it may point into those buffers. What waits in the
 * socket's error queue (IP_RECVERR) when an error is reported is thrown away. */
static inline size_t engine_receive(struct engine *e, int fd, const struct engine_run **ret)
{
    return e->ops->receive(e, fd, ret);
}

/* Queues d (copied), but not its octets, nor its socket: both stay as they are until engine_flush.
 * May send by itself before that. */
static inline void engine_send(struct engine *e, const struct engine_datagram *d)
{
    e->ops->send(e, d);
}

static inline void engine_flush(struct engine *e)
{
    e->ops->flush(e);
}
