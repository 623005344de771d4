/* The rules of associations: one copy per content, and what they say. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/n2.pb-c.h"
#include "relayd-udp/policy.h"
#include "shared/n2/n2_rules_codec.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct prefix net(const char *text)
{
    struct prefix p;

    assert_true(prefix_parse(text, &p));
    return p;
}

static struct policy *get(struct policies *p, const struct n2_rule *items, size_t count)
{
    struct policy *policy = NULL;
    struct err e = {"no sentence"};

    if (policies_get(p, &(struct n2_rules){items, count}, &policy, &e) != N2_REFUSAL_NONE)
        fail_msg("refused: %s", e.text);
    assert_non_null(policy);
    return policy;
}

/* Refused in this way with a sentence, and nothing has changed. */
static void is_refused(struct policies *p, const struct n2_rule *items, size_t count,
                       enum n2_refusal_code code, const char *about)
{
    struct policies before = *p;
    struct policy *policy = NULL;
    struct err e = {""};

    assert_int_equal(policies_get(p, &(struct n2_rules){items, count}, &policy, &e), code);
    assert_null(policy);
    if (strstr(e.text, about) == NULL)
        fail_msg("\"%s\" is not about \"%s\"", e.text, about);
    assert_int_equal(p->count, before.count);
    assert_int_equal(p->octets, before.octets);
}

static const struct n2_rule everything[] = {
    {.allow = true, .any_destination = true, .any_port = true}};

/* ---- one copy ---- */

static void equal_content_is_one_policy(void **state)
{
    static const char *const names[] = {"a.example", ".b.example"};
    const struct prefix networks[] = {net("8.8.8.0/24"), net("2606:4700::/32")};
    const struct port_span ports[] = {{53, 53}, {1000, 2000}};
    const struct n2_rule rule = {.allow = true,
                                 .names = names,
                                 .name_count = COUNT(names),
                                 .networks = networks,
                                 .network_count = COUNT(networks),
                                 .special = networks,
                                 .special_count = 1,
                                 .ports = ports,
                                 .port_count = COUNT(ports)};
    char a[] = "a.example", b[] = ".b.example"; /* the same elsewhere */
    const char *const names_again[] = {a, b};
    struct n2_rule again = rule;
    struct policies p = {0};

    (void)state;
    again.names = names_again;
    struct policy *first = get(&p, &rule, 1);
    assert_int_equal(p.count, 1);
    assert_true(p.octets > 60);
    uint64_t octets = p.octets;
    assert_ptr_equal(get(&p, &again, 1), first);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.octets, octets);
    policy_unref(&p, first);
    assert_int_equal(p.count, 1);
    policy_unref(&p, first);
    assert_int_equal(p.count, 0);
    assert_int_equal(p.octets, 0);
    policies_fini(&p);
}

/* Every two of them say something different, though their octets are alike. */
static void what_says_something_else_is_another_policy(void **state)
{
    static const char *const ab[] = {"a", "b"}, *const ab_dot[] = {"a.b"}, *const b[] = {"b"};
    const struct prefix ten[] = {net("10.0.0.0/8"), net("10.0.0.0/9")}, ten6 = net("a00::/8");
    static const struct port_span span[] = {{1, 2}, {1, 3}};
    const struct n2_rule ones[] = {
        {0},
        {.allow = true},
        {.any_destination = true},
        {.opens_special = true},
        {.any_port = true},
        {.names = ab, .name_count = 1},
        {.names = ab, .name_count = 2},
        {.names = ab_dot, .name_count = 1},
        {.names = b, .name_count = 1},
        {.networks = ten, .network_count = 1},
        {.networks = ten + 1, .network_count = 1},
        {.networks = ten, .network_count = 2},
        {.networks = &ten6, .network_count = 1},
        {.special = ten, .special_count = 1},
        {.networks = ten, .network_count = 1, .special = ten, .special_count = 1},
        {.ports = span, .port_count = 1},
        {.ports = span + 1, .port_count = 1},
        {.ports = span, .port_count = 2},
    };
    const struct n2_rule twos[][2] = {
        {{0}, {0}},
        {{.allow = true}, {0}},
        {{0}, {.allow = true}},
        {{.names = ab, .name_count = 1}, {.names = b, .name_count = 1}},
        {{.names = ab, .name_count = 2}, {0}},
    };
    struct policy *got[COUNT(ones) + COUNT(twos) + 1];
    struct policies p = {0};
    size_t n = 0;

    (void)state;
    got[n++] = get(&p, NULL, 0);
    for (size_t i = 0; i < COUNT(ones); i++)
        got[n++] = get(&p, &ones[i], 1);
    for (size_t i = 0; i < COUNT(twos); i++)
        got[n++] = get(&p, twos[i], 2);
    assert_int_equal(p.count, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(got[i], got[j]);
        policy_unref(&p, got[i]);
    }
    assert_int_equal(p.count, 0);
    assert_int_equal(p.octets, 0);
    policies_fini(&p);
}

static void no_rules_are_an_empty_list(void **state)
{
    struct policies p = {0};
    struct policy *absent, *empty = get(&p, NULL, 0);

    (void)state;
    assert_int_equal(policies_get(&p, NULL, &absent, NULL), N2_REFUSAL_NONE);
    assert_ptr_equal(absent, empty);
    policy_unref(&p, absent);
    policy_unref(&p, empty);
    policy_unref(&p, NULL);
    policies_fini(&p);
}

static void a_hundred_thousand_associations_hold_one_copy(void **state)
{
    struct policies p = {0};
    struct policy *policy = get(&p, everything, 1);
    uint64_t octets = p.octets;

    (void)state;
    for (unsigned i = 1; i < 100000; i++)
        assert_ptr_equal(get(&p, everything, 1), policy);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.octets, octets);
    for (unsigned i = 0; i < 100000; i++)
        policy_unref(&p, policy);
    assert_int_equal(p.count, 0);
    policies_fini(&p);
}

static struct policy *numbered(struct policies *p, unsigned i)
{
    struct prefix network = {
        .family = ADDR_IPV4, .bits = 24, .ip = {20, (uint8_t)(i >> 8), (uint8_t)i}};
    struct n2_rule rule = {
        .allow = true, .any_port = true, .networks = &network, .network_count = 1};

    return get(p, &rule, 1);
}

static void many_policies_are_told_apart_and_found_again(void **state)
{
    enum { MANY = 3000 };
    static struct policy *got[MANY];
    struct policies p = {0};

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        got[i] = numbered(&p, i);
    assert_int_equal(p.count, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        struct dest dest = {.addr = {ADDR_IPV4, {20, (uint8_t)(i >> 8), (uint8_t)i, 1}, 53}};

        assert_ptr_equal(numbered(&p, i), got[i]);
        assert_int_equal(policy_judge(got[i], &dest), RULES_ALLOW);
        dest.addr.ip[2]++;
        assert_int_equal(policy_judge(got[i], &dest), RULES_DENY);
    }
    /* Out in another order than in. */
    for (unsigned i = 0; i < MANY; i++)
        policy_unref(&p, got[i]);
    for (unsigned i = 0; i < MANY; i++)
        policy_unref(&p, got[i * 7 % MANY]);
    assert_int_equal(p.count, 0);
    assert_int_equal(p.octets, 0);
    policies_fini(&p);
}

static void a_policy_outlives_what_it_was_made_of(void **state)
{
    char *name = strdup("a.example");
    const char *const *names = (const char *const *)&name;
    struct n2_rule *rule = calloc(1, sizeof(*rule));
    struct dest dest = {.name = "a.example", .addr.port = 53};
    struct policies p = {0};

    (void)state;
    *rule = (struct n2_rule){.allow = true, .any_port = true, .names = names, .name_count = 1};
    struct policy *policy = get(&p, rule, 1);
    free(rule);
    free(name);
    assert_int_equal(policy_judge(policy, &dest), RULES_ALLOW);
    policy_unref(&p, policy);
    policies_fini(&p);
}

/* ---- what is refused ---- */

static void what_is_malformed_is_bad(void **state)
{
    static const char *const upper[] = {"A.example"};
    const struct n2_rule rule = {.names = upper, .name_count = 1};
    struct policies p = {0};
    struct policy *policy = get(&p, everything, 1);

    (void)state;
    is_refused(&p, &rule, 1, N2_BAD, "rule 1: a name");
    policy_unref(&p, policy);
    is_refused(&p, &rule, 1, N2_BAD, "rule 1: a name");
    policies_fini(&p);
}

static size_t encoded_octets(const struct n2_rule *items, size_t count)
{
    bool failed = false;
    N2__V1__DatagramRules *m = n2_rules_put(&(struct n2_rules){items, count}, &failed);

    assert_false(failed);
    size_t n = n2__v1__datagram_rules__get_packed_size(m);
    free(m);
    return n;
}

/* The longest list of such rules that a message says in POLICY_OCTETS_MAX; the rest of `rules` is
 * bare. */
static size_t as_many_as_fit(struct n2_rule *rules, size_t max)
{
    size_t low = 0, high = max;

    while (low < high) {
        size_t middle = (low + high + 1) / 2;

        if (encoded_octets(rules, middle) <= POLICY_OCTETS_MAX)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static void what_a_message_says_in_512_kib_is_taken(void **state)
{
    enum { ITEMS = 3000 };
    static const char *names[ITEMS];
    static struct prefix v4[ITEMS], v6[ITEMS];
    static struct port_span zero[ITEMS], low[ITEMS];
    static struct n2_rule rules[N2_RULES_MAX];
    const struct n2_rule kinds[] = {
        {.names = names, .name_count = ITEMS},
        {.names = names, .name_count = 1},
        {.networks = v4, .network_count = ITEMS},
        {.special = v6, .special_count = ITEMS},
        {.ports = zero, .port_count = ITEMS},
        {.ports = zero, .port_count = 1},
        {.ports = low, .port_count = 100, .networks = v4, .network_count = 1},
        {.allow = true},
        {0},
    };
    struct policies p = {0};

    (void)state;
    for (size_t i = 0; i < ITEMS; i++) {
        names[i] = "a";
        v4[i].family = ADDR_IPV4;
        v6[i].family = ADDR_IPV6;
        low[i] = (struct port_span){0, 127};
    }
    for (size_t k = 0; k < COUNT(kinds); k++) {
        for (size_t i = 0; i < COUNT(rules); i++)
            rules[i] = kinds[k];
        policy_unref(&p, get(&p, rules, as_many_as_fit(rules, COUNT(rules))));
    }
    assert_int_equal(p.octets, 0);
    policies_fini(&p);
}

static void much_more_than_512_kib_is_bad(void **state)
{
    enum { NAMES = 2100 };
    static char text[NAMES][DEST_NAME_MAX + 1];
    static const char *names[NAMES];
    struct n2_rule rule = {.any_port = true, .names = names, .name_count = NAMES};
    struct policies p = {0};

    (void)state;
    for (unsigned i = 0; i < NAMES; i++) {
        memset(text[i], 'a', DEST_NAME_MAX);
        for (size_t dot = 60; dot < DEST_NAME_MAX; dot += 61)
            text[i][dot] = '.';
        text[i][snprintf(text[i], DEST_NAME_MAX, "n%u", i)] = 'a';
        names[i] = text[i];
    }
    is_refused(&p, &rule, 1, N2_BAD, "at most 524288");
    rule.name_count = POLICY_OCTETS_MAX / (DEST_NAME_MAX + 1) - 1;
    policy_unref(&p, get(&p, &rule, 1));
    policies_fini(&p);
}

static void all_policies_together_are_bounded(void **state)
{
    struct policies p = {0};
    struct policy *policy = get(&p, everything, 1);
    uint64_t octets = p.octets;

    (void)state;
    p.octets = POLICIES_OCTETS_MAX - 1;
    is_refused(&p, NULL, 0, N2_FULL, "together");
    /* What is there already costs nothing. */
    assert_ptr_equal(get(&p, everything, 1), policy);
    p.octets = octets;
    policy_unref(&p, policy);
    policy_unref(&p, policy);
    policies_fini(&p);
}

/* ---- judging ---- */

static void a_datagram_is_judged_before_and_after_resolving(void **state)
{
    static const char *const names[] = {".example"};
    const struct prefix denied = net("8.8.8.0/24"), ten = net("10.0.0.0/8");
    static const struct port_span dns = {53, 53};
    const struct n2_rule rules[] = {
        {.networks = &denied, .network_count = 1, .any_port = true},
        {.allow = true, .names = names, .name_count = 1, .ports = &dns, .port_count = 1},
        {.allow = true,
         .any_port = true,
         .networks = &ten,
         .network_count = 1,
         .special = &ten,
         .special_count = 1},
    };
    static const struct {
        const char *name;
        uint16_t port;
        enum rules_verdict verdict;
        const char *address;
        bool allowed;
    } rows[] = {
        {"a.example", 53, RULES_RESOLVE, "9.9.9.9", true},
        {"a.example", 53, RULES_RESOLVE, "8.8.8.8", false},
        {"a.example", 53, RULES_RESOLVE, "64:ff9b::808:808", false},
        {"a.example", 53, RULES_RESOLVE, "127.0.0.1", false},
        {"a.example", 54, RULES_RESOLVE, "10.1.1.1", true},
        {"a.example", 54, RULES_RESOLVE, "9.9.9.9", false},
        {"a..example", 53, RULES_DENY, "9.9.9.9", false},
        {"", 54, RULES_ALLOW, "10.1.1.1", true},
        {"", 54, RULES_ALLOW, "::ffff:10.1.1.1", true},
        {"", 53, RULES_DENY, "9.9.9.9", false},
        {"", 53, RULES_DENY, "8.8.8.8", false},
    };
    struct policies p = {0};
    struct policy *policy = get(&p, rules, COUNT(rules));

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dest dest = {0};
        struct addr address;

        assert_true(addr_parse_ip(rows[i].address, &address));
        if (rows[i].name[0] == '\0')
            dest.addr = address;
        snprintf(dest.name, sizeof(dest.name), "%s", rows[i].name);
        dest.addr.port = rows[i].port;
        assert_int_equal(policy_judge(policy, &dest), rows[i].verdict);
        assert_int_equal(policy_allows(policy, &dest, &address), rows[i].allowed);
    }
    policy_unref(&p, policy);
    policies_fini(&p);
}

static void without_rules_nothing_is_allowed(void **state)
{
    struct dest address = {.addr = {ADDR_IPV4, {8, 8, 8, 8}, 53}};
    struct dest name = {.name = "x.example", .addr.port = 53};
    struct policies p = {0};
    struct policy *policy = NULL;

    (void)state;
    assert_int_equal(policies_get(&p, NULL, &policy, NULL), N2_REFUSAL_NONE);
    assert_int_equal(policy_judge(policy, &address), RULES_DENY);
    assert_int_equal(policy_judge(policy, &name), RULES_DENY);
    assert_false(policy_allows(policy, &name, &address.addr));
    policy_unref(&p, policy);
    policies_fini(&p);
    policies_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_content_is_one_policy),
        cmocka_unit_test(what_says_something_else_is_another_policy),
        cmocka_unit_test(no_rules_are_an_empty_list),
        cmocka_unit_test(a_hundred_thousand_associations_hold_one_copy),
        cmocka_unit_test(many_policies_are_told_apart_and_found_again),
        cmocka_unit_test(a_policy_outlives_what_it_was_made_of),
        cmocka_unit_test(what_is_malformed_is_bad),
        cmocka_unit_test(what_a_message_says_in_512_kib_is_taken),
        cmocka_unit_test(much_more_than_512_kib_is_bad),
        cmocka_unit_test(all_policies_together_are_bounded),
        cmocka_unit_test(a_datagram_is_judged_before_and_after_resolving),
        cmocka_unit_test(without_rules_nothing_is_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
