#include "shared/nat/house.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

#include "shared/nat/nft_rule.h"

/* Since 6.9; Debian 12's headers are older. */
enum { TABLE_F_PERSIST = 4 };

/* nft's own numbers of types, so that `nft list` shows sets as what they are. */
enum { TYPE_IPV4 = 7, TYPE_IPV6 = 8, TYPE_PROTO = 12, TYPE_SERVICE = 13, TYPE_MARK = 19 };
#define CONCAT(type, more) ((uint32_t)((type) << 6 | (more)))

/* Before other tables' dnat (-100), behind conntrack (-200); behind all of it; before their snat.
 */
enum { PRIORITY_DNAT = -110, PRIORITY_GUARD = -90, PRIORITY_SNAT = 90 };

/* How the two families differ; registers as in the drawing of the header, in units of four octets.
 */
struct shape {
    uint8_t nfproto;
    const char *map, *held;
    uint32_t address_type;
    unsigned octets, words;              /* of an address */
    unsigned source_offset, dest_offset; /* in the IP header */
    enum nft_ct_keys ct_source, ct_dest;
};

static const struct shape ipv4 = {.nfproto = NFPROTO_IPV4,
                                  .map = "nat4",
                                  .held = "held4",
                                  .address_type = TYPE_IPV4,
                                  .octets = 4,
                                  .words = 1,
                                  .source_offset = 12,
                                  .dest_offset = 16,
                                  .ct_source = NFT_CT_SRC_IP,
                                  .ct_dest = NFT_CT_DST_IP};
static const struct shape ipv6 = {.nfproto = NFPROTO_IPV6,
                                  .map = "nat6",
                                  .held = "held6",
                                  .address_type = TYPE_IPV6,
                                  .octets = 16,
                                  .words = 4,
                                  .source_offset = 8,
                                  .dest_offset = 24,
                                  .ct_source = NFT_CT_SRC_IP6,
                                  .ct_dest = NFT_CT_DST_IP6};
static const struct shape *const shapes[] = {&ipv4, &ipv6};
enum { SHAPES = sizeof(shapes) / sizeof(*shapes) };

static const struct {
    const char *name;
    bool guard;
} counters[HOUSE_COUNTERS] = {
    [HOUSE_ENTERED] = {"entered", false}, [HOUSE_LEFT] = {"left", false},
    [HOUSE_LATE] = {"late", false},       [HOUSE_UNMATCHED] = {"unmatched", true},
    [HOUSE_LAPSED] = {"lapsed", true},
};

uint32_t house_mark(const struct house *h, uint16_t tag)
{
    return h->mark | (uint32_t)tag << __builtin_ctz(h->tag_mask);
}

/* ---- tables, chains, sets, counters ---- */

static void put_table(struct nl_buf *b, struct netlink *n, const char *name, uint16_t flags,
                      uint32_t table_flags)
{
    nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWTABLE), NLM_F_CREATE | flags, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_TABLE_NAME, name);
    if (table_flags != 0)
        nl_put_be32(b, NFTA_TABLE_FLAGS, table_flags);
}

void house_put_removal(struct nl_buf *b, struct netlink *n, const char *name)
{
    nl_message(b, n, NFT_MESSAGE(NFT_MSG_DELTABLE), 0, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_TABLE_NAME, name);
}

static void put_chain(struct nl_buf *b, struct netlink *n, const char *table, const char *name)
{
    nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWCHAIN), NLM_F_CREATE, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_CHAIN_TABLE, table);
    nl_put_text(b, NFTA_CHAIN_NAME, name);
}

static void put_base_chain(struct nl_buf *b, struct netlink *n, const char *table, const char *name,
                           const char *type, enum nf_inet_hooks hook, int priority)
{
    put_chain(b, n, table, name);
    struct nlattr *nest = nl_nest(b, NFTA_CHAIN_HOOK);
    nl_put_be32(b, NFTA_HOOK_HOOKNUM, hook);
    nl_put_be32(b, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    nl_nest_end(b, nest);
    nl_put_text(b, NFTA_CHAIN_TYPE, type);
    nl_put_be32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
}

static void put_set(struct nl_buf *b, struct netlink *n, const char *table, const char *name,
                    uint32_t key_type, unsigned key_words)
{
    nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWSET), NLM_F_CREATE, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_SET_TABLE, table);
    nl_put_text(b, NFTA_SET_NAME, name);
    nl_put_be32(b, NFTA_SET_ID, n->seq);
    nl_put_be32(b, NFTA_SET_KEY_TYPE, key_type);
    nl_put_be32(b, NFTA_SET_KEY_LEN, key_words * 4);
}

static void put_set_size(struct nl_buf *b, uint32_t size)
{
    struct nlattr *nest = nl_nest(b, NFTA_SET_DESC);

    nl_put_be32(b, NFTA_SET_DESC_SIZE, size);
    nl_nest_end(b, nest);
}

static void put_counters(const struct house *h, struct nl_buf *b, struct netlink *n, bool guard)
{
    for (int i = 0; i < HOUSE_COUNTERS; i++) {
        if (counters[i].guard != guard)
            continue;
        nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWOBJ), NLM_F_CREATE, NFPROTO_INET, 0);
        nl_put_text(b, NFTA_OBJ_TABLE, guard ? h->guard : h->owner);
        nl_put_text(b, NFTA_OBJ_NAME, counters[i].name);
        nl_put_be32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
        nl_nest_end(b, nl_nest(b, NFTA_OBJ_DATA));
    }
}

/* ---- rules ---- */

static void only_family(struct nft_rule *r, const struct shape *s)
{
    nft_meta(r, NFT_META_NFPROTO, 0);
    nft_compare(r, 0, NFT_CMP_EQ, &s->nfproto, sizeof(s->nfproto));
}

static void only_ours(struct nft_rule *r, const struct house *h)
{
    nft_ct(r, NFT_CT_MARK, 0);
    nft_mask(r, 0, h->mask, 0, 0);
    nft_compare(r, 0, NFT_CMP_EQ, &h->mark, sizeof(h->mark));
}

/* Cheap, so that what is not for us goes its way without a look at our sets. */
static void only_our_ports(struct nft_rule *r, const struct house *h)
{
    uint16_t first = htons(h->ports.first), last = htons(h->ports.last);

    nft_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 0);
    nft_compare(r, 0, NFT_CMP_GTE, &first, sizeof(first));
    nft_compare(r, 0, NFT_CMP_LTE, &last, sizeof(last));
}

/* The registers of data: one behind those of the key, so that each begins where a part of the key
 * began. nft needs that to list our rules (what it lists then reads strangely, but it goes on). */
struct data {
    unsigned target, port, from, mark;
};

static struct data data_of(const struct shape *s)
{
    unsigned w = s->words;

    return (struct data){.target = 1, .port = 1 + w, .from = 2 + w, .mark = 2 + w + w};
}

/* What matches the packet. */
static void match_packet(struct nft_rule *r, const struct house *h, const struct shape *s)
{
    unsigned w = s->words;

    only_family(r, s);
    only_our_ports(r, h);
    nft_meta(r, NFT_META_L4PROTO, 0);
    nft_payload(r, NFT_PAYLOAD_NETWORK_HEADER, s->source_offset, s->octets, 1);
    nft_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, 1 + w);
    nft_payload(r, NFT_PAYLOAD_NETWORK_HEADER, s->dest_offset, s->octets, 2 + w);
    nft_payload(r, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 2 + w + w);
    nft_in_map(r, s->map, 0, data_of(s).target);
}

/* Two rules: the first has the tag's chain set the mark (a rule cannot put bits of a register among
 * those of the mark in a way that every nft can list), the second translates what is marked. */
static void put_translation(const struct house *h, struct nl_buf *b, struct netlink *n,
                            const struct shape *s)
{
    struct nft_rule r = nft_rule_begin(b, n, h->owner, "translate");

    match_packet(&r, h, s);
    nft_chain_of(&r, "tags", data_of(s).mark);
    nft_rule_end(&r);

    r = nft_rule_begin(b, n, h->owner, "translate");
    only_ours(&r, h);
    match_packet(&r, h, s);
    nft_count(&r, counters[HOUSE_ENTERED].name);
    nft_dnat(&r, s->nfproto, data_of(s).target, data_of(s).port);
    nft_rule_end(&r);
}

static void tag_chain(uint16_t tag, char ret[16])
{
    snprintf(ret, 16, "tag%u", tag);
}

void house_put_tag(const struct house *h, struct nl_buf *b, struct netlink *n, uint16_t tag)
{
    uint32_t mark = house_mark(h, tag);
    char chain[16];

    tag_chain(tag, chain);
    put_chain(b, n, h->owner, chain);
    struct nft_rule r = nft_rule_begin(b, n, h->owner, chain);
    nft_ct(&r, NFT_CT_MARK, 0);
    nft_mask(&r, 0, ~(h->mask | h->tag_mask), mark, 0);
    nft_ct_set(&r, NFT_CT_MARK, 0);
    nft_rule_end(&r);

    nl_message(b, n, NFT_MESSAGE(NFT_MSG_NEWSETELEM), NLM_F_CREATE, NFPROTO_INET, 0);
    nl_put_text(b, NFTA_SET_ELEM_LIST_TABLE, h->owner);
    nl_put_text(b, NFTA_SET_ELEM_LIST_SET, "tags");
    struct nlattr *list = nl_nest(b, NFTA_SET_ELEM_LIST_ELEMENTS);
    struct nlattr *elem = nl_nest(b, NFTA_LIST_ELEM);
    struct nlattr *key = nl_nest(b, NFTA_SET_ELEM_KEY);
    nl_put(b, NFTA_DATA_VALUE, &mark, sizeof(mark));
    nl_nest_end(b, key);
    nft_put_verdict(b, NFTA_SET_ELEM_DATA, NFT_JUMP, chain);
    nl_nest_end(b, elem);
    nl_nest_end(b, list);
}

/* Looks the connection up again, by what its first packet was. */
static struct nft_rule begin_leaving(const struct house *h, struct nl_buf *b, struct netlink *n,
                                     const struct shape *s)
{
    struct nft_rule r = nft_rule_begin(b, n, h->owner, "leave");
    unsigned w = s->words;

    only_family(&r, s);
    nft_ct(&r, NFT_CT_PROTOCOL, 0);
    nft_ct(&r, s->ct_source, 1);
    nft_ct(&r, NFT_CT_PROTO_SRC, 1 + w);
    nft_ct(&r, s->ct_dest, 2 + w);
    nft_ct(&r, NFT_CT_PROTO_DST, 2 + w + w);
    nft_in_map(&r, s->map, 0, data_of(s).target);
    return r;
}

static void put_leaving(const struct house *h, struct nl_buf *b, struct netlink *n,
                        const struct shape *s)
{
    static const uint8_t unspecified[16];
    uint16_t first = htons(h->out_ports.first), last = htons(h->out_ports.last);
    unsigned from = data_of(s).from, low = 14, high = 15;

    struct nft_rule r = begin_leaving(h, b, n, s);
    nft_compare(&r, from, NFT_CMP_NEQ, unspecified, s->octets);
    nft_value(&r, &first, sizeof(first), low);
    nft_value(&r, &last, sizeof(last), high);
    nft_count(&r, counters[HOUSE_LEFT].name);
    nft_snat(&r, s->nfproto, from, low, high);
    nft_rule_end(&r);

    r = begin_leaving(h, b, n, s);
    nft_value(&r, &first, sizeof(first), low);
    nft_value(&r, &last, sizeof(last), high);
    nft_count(&r, counters[HOUSE_LEFT].name);
    nft_masquerade(&r, low, high);
    nft_rule_end(&r);
}

static void put_jump(const char *table, struct nl_buf *b, struct netlink *n, const char *chain,
                     const char *to)
{
    struct nft_rule r = nft_rule_begin(b, n, table, chain);

    nft_verdict(&r, NFT_GOTO, to);
    nft_rule_end(&r);
}

static void put_drop(const char *table, struct nl_buf *b, struct netlink *n, const char *chain,
                     enum house_counter counter)
{
    struct nft_rule r = nft_rule_begin(b, n, table, chain);

    nft_count(&r, counters[counter].name);
    nft_verdict(&r, NF_DROP, NULL);
    nft_rule_end(&r);
}

void house_put_owner(const struct house *h, struct nl_buf *b, struct netlink *n)
{
    uint32_t dormant = h->dormant ? NFT_TABLE_F_DORMANT : 0;
    struct nft_rule r;

    put_table(b, n, h->owner, NLM_F_EXCL, NFT_TABLE_F_OWNER | dormant);
    put_counters(h, b, n, false);
    put_chain(b, n, h->owner, "translate");
    put_chain(b, n, h->owner, "leave");
    put_set(b, n, h->owner, "tags", TYPE_MARK, 1);
    nl_put_be32(b, NFTA_SET_FLAGS, NFT_SET_MAP);
    nl_put_be32(b, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
    for (int i = 0; i < SHAPES; i++) {
        const struct shape *s = shapes[i];
        uint32_t key = CONCAT(CONCAT(TYPE_PROTO, s->address_type), TYPE_SERVICE);
        key = CONCAT(CONCAT(key, s->address_type), TYPE_SERVICE);
        put_set(b, n, h->owner, s->map, key, 3 + 2 * s->words);
        nl_put_be32(b, NFTA_SET_FLAGS, NFT_SET_MAP);
        key = CONCAT(CONCAT(s->address_type, TYPE_SERVICE), s->address_type);
        nl_put_be32(b, NFTA_SET_DATA_TYPE, CONCAT(key, TYPE_MARK));
        nl_put_be32(b, NFTA_SET_DATA_LEN, 8 + 2 * s->octets);
        put_set_size(b, h->capacity);
        put_translation(h, b, n, s);
        put_leaving(h, b, n, s);
    }
    put_drop(h->owner, b, n, "leave", HOUSE_LATE);

    put_base_chain(b, n, h->owner, "prerouting", "nat", NF_INET_PRE_ROUTING, PRIORITY_DNAT);
    put_jump(h->owner, b, n, "prerouting", "translate");
    put_base_chain(b, n, h->owner, "output", "nat", NF_INET_LOCAL_OUT, PRIORITY_DNAT);
    put_jump(h->owner, b, n, "output", "translate");
    put_base_chain(b, n, h->owner, "postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_SNAT);
    r = nft_rule_begin(b, n, h->owner, "postrouting");
    only_ours(&r, h);
    nft_verdict(&r, NFT_GOTO, "leave");
    nft_rule_end(&r);
    put_base_chain(b, n, h->owner, "input", "nat", NF_INET_LOCAL_IN, PRIORITY_SNAT);
    r = nft_rule_begin(b, n, h->owner, "input");
    only_ours(&r, h);
    nft_count(&r, counters[HOUSE_LEFT].name);
    nft_rule_end(&r);
}

static void put_unmatched(const struct house *h, struct nl_buf *b, struct netlink *n,
                          const struct shape *s, const char *chain)
{
    struct nft_rule r = nft_rule_begin(b, n, h->guard, chain);

    only_family(&r, s);
    only_our_ports(&r, h);
    nft_meta(&r, NFT_META_L4PROTO, 0);
    nft_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, s->dest_offset, s->octets, 1);
    nft_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 1 + s->words);
    nft_in_set(&r, s->held, 0);
    nft_count(&r, counters[HOUSE_UNMATCHED].name);
    nft_verdict(&r, NF_DROP, NULL);
    nft_rule_end(&r);
}

static void put_guard_chain(const struct house *h, struct nl_buf *b, struct netlink *n,
                            const char *chain, enum nf_inet_hooks hook)
{
    put_base_chain(b, n, h->guard, chain, "filter", hook, PRIORITY_GUARD);
    struct nft_rule r = nft_rule_begin(b, n, h->guard, chain);
    only_ours(&r, h);
    nft_verdict(&r, NFT_GOTO, "ours");
    nft_rule_end(&r);
    for (int i = 0; i < SHAPES; i++)
        put_unmatched(h, b, n, shapes[i], chain);
}

void house_put_guard(const struct house *h, struct nl_buf *b, struct netlink *n)
{
    uint32_t flags = h->dormant ? NFT_TABLE_F_DORMANT : 0;

    if (h->persists)
        flags |= NFT_TABLE_F_OWNER | TABLE_F_PERSIST;
    put_table(b, n, h->guard, 0, 0);
    house_put_removal(b, n, h->guard);
    put_table(b, n, h->guard, 0, flags);
    put_counters(h, b, n, true);
    for (int i = 0; i < SHAPES; i++) {
        const struct shape *s = shapes[i];
        uint32_t key = CONCAT(CONCAT(TYPE_PROTO, s->address_type), TYPE_SERVICE);
        put_set(b, n, h->guard, s->held, key, 2 + s->words);
        put_set_size(b, HOUSE_HELD_MAX);
    }
    put_set(b, n, h->guard, "leases", TYPE_MARK, 1);
    nl_put_be32(b, NFTA_SET_FLAGS, NFT_SET_TIMEOUT);

    put_chain(b, n, h->guard, "ours");
    struct nft_rule r = nft_rule_begin(b, n, h->guard, "ours");
    nft_ct(&r, NFT_CT_MARK, 0);
    nft_mask(&r, 0, h->mask | h->tag_mask, 0, 0);
    nft_in_set(&r, "leases", 0);
    nft_verdict(&r, NF_ACCEPT, NULL);
    nft_rule_end(&r);
    put_drop(h->guard, b, n, "ours", HOUSE_LAPSED);
    put_guard_chain(h, b, n, "prerouting", NF_INET_PRE_ROUTING);
    put_guard_chain(h, b, n, "output", NF_INET_LOCAL_OUT);
    /* The kernel translates as long as some nat chain is there: connections go on being translated
     * until their lease is over, and do not end up here. */
    put_base_chain(b, n, h->guard, "nat", "nat", NF_INET_POST_ROUTING, PRIORITY_SNAT);
}
