#include "shared/nat/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#define CT_MESSAGE(msg) ((uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | (msg)))

/* What the library may write for one connection of ours, with a margin: it does not ask how much
 * room there is. */
enum { MESSAGE_ROOM = 1024 };

/* Which parts of a name a dump compares; not in the kernel's public header. */
enum { FILTER_PROTO_NUM = 1 << 3, FILTER_DST_PORT = 1 << 5 };

static uint8_t family_of(const struct addr *a)
{
    return a->family == ADDR_IPV4 ? AF_INET : AF_INET6;
}

static void set_name(struct nf_conntrack *ct, const struct ct_name *name)
{
    bool v4 = name->source.family == ADDR_IPV4;

    nfct_set_attr_u8(ct, ATTR_L3PROTO, family_of(&name->source));
    nfct_set_attr(ct, v4 ? ATTR_IPV4_SRC : ATTR_IPV6_SRC, name->source.ip);
    nfct_set_attr(ct, v4 ? ATTR_IPV4_DST : ATTR_IPV6_DST, name->dest.ip);
    nfct_set_attr_u8(ct, ATTR_L4PROTO, name->ptcl);
    nfct_set_attr_u16(ct, ATTR_PORT_SRC, htons(name->source.port));
    nfct_set_attr_u16(ct, ATTR_PORT_DST, htons(name->dest.port));
}

/* Without memory the message goes without the connection's name: the kernel must then not take it
 * for a request about all of them, so it is not sent. */
static void put_connection(struct nl_buf *b, const struct nf_conntrack *ct)
{
    size_t room;
    struct nlmsghdr *m = nl_current(b, &room);

    if (ct == NULL || m == NULL || room < MESSAGE_ROOM || nfct_nlmsg_build(m, ct) != 0) {
        nl_cancel(b);
        b->full = true;
    } else {
        nl_grown(b);
    }
}

static uint32_t put_about(struct nl_buf *b, struct netlink *n, uint8_t message, uint16_t flags,
                          const struct ct_name *name)
{
    struct nf_conntrack *ct = nfct_new();
    uint32_t seq = nl_message(b, n, CT_MESSAGE(message), flags, family_of(&name->source), 0);

    if (ct != NULL)
        set_name(ct, name);
    put_connection(b, ct);
    if (ct != NULL)
        nfct_destroy(ct);
    return seq;
}

uint32_t ct_put_delete(struct nl_buf *b, struct netlink *n, const struct ct_name *name)
{
    return put_about(b, n, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, name);
}

uint32_t ct_put_get(struct nl_buf *b, struct netlink *n, const struct ct_name *name)
{
    return put_about(b, n, IPCTNL_MSG_CT_GET, 0, name);
}

static void put_mark(struct nl_buf *b, uint32_t mark, uint32_t mask)
{
    nl_put_be32(b, CTA_MARK, mark);
    nl_put_be32(b, CTA_MARK_MASK, mask);
}

void ct_put_flush(struct nl_buf *b, struct netlink *n, uint32_t mark, uint32_t mask)
{
    nl_message(b, n, CT_MESSAGE(IPCTNL_MSG_CT_DELETE), NLM_F_ACK, AF_UNSPEC, 0);
    put_mark(b, mark, mask);
}

void ct_put_dump(struct nl_buf *b, struct netlink *n, uint32_t mark, uint32_t mask)
{
    nl_message(b, n, CT_MESSAGE(IPCTNL_MSG_CT_GET), NLM_F_DUMP, AF_UNSPEC, 0);
    put_mark(b, mark, mask);
}

void ct_put_dump_port(struct nl_buf *b, struct netlink *n, uint8_t ptcl, const struct addr *dest)
{
    uint16_t port = htons(dest->port);
    uint32_t flags = FILTER_PROTO_NUM | FILTER_DST_PORT, none = 0;

    nl_message(b, n, CT_MESSAGE(IPCTNL_MSG_CT_GET), NLM_F_DUMP, family_of(dest), 0);
    struct nlattr *filter = nl_nest(b, CTA_FILTER);
    nl_put(b, CTA_FILTER_ORIG_FLAGS, &flags, sizeof(flags));
    nl_put(b, CTA_FILTER_REPLY_FLAGS, &none, sizeof(none));
    nl_nest_end(b, filter);
    struct nlattr *tuple = nl_nest(b, CTA_TUPLE_ORIG | NLA_F_NESTED);
    struct nlattr *proto = nl_nest(b, CTA_TUPLE_PROTO | NLA_F_NESTED);
    nl_put_u8(b, CTA_PROTO_NUM, ptcl);
    nl_put(b, CTA_PROTO_DST_PORT, &port, sizeof(port));
    nl_nest_end(b, proto);
    nl_nest_end(b, tuple);
}

void ct_put_example(struct nl_buf *b, struct netlink *n, const struct ct_name *name,
                    const struct addr *target)
{
    struct nf_conntrack *ct = nfct_new();

    nl_message(b, n, CT_MESSAGE(IPCTNL_MSG_CT_NEW), NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK,
               family_of(&name->source), 0);
    if (ct != NULL) {
        set_name(ct, name);
        nfct_setobjopt(ct, NFCT_SOPT_SETUP_REPLY);
        nfct_set_attr_u32(ct, ATTR_TIMEOUT, 1);
        nfct_set_attr(ct, ATTR_DNAT_IPV4, target->ip);
        nfct_set_attr_u16(ct, ATTR_DNAT_PORT, htons(target->port));
    }
    put_connection(b, ct);
    if (ct != NULL)
        nfct_destroy(ct);
}

static struct addr get_addr(const struct nf_conntrack *ct, enum nf_conntrack_attr v4,
                            enum nf_conntrack_attr v6, enum nf_conntrack_attr port)
{
    uint16_t number = ntohs(nfct_get_attr_u16(ct, port));

    if (nfct_get_attr_u8(ct, ATTR_L3PROTO) == AF_INET)
        return addr_ipv4(nfct_get_attr(ct, v4), number);
    return addr_ipv6(nfct_get_attr(ct, v6), number);
}

static uint8_t phase_of(const struct nf_conntrack *ct)
{
    if (!nfct_attr_is_set(ct, ATTR_TCP_STATE))
        return CT_OPEN;
    switch (nfct_get_attr_u8(ct, ATTR_TCP_STATE)) {
    case TCP_CONNTRACK_TIME_WAIT:
        return CT_FINISHED;
    case TCP_CONNTRACK_CLOSE:
        return CT_RESET;
    default:
        return CT_OPEN;
    }
}

static bool get_state(const struct nf_conntrack *ct, struct ct_state *ret)
{
    bool v4 = nfct_get_attr_u8(ct, ATTR_L3PROTO) == AF_INET;

    if (!nfct_attr_is_set(ct, ATTR_PORT_SRC) || !nfct_attr_is_set(ct, ATTR_PORT_DST) ||
        !nfct_attr_is_set(ct, v4 ? ATTR_IPV4_DST : ATTR_IPV6_DST))
        return false;
    *ret = (struct ct_state){
        .name = {.source = get_addr(ct, ATTR_IPV4_SRC, ATTR_IPV6_SRC, ATTR_PORT_SRC),
                 .dest = get_addr(ct, ATTR_IPV4_DST, ATTR_IPV6_DST, ATTR_PORT_DST),
                 .ptcl = nfct_get_attr_u8(ct, ATTR_L4PROTO)},
        .counts = {.packets_out = nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_PACKETS),
                   .octets_out = nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_BYTES),
                   .packets_in = nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_PACKETS),
                   .octets_in = nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_BYTES)},
        .mark = nfct_get_attr_u32(ct, ATTR_MARK),
        .id = nfct_get_attr_u32(ct, ATTR_ID),
        .phase = phase_of(ct),
    };
    if (nfct_attr_is_set(ct, ATTR_REPL_PORT_SRC) &&
        nfct_attr_is_set(ct, v4 ? ATTR_REPL_IPV4_SRC : ATTR_REPL_IPV6_SRC))
        ret->replies_from =
            get_addr(ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, ATTR_REPL_PORT_SRC);
    return true;
}

bool ct_decode(const struct nlmsghdr *m, struct ct_state *ret)
{
    bool destroyed = m->nlmsg_type == CT_MESSAGE(IPCTNL_MSG_CT_DELETE);
    bool ok = false;

    if (!destroyed && m->nlmsg_type != CT_MESSAGE(IPCTNL_MSG_CT_NEW))
        return false;
    struct nf_conntrack *ct = nfct_new();
    if (ct != NULL && nfct_nlmsg_parse(m, ct) == 0)
        ok = get_state(ct, ret);
    if (ct != NULL)
        nfct_destroy(ct);
    if (ok)
        ret->destroyed = destroyed;
    return ok;
}
