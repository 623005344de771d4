/* What the engines share: messages as the kernel wants them, and what its errors mean. For engines
 * only. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "relayd-udp/engine.h"

/* ---- in ---- */

/* Room for any UDP payload, or a run of datagrams: neither exceeds 65535 octets with headers. */
#define INBOX_BUFFER 65536
/* Beside the local address and the segment's size there is room for what a socket's owner may have
 * asked for (times, TTL, TOS). */
#define INBOX_CONTROL 256

/* Places for what one receive takes. Their pages cost nothing until something comes to them. */
struct inbox {
    uint8_t *buffers;
    struct mmsghdr msgs[ENGINE_RUNS_MAX]; /* ready for recvmsg, recvmmsg */
    struct iovec iov[ENGINE_RUNS_MAX];
    struct sockaddr_storage from[ENGINE_RUNS_MAX];
    union {
        struct cmsghdr align;
        uint8_t octets[INBOX_CONTROL];
    } control[ENGINE_RUNS_MAX];
    struct engine_run runs[ENGINE_RUNS_MAX];
};

/* False without memory. */
bool inbox_init(struct inbox *in);
void inbox_fini(struct inbox *in);
/* Makes runs of the first `filled` messages, and those messages ready for the next receive.
 * Messages that were cut are dropped. Counts. Returns the number of runs. */
size_t inbox_take(struct inbox *in, size_t filled, struct engine_stats *s);

/* Asks for the local address with every message. 0 or -errno. */
int socket_want_local(int fd, enum addr_family family);

/* So many errors are passed over in one call. */
#define RECEIVE_ERRORS_MAX 16
/* A receive failed with err. True: read on (it is counted; that it was told has cleared it). */
bool receive_passes_over(struct engine *e, int fd, int err);

/* ---- out ---- */

/* What a msghdr points to, but for the octets. */
struct envelope {
    struct sockaddr_storage to;
    union {
        struct cmsghdr align;
        uint8_t octets[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
    } control;
};

/* Fills m (its iovecs are the caller's) and v, which must stay as long as m is used. segment: of a
 * run, 0 for a lone datagram. */
void envelope_write(struct envelope *v, struct msghdr *m, const struct addr *to,
                    const struct addr *local, uint16_t segment);

enum send_fate {
    SEND_RETRY,   /* may have been the report on an earlier datagram, and is cleared now */
    SEND_FULL,    /* drop it */
    SEND_REFUSED, /* a run: try it piece by piece */
    SEND_FAILED,  /* drop it */
};

/* A send failed with err: what is to be done with that message? Throws away what the socket's error
 * queue has to say. tries: how often this message has failed, this time included. */
enum send_fate send_fate(int fd, int err, unsigned tries, bool is_run);
