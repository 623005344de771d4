#include "shared/nat/nft_rule.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>

void nft_batch_begin(struct nl_buf *b, struct netlink *n)
{
    nl_message(b, n, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_batch_end(struct nl_buf *b, struct netlink *n)
{
    nl_message(b, n, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

struct nft_rule nft_rule_begin(struct nl_buf *b, struct netlink *n, const char *table,
                               const char *chain)
{
    nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_RULE_TABLE, table);
    nl_put_text(b, NFTA_RULE_CHAIN, chain);
    return (struct nft_rule){.b = b, .list = nl_nest(b, NFTA_RULE_EXPRESSIONS)};
}

void nft_rule_end(struct nft_rule *r)
{
    nl_nest_end(r->b, r->list);
}

struct expr {
    struct nlattr *elem, *data;
};

static struct expr expr_begin(struct nft_rule *r, const char *name)
{
    struct expr e = {.elem = nl_nest(r->b, NFTA_LIST_ELEM)};

    nl_put_text(r->b, NFTA_EXPR_NAME, name);
    e.data = nl_nest(r->b, NFTA_EXPR_DATA);
    return e;
}

static void expr_end(struct nft_rule *r, struct expr e)
{
    nl_nest_end(r->b, e.data);
    nl_nest_end(r->b, e.elem);
}

static void put_register(struct nft_rule *r, uint16_t type, unsigned number)
{
    nl_put_be32(r->b, type, NFT_REG32_00 + number);
}

static void put_value(struct nft_rule *r, uint16_t type, const void *value, size_t len)
{
    struct nlattr *nest = nl_nest(r->b, type);

    nl_put(r->b, NFTA_DATA_VALUE, value, len);
    nl_nest_end(r->b, nest);
}

void nft_meta(struct nft_rule *r, enum nft_meta_keys key, unsigned to)
{
    struct expr e = expr_begin(r, "meta");

    nl_put_be32(r->b, NFTA_META_KEY, key);
    put_register(r, NFTA_META_DREG, to);
    expr_end(r, e);
}

void nft_payload(struct nft_rule *r, enum nft_payload_bases base, unsigned offset, unsigned len,
                 unsigned to)
{
    struct expr e = expr_begin(r, "payload");

    put_register(r, NFTA_PAYLOAD_DREG, to);
    nl_put_be32(r->b, NFTA_PAYLOAD_BASE, base);
    nl_put_be32(r->b, NFTA_PAYLOAD_OFFSET, offset);
    nl_put_be32(r->b, NFTA_PAYLOAD_LEN, len);
    expr_end(r, e);
}

void nft_ct(struct nft_rule *r, enum nft_ct_keys key, unsigned to)
{
    struct expr e = expr_begin(r, "ct");

    nl_put_be32(r->b, NFTA_CT_KEY, key);
    put_register(r, NFTA_CT_DREG, to);
    if (key != NFT_CT_MARK)
        nl_put_u8(r->b, NFTA_CT_DIRECTION, IP_CT_DIR_ORIGINAL);
    expr_end(r, e);
}

void nft_value(struct nft_rule *r, const void *value, size_t len, unsigned to)
{
    struct expr e = expr_begin(r, "immediate");

    put_register(r, NFTA_IMMEDIATE_DREG, to);
    put_value(r, NFTA_IMMEDIATE_DATA, value, len);
    expr_end(r, e);
}

void nft_mask(struct nft_rule *r, unsigned from, uint32_t mask, uint32_t flip, unsigned to)
{
    struct expr e = expr_begin(r, "bitwise");

    put_register(r, NFTA_BITWISE_SREG, from);
    put_register(r, NFTA_BITWISE_DREG, to);
    nl_put_be32(r->b, NFTA_BITWISE_LEN, sizeof(mask));
    put_value(r, NFTA_BITWISE_MASK, &mask, sizeof(mask));
    put_value(r, NFTA_BITWISE_XOR, &flip, sizeof(flip));
    expr_end(r, e);
}

void nft_compare(struct nft_rule *r, unsigned from, enum nft_cmp_ops op, const void *value,
                 size_t len)
{
    struct expr e = expr_begin(r, "cmp");

    put_register(r, NFTA_CMP_SREG, from);
    nl_put_be32(r->b, NFTA_CMP_OP, op);
    put_value(r, NFTA_CMP_DATA, value, len);
    expr_end(r, e);
}

void nft_in_set(struct nft_rule *r, const char *set, unsigned key)
{
    struct expr e = expr_begin(r, "lookup");

    nl_put_text(r->b, NFTA_LOOKUP_SET, set);
    put_register(r, NFTA_LOOKUP_SREG, key);
    expr_end(r, e);
}

void nft_in_map(struct nft_rule *r, const char *map, unsigned key, unsigned to)
{
    struct expr e = expr_begin(r, "lookup");

    nl_put_text(r->b, NFTA_LOOKUP_SET, map);
    put_register(r, NFTA_LOOKUP_SREG, key);
    put_register(r, NFTA_LOOKUP_DREG, to);
    expr_end(r, e);
}

void nft_count(struct nft_rule *r, const char *counter)
{
    struct expr e = expr_begin(r, "objref");

    nl_put_be32(r->b, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    nl_put_text(r->b, NFTA_OBJREF_IMM_NAME, counter);
    expr_end(r, e);
}

void nft_ct_set(struct nft_rule *r, enum nft_ct_keys key, unsigned from)
{
    struct expr e = expr_begin(r, "ct");

    nl_put_be32(r->b, NFTA_CT_KEY, key);
    put_register(r, NFTA_CT_SREG, from);
    expr_end(r, e);
}

void nft_dnat(struct nft_rule *r, uint8_t family, unsigned addr, unsigned port)
{
    struct expr e = expr_begin(r, "nat");

    nl_put_be32(r->b, NFTA_NAT_TYPE, NFT_NAT_DNAT);
    nl_put_be32(r->b, NFTA_NAT_FAMILY, family);
    put_register(r, NFTA_NAT_REG_ADDR_MIN, addr);
    put_register(r, NFTA_NAT_REG_PROTO_MIN, port);
    expr_end(r, e);
}

void nft_snat(struct nft_rule *r, uint8_t family, unsigned addr, unsigned first, unsigned last)
{
    struct expr e = expr_begin(r, "nat");

    nl_put_be32(r->b, NFTA_NAT_TYPE, NFT_NAT_SNAT);
    nl_put_be32(r->b, NFTA_NAT_FAMILY, family);
    put_register(r, NFTA_NAT_REG_ADDR_MIN, addr);
    put_register(r, NFTA_NAT_REG_PROTO_MIN, first);
    put_register(r, NFTA_NAT_REG_PROTO_MAX, last);
    expr_end(r, e);
}

void nft_masquerade(struct nft_rule *r, unsigned first, unsigned last)
{
    struct expr e = expr_begin(r, "masq");

    /* Unlike nat, it does not conclude this from the registers. */
    nl_put_be32(r->b, NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
    put_register(r, NFTA_MASQ_REG_PROTO_MIN, first);
    put_register(r, NFTA_MASQ_REG_PROTO_MAX, last);
    expr_end(r, e);
}

void nft_chain_of(struct nft_rule *r, const char *map, unsigned key)
{
    struct expr e = expr_begin(r, "lookup");

    nl_put_text(r->b, NFTA_LOOKUP_SET, map);
    put_register(r, NFTA_LOOKUP_SREG, key);
    nl_put_be32(r->b, NFTA_LOOKUP_DREG, NFT_REG_VERDICT);
    expr_end(r, e);
}

void nft_put_verdict(struct nl_buf *b, uint16_t type, int verdict, const char *chain)
{
    struct nlattr *data = nl_nest(b, type);
    struct nlattr *nest = nl_nest(b, NFTA_DATA_VERDICT);

    nl_put_be32(b, NFTA_VERDICT_CODE, (uint32_t)verdict);
    if (chain != NULL)
        nl_put_text(b, NFTA_VERDICT_CHAIN, chain);
    nl_nest_end(b, nest);
    nl_nest_end(b, data);
}

void nft_verdict(struct nft_rule *r, int verdict, const char *chain)
{
    struct expr e = expr_begin(r, "immediate");

    nl_put_be32(r->b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    nft_put_verdict(r->b, NFTA_IMMEDIATE_DATA, verdict, chain);
    expr_end(r, e);
}
