#include "relayd-udp/policy.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/base/siphash.h"
#include "shared/rules/rules_wire.h"

#define FIRST_SIZE 16

struct policy {
    struct policy *next; /* in its bucket */
    struct rules *rules;
    uint64_t hash;
    uint32_t refs;
    uint32_t len;
    uint8_t content[];
};

/* ---- content: one form for everything that a list says ----
 *
 * Each rule is an octet of flags, and for each list that is not empty its count and its items. No
 * part is longer than its encoding in N2 is: a server that counts those octets is never refused. */

enum { ALLOW = 1, ANY_DESTINATION = 2, OPENS_SPECIAL = 4, ANY_PORT = 8 };
enum { HAS_NAMES = 16, HAS_NETWORKS = 32, HAS_SPECIAL = 64, HAS_PORTS = 128 };

struct sink {
    uint8_t *to; /* NULL: only count */
    size_t len;
};

static void put(struct sink *s, const void *octets, size_t n)
{
    if (s->to != NULL)
        memcpy(s->to + s->len, octets, n);
    s->len += n;
}

static void put_octet(struct sink *s, unsigned value)
{
    uint8_t octet = (uint8_t)value;

    put(s, &octet, 1);
}

/* Seven bits per octet, the low ones first. */
static void put_number(struct sink *s, size_t n)
{
    for (; n > 0x7f; n >>= 7)
        put_octet(s, 0x80u | (n & 0x7f));
    put_octet(s, (unsigned)n);
}

static void put_networks(struct sink *s, const struct prefix *p, size_t count)
{
    if (count > 0)
        put_number(s, count);
    for (size_t i = 0; i < count; i++) {
        put_octet(s, p[i].family);
        put_octet(s, p[i].bits);
        put(s, p[i].ip, addr_ip_len((enum addr_family)p[i].family));
    }
}

static void put_rule(struct sink *s, const struct n2_rule *r)
{
    put_octet(
        s, (r->allow ? ALLOW : 0u) | (r->any_destination ? ANY_DESTINATION : 0u) |
               (r->opens_special ? OPENS_SPECIAL : 0u) | (r->any_port ? ANY_PORT : 0u) |
               (r->name_count > 0 ? HAS_NAMES : 0u) | (r->network_count > 0 ? HAS_NETWORKS : 0u) |
               (r->special_count > 0 ? HAS_SPECIAL : 0u) | (r->port_count > 0 ? HAS_PORTS : 0u));
    if (r->name_count > 0)
        put_number(s, r->name_count);
    for (size_t i = 0; i < r->name_count; i++)
        put(s, r->names[i], strlen(r->names[i]) + 1);
    put_networks(s, r->networks, r->network_count);
    put_networks(s, r->special, r->special_count);
    if (r->port_count > 0)
        put_number(s, r->port_count);
    for (size_t i = 0; i < r->port_count; i++) {
        put_number(s, r->ports[i].first);
        put_number(s, (size_t)(r->ports[i].last - r->ports[i].first));
    }
}

static size_t put_content(uint8_t *to, const struct n2_rules *in)
{
    struct sink s = {.to = to};

    for (size_t i = 0; i < in->count; i++)
        put_rule(&s, &in->items[i]);
    return s.len;
}

/* ---- the table ---- */

static struct policy **bucket_of(const struct policies *p, uint64_t hash)
{
    return &p->buckets[hash & (p->size - 1)];
}

static struct policy *find(const struct policies *p, const struct policy *like)
{
    if (p->size == 0)
        return NULL;
    for (struct policy *have = *bucket_of(p, like->hash); have != NULL; have = have->next)
        if (have->hash == like->hash && have->len == like->len &&
            memcmp(have->content, like->content, like->len) == 0)
            return have;
    return NULL;
}

static void bucket_push(struct policies *p, struct policy *policy)
{
    struct policy **bucket = bucket_of(p, policy->hash);

    policy->next = *bucket;
    *bucket = policy;
}

/* Doubles the buckets. Without memory the table stays as it is: fuller, and right. */
static void grow(struct policies *p)
{
    size_t old_size = p->size, size = old_size == 0 ? FIRST_SIZE : old_size * 2;
    struct policy **old = p->buckets, **buckets = calloc(size, sizeof(struct policy *));

    if (buckets == NULL)
        return;
    p->buckets = buckets;
    p->size = size;
    for (size_t i = 0; i < old_size; i++) {
        for (struct policy *have = old[i], *next; have != NULL; have = next) {
            next = have->next;
            bucket_push(p, have);
        }
    }
    free(old);
}

static size_t octets_of(const struct policy *policy)
{
    return sizeof(*policy) + policy->len + rules_octets(policy->rules);
}

static int insert(struct policies *p, struct policy *policy)
{
    if (p->count >= p->size)
        grow(p);
    if (p->size == 0)
        return -1;
    bucket_push(p, policy);
    p->count++;
    p->octets += octets_of(policy);
    return 0;
}

static void take_out(struct policies *p, struct policy *policy)
{
    struct policy **at = bucket_of(p, policy->hash);

    while (*at != policy)
        at = &(*at)->next;
    *at = policy->next;
    p->count--;
    p->octets -= octets_of(policy);
}

void policies_fini(struct policies *p)
{
    free(p->buckets);
    *p = (struct policies){0};
}

/* ---- policies ---- */

static void policy_free(struct policy *policy)
{
    rules_free(policy->rules);
    free(policy);
}

static enum n2_refusal_code no_memory(struct err *e)
{
    err_set(e, "memory is short");
    return N2_FULL;
}

/* Not yet compiled. */
static enum n2_refusal_code policy_new(struct policies *p, const struct n2_rules *in,
                                       struct policy **ret, struct err *e)
{
    size_t len = put_content(NULL, in);
    struct policy *policy;

    if (len > POLICY_OCTETS_MAX) {
        err_set(e, "the rules have %zu octets; at most %u are taken", len, POLICY_OCTETS_MAX);
        return N2_BAD;
    }
    policy = calloc(1, sizeof(*policy) + len);
    if (policy == NULL)
        return no_memory(e);
    policy->refs = 1;
    policy->len = (uint32_t)len;
    put_content(policy->content, in);
    if (p->key[0] == 0 && p->key[1] == 0)
        secret_random(p->key, sizeof(p->key));
    policy->hash = siphash(p->key, policy->content, len);
    *ret = policy;
    return N2_REFUSAL_NONE;
}

/* It is new here. */
static enum n2_refusal_code policy_keep(struct policies *p, const struct n2_rules *in,
                                        struct policy *policy, struct err *e)
{
    if (rules_import(in, e, &policy->rules) != 0)
        return N2_BAD;
    if (p->octets + octets_of(policy) > POLICIES_OCTETS_MAX) {
        err_set(e, "all rules together would take more than %u octets", POLICIES_OCTETS_MAX);
        return N2_FULL;
    }
    return insert(p, policy) == 0 ? N2_REFUSAL_NONE : no_memory(e);
}

enum n2_refusal_code policies_get(struct policies *p, const struct n2_rules *rules,
                                  struct policy **ret, struct err *e)
{
    static const struct n2_rules none;
    const struct n2_rules *in = rules != NULL ? rules : &none;
    enum n2_refusal_code refused;
    struct policy *policy, *have;

    refused = policy_new(p, in, &policy, e);
    if (refused != N2_REFUSAL_NONE)
        return refused;
    have = find(p, policy);
    if (have != NULL) {
        policy_free(policy);
        have->refs++;
        *ret = have;
        return N2_REFUSAL_NONE;
    }
    refused = policy_keep(p, in, policy, e);
    if (refused != N2_REFUSAL_NONE)
        policy_free(policy);
    else
        *ret = policy;
    return refused;
}

void policy_unref(struct policies *p, struct policy *policy)
{
    if (policy == NULL || --policy->refs > 0)
        return;
    take_out(p, policy);
    policy_free(policy);
}

/* ---- judging: the rules are about destinations only, whoever the subject is ---- */

static const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};

enum rules_verdict policy_judge(const struct policy *policy, const struct dest *dest)
{
    return rules_judge_datagram(policy->rules, &anybody, dest).verdict;
}

bool policy_allows(const struct policy *policy, const struct dest *dest, const struct addr *address)
{
    return rules_judge_address(policy->rules, &anybody, dest, address).verdict == RULES_ALLOW;
}
