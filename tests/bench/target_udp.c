#include "tests/bench/bench.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE    32
#define ROOM       65536
#define BUFFER     (32 << 20)
#define RUN_OCTETS 60000
#define RUN_MOST   60

/* Everything of one call: datagrams, or runs of them by UDP_GRO. */
struct batch {
    struct mmsghdr msgs[AT_ONCE];
    struct iovec iov[AT_ONCE];
    struct sockaddr_in from[AT_ONCE];
    _Alignas(struct cmsghdr) char control[AT_ONCE][CMSG_SPACE(sizeof(int))];
};

static struct sink_counts counted;
static int sink_fd = -1;

int target_udp_open(struct in_addr address, bool counts_runs)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = address};
    int one = 1, room = BUFFER;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at))) {
        close(fd);
        return -1;
    }
    if (counts_runs)
        sink_fd = fd;
    return fd;
}

/* octets NULL: their lengths only. */
static int receive(int fd, struct batch *b, uint8_t (*octets)[ROOM])
{
    for (unsigned i = 0; i < AT_ONCE; i++) {
        b->iov[i] = (struct iovec){octets ? octets[i] : NULL, octets ? ROOM : 0};
        b->msgs[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
                                             .msg_namelen = sizeof(b->from[i]),
                                             .msg_iov = &b->iov[i],
                                             .msg_iovlen = 1,
                                             .msg_control = b->control[i],
                                             .msg_controllen = sizeof(b->control[i])};
    }
    return recvmmsg(fd, b->msgs, AT_ONCE, MSG_TRUNC, NULL);
}

/* The size of each datagram of a run; a lone one's own. */
static unsigned segment_of(struct mmsghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c)) {
        int size;
        if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(c), sizeof(size));
        return (unsigned)size;
    }
    return m->msg_len;
}

void target_udp_sink(int fd)
{
    static struct batch b;
    int n = receive(fd, &b, NULL);

    for (int i = 0; i < n; i++) {
        unsigned segment = segment_of(&b.msgs[i]), len = b.msgs[i].msg_len;
        counted.datagrams += len == 0 ? 1 : (len + segment - 1) / segment;
        counted.octets += len;
    }
}

void target_udp_count(int fd)
{
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t memory_len = sizeof(memory);
    char octet;

    if (recvfrom(fd, &octet, 1, 0, (struct sockaddr *)&from, &len) < 0)
        return;
    if (getsockopt(sink_fd, SOL_SOCKET, SO_MEMINFO, memory, &memory_len) == 0)
        counted.dropped = memory[SK_MEMINFO_DROPS];
    sendto(fd, &counted, sizeof(counted), 0, (struct sockaddr *)&from, len);
}

/* ---- echo: what was taken in one call from one peer goes back in one ---- */

struct reply {
    struct msghdr header;
    struct iovec iov[AT_ONCE];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))];
    uint16_t segment;
    unsigned len;
    bool closed; /* its last datagram is a short one */
};

static void reply_begin(struct reply *r, struct mmsghdr *m, unsigned segment)
{
    r->header = (struct msghdr){
        .msg_name = m->msg_hdr.msg_name, .msg_namelen = m->msg_hdr.msg_namelen, .msg_iov = r->iov};
    r->segment = (uint16_t)segment;
    r->len = 0;
    r->closed = false;
}

static bool reply_takes(const struct reply *r, const struct mmsghdr *m, unsigned segment)
{
    return r->header.msg_iovlen > 0 && !r->closed && r->segment == segment && segment > 0 &&
           r->len + m->msg_len <= RUN_OCTETS && (r->len + m->msg_len) / segment < RUN_MOST &&
           memcmp(r->header.msg_name, m->msg_hdr.msg_name, sizeof(struct sockaddr_in)) == 0;
}

static void reply_add(struct reply *r, const struct mmsghdr *m)
{
    r->iov[r->header.msg_iovlen++] = (struct iovec){m->msg_hdr.msg_iov[0].iov_base, m->msg_len};
    r->len += m->msg_len;
    r->closed = r->segment == 0 || m->msg_len % r->segment != 0;
}

static void reply_send(int fd, struct reply *r)
{
    if (r->header.msg_iovlen == 0)
        return;
    if (r->len > r->segment) {
        r->header.msg_control = r->control;
        r->header.msg_controllen = sizeof(r->control);
        struct cmsghdr *c = CMSG_FIRSTHDR(&r->header);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof(r->segment));
        memcpy(CMSG_DATA(c), &r->segment, sizeof(r->segment));
    }
    sendmsg(fd, &r->header, 0); /* an echo that cannot be sent is a lost one */
    r->header.msg_iovlen = 0;
}

void target_udp_echo(int fd)
{
    static uint8_t octets[AT_ONCE][ROOM];
    static struct batch b;
    struct reply r = {.header = {0}};
    int n = receive(fd, &b, octets);

    for (int i = 0; i < n; i++) {
        unsigned segment = segment_of(&b.msgs[i]);
        if (!reply_takes(&r, &b.msgs[i], segment)) {
            reply_send(fd, &r);
            reply_begin(&r, &b.msgs[i], segment);
        }
        reply_add(&r, &b.msgs[i]);
    }
    reply_send(fd, &r);
}
