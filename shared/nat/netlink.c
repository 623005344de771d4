#include "shared/nat/netlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

/* Large enough for a batch of a thousand elements in one call. */
enum { SEND_BUFFER = 1024 * 1024 };

/* FORCE needs the capability that all of this needs anyway; without it the host's limit holds. */
static void set_buffer(int fd, int forced, int plain, int octets)
{
    if (setsockopt(fd, SOL_SOCKET, forced, &octets, sizeof(octets)) != 0)
        setsockopt(fd, SOL_SOCKET, plain, &octets, sizeof(octets));
}

int netlink_open(struct netlink *n, int rcvbuf)
{
    int on = 1;

    n->seq = 0;
    n->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (n->socket == NULL)
        return -errno;
    if (mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) != 0) {
        int rc = -errno;
        netlink_close(n);
        return rc;
    }
    set_buffer(netlink_fd(n), SO_RCVBUFFORCE, SO_RCVBUF, rcvbuf);
    set_buffer(netlink_fd(n), SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
    /* An error answers with the header of what it is about, not with all of it. */
    mnl_socket_setsockopt(n->socket, NETLINK_CAP_ACK, &on, sizeof(on));
    return 0;
}

void netlink_close(struct netlink *n)
{
    if (n->socket != NULL)
        mnl_socket_close(n->socket);
    n->socket = NULL;
}

int netlink_fd(const struct netlink *n)
{
    return mnl_socket_get_fd(n->socket);
}

int netlink_join(struct netlink *n, int group)
{
    return mnl_socket_setsockopt(n->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0
               ? 0
               : -errno;
}

void nl_init(struct nl_buf *b, void *data, size_t size)
{
    *b = (struct nl_buf){.data = data, .size = size};
}

uint32_t nl_message(struct nl_buf *b, struct netlink *n, uint16_t type, uint16_t flags,
                    uint8_t family, uint16_t res_id)
{
    n->seq++;
    b->current = NULL;
    if (b->size - b->len < MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(struct nfgenmsg))) {
        b->full = true;
        return n->seq;
    }
    b->start = b->len;
    b->current = mnl_nlmsg_put_header(b->data + b->start);
    b->current->nlmsg_type = type;
    b->current->nlmsg_flags = NLM_F_REQUEST | flags;
    b->current->nlmsg_seq = n->seq;
    struct nfgenmsg *g = mnl_nlmsg_put_extra_header(b->current, sizeof(*g));
    g->nfgen_family = family;
    g->version = NFNETLINK_V0;
    g->res_id = htons(res_id);
    nl_grown(b);
    return n->seq;
}

void nl_cancel(struct nl_buf *b)
{
    if (b->current != NULL)
        b->len = b->start;
    b->current = NULL;
}

struct nlmsghdr *nl_current(struct nl_buf *b, size_t *ret_room)
{
    *ret_room = b->current == NULL ? 0 : b->size - b->len;
    return b->current;
}

void nl_grown(struct nl_buf *b)
{
    b->len = b->start + MNL_ALIGN(b->current->nlmsg_len);
}

void nl_put(struct nl_buf *b, uint16_t type, const void *data, size_t len)
{
    if (b->current == NULL || b->full ||
        !mnl_attr_put_check(b->current, b->size - b->start, type, len, data))
        b->full = true;
    else
        nl_grown(b);
}

void nl_put_u8(struct nl_buf *b, uint16_t type, uint8_t value)
{
    nl_put(b, type, &value, sizeof(value));
}

void nl_put_be32(struct nl_buf *b, uint16_t type, uint32_t value)
{
    value = htonl(value);
    nl_put(b, type, &value, sizeof(value));
}

void nl_put_be64(struct nl_buf *b, uint16_t type, uint64_t value)
{
    value = htobe64(value);
    nl_put(b, type, &value, sizeof(value));
}

void nl_put_text(struct nl_buf *b, uint16_t type, const char *text)
{
    nl_put(b, type, text, strlen(text) + 1);
}

struct nlattr *nl_nest(struct nl_buf *b, uint16_t type)
{
    if (b->current == NULL || b->full)
        return NULL;
    struct nlattr *nest = mnl_attr_nest_start_check(b->current, b->size - b->start, type);
    if (nest == NULL)
        b->full = true;
    else
        nl_grown(b);
    return nest;
}

void nl_nest_end(struct nl_buf *b, struct nlattr *nest)
{
    if (nest != NULL && !b->full)
        mnl_attr_nest_end(b->current, nest);
}

int netlink_send(struct netlink *n, const struct nl_buf *b)
{
    if (b->full)
        return -EMSGSIZE;
    return mnl_socket_sendto(n->socket, b->data, b->len) < 0 ? -errno : 0;
}

ssize_t netlink_receive(struct netlink *n, void *data, size_t size)
{
    ssize_t got;

    do {
        got = mnl_socket_recvfrom(n->socket, data, size);
    } while (got < 0 && errno == EINTR);
    if (got >= 0)
        return got;
    return errno == EAGAIN ? 0 : -errno;
}

void netlink_each(const void *data, size_t len, void (*fn)(const struct nlmsghdr *m, void *arg),
                  void *arg)
{
    int left = (int)len;

    for (const struct nlmsghdr *m = data; mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
        fn(m, arg);
}

bool netlink_verdict(const struct nlmsghdr *m, int *ret)
{
    if (m->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(m) < sizeof(struct nlmsgerr))
        return false;
    *ret = ((const struct nlmsgerr *)mnl_nlmsg_get_payload(m))->error;
    return true;
}

bool netlink_done(const struct nlmsghdr *m)
{
    return m->nlmsg_type == NLMSG_DONE;
}

uint8_t netlink_family(const struct nlmsghdr *m)
{
    return mnl_nlmsg_get_payload_len(m) < sizeof(struct nfgenmsg)
               ? 0
               : ((const struct nfgenmsg *)mnl_nlmsg_get_payload(m))->nfgen_family;
}

static const void *find(const struct nlattr *attr, int left, uint16_t type, size_t *ret_len)
{
    for (; mnl_attr_ok(attr, left);
         left -= MNL_ALIGN(mnl_attr_get_len(attr)), attr = mnl_attr_next(attr)) {
        if (mnl_attr_get_type(attr) != type)
            continue;
        *ret_len = mnl_attr_get_payload_len(attr);
        return mnl_attr_get_payload(attr);
    }
    *ret_len = 0;
    return NULL;
}

const void *netlink_attr(const struct nlmsghdr *m, uint16_t type, size_t *ret_len)
{
    int header = MNL_ALIGN(sizeof(struct nfgenmsg));

    return find(mnl_nlmsg_get_payload_offset(m, sizeof(struct nfgenmsg)),
                (int)mnl_nlmsg_get_payload_len(m) - header, type, ret_len);
}

const void *netlink_nested(const void *nest, size_t nest_len, uint16_t type, size_t *ret_len)
{
    *ret_len = 0;
    return nest == NULL ? NULL : find(nest, (int)nest_len, type, ret_len);
}

uint32_t netlink_be32(const void *payload, size_t len)
{
    uint32_t value;

    if (payload == NULL || len != sizeof(value))
        return 0;
    memcpy(&value, payload, sizeof(value));
    return ntohl(value);
}

uint64_t netlink_be64(const void *payload, size_t len)
{
    uint64_t value;

    if (payload == NULL || len != sizeof(value))
        return 0;
    memcpy(&value, payload, sizeof(value));
    return be64toh(value);
}
