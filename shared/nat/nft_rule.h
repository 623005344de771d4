/* Rules of nftables, as the kernel takes them: one function per expression, put one after the
 * other.
 *
 *   nft_rule_begin ─► expressions ─► nft_rule_end
 *
 * Registers are 0 to 15, four octets each; longer values take consecutive ones, shorter ones are
 * padded with zeros. Numbers in registers: addresses and ports in network order, marks in the
 * host's. Whatever does not fit sets the buffer's `full`. Pure. */
#pragma once

#include <linux/netfilter/nf_tables.h>

#include "shared/nat/netlink.h"

#define NFT_MESSAGE(msg) ((uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | (msg)))

struct nft_rule {
    struct nl_buf *b;
    struct nlattr *list;
};

/* A transaction: everything between the two happens, or nothing does; without the end nothing does
 * (the kernel only says what it thinks of it). */
void nft_batch_begin(struct nl_buf *b, struct netlink *n);
void nft_batch_end(struct nl_buf *b, struct netlink *n);

struct nft_rule nft_rule_begin(struct nl_buf *b, struct netlink *n, const char *table,
                               const char *chain);
void nft_rule_end(struct nft_rule *r);

/* What expressions read. nft_ct: of the original direction where that makes a difference. */
void nft_meta(struct nft_rule *r, enum nft_meta_keys key, unsigned to);
void nft_payload(struct nft_rule *r, enum nft_payload_bases base, unsigned offset, unsigned len,
                 unsigned to);
void nft_ct(struct nft_rule *r, enum nft_ct_keys key, unsigned to);
void nft_value(struct nft_rule *r, const void *value, size_t len, unsigned to);

/* What they compute: to = (from & mask) ^ flip. */
void nft_mask(struct nft_rule *r, unsigned from, uint32_t mask, uint32_t flip, unsigned to);

/* What ends the rule here unless it holds. */
void nft_compare(struct nft_rule *r, unsigned from, enum nft_cmp_ops op, const void *value,
                 size_t len);
void nft_in_set(struct nft_rule *r, const char *set, unsigned key);
void nft_in_map(struct nft_rule *r, const char *map, unsigned key, unsigned to);

/* What they do. verdict: NF_ACCEPT, NF_DROP, NFT_GOTO or NFT_JUMP (with a chain), NFT_RETURN; or as
 * a map says. */
void nft_count(struct nft_rule *r, const char *counter);
void nft_ct_set(struct nft_rule *r, enum nft_ct_keys key, unsigned from);
void nft_dnat(struct nft_rule *r, uint8_t family, unsigned addr, unsigned port);
void nft_snat(struct nft_rule *r, uint8_t family, unsigned addr, unsigned first, unsigned last);
void nft_masquerade(struct nft_rule *r, unsigned first, unsigned last);
void nft_verdict(struct nft_rule *r, int verdict, const char *chain);
void nft_chain_of(struct nft_rule *r, const char *map, unsigned key);

/* A verdict as an attribute, for elements of such a map. */
void nft_put_verdict(struct nl_buf *b, uint16_t type, int verdict, const char *chain);
