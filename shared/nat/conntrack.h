/* Conntrack's connections as messages: asked for, deleted, counted, and told about when they end.
 * The only door to libnetfilter_conntrack.
 *
 * A connection is named by what its first packet was: PTCL, where from, where to (before any
 * translation). Pure but for conntrack_filter: whoever calls sends and receives. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/nat/netlink.h"

struct ct_name {
    struct addr source, dest;
    uint8_t ptcl;
};

/* Octets are of whole IP packets, both directions seen from the connection's beginning. */
struct ct_counts {
    uint64_t packets_out, octets_out, packets_in, octets_in;
};

enum ct_phase {
    CT_OPEN,
    CT_FINISHED, /* TCP: FIN both ways, acknowledged */
    CT_RESET,    /* TCP: RST */
};

struct ct_state {
    struct ct_name name;
    struct ct_counts counts;
    struct addr replies_from; /* where its replies come from: the target, once it is translated */
    uint32_t mark;
    uint32_t id;    /* of this connection; one of the same name that comes later may have it, too */
    uint8_t phase;  /* enum ct_phase */
    bool destroyed; /* it is no more; counts are final */
};

/* Asks to forget one (the acknowledgement is 0, or -ENOENT: there is none). Returns the message's
 * number. */
uint32_t ct_put_delete(struct nl_buf *b, struct netlink *n, const struct ct_name *name);
/* Asks for one: the answer is a ct_state, or -ENOENT. */
uint32_t ct_put_get(struct nl_buf *b, struct netlink *n, const struct ct_name *name);
/* Asks to forget all of this mark. */
void ct_put_flush(struct nl_buf *b, struct netlink *n, uint32_t mark, uint32_t mask);
/* Asks for all of this mark, in many messages. The kernel goes on as they are received. */
void ct_put_dump(struct nl_buf *b, struct netlink *n, uint32_t mark, uint32_t mask);
/* Asks for all of dest's family whose first packet went to its port, whatever the address (kernels
 * up to 6.18 at least compare IPv6 addresses the wrong way round). */
void ct_put_dump_port(struct nl_buf *b, struct netlink *n, uint8_t ptcl, const struct addr *dest);
/* Makes one that is translated to another target, and that lasts a second: to see whether the
 * kernel can. */
void ct_put_example(struct nl_buf *b, struct netlink *n, const struct ct_name *name,
                    const struct addr *target);

/* False: m is no connection, or of no family and PTCL that has addresses and ports. */
bool ct_decode(const struct nlmsghdr *m, struct ct_state *ret);

/* Lets the kernel drop, before this process wakes up, all events but: a connection of this mark was
 * destroyed; a TCP connection of it has finished or was reset. 0 or -errno. */
int ct_filter_events(int fd, uint32_t mark, uint32_t mask);
