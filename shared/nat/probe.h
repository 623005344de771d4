/* What the kernel and our privileges allow for shared/nat: asked for once at start, and again
 * whenever somebody wants to know. Never needed to start: without it other engines serve. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

/* Each is a bit of nat_probe.missing. Without any of the first group nothing can be served. */
enum nat_need {
    NAT_NEED_CAP_NET_ADMIN, /* the capability, in the user namespace of our network */
    NAT_NEED_NF_TABLES,     /* nf_tables with nat, concatenations and flag owner (5.12) */
    NAT_NEED_CONNTRACK,     /* ctnetlink, and translation of TCP or UDP at least */
    NAT_NEED_ACCT,          /* net.netfilter.nf_conntrack_acct=1: idle and volume */
    NAT_NEED_EVENTS,        /* net.netfilter.nf_conntrack_events is not 0: ends */
    NAT_NEEDS_ALL,          /* the number of the above; what follows costs one family only */
    NAT_NEED_FORWARDING4 = NAT_NEEDS_ALL, /* net.ipv4.conf.IF.forwarding=1 on each interface */
    NAT_NEED_FORWARDING6,    /* net.ipv6.conf.all.forwarding=1 (or, 6.17, IF.force_forwarding) */
    NAT_NEED_ROUTE_LOCALNET, /* net.ipv4.conf.*.route_localnet=1: BND in 127/8 only */
    NAT_NEEDS
};
const char *nat_need_name(enum nat_need need); /* "cap_net_admin" and so on, for metrics */

struct nat_probe_config {
    const char *relay_id;
    uint32_t mark, mask;
    const struct addr *local; /* the addresses that BND is chosen from */
    size_t local_count;
    const char *const *interfaces; /* that shall forward; NULL: all that are up, not loopback, and
                                      have an address of the family other than link-local */
    size_t interface_count;
};

#define NAT_PTCLS_MAX 5

struct nat_probe {
    uint32_t missing;             /* 1u << enum nat_need */
    uint8_t ptcls[NAT_PTCLS_MAX]; /* that this kernel translates, TCP and UDP first; UDP-Lite only
                                     where net.netfilter.nf_conntrack_checksum=0 */
    uint8_t ptcl_count;
    bool ipv4, ipv6;        /* can be served */
    bool loopback;          /* BND in 127/8 can be served */
    bool foreign_drop;      /* somebody's forward chain has policy drop (a container engine, ufw):
                               ours pass only if that chain accepts them */
    bool legacy_iptables;   /* and rules of iptables-legacy exist, which cannot be read here */
    uint32_t conntrack_max; /* connections that the kernel holds at most, the host's own included */
    char text[768];         /* what is missing and how to get it; "" if nothing */
    char warning[512]; /* foreign_drop and so on, and settings that are advised, with what to do; ""
                        */
};

/* Asks; leaves nothing behind (a table that nobody sees, and conntrack entries between addresses
 * for documentation, both deleted before it returns). Blocks for a few milliseconds. */
void nat_probe(const struct nat_probe_config *c, struct nat_probe *ret);
