/* The two tables of a relay id (drawn in nat.h) as messages to nf_tables: built, filled, razed.
 *
 *   nat4  key   PTCL 4│source 4│port 4│BND 4│port 4      data  target 4│port 4│from 4│mark 4
 *   nat6  key   PTCL 4│source 16│port 4│BND 16│port 4    data  target 16│port 4│from 16│mark 4
 *   held4, held6      PTCL 4│BND 4 or 16│port 4
 *   tags              mark 4                             verdict: the chain that sets this mark
 *   leases            mark 4, with a time-out
 *
 * PTCLs and ports are padded with zeros behind; marks are in the host's order. Pure: whoever calls
 * sends what was built. */
#pragma once

#include <stdbool.h>

#include "shared/base/addr.h"
#include "shared/nat/netlink.h"

#define HOUSE_NAME_MAX 96
#define HOUSE_HELD_MAX 8192

struct house {
    char owner[HOUSE_NAME_MAX], guard[HOUSE_NAME_MAX]; /* names of the tables */
    uint32_t mark, mask, tag_mask;
    struct port_span ports, out_ports;
    uint32_t capacity;
    bool persists; /* nobody else can delete the guard while we live; since 6.9 */
    bool dormant;  /* seen by nobody: to ask what the kernel thinks of it */
};

/* The transactions' messages without the batch around them. */
void house_put_owner(const struct house *h, struct nl_buf *b, struct netlink *n);
/* In place of the one that may be there. */
void house_put_guard(const struct house *h, struct nl_buf *b, struct netlink *n);
void house_put_removal(struct nl_buf *b, struct netlink *n, const char *table);

/* The mark of a connection of this tag. */
uint32_t house_mark(const struct house *h, uint16_t tag);

void house_put_held(const struct house *h, struct nl_buf *b, struct netlink *n, bool hold,
                    uint8_t ptcl, const struct addr *bound);
/* What marks the connections of a tag; once per tag, before its first element. */
void house_put_tag(const struct house *h, struct nl_buf *b, struct netlink *n, uint16_t tag);
/* ms 0 takes it away. Whether it is there does not matter. */
void house_put_lease(const struct house *h, struct nl_buf *b, struct netlink *n, uint16_t tag,
                     uint32_t ms);

/* Elements of nat4 and nat6: as many as fit in one message, then the next. */
#define HOUSE_ELEMENTS_MAX 400

struct house_element {
    const struct addr *source, *bound, *target, *from; /* of one family; from may be NULL */
    uint8_t ptcl;
    uint16_t tag;
};

struct house_elements {
    struct nl_buf *b;
    struct nlattr *list;
    enum addr_family family;
    bool add;
    unsigned count;
};

/* Begins a message that asks for an acknowledgement; *ret_seq is its number. */
struct house_elements house_elements_begin(const struct house *h, struct nl_buf *b,
                                           struct netlink *n, bool add, enum addr_family family,
                                           uint32_t *ret_seq);
/* To delete, only the key is looked at. */
void house_elements_put(const struct house *h, struct house_elements *l,
                        const struct house_element *e);
void house_elements_end(struct house_elements *l);

/* The counters: `name` of which table. nat.c asks for them one by one. */
enum house_counter {
    HOUSE_ENTERED,
    HOUSE_LEFT,
    HOUSE_LATE,
    HOUSE_UNMATCHED,
    HOUSE_LAPSED,
    HOUSE_COUNTERS
};
void house_put_question(const struct house *h, struct nl_buf *b, struct netlink *n,
                        enum house_counter which);
/* The number of packets in an answer; false: m is none. */
bool house_answer(const struct nlmsghdr *m, uint64_t *ret);
