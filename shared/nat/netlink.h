/* Netlink to netfilter: messages built into a buffer, sent and answered without waiting. The only
 * door to libmnl; it knows attributes and acknowledgements, and nothing of what they mean.
 *
 *   nl_message ─► nl_put... ─► nl_message ... ─► netlink_send ─► netlink_receive ─► netlink_each
 *
 * The kernel works on a request while it is being sent: what it has to say (but for the second part
 * of a long dump) can be received at once. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mnl_socket;

struct netlink {
    struct mnl_socket *socket;
    uint32_t seq; /* of the last message built for it */
};

/* A socket, not blocking, with room for rcvbuf octets of answers (as far as privileges go). 0, or
 * -errno with nothing open. */
int netlink_open(struct netlink *n, int rcvbuf);
/* Harmless when it is not open (all zero). */
void netlink_close(struct netlink *n);
int netlink_fd(const struct netlink *n);
/* Multicast messages of this group (NFNLGRP_...) are to be received, too. 0 or -errno. */
int netlink_join(struct netlink *n, int group);

/* Messages in a row. What does not fit sets `full` and changes nothing else. */
struct nl_buf {
    uint8_t *data;
    size_t size, len; /* len: whole messages, the current one included */
    struct nlmsghdr *current;
    size_t start; /* of the current one */
    bool full;
};

void nl_init(struct nl_buf *b, void *data, size_t size);
/* Begins a message; type: NFNL_SUBSYS_... << 8 | its message. res_id, host order: a subsystem in
 * batches, else 0. Every message gets the next number of n; returns it. */
uint32_t nl_message(struct nl_buf *b, struct netlink *n, uint16_t type, uint16_t flags,
                    uint8_t family, uint16_t res_id);
/* Takes the current message away again. */
void nl_cancel(struct nl_buf *b);
/* The current message, for a library that writes attributes itself, and the room that it may use;
 * nl_grown when it has. */
struct nlmsghdr *nl_current(struct nl_buf *b, size_t *ret_room);
void nl_grown(struct nl_buf *b);

void nl_put(struct nl_buf *b, uint16_t type, const void *data, size_t len);
void nl_put_u8(struct nl_buf *b, uint16_t type, uint8_t value);
void nl_put_be32(struct nl_buf *b, uint16_t type, uint32_t value);
void nl_put_be64(struct nl_buf *b, uint16_t type, uint64_t value);
void nl_put_text(struct nl_buf *b, uint16_t type, const char *text);
struct nlattr *nl_nest(struct nl_buf *b, uint16_t type);
void nl_nest_end(struct nl_buf *b, struct nlattr *nest);

/* One call for the whole buffer. 0 or -errno; -EMSGSIZE when b is full. */
int netlink_send(struct netlink *n, const struct nl_buf *b);
/* Octets, 0: nothing waits, or -errno (-ENOBUFS: messages were lost). */
ssize_t netlink_receive(struct netlink *n, void *data, size_t size);
/* Calls fn for each message that was received. */
void netlink_each(const void *data, size_t len, void (*fn)(const struct nlmsghdr *m, void *arg),
                  void *arg);
/* True for an acknowledgement or an error: *ret is 0 or -errno. */
bool netlink_verdict(const struct nlmsghdr *m, int *ret);
/* True when the last message of a dump is m. *ret: 0, or -EINTR when the dump is not consistent. */
bool netlink_done(const struct nlmsghdr *m);
/* The family of a netfilter message. */
uint8_t netlink_family(const struct nlmsghdr *m);

/* The payload of the first attribute of this type: of a message, or of what is nested. NULL: none.
 */
const void *netlink_attr(const struct nlmsghdr *m, uint16_t type, size_t *ret_len);
const void *netlink_nested(const void *nest, size_t nest_len, uint16_t type, size_t *ret_len);
/* Numbers in network order; 0 when there is none, or not of this size. */
uint32_t netlink_be32(const void *payload, size_t len);
uint64_t netlink_be64(const void *payload, size_t len);
