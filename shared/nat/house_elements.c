#include "shared/nat/house.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "shared/nat/nft_rule.h"

/* The longest is a key of nat6. */
struct words {
    uint8_t octets[64];
    size_t len;
};

static void put_octet(struct words *w, uint8_t value)
{
    w->octets[w->len] = value;
    w->len += 4;
}

static void put_address(struct words *w, const struct addr *a)
{
    size_t len = addr_ip_len(a->family);

    memcpy(w->octets + w->len, a->ip, len);
    w->len += len;
}

static void put_port(struct words *w, uint16_t port)
{
    port = htons(port);
    memcpy(w->octets + w->len, &port, sizeof(port));
    w->len += 4;
}

static void put_words(struct nl_buf *b, uint16_t type, const struct words *w)
{
    struct nlattr *nest = nl_nest(b, type);

    nl_put(b, NFTA_DATA_VALUE, w->octets, w->len);
    nl_nest_end(b, nest);
}

static struct nlattr *elements_begin(struct nl_buf *b, struct netlink *n, uint8_t message,
                                     uint16_t flags, const char *table, const char *set)
{
    nl_message(b, n, NFT_MESSAGE(message), NLM_F_ACK | flags, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_SET_ELEM_LIST_TABLE, table);
    nl_put_text(b, NFTA_SET_ELEM_LIST_SET, set);
    return nl_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void house_put_held(const struct house *h, struct nl_buf *b, struct netlink *n, bool hold,
                    uint8_t ptcl, const struct addr *bound)
{
    struct words key = {.len = 0};
    struct nlattr *list = elements_begin(b, n, hold ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
                                         hold ? NLM_F_CREATE : 0, h->guard,
                                         bound->family == ADDR_IPV4 ? "held4" : "held6");
    struct nlattr *elem = nl_nest(b, NFTA_LIST_ELEM);

    put_octet(&key, ptcl);
    put_address(&key, bound);
    put_port(&key, bound->port);
    put_words(b, NFTA_SET_ELEM_KEY, &key);
    nl_nest_end(b, elem);
    nl_nest_end(b, list);
}

static void put_lease(const struct house *h, struct nl_buf *b, struct netlink *n, uint8_t message,
                      uint16_t flags, uint32_t mark, uint32_t ms)
{
    struct nlattr *list = elements_begin(b, n, message, flags, h->guard, "leases");
    struct nlattr *elem = nl_nest(b, NFTA_LIST_ELEM);
    struct nlattr *key = nl_nest(b, NFTA_SET_ELEM_KEY);

    nl_put(b, NFTA_DATA_VALUE, &mark, sizeof(mark));
    nl_nest_end(b, key);
    if (ms != 0)
        nl_put_be64(b, NFTA_SET_ELEM_TIMEOUT, ms);
    nl_nest_end(b, elem);
    nl_nest_end(b, list);
}

/* A time-out that runs cannot be changed before 6.12: the element is replaced. To be deleted it
 * must be there, and whether it still is only the kernel knows: so it is made first. */
void house_put_lease(const struct house *h, struct nl_buf *b, struct netlink *n, uint16_t tag,
                     uint32_t ms)
{
    uint32_t mark = house_mark(h, tag);

    put_lease(h, b, n, NFT_MSG_NEWSETELEM, NLM_F_CREATE, mark, ms != 0 ? ms : 1000);
    put_lease(h, b, n, NFT_MSG_DELSETELEM, 0, mark, 0);
    if (ms != 0)
        put_lease(h, b, n, NFT_MSG_NEWSETELEM, NLM_F_CREATE, mark, ms);
}

struct house_elements house_elements_begin(const struct house *h, struct nl_buf *b,
                                           struct netlink *n, bool add, enum addr_family family,
                                           uint32_t *ret_seq)
{
    struct house_elements l = {.b = b, .family = family, .add = add};

    l.list = elements_begin(b, n, add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
                            add ? NLM_F_CREATE | NLM_F_EXCL : 0, h->owner,
                            family == ADDR_IPV4 ? "nat4" : "nat6");
    *ret_seq = n->seq;
    return l;
}

void house_elements_put(const struct house *h, struct house_elements *l,
                        const struct house_element *e)
{
    struct words key = {.len = 0}, data = {.len = 0};
    struct nlattr *elem = nl_nest(l->b, NFTA_LIST_ELEM);

    put_octet(&key, e->ptcl);
    put_address(&key, e->source);
    put_port(&key, e->source->port);
    put_address(&key, e->bound);
    put_port(&key, e->bound->port);
    put_words(l->b, NFTA_SET_ELEM_KEY, &key);
    if (l->add) {
        uint32_t mark = house_mark(h, e->tag);
        put_address(&data, e->target);
        put_port(&data, e->target->port);
        if (e->from != NULL)
            put_address(&data, e->from);
        else
            data.len += addr_ip_len(l->family);
        memcpy(data.octets + data.len, &mark, sizeof(mark));
        data.len += sizeof(mark);
        put_words(l->b, NFTA_SET_ELEM_DATA, &data);
    }
    nl_nest_end(l->b, elem);
    l->count++;
}

void house_elements_end(struct house_elements *l)
{
    nl_nest_end(l->b, l->list);
}

void house_put_question(const struct house *h, struct nl_buf *b, struct netlink *n,
                        enum house_counter which)
{
    static const char *const names[HOUSE_COUNTERS] = {"entered", "left", "late", "unmatched",
                                                      "lapsed"};

    nl_message(b, n, NFT_MESSAGE(NFT_MSG_GETOBJ), 0, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_OBJ_TABLE, which >= HOUSE_UNMATCHED ? h->guard : h->owner);
    nl_put_text(b, NFTA_OBJ_NAME, names[which]);
    nl_put_be32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
}

bool house_answer(const struct nlmsghdr *m, uint64_t *ret)
{
    size_t len;

    if (m->nlmsg_type != NFT_MESSAGE(NFT_MSG_NEWOBJ))
        return false;
    const void *data = netlink_attr(m, NFTA_OBJ_DATA, &len);
    data = netlink_nested(data, len, NFTA_COUNTER_PACKETS, &len);
    *ret = netlink_be64(data, len);
    return true;
}
