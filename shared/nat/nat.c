#include "shared/nat/nat_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/nat/nft_rule.h"

/* Answers to a batch of requests, and a second of ends of connections. */
enum { ANSWERS_BUFFER = 1024 * 1024, EVENTS_BUFFER = 8 * 1024 * 1024 };

const char *nat_result_name(enum nat_result r)
{
    static const char *const names[] = {
        [NAT_OK] = "ok",           [NAT_BAD] = "bad",
        [NAT_TAKEN] = "taken",     [NAT_NOT_HELD] = "not_held",
        [NAT_FULL] = "full",       [NAT_NO_MEMORY] = "no_memory",
        [NAT_REFUSED] = "refused",
    };
    return names[r];
}

void nat_trouble(struct nat *n, enum nat_trouble what, const char *sentence)
{
    if (n->config.on_trouble != NULL)
        n->config.on_trouble(n->config.arg, what, sentence);
}

/* ---- transactions ---- */

struct nl_buf nat_begin(struct nat *n)
{
    struct nl_buf b;

    nl_init(&b, n->send, sizeof(n->send));
    nft_batch_begin(&b, &n->rules);
    return b;
}

struct refusal {
    int rc;
    uint32_t seq;
};

static void on_verdict(const struct nlmsghdr *m, void *arg)
{
    struct refusal *r = arg;
    int rc;

    if (netlink_verdict(m, &rc) && rc != 0 && r->rc == 0)
        *r = (struct refusal){.rc = rc, .seq = m->nlmsg_seq};
}

int nat_transact(struct nat *n, struct nl_buf *b, uint32_t *ret_seq)
{
    struct refusal r = {.rc = 0};
    ssize_t got;

    nft_batch_end(b, &n->rules);
    r.rc = netlink_send(&n->rules, b);
    while (r.rc == 0 || r.seq != 0) {
        got = netlink_receive(&n->rules, n->receive, sizeof(n->receive));
        if (got <= 0)
            break;
        netlink_each(n->receive, (size_t)got, on_verdict, &r);
    }
    n->stats.commits++;
    if (r.rc != 0)
        n->stats.last_errno = -r.rc;
    if (r.rc != 0 && ret_seq != NULL)
        *ret_seq = r.seq;
    return r.rc;
}

enum nat_result nat_result_of(int rc)
{
    switch (rc) {
    case 0:
        return NAT_OK;
    case -ENOMEM:
    case -ENOBUFS:
        return NAT_NO_MEMORY;
    case -ENFILE:
        return NAT_FULL;
    default:
        return NAT_REFUSED;
    }
}

/* ---- open and close ---- */

static bool id_is_good(const char *id)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    size_t len = id == NULL ? 0 : strlen(id);

    return len >= 1 && len <= NAT_ID_MAX && strspn(id, good) == len;
}

static bool is_span(struct port_span s)
{
    return s.first != 0 && s.first <= s.last;
}

static int check(const struct nat_config *c, struct err *e)
{
    uint32_t tags = c->tag_mask == 0 ? 0 : c->tag_mask >> __builtin_ctz(c->tag_mask);

    if (!id_is_good(c->relay_id))
        return err_set(e, "a relay id of 1 to %d letters, digits, '_', '.' and '-' is needed",
                       NAT_ID_MAX);
    if (c->mark == 0 || (c->mark & ~c->mask) != 0)
        return err_set(e, "the mark 0x%x must not be 0, and lie in its mask 0x%x", c->mark,
                       c->mask);
    if (tags == 0 || (tags & (tags + 1)) != 0 || tags > UINT16_MAX || (c->tag_mask & c->mask) != 0)
        return err_set(e, "the tags' mask 0x%x must be 1 to 16 bits in a row, none of them in 0x%x",
                       c->tag_mask, c->mask);
    if (!is_span(c->ports) || (c->out_ports.first != 0 && !is_span(c->out_ports)))
        return err_set(e, "a range of ports is empty");
    if (c->capacity == 0 || c->sample_ms == 0)
        return err_set(e, "the capacity and the time between samples must not be 0");
    if (c->events_buffer > INT32_MAX)
        return err_set(e, "the buffer for events is too large");
    return 0;
}

/* What sockets of this host get. */
static struct port_span ephemeral_ports(void)
{
    struct port_span s = {.first = 32768, .last = 60999};
    unsigned first, last;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

    if (f == NULL)
        return s;
    if (fscanf(f, "%u %u", &first, &last) == 2 && first != 0 && first <= last && last <= 65535)
        s = (struct port_span){.first = (uint16_t)first, .last = (uint16_t)last};
    fclose(f);
    return s;
}

static void house_init(struct nat *n)
{
    const struct nat_config *c = &n->config;

    n->house = (struct house){.mark = c->mark,
                              .mask = c->mask,
                              .tag_mask = c->tag_mask,
                              .ports = c->ports,
                              .out_ports = c->out_ports,
                              .capacity = c->capacity,
                              .persists = true};
    snprintf(n->house.owner, sizeof(n->house.owner), "relayd-%s", n->relay_id);
    snprintf(n->house.guard, sizeof(n->house.guard), "relayd-%s-guard", n->relay_id);
}

static int build_once(struct nat *n, uint32_t *ret_seq)
{
    struct nl_buf b = nat_begin(n);

    house_put_owner(&n->house, &b, &n->rules);
    house_put_guard(&n->house, &b, &n->rules);
    return nat_transact(n, &b, ret_seq);
}

static int build(struct nat *n, struct err *e)
{
    uint32_t refused = 0, first = n->rules.seq + 1;
    int rc = build_once(n, &refused);

    if (rc == -EOPNOTSUPP || rc == -EINVAL) {
        n->house.persists = false;
        first = n->rules.seq + 1;
        rc = build_once(n, &refused);
    }
    if (rc == 0)
        return 0;
    if (rc == -EPERM && refused <= first)
        return err_set(e, "nf_tables: the capability CAP_NET_ADMIN is missing");
    if (rc == -EEXIST || rc == -EPERM || rc == -EBUSY)
        return err_set(e,
                       "the nftables tables %s and %s belong to another process: is a second "
                       "relay running as %s?",
                       n->house.owner, n->house.guard, n->relay_id);
    return err_set(e, "nf_tables does not take our tables: %s", strerror(-rc));
}

static int open_sockets(struct nat *n)
{
    int rc = netlink_open(&n->rules, ANSWERS_BUFFER);

    if (rc == 0)
        rc = netlink_open(&n->tracker, ANSWERS_BUFFER);
    if (rc == 0)
        rc = netlink_open(&n->samples, ANSWERS_BUFFER);
    if (rc == 0)
        rc = netlink_open(&n->events, (int)n->config.events_buffer);
    return rc;
}

static void free_nat(struct nat *n)
{
    netlink_close(&n->rules);
    netlink_close(&n->tracker);
    netlink_close(&n->samples);
    netlink_close(&n->events);
    nat_table_fini(&n->table);
    nat_held_fini(&n->held);
    free(n->leases);
    free(n);
}

static struct nat *new_nat(struct loop *l, const struct nat_config *c)
{
    struct nat *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return NULL;
    n->loop = l;
    n->config = *c;
    snprintf(n->relay_id, sizeof(n->relay_id), "%s", c->relay_id);
    n->config.relay_id = n->relay_id;
    if (c->events_buffer == 0)
        n->config.events_buffer = EVENTS_BUFFER;
    if (c->out_ports.first == 0)
        n->config.out_ports = ephemeral_ports();
    house_init(n);
    nat_held_init(&n->held);
    list_init(&n->adding);
    list_init(&n->removing);
    list_init(&n->answered);
    list_init(&n->cancelled);
    list_init(&n->clearing);
    list_init(&n->live);
    n->leases = calloc((size_t)nat_tags(n) + 1, sizeof(*n->leases));
    if (n->leases == NULL || nat_table_init(&n->table, c->capacity) != 0) {
        free_nat(n);
        return NULL;
    }
    return n;
}

int nat_open(struct loop *l, const struct nat_config *c, struct nat **ret, struct err *e)
{
    int rc;

    if (check(c, e) != 0)
        return -1;
    struct nat *n = new_nat(l, c);
    if (n == NULL)
        return err_set(e, "out of memory");
    rc = open_sockets(n);
    if (rc != 0) {
        err_set(e, "netlink sockets for netfilter cannot be had: %s", strerror(-rc));
        goto out_free;
    }
    if (build(n, e) != 0)
        goto out_free;
    /* Behind the guard: what is left over passes no more while it is being flushed. */
    rc = nat_purge_all(n);
    if (rc == 0)
        rc = nat_watch_init(n);
    if (rc != 0) {
        err_set(e, "conntrack cannot be used: %s", strerror(-rc));
        goto out_raze;
    }
    nat_commit_init(n);
    *ret = n;
    return 0;

out_raze:;
    struct nl_buf b = nat_begin(n);
    house_put_removal(&b, &n->rules, n->house.owner);
    house_put_removal(&b, &n->rules, n->house.guard);
    nat_transact(n, &b, NULL);
out_free:
    free_nat(n);
    return -1;
}

static void free_entry(struct nat_entry *e, void *arg)
{
    struct nat *n = arg;

    nat_table_remove(&n->table, e);
    list_remove(&e->node);
    e->state = NAT_FREE;
}

static void free_list(struct list *l)
{
    while (!list_empty(l)) {
        struct nat_entry *e = LIST_ENTRY(l->next, struct nat_entry, node);
        list_remove(&e->node);
        e->state = NAT_FREE;
    }
}

static void raze(struct nat *n, const char *table)
{
    struct nl_buf b = nat_begin(n);

    house_put_removal(&b, &n->rules, table);
    nat_transact(n, &b, NULL);
}

static void on_gap_closed(uv_handle_t *h)
{
    free_nat(h->data);
}

void nat_close(struct nat *n)
{
    if (n == NULL)
        return;
    /* In this order: nothing new is translated, nothing old goes on, nobody is kept out. */
    raze(n, n->house.owner);
    nat_purge_all(n);
    raze(n, n->house.guard);
    nat_watch_fini(n);
    nat_commit_fini(n);
    nat_table_each(&n->table, free_entry, n);
    free_list(&n->answered);
    free_list(&n->cancelled);
    uv_close((uv_handle_t *)&n->gap, on_gap_closed);
}

uint32_t nat_tags(const struct nat *n)
{
    return n->config.tag_mask >> __builtin_ctz(n->config.tag_mask);
}

/* ---- what is known ---- */

static void on_counter(const struct nlmsghdr *m, void *arg)
{
    house_answer(m, arg);
}

void nat_counters_read(struct nat *n)
{
    uint64_t values[HOUSE_COUNTERS] = {0};
    struct nl_buf b;
    ssize_t got;

    for (int i = 0; i < HOUSE_COUNTERS; i++) {
        nl_init(&b, n->send, sizeof(n->send));
        house_put_question(&n->house, &b, &n->rules, i);
        if (netlink_send(&n->rules, &b) != 0)
            return;
        while ((got = netlink_receive(&n->rules, n->receive, sizeof(n->receive))) > 0)
            netlink_each(n->receive, (size_t)got, on_counter, &values[i]);
    }
    n->stats.entered = values[HOUSE_ENTERED];
    n->stats.left = values[HOUSE_LEFT];
    n->stats.unmatched = values[HOUSE_UNMATCHED] + values[HOUSE_LATE];
    n->stats.lapsed = values[HOUSE_LAPSED];
}

struct nat_stats nat_stats(struct nat *n)
{
    nat_counters_read(n);
    n->stats.entries = n->table.count;
    n->stats.held = n->held.count;
    return n->stats;
}
