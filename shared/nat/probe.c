#include "shared/nat/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/nat/conntrack.h"
#include "shared/nat/house.h"
#include "shared/nat/nft_rule.h"

const char *nat_need_name(enum nat_need need)
{
    static const char *const names[NAT_NEEDS] = {
        [NAT_NEED_CAP_NET_ADMIN] = "cap_net_admin", [NAT_NEED_NF_TABLES] = "nf_tables",
        [NAT_NEED_CONNTRACK] = "conntrack",         [NAT_NEED_ACCT] = "nf_conntrack_acct",
        [NAT_NEED_EVENTS] = "nf_conntrack_events",  [NAT_NEED_FORWARDING4] = "forwarding_ipv4",
        [NAT_NEED_FORWARDING6] = "forwarding_ipv6", [NAT_NEED_ROUTE_LOCALNET] = "route_localnet",
    };
    return names[need];
}

/* ---- texts ---- */

/* Appends a sentence; one that does not fit is left out, so that none is cut in the middle. */
__attribute__((format(printf, 3, 4))) static void say(char *text, size_t size, const char *format,
                                                      ...)
{
    char sentence[300];
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    if (used + strlen(sentence) + 3 <= size)
        snprintf(text + used, size - used, "%s%s", used == 0 ? "" : "; ", sentence);
}

#define lack(ret, need, ...)                                                                       \
    do {                                                                                           \
        (ret)->missing |= UINT32_C(1) << (need);                                                   \
        say((ret)->text, sizeof((ret)->text), __VA_ARGS__);                                        \
    } while (0)

#define warn(ret, ...) say((ret)->warning, sizeof((ret)->warning), __VA_ARGS__)

/* -1: it cannot be read. */
static long read_sysctl(const char *format, const char *name)
{
    char path[160];
    long value;

    snprintf(path, sizeof(path), format, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return -1;
    if (fscanf(f, "%ld", &value) != 1)
        value = -1;
    fclose(f);
    return value;
}

/* ---- what nf_tables says to our tables ---- */

struct inquiry {
    struct netlink netlink;
    int rc;
    uint32_t seq; /* of the message refused */
    uint8_t send[64 * 1024], receive[64 * 1024];
};

static void on_verdict(const struct nlmsghdr *m, void *arg)
{
    struct inquiry *q = arg;
    int rc;

    if (netlink_verdict(m, &rc) && rc != 0 && q->rc == 0) {
        q->rc = rc;
        q->seq = m->nlmsg_seq;
    }
}

static int inquire(struct inquiry *q, const struct nl_buf *b,
                   void (*fn)(const struct nlmsghdr *m, void *arg), void *arg)
{
    ssize_t got;

    q->rc = netlink_send(&q->netlink, b);
    if (q->rc != 0)
        return q->rc;
    while ((got = netlink_receive(&q->netlink, q->receive, sizeof(q->receive))) > 0)
        netlink_each(q->receive, (size_t)got, fn, arg);
    return q->rc;
}

/* A transaction without its end: the kernel checks all of it and does none of it. */
static void probe_tables(const struct nat_probe_config *c, struct inquiry *q, struct nat_probe *ret)
{
    struct house h = {.mark = c->mark,
                      .mask = c->mask,
                      .tag_mask = 1, /* as good as any */
                      .ports = {1, 1},
                      .out_ports = {1, 1},
                      .capacity = 64,
                      .dormant = true};
    struct nl_buf b;

    snprintf(h.owner, sizeof(h.owner), "relayd-%s-probe", c->relay_id);
    snprintf(h.guard, sizeof(h.guard), "relayd-%s-probe-guard", c->relay_id);
    nl_init(&b, q->send, sizeof(q->send));
    nft_batch_begin(&b, &q->netlink);
    uint32_t first = q->netlink.seq;
    house_put_owner(&h, &b, &q->netlink);
    house_put_tag(&h, &b, &q->netlink, 1);
    house_put_guard(&h, &b, &q->netlink);
    int rc = inquire(q, &b, on_verdict, q);
    if (rc == -EPERM && q->seq <= first)
        lack(ret, NAT_NEED_CAP_NET_ADMIN, "the capability CAP_NET_ADMIN is missing");
    else if (rc != 0)
        lack(ret, NAT_NEED_NF_TABLES,
             "the kernel's nf_tables do not take our tables (%s): nat, masquerade, concatenations "
             "and flag owner are needed (Linux 5.12)",
             strerror(-rc));
}

/* ---- which protocols conntrack translates ---- */

struct example {
    struct ct_name name;
    struct addr target;
    bool translated;
};

static void on_example(const struct nlmsghdr *m, void *arg)
{
    struct example *x = arg;
    struct ct_state s;

    if (ct_decode(m, &s) && addr_equal(&s.replies_from, &x->target))
        x->translated = true;
}

/* A connection between addresses for documentation (RFC 5737), so that it is nobody's. The library
 * asks for another port with TCP and UDP only; but a PTCL whose ports conntrack does not know is
 * told by their absence. Returns what the kernel said to making it. */
static int probe_ptcl(struct inquiry *q, uint8_t ptcl, bool *ret_translated)
{
    struct example x = {.name = {.ptcl = ptcl}};
    struct nl_buf b;

    addr_parse("192.0.2.1:40000", &x.name.source);
    addr_parse("198.51.100.1:40001", &x.name.dest);
    addr_parse("203.0.113.1:40001", &x.target);
    nl_init(&b, q->send, sizeof(q->send));
    ct_put_example(&b, &q->netlink, &x.name, &x.target);
    int rc = inquire(q, &b, on_verdict, q);
    if (rc == 0) {
        nl_init(&b, q->send, sizeof(q->send));
        ct_put_get(&b, &q->netlink, &x.name);
        inquire(q, &b, on_example, &x);
        nl_init(&b, q->send, sizeof(q->send));
        ct_put_delete(&b, &q->netlink, &x.name);
        inquire(q, &b, on_verdict, q);
    }
    *ret_translated = x.translated;
    return rc;
}

static void probe_conntrack(struct inquiry *q, struct nat_probe *ret)
{
    static const uint8_t all[NAT_PTCLS_MAX] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE,
                                               IPPROTO_SCTP, IPPROTO_DCCP};
    int first = 0;

    /* Linux verifies UDP-Lite's checksum as if it were UDP's (nf_conntrack_proto_udp.c, seen up to
     * 6.18): with this setting, the default, every packet is taken for invalid and not translated.
     */
    bool verifies = read_sysctl("/proc/sys/net/netfilter/%s", "nf_conntrack_checksum") != 0;

    for (size_t i = 0; i < NAT_PTCLS_MAX; i++) {
        bool translated;
        if (all[i] == IPPROTO_UDPLITE && verifies)
            continue;
        int rc = probe_ptcl(q, all[i], &translated);
        if (translated)
            ret->ptcls[ret->ptcl_count++] = all[i];
        if (i == 0)
            first = rc;
    }
    if (ret->ptcl_count == 0 && !(ret->missing & 1u << NAT_NEED_CAP_NET_ADMIN))
        lack(ret, NAT_NEED_CONNTRACK, "conntrack's netlink interface does not translate (%s)",
             strerror(-first));
    if (read_sysctl("/proc/sys/net/netfilter/%s", "nf_conntrack_acct") != 1)
        lack(ret, NAT_NEED_ACCT,
             "net.netfilter.nf_conntrack_acct is not 1: idle times and volumes are unknown");
    if (read_sysctl("/proc/sys/net/netfilter/%s", "nf_conntrack_events") == 0)
        lack(ret, NAT_NEED_EVENTS, "net.netfilter.nf_conntrack_events is 0: ends are unknown");
    /* A segment that conntrack finds out of its window is not translated back: it reaches this
     * host's own TCP, which knows no such connection and resets it. */
    if (read_sysctl("/proc/sys/net/netfilter/%s", "nf_conntrack_tcp_be_liberal") == 0)
        warn(ret,
             "net.netfilter.nf_conntrack_tcp_be_liberal=1 is advised: without it a segment out of "
             "its window makes this host reset the target's connection");
    long most = read_sysctl("/proc/sys/net/netfilter/%s", "nf_conntrack_max");
    ret->conntrack_max = most > 0 ? (uint32_t)most : 0;
}

/* ---- forwarding ---- */

struct forwarding {
    const struct nat_probe_config *config;
    bool any4, any6;               /* some interface was looked at */
    char lacks4[160], lacks6[160]; /* names */
};

static bool forwards(const char *name, bool v6)
{
    if (!v6)
        return read_sysctl("/proc/sys/net/ipv4/conf/%s/forwarding", name) == 1;
    return read_sysctl("/proc/sys/net/ipv6/conf/%s/forwarding", "all") == 1 ||
           read_sysctl("/proc/sys/net/ipv6/conf/%s/force_forwarding", name) == 1;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = text; (at = strstr(at, word)) != NULL; at += len) {
        if ((at == text || at[-1] == ' ') && (at[len] == '\0' || at[len] == ' '))
            return true;
    }
    return false;
}

static void look_at(struct forwarding *f, const char *name, bool v6)
{
    char *lacks = v6 ? f->lacks6 : f->lacks4;
    size_t used = strlen(lacks);

    *(v6 ? &f->any6 : &f->any4) = true;
    if (forwards(name, v6) || has_word(lacks, name) || used + strlen(name) + 2 > sizeof(f->lacks4))
        return;
    snprintf(lacks + used, sizeof(f->lacks4) - used, "%s%s", used == 0 ? "" : " ", name);
}

static bool is_ours(const struct nat_probe_config *c, const char *name)
{
    if (c->interfaces == NULL)
        return true;
    for (size_t i = 0; i < c->interface_count; i++) {
        if (strcmp(c->interfaces[i], name) == 0)
            return true;
    }
    return false;
}

static void look_at_interfaces(struct forwarding *f)
{
    struct ifaddrs *list;

    if (getifaddrs(&list) != 0)
        return;
    for (struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) ||
            !is_ours(f->config, i->ifa_name))
            continue;
        if (i->ifa_addr->sa_family == AF_INET)
            look_at(f, i->ifa_name, false);
        else if (i->ifa_addr->sa_family == AF_INET6 &&
                 !IN6_IS_ADDR_LINKLOCAL(
                     &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr))
            look_at(f, i->ifa_name, true);
    }
    freeifaddrs(list);
}

static void probe_forwarding(const struct nat_probe_config *c, struct nat_probe *ret)
{
    struct forwarding f = {.config = c};
    bool local4 = false, local6 = false, loopback = false;

    for (size_t i = 0; i < c->local_count; i++) {
        local4 |= c->local[i].family == ADDR_IPV4;
        local6 |= c->local[i].family == ADDR_IPV6;
        loopback |= c->local[i].family == ADDR_IPV4 && addr_is_loopback(&c->local[i]);
    }
    look_at_interfaces(&f);
    if (local4 && f.lacks4[0] != '\0')
        lack(ret, NAT_NEED_FORWARDING4, "net.ipv4.conf.X.forwarding is not 1 for X: %s", f.lacks4);
    if (local6 && f.lacks6[0] != '\0')
        lack(ret, NAT_NEED_FORWARDING6, "net.ipv6.conf.all.forwarding is not 1 (wanted by: %s)",
             f.lacks6);
    ret->loopback = read_sysctl("/proc/sys/net/ipv4/conf/%s/route_localnet", "all") == 1;
    if (loopback && !ret->loopback)
        lack(ret, NAT_NEED_ROUTE_LOCALNET,
             "net.ipv4.conf.all.route_localnet is not 1: 127/8 cannot be served");
    ret->ipv4 = local4 && (f.any4 || loopback) && f.lacks4[0] == '\0';
    ret->ipv6 = local6 && f.any6 && f.lacks6[0] == '\0';
}

/* ---- other people's rules ---- */

struct chains {
    const struct nat_probe_config *config;
    struct nat_probe *ret;
};

static void on_chain(const struct nlmsghdr *m, void *arg)
{
    struct chains *c = arg;
    size_t len, table_len, name_len;

    if (m->nlmsg_type != NFT_MESSAGE(NFT_MSG_NEWCHAIN))
        return;
    const void *hook = netlink_attr(m, NFTA_CHAIN_HOOK, &len);
    const void *number = netlink_nested(hook, len, NFTA_HOOK_HOOKNUM, &len);
    if (number == NULL || netlink_be32(number, len) != NF_INET_FORWARD ||
        (netlink_family(m) != NFPROTO_IPV4 && netlink_family(m) != NFPROTO_IPV6 &&
         netlink_family(m) != NFPROTO_INET))
        return;
    const void *policy = netlink_attr(m, NFTA_CHAIN_POLICY, &len);
    if (policy == NULL || netlink_be32(policy, len) != NF_DROP)
        return;
    const char *table = netlink_attr(m, NFTA_CHAIN_TABLE, &table_len);
    const char *name = netlink_attr(m, NFTA_CHAIN_NAME, &name_len);
    if (table == NULL || name == NULL)
        return;
    c->ret->foreign_drop = true;
    warn(c->ret,
         "chain %.*s of table %.*s drops what it does not accept: unless it does already, let it "
         "accept ct mark and 0x%x == 0x%x",
         (int)name_len - 1, name, (int)table_len - 1, table, c->config->mask, c->config->mark);
}

static void probe_foreign(const struct nat_probe_config *c, struct inquiry *q,
                          struct nat_probe *ret)
{
    struct chains chains = {.config = c, .ret = ret};
    char line[64];
    struct nl_buf b;

    nl_init(&b, q->send, sizeof(q->send));
    nl_message(&b, &q->netlink, NFT_MESSAGE(NFT_MSG_GETCHAIN), NLM_F_DUMP, NFPROTO_UNSPEC, 0);
    inquire(q, &b, on_chain, &chains);

    FILE *f = fopen("/proc/net/ip_tables_names", "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL)
        ret->legacy_iptables |= strcmp(line, "filter\n") == 0;
    fclose(f);
    if (ret->legacy_iptables)
        warn(ret, "there are rules of iptables-legacy, which cannot be read from here: its FORWARD "
                  "chain must accept our packets");
}

void nat_probe(const struct nat_probe_config *c, struct nat_probe *ret)
{
    struct inquiry *q = calloc(1, sizeof(*q));

    memset(ret, 0, sizeof(*ret));
    int rc = q == NULL ? -ENOMEM : netlink_open(&q->netlink, 256 * 1024);
    if (rc != 0) {
        lack(ret, NAT_NEED_NF_TABLES, "no netlink socket for netfilter: %s", strerror(-rc));
        free(q);
        return;
    }
    probe_tables(c, q, ret);
    probe_conntrack(q, ret);
    probe_forwarding(c, ret);
    probe_foreign(c, q, ret);
    netlink_close(&q->netlink);
    free(q);
    if (ret->missing & ((1u << NAT_NEEDS_ALL) - 1))
        ret->ipv4 = ret->ipv6 = ret->loopback = false;
}
