#include "shared/rules/rules.h"

#include <assert.h>

#include "shared/rules/rules_impl.h"
#include "shared/rules/special.h"

/* A subject and a destination in the form in which they are compared. */
struct query {
    const struct rules_subject *subject;
    struct addr source;
    uint16_t port;
    bool has_name;
    struct host_name name;
};

static void query_init(struct query *q, const struct rules_subject *subject,
                       const struct dest *dest)
{
    q->subject = subject;
    q->source = addr_unmap(&subject->source);
    q->port = dest->addr.port;
    q->has_name = false;
}

static bool user_fits(const struct wordset *s, const char *user)
{
    return user && wordset_contains(s, user);
}

bool rule_fits_subject(const struct rule *r, const struct rules_subject *s,
                       const struct addr *source)
{
    if (r->matchers & RULE_COMMANDS && !(r->commands & 1u << s->command))
        return false;
    if (r->matchers & RULE_FROM && !netset_contains(&r->from, source))
        return false;
    if (r->matchers & RULE_USERS && !user_fits(&r->users, s->user))
        return false;
    return !(r->matchers & RULE_GROUPS) || user_fits(&r->members, s->user);
}

static bool subject_fits(const struct rule *r, const struct query *q)
{
    return rule_fits_subject(r, q->subject, &q->source);
}

static bool port_fits(const struct rule *r, const struct query *q)
{
    if (!(r->matchers & RULE_PORTS))
        return true;
    if (q->subject->command == SOCKS_BIND && q->port == 0)
        return portset_is_full(&r->ports);
    return portset_contains(&r->ports, q->port);
}

static bool name_fits(const struct rule *r, const struct query *q)
{
    return q->has_name && host_name_matches(&r->names, &q->name);
}

static bool address_fits(const struct rule *r, const struct addr *a)
{
    struct addr carried[SPECIAL_CARRIED_MAX];
    size_t count;

    if (netset_contains(&r->nets, a))
        return true;
    if (r->action == RULES_ACTION_ALLOW)
        return false;
    count = special_carried(a, carried);
    for (size_t i = 0; i < count; i++)
        if (netset_contains(&r->nets, &carried[i]))
            return true;
    return false;
}

static struct rules_result decided_by(const struct rules *rules, unsigned index)
{
    bool allow = rules->items[index]->action == RULES_ACTION_ALLOW;

    return (struct rules_result){allow ? RULES_ALLOW : RULES_DENY, index + 1, "rule"};
}

static const struct rules_result by_default = {RULES_DENY, 0, "default"};
static const struct rules_result bad_name = {RULES_DENY, 0, "bad_name"};

static struct rules_result judge_address(const struct rules *rules, const struct query *q,
                                         const struct addr *a)
{
    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *r = rules->items[i];

        if (!subject_fits(r, q) || !port_fits(r, q))
            continue;
        if (r->matchers & RULE_TO && !name_fits(r, q) && !address_fits(r, a))
            continue;
        if (r->action == RULES_ACTION_ALLOW && !r->opens_special && special_find(a) &&
            !netset_contains(&r->special, a))
            return (struct rules_result){RULES_DENY, i + 1, "special_address"};
        return decided_by(rules, i);
    }
    return by_default;
}

/* BIND for any peer: a rule fits as it would for every address of the family. */
static struct rules_result judge_any_peer(const struct rules *rules, const struct query *q,
                                          enum addr_family family)
{
    const struct prefix everything = {.family = (uint8_t)family};

    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *r = rules->items[i];

        if (subject_fits(r, q) && port_fits(r, q) &&
            (!(r->matchers & RULE_TO) || netset_cover(&r->nets, &everything) == SET_ALL))
            return decided_by(rules, i);
    }
    return by_default;
}

/* UDP ASSOCIATE: may any datagram pass? */
static struct rules_result judge_association(const struct rules *rules, const struct query *q)
{
    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *r = rules->items[i];
        bool some_only = r->matchers & (RULE_TO | RULE_PORTS);

        if (subject_fits(r, q) && !(some_only && r->action == RULES_ACTION_DENY))
            return decided_by(rules, i);
    }
    return by_default;
}

/* How many times a rule is compared with a region before the search gives up and says "yes": a
 * query more, never a connection more, for the address is judged in any case. */
#define SEARCH_MAX 16384

struct search {
    const struct query *q;
    unsigned budget;
    unsigned count;
    const struct rule *rules[RULES_MAX]; /* those that fit subject and port */
};

static void search_init(struct search *s, const struct rules *rules, const struct query *q)
{
    s->q = q;
    s->budget = SEARCH_MAX;
    s->count = 0;
    for (unsigned i = 0; i < rules->count; i++)
        if (subject_fits(rules->items[i], q) && port_fits(rules->items[i], q))
            s->rules[s->count++] = rules->items[i];
}

/* True if an address in region may be allowed by the rules from index on, for a name that fits the
 * names that it fits. Cuts the region where a rule takes a part of it, so the answer is exact. */
static bool some_address_passes(struct search *s, unsigned index, const struct prefix *region)
{
    for (unsigned i = index; i < s->count; i++) {
        const struct rule *r = s->rules[i];
        enum set_cover cover = SET_ALL;

        if (s->budget == 0)
            return true;
        s->budget--;
        if (r->matchers & RULE_TO && !name_fits(r, s->q))
            cover = netset_cover(&r->nets, region);
        if (cover == SET_ALL)
            return r->action == RULES_ACTION_ALLOW &&
                   (r->opens_special || !special_find_prefix(region) ||
                    netset_cover(&r->special, region) != SET_NONE);
        if (cover == SET_PART) {
            struct prefix half = *region;

            half.bits++;
            if (some_address_passes(s, i, &half))
                return true;
            half.ip[region->bits / 8] |= (uint8_t)(0x80u >> region->bits % 8);
            return some_address_passes(s, i, &half);
        }
    }
    return false;
}

static bool any_address_passes(const struct rules *rules, const struct query *q)
{
    static const struct prefix ipv4 = {.family = ADDR_IPV4}, ipv6 = {.family = ADDR_IPV6};
    struct search s;

    search_init(&s, rules, q);
    return some_address_passes(&s, 0, &ipv4) || some_address_passes(&s, 0, &ipv6);
}

/* The first rule that decides whatever the address is; and if rules before it depend on the
 * address, whether any address passes. */
static struct rules_result judge_name(const struct rules *rules, const struct query *q)
{
    struct rules_result last = by_default, first_denial = by_default;
    bool depends = false;

    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *r = rules->items[i];

        if (!subject_fits(r, q) || !port_fits(r, q))
            continue;
        if (!(r->matchers & RULE_TO) || name_fits(r, q)) {
            last = decided_by(rules, i);
            break;
        }
        if (r->nets.count > 0) {
            depends = true;
            if (r->action == RULES_ACTION_DENY && first_denial.rule == 0)
                first_denial = decided_by(rules, i);
        }
    }
    if (!depends)
        return last;
    if (any_address_passes(rules, q))
        return (struct rules_result){RULES_RESOLVE, 0, "needs_address"};
    return last.verdict == RULES_DENY ? last : first_denial;
}

/* An address as the destination itself, not as what a name resolved to. */
static struct rules_result judge_literal(const struct rules *rules, const struct query *q,
                                         const struct addr *a)
{
    if (q->subject->command == SOCKS_BIND && addr_is_any(a))
        return judge_any_peer(rules, q, a->family);
    return judge_address(rules, q, a);
}

/* Before anything is resolved. */
static struct rules_result judge_destination(const struct rules *rules, struct query *q,
                                             const struct dest *dest)
{
    struct addr a = addr_unmap(&dest->addr);

    if (dest->name[0] == '\0')
        return judge_literal(rules, q, &a);
    q->has_name = host_name_from_client(dest->name, &q->name);
    return q->has_name ? judge_name(rules, q) : bad_name;
}

struct rules_result rules_judge_request(const struct rules *rules,
                                        const struct rules_subject *subject,
                                        const struct dest *dest)
{
    struct query q;

    assert(rules->sealed);
    query_init(&q, subject, dest);
    if (subject->command == SOCKS_UDP_ASSOCIATE)
        return judge_association(rules, &q);
    return judge_destination(rules, &q, dest);
}

struct rules_result rules_judge_datagram(const struct rules *rules,
                                         const struct rules_subject *subject,
                                         const struct dest *dest)
{
    struct query q;

    assert(rules->sealed);
    query_init(&q, subject, dest);
    return judge_destination(rules, &q, dest);
}

struct rules_result rules_judge_address(const struct rules *rules,
                                        const struct rules_subject *subject,
                                        const struct dest *dest, const struct addr *address)
{
    struct query q;
    struct addr a = addr_unmap(address);

    assert(rules->sealed);
    query_init(&q, subject, dest);
    if (dest->name[0] == '\0')
        return judge_literal(rules, &q, &a);
    q.has_name = host_name_from_client(dest->name, &q.name);
    return q.has_name ? judge_address(rules, &q, &a) : bad_name;
}
