#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>

#include "relayd-udp/engine_msg.h"
#include "shared/net/sockaddr.h"

/* ---- in ---- */

static void place_ready(struct inbox *in, size_t i)
{
    in->msgs[i].msg_hdr = (struct msghdr){
        .msg_name = &in->from[i],
        .msg_namelen = sizeof(in->from[i]),
        .msg_iov = &in->iov[i],
        .msg_iovlen = 1,
        .msg_control = in->control[i].octets,
        .msg_controllen = sizeof(in->control[i].octets),
    };
}

bool inbox_init(struct inbox *in)
{
    in->buffers = malloc((size_t)ENGINE_RUNS_MAX * INBOX_BUFFER);
    if (in->buffers == NULL)
        return false;
    for (size_t i = 0; i < ENGINE_RUNS_MAX; i++) {
        in->iov[i].iov_base = in->buffers + i * INBOX_BUFFER;
        in->iov[i].iov_len = INBOX_BUFFER;
        place_ready(in, i);
    }
    return true;
}

void inbox_fini(struct inbox *in)
{
    free(in->buffers);
    in->buffers = NULL;
}

static void local_from_ipv4(const struct cmsghdr *c, struct addr *ret)
{
    struct in_pktinfo info;

    memcpy(&info, CMSG_DATA(c), sizeof(info));
    bool own = info.ipi_spec_dst.s_addr != htonl(INADDR_ANY);
    *ret = addr_ipv4((const uint8_t *)(own ? &info.ipi_spec_dst : &info.ipi_addr), 0);
}

static void local_from_ipv6(const struct cmsghdr *c, struct addr *ret)
{
    struct in6_pktinfo info;

    memcpy(&info, CMSG_DATA(c), sizeof(info));
    struct addr a = addr_ipv6(info.ipi6_addr.s6_addr, 0);
    *ret = addr_unmap(&a);
}

static uint32_t segment_from(const struct cmsghdr *c, uint32_t len)
{
    int segment;

    memcpy(&segment, CMSG_DATA(c), sizeof(segment));
    return segment > 0 && (uint32_t)segment < len ? (uint32_t)segment : len;
}

static void run_read(struct mmsghdr *m, struct engine_run *run)
{
    struct msghdr *h = &m->msg_hdr;

    sockaddr_to(h->msg_name, &run->from);
    run->local = (struct addr){0};
    run->data = h->msg_iov->iov_base;
    run->len = run->segment = m->msg_len;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            run->segment = segment_from(c, run->len);
        else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
            local_from_ipv4(c, &run->local);
        else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            local_from_ipv6(c, &run->local);
    }
}

static void run_count(const struct engine_run *run, struct engine_stats *s)
{
    uint32_t count = run->len == 0 ? 1 : (run->len + run->segment - 1) / run->segment;

    s->datagrams_in += count;
    s->octets_in += run->len;
    if (count > 1)
        s->gro_datagrams += count;
}

size_t inbox_take(struct inbox *in, size_t filled, struct engine_stats *s)
{
    size_t count = 0;

    for (size_t i = 0; i < filled; i++) {
        /* Without all of its control messages a run may look like one datagram. */
        if (in->msgs[i].msg_hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
            s->receive_errors++;
        } else {
            run_read(&in->msgs[i], &in->runs[count]);
            run_count(&in->runs[count++], s);
        }
        place_ready(in, i);
    }
    return count;
}

int socket_want_local(int fd, enum addr_family family)
{
    const int on = 1;
    int rc = family == ADDR_IPV6 ? setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))
                                 : setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));

    return rc == 0 ? 0 : -errno;
}

/* Whoever has set IP_RECVERR would otherwise have a socket that is never quiet again, with ever
 * less room for datagrams. */
static void error_queue_empty(int fd)
{
    for (int i = 0; i < ENGINE_RUNS_MAX; i++) {
        struct msghdr nowhere = {0};
        if (recvmsg(fd, &nowhere, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            return;
    }
}

bool receive_passes_over(struct engine *e, int fd, int err)
{
    if (err == EAGAIN)
        return false;
    e->stats.receive_errors++;
    error_queue_empty(fd);
    return true;
}

/* ---- out ---- */

static void control_append(struct msghdr *m, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)((uint8_t *)m->msg_control + m->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), data, len);
    m->msg_controllen += CMSG_SPACE(len);
}

void envelope_write(struct envelope *v, struct msghdr *m, const struct addr *to,
                    const struct addr *local, uint16_t segment)
{
    m->msg_namelen = sockaddr_from(to, &v->to);
    m->msg_name = m->msg_namelen > 0 ? &v->to : NULL;
    m->msg_control = v->control.octets;
    m->msg_controllen = 0;
    m->msg_flags = 0;
    if (local->family == ADDR_IPV4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->ip, sizeof(info.ipi_spec_dst));
        control_append(m, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else if (local->family == ADDR_IPV6) {
        struct in6_pktinfo info = {0};
        memcpy(&info.ipi6_addr, local->ip, sizeof(info.ipi6_addr));
        control_append(m, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
    if (segment > 0)
        control_append(m, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
}

/* An error of an earlier datagram (ICMP) is told by whichever call comes next. These never are
 * such. */
static bool is_about_this_one(int err)
{
    return err == EINVAL || err == EPERM;
}

static bool is_about_runs(int err)
{
    return err == EINVAL || err == EMSGSIZE || err == EIO || err == EOPNOTSUPP ||
           err == ENOPROTOOPT;
}

enum send_fate send_fate(int fd, int err, unsigned tries, bool is_run)
{
    if (err == EAGAIN || err == ENOBUFS)
        return SEND_FULL;
    error_queue_empty(fd);
    if (tries < 2 && !is_about_this_one(err))
        return SEND_RETRY;
    return is_run && is_about_runs(err) ? SEND_REFUSED : SEND_FAILED;
}
