/* Rules for one subject, sent to a relay: it judges as the server would. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/n2/n2_codec.h"
#include "shared/rules/rules_wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr ip(const char *text)
{
    struct addr a;

    if (!addr_parse_ip(text, &a))
        fail_msg("%s is no address", text);
    return a;
}

static struct prefix net(const char *text)
{
    struct prefix p;

    if (!prefix_parse(text, &p))
        fail_msg("%s is no network", text);
    return p;
}

static struct dest to_name(const char *name, uint16_t port)
{
    struct dest d = {.addr.port = port};

    snprintf(d.name, sizeof(d.name), "%s", name);
    return d;
}

static struct dest to_ip(const char *text, uint16_t port)
{
    struct dest d = {.addr = ip(text)};

    d.addr.port = port;
    return d;
}

static void free_items(struct n2_rules *r)
{
    free((void *)(uintptr_t)r->items);
}

static struct rules *imported(const struct n2_rule *items, size_t count)
{
    struct rules *rules = NULL;
    struct err e = {"no sentence"};

    if (rules_import(&(struct n2_rules){items, count}, &e, &rules) != 0)
        fail_msg("refused: %s", e.text);
    return rules;
}

static void refused(const struct n2_rule *items, size_t count, const char *about)
{
    struct rules *rules = NULL;
    struct err e = {""};

    assert_int_equal(rules_import(&(struct n2_rules){items, count}, &e, &rules), -1);
    assert_null(rules);
    if (strstr(e.text, about) == NULL)
        fail_msg("\"%s\" is not about \"%s\"", e.text, about);
}

static bool allows(const struct rules *rules, const struct dest *dest, const char *address)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct addr a = address != NULL ? ip(address) : dest->addr;

    return rules_judge_address(rules, &anybody, dest, &a).verdict == RULES_ALLOW;
}

/* ---- the promise: the same verdicts ---- */

static unsigned draw(unsigned below)
{
    static uint32_t x = 2463534242u; /* xorshift: the same rules in each run */

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % below;
}

static const char *const to_items[] = {
    "a.example", "*.example",    "*.b.example", "x.test",         "*.test",
    "0.0.0.0/0", "::/0",         "8.8.8.0/24",  "8.8.0.0/16",     "::ffff:8.8.8.0/120",
    "0.0.0.0/1", "128.0.0.0/1",  "10.0.0.0/8",  "10.1.0.0/16",    "127.0.0.0/8",
    "::1",       "64:ff9b::/96", "2002::/16",   "2001::/32",      "2002:808::/32",
    "fe80::/10", "224.0.0.0/4",  "0.0.0.0/8",   "2606:4700::/32", "10.1.2.3",
};
static const char *const user_items[] = {"alice", "bob"};
static const char *const from_items[] = {"10.0.0.0/8", "::ffff:10.0.0.0/104", "2001:db8::/32"};
static const char *const command_items[] = {"connect", "udp-associate", "bind"};
static const char *const port_items[] = {"53", "1-65535", "1000-2000", "443", "1-1024"};

/* A matcher with some items of a pool. */
static void draw_items(struct rule *r, int (*add)(struct rule *, const char *, struct err *),
                       const char *const *pool, size_t size)
{
    for (unsigned n = 1 + draw(3); n > 0; n--)
        assert_int_equal(add(r, pool[draw((unsigned)size)], NULL), 0);
}

static void draw_rule(struct rules *rules)
{
    struct rule *r = rules_add(rules, draw(2) ? RULES_ACTION_ALLOW : RULES_ACTION_DENY);

    if (draw(8) > 0)
        draw_items(r, rule_add_to, to_items, COUNT(to_items));
    if (draw(3) == 0)
        draw_items(r, rule_add_port, port_items, COUNT(port_items));
    if (draw(4) == 0)
        draw_items(r, rule_add_user, user_items, COUNT(user_items));
    if (draw(6) == 0)
        assert_int_equal(rule_add_group(r, user_items, draw(3), NULL), 0);
    if (draw(4) == 0)
        draw_items(r, rule_add_from, from_items, COUNT(from_items));
    if (draw(4) == 0)
        draw_items(r, rule_add_command, command_items, COUNT(command_items));
}

static struct rules *draw_rules(void)
{
    struct rules *rules = rules_new();

    for (unsigned n = draw(9); n > 0; n--)
        draw_rule(rules);
    rules_seal(rules);
    return rules;
}

static struct rules_subject draw_subject(void)
{
    static const char *const users[] = {NULL, "alice", "bob", "carol"};
    static const char *const sources[] = {"10.1.1.1", "::ffff:10.1.1.1", "2001:db8::1", "9.9.9.9"};

    return (struct rules_subject){
        .user = users[draw(4)], .source = ip(sources[draw(4)]), .command = SOCKS_UDP_ASSOCIATE};
}

static const char *const addresses[] = {
    "8.8.8.8",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "9.9.9.9",
    "2001:0:101:101::f7f7:f7f7",
    "2001:0:808:808::",
    "10.1.2.3",
    "10.2.0.1",
    "64:ff9b::a01:203",
    "::ffff:127.0.0.1",
    "127.0.0.1",
    "::1",
    "224.0.0.1",
    "2606:4700::1",
    "fe80::1",
    "0.0.0.0",
    "::",
    "200.1.1.1",
    "64:ff9b:1::1",
};
static const char *const names[] = {
    "a.example", "c.b.example", "B.example.", "x.test", "y.x.test", "other.net", "bad..name",
};
static const uint16_t ports[] = {0, 53, 443, 1500, 65535};

static void same(struct rules_result here, struct rules_result there, const char *dest,
                 const char *address, unsigned round)
{
    if (here.verdict != there.verdict || strcmp(here.why, there.why) != 0)
        fail_msg("round %u: %s at %s: %d (%s) became %d (%s)", round, dest, address, here.verdict,
                 here.why, there.verdict, there.why);
}

/* In all that a relay asks. */
static void judge_alike(const struct rules *here, const struct rules_subject *subject,
                        const struct rules *there, unsigned round)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    uint16_t port = ports[draw(COUNT(ports))];

    for (size_t n = 0; n < COUNT(names); n++) {
        struct dest dest = to_name(names[n], port);

        same(rules_judge_datagram(here, subject, &dest),
             rules_judge_datagram(there, &anybody, &dest), names[n], "-", round);
        for (size_t i = 0; i < COUNT(addresses); i++) {
            struct addr a = ip(addresses[i]);

            same(rules_judge_address(here, subject, &dest, &a),
                 rules_judge_address(there, &anybody, &dest, &a), names[n], addresses[i], round);
        }
    }
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct dest dest = to_ip(addresses[i], port);

        same(rules_judge_datagram(here, subject, &dest),
             rules_judge_datagram(there, &anybody, &dest), "itself", addresses[i], round);
        same(rules_judge_address(here, subject, &dest, &dest.addr),
             rules_judge_address(there, &anybody, &dest, &dest.addr), "itself", addresses[i],
             round);
    }
}

/* What arrives of the rules that an Open carries. */
static struct rules *sent(const struct n2_rules *out)
{
    static const uint8_t id[ID_LEN] = {1};
    struct n2_arena *a = n2_arena_new();
    struct n2_open open = {.association = id, .kind = N2_UDP, .owner = "", .rules = out};
    struct n2_call call = {.id = 1, .remaining_ms = 1, .what = N2_OPEN, .u.open = &open};
    struct n2_request r;
    struct rules *ret;
    struct buf b;

    buf_init(&b, N2_MESSAGE_MAX);
    n2_put_request_head(&b, &(struct n2_head){1, "s", 1, 1, 0});
    n2_put_call(&b, &call);
    assert_false(b.failed);
    assert_int_equal(n2_request_decode(a, b.data, b.len, &r), 0);
    assert_int_equal(r.calls[0].invalid, N2_REFUSAL_NONE);
    ret = imported(r.calls[0].u.open->rules->items, r.calls[0].u.open->rules->count);
    buf_fini(&b);
    n2_arena_free(a);
    return ret;
}

static void a_relay_judges_every_datagram_as_the_server_would(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        struct rules *here = draw_rules(), *there;
        struct rules_subject subject = draw_subject();
        struct n2_rules out;

        assert_int_equal(rules_export(here, &subject, &out), 0);
        there = imported(out.items, out.count);
        judge_alike(here, &subject, there, round);
        rules_free(there);
        if (round % 4 == 0) {
            there = sent(&out);
            judge_alike(here, &subject, there, round);
            rules_free(there);
        }
        free_items(&out);
        rules_free(here);
    }
}

/* The search for an address that may pass is bounded: what does not concern the subject must not
 * count, for it is not sent. */
static void rules_for_others_do_not_shorten_the_search(void **state)
{
    struct rules_subject subject = {.source = ip("10.0.0.1"), .command = SOCKS_UDP_ASSOCIATE};
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct dest dest = to_name("x.example", 53);
    struct rules *here = rules_new(), *there;
    struct n2_rules out;
    char text[64];

    (void)state;
    struct rule *deny = rules_add(here, RULES_ACTION_DENY);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(rule_add_user(rules_add(here, RULES_ACTION_ALLOW), "bob", NULL), 0);
    struct rule *allow = rules_add(here, RULES_ACTION_ALLOW);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "20.%u.7.0/24", i);
        assert_int_equal(rule_add_to(deny, text, NULL), 0);
        assert_int_equal(rule_add_to(allow, text, NULL), 0);
    }
    rules_seal(here);
    assert_int_equal(rules_export(here, &subject, &out), 0);
    assert_int_equal(out.count, 2);
    there = imported(out.items, out.count);
    assert_int_equal(rules_judge_datagram(there, &anybody, &dest).verdict, RULES_DENY);
    assert_int_equal(rules_judge_datagram(here, &subject, &dest).verdict, RULES_DENY);
    rules_free(there);
    free_items(&out);
    rules_free(here);
}

static void what_was_imported_is_exported_again_as_it_is(void **state)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};

    (void)state;
    for (unsigned round = 0; round < 500; round++) {
        struct rules *here = draw_rules(), *there;
        struct rules_subject subject = draw_subject();
        struct n2_rules out, again;

        assert_int_equal(rules_export(here, &subject, &out), 0);
        there = imported(out.items, out.count);
        assert_int_equal(rules_export(there, &anybody, &again), 0);
        assert_int_equal(again.count, out.count);
        for (size_t i = 0; i < out.count; i++) {
            assert_int_equal(again.items[i].name_count, out.items[i].name_count);
            assert_int_equal(again.items[i].network_count, out.items[i].network_count);
            assert_int_equal(again.items[i].special_count, out.items[i].special_count);
            assert_int_equal(again.items[i].port_count, out.items[i].port_count);
            assert_memory_equal(again.items[i].networks, out.items[i].networks,
                                out.items[i].network_count * sizeof(struct prefix));
        }
        free_items(&again);
        free_items(&out);
        rules_free(there);
        rules_free(here);
    }
}

/* ---- export ---- */

static void only_the_rules_that_concern_the_subject_are_sent(void **state)
{
    static const char *const staff[] = {"alice"};
    const struct rules_subject alice = {
        .user = "alice", .source = ip("10.0.0.1"), .command = SOCKS_UDP_ASSOCIATE};
    struct rules *rules = rules_new();
    struct n2_rules out;

    (void)state;
    assert_int_equal(rule_add_user(rules_add(rules, RULES_ACTION_DENY), "bob", NULL), 0);
    assert_int_equal(rule_add_command(rules_add(rules, RULES_ACTION_DENY), "connect", NULL), 0);
    assert_int_equal(rule_add_from(rules_add(rules, RULES_ACTION_DENY), "11.0.0.0/8", NULL), 0);
    assert_int_equal(rule_add_group(rules_add(rules, RULES_ACTION_DENY), NULL, 0, NULL), 0);
    struct rule *r = rules_add(rules, RULES_ACTION_ALLOW);
    assert_int_equal(rule_add_group(r, staff, 1, NULL), 0);
    assert_int_equal(rule_add_from(r, "10.0.0.0/8", NULL), 0);
    assert_int_equal(rule_add_to(r, "*.example.net", NULL), 0);
    assert_int_equal(rule_add_to(r, "8.8.8.0/24", NULL), 0);
    assert_int_equal(rule_add_to(r, "127.0.0.1", NULL), 0);
    assert_int_equal(rule_add_port(r, "53", NULL), 0);
    r = rules_add(rules, RULES_ACTION_DENY);
    assert_int_equal(rule_add_to(r, "10.0.0.0/8", NULL), 0);
    rules_seal(rules);

    assert_int_equal(rules_export(rules, &alice, &out), 0);
    assert_int_equal(out.count, 2);
    const struct n2_rule *allow = &out.items[0], *deny = &out.items[1];
    assert_true(allow->allow && !allow->any_destination && !allow->any_port);
    assert_false(allow->opens_special);
    assert_int_equal(allow->name_count, 1);
    assert_string_equal(allow->names[0], ".example.net");
    assert_int_equal(allow->network_count, 2);
    assert_int_equal(allow->special_count, 1);
    assert_int_equal(allow->special[0].bits, 32);
    assert_int_equal(allow->port_count, 1);
    assert_int_equal(allow->ports[0].first, 53);
    /* What it denies is denied, special or not: there is nothing to open. */
    assert_true(!deny->allow && !deny->any_destination && deny->any_port);
    assert_int_equal(deny->network_count, 1);
    assert_int_equal(deny->special_count, 0);
    free_items(&out);
    rules_free(rules);
}

static void what_stands_behind_a_rule_that_fits_everything_is_not_sent(void **state)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct rules *rules = rules_new();
    struct n2_rules out;

    (void)state;
    /* It fits every address, but not a name that is still to be resolved. */
    struct rule *r = rules_add(rules, RULES_ACTION_DENY);
    assert_int_equal(rule_add_to(r, "0.0.0.0/0", NULL), 0);
    assert_int_equal(rule_add_to(r, "::/0", NULL), 0);
    /* Not port 0. */
    assert_int_equal(rule_add_port(rules_add(rules, RULES_ACTION_DENY), "1-65535", NULL), 0);
    rules_add(rules, RULES_ACTION_ALLOW);
    rules_add(rules, RULES_ACTION_DENY);
    rules_seal(rules);
    assert_int_equal(rules_export(rules, &anybody, &out), 0);
    assert_int_equal(out.count, 3);
    assert_true(out.items[2].allow && out.items[2].any_destination && out.items[2].any_port);
    free_items(&out);
    rules_free(rules);
}

static void the_rules_of_standalone_open_everything_to_loopback_clients_only(void **state)
{
    struct rules_subject subject = {.source = ip("127.0.0.1"), .command = SOCKS_UDP_ASSOCIATE};
    struct rules *rules = rules_new_standalone(), *there;
    struct dest dest = to_ip("169.254.169.254", 80);
    struct n2_rules out;

    (void)state;
    assert_int_equal(rules_export(rules, &subject, &out), 0);
    there = imported(out.items, out.count);
    assert_true(allows(there, &dest, NULL));
    rules_free(there);
    free_items(&out);

    subject.source = ip("10.0.0.1");
    assert_int_equal(rules_export(rules, &subject, &out), 0);
    assert_int_equal(out.count, 0);
    there = imported(out.items, out.count);
    assert_false(allows(there, &dest, NULL));
    rules_free(there);
    free_items(&out);
    rules_free(rules);
}

/* ---- import ---- */

static void without_a_rule_nothing_is_allowed(void **state)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct rules *rules = imported(NULL, 0);
    struct dest address = to_ip("8.8.8.8", 53), name = to_name("x.example", 53);

    (void)state;
    assert_int_equal(rules_judge_datagram(rules, &anybody, &address).verdict, RULES_DENY);
    assert_int_equal(rules_judge_datagram(rules, &anybody, &name).verdict, RULES_DENY);
    rules_free(rules);
}

static void a_rule_of_empty_lists_fits_nothing(void **state)
{
    const struct n2_rule no_destination[] = {{.allow = true, .any_port = true}};
    const struct n2_rule no_port[] = {{.allow = true, .any_destination = true}};
    struct dest dest = to_ip("8.8.8.8", 53);
    struct rules *rules;

    (void)state;
    rules = imported(no_destination, 1);
    assert_false(allows(rules, &dest, NULL));
    rules_free(rules);
    rules = imported(no_port, 1);
    assert_false(allows(rules, &dest, NULL));
    rules_free(rules);
}

static void port_0_can_be_named_by_a_server(void **state)
{
    const struct port_span span = {0, 9};
    const struct n2_rule rule = {
        .allow = true, .any_destination = true, .ports = &span, .port_count = 1};
    struct rules *rules = imported(&rule, 1);
    struct dest zero = to_ip("8.8.8.8", 0), ten = to_ip("8.8.8.8", 10);

    (void)state;
    assert_true(allows(rules, &zero, NULL));
    assert_false(allows(rules, &ten, NULL));
    rules_free(rules);
}

static void what_opens_special_addresses_is_what_the_server_says(void **state)
{
    const struct prefix ten = net("10.0.0.0/8");
    const struct n2_rule opened[] = {
        {.allow = true,
         .any_port = true,
         .any_destination = true,
         .special = &ten,
         .special_count = 1},
    };
    const struct n2_rule not_opened[] = {
        {.allow = true, .any_port = true, .networks = &ten, .network_count = 1},
    };
    const struct n2_rule denied[] = {
        {.any_port = true, .networks = &ten, .network_count = 1, .opens_special = true},
        {.allow = true, .any_port = true, .any_destination = true, .opens_special = true},
    };
    struct dest in_ten = to_ip("10.1.1.1", 53), loopback = to_ip("127.0.0.1", 53);
    struct rules *rules;

    (void)state;
    rules = imported(opened, 1);
    assert_true(allows(rules, &in_ten, NULL));
    assert_false(allows(rules, &loopback, NULL));
    rules_free(rules);
    rules = imported(not_opened, 1);
    assert_false(allows(rules, &in_ten, NULL));
    rules_free(rules);
    rules = imported(denied, 2);
    assert_false(allows(rules, &in_ten, NULL));
    assert_true(allows(rules, &loopback, NULL));
    rules_free(rules);
}

static void a_mapped_network_is_its_ipv4_network(void **state)
{
    const struct prefix mapped = net("::ffff:8.8.8.0/120");
    const struct n2_rule rule = {
        .allow = true, .any_port = true, .networks = &mapped, .network_count = 1};
    struct rules *rules = imported(&rule, 1);
    struct dest v4 = to_ip("8.8.8.8", 53), mapped_too = to_ip("::ffff:8.8.8.8", 53);
    struct dest other = to_ip("8.8.9.8", 53);

    (void)state;
    assert_true(allows(rules, &v4, NULL));
    assert_true(allows(rules, &mapped_too, NULL));
    assert_false(allows(rules, &other, NULL));
    rules_free(rules);
}

/* len letters and dots, no label longer than 63. */
static char *long_name(char *buf, size_t len, bool domain)
{
    memset(buf, 'a', len);
    for (size_t i = 60; i + 1 < len; i += 61)
        buf[i] = '.';
    if (domain)
        buf[0] = '.';
    buf[len] = '\0';
    return buf;
}

static void names_are_taken_in_one_form_only(void **state)
{
    char buf[DEST_NAME_MAX + 8];
    static const char umlaut[] = "b\xc3\xbc"
                                 "cher.example";
    const char *const good[] = {"a",       "a.b",  ".b",     ".example.net",
                                "x_y.b-c", "1.2a", ".1.net", umlaut};
    const char *const bad[] = {"",         ".",   "..b", ".b.",   "a.b.", "a..b", "A.b",
                               ".Example", "*.b", "*",   "a.*.b", "a b",  "a/b",  "10.0.0.1",
                               "1",        ".10", "a.7", "::1",   "a\\b", "a%b",  "-\n"};

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct n2_rule rule = {.names = &good[i], .name_count = 1};
        rules_free(imported(&rule, 1));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct n2_rule rule = {.names = &bad[i], .name_count = 1};
        refused(&rule, 1, "name");
    }
    for (unsigned domain = 0; domain < 2; domain++) {
        const char *name = long_name(buf, DEST_NAME_MAX, domain != 0);
        struct n2_rule rule = {.names = &name, .name_count = 1};

        rules_free(imported(&rule, 1));
        long_name(buf, DEST_NAME_MAX + 1, domain != 0);
        refused(&rule, 1, "name");
    }
    memset(buf, 'a', 64);
    buf[64] = '\0';
    const char *label = buf;
    struct n2_rule rule = {.names = &label, .name_count = 1};
    refused(&rule, 1, "name");
}

static void a_name_that_was_imported_fits_as_a_pattern_does(void **state)
{
    static const char *const list[] = {".example.net", "www.example.org"};
    const struct n2_rule rule = {.allow = true, .any_port = true, .names = list, .name_count = 2};
    static const struct {
        const char *name;
        bool fits;
    } rows[] = {
        {"a.example.net", true},      {"b.a.example.net", true}, {"A.Example.NET.", true},
        {"example.net", false},       {"badexample.net", false}, {"www.example.org", true},
        {"a.www.example.org", false},
    };
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct rules *rules = imported(&rule, 1);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dest dest = to_name(rows[i].name, 53);

        assert_int_equal(rules_judge_datagram(rules, &anybody, &dest).verdict,
                         rows[i].fits ? RULES_ALLOW : RULES_DENY);
        assert_int_equal(allows(rules, &dest, "8.8.8.8"), rows[i].fits);
        assert_false(allows(rules, &dest, "127.0.0.1"));
    }
    rules_free(rules);
}

static void what_is_malformed_is_refused_with_its_rule(void **state)
{
    static const struct prefix networks[] = {
        {.family = ADDR_NONE},
        {.family = 5, .bits = 8},
        {.family = ADDR_IPV4, .bits = 33},
        {.family = ADDR_IPV6, .bits = 129},
        {.family = ADDR_IPV4, .bits = 7, .ip = {1}},
        {.family = ADDR_IPV6, .bits = 127, .ip = {[15] = 1}},
    };
    static const struct port_span ports_bad = {80, 79};
    static const char *const name_bad[] = {"good", "A"};
    struct n2_rule two[2] = {{.any_port = true}, {.any_port = true}};

    (void)state;
    for (size_t i = 0; i < COUNT(networks); i++) {
        two[1] = (struct n2_rule){.networks = &networks[i], .network_count = 1};
        refused(two, 2, "rule 2: not a network");
        two[1] = (struct n2_rule){.special = &networks[i], .special_count = 1};
        refused(two, 2, "rule 2: not a network");
    }
    two[1] = (struct n2_rule){.ports = &ports_bad, .port_count = 1};
    refused(two, 2, "rule 2: ports");
    two[1] = (struct n2_rule){.names = name_bad, .name_count = 2};
    refused(two, 2, "rule 2: a name");
}

static void rules_and_lists_are_bounded(void **state)
{
    enum { LIST_MAX = 65536 };
    struct n2_rule *many = calloc(RULES_MAX + 1, sizeof(*many));
    struct port_span *spans = calloc(LIST_MAX + 1, sizeof(*spans));
    struct n2_rule one = {.ports = spans, .port_count = LIST_MAX};
    struct rules *rules;

    (void)state;
    rules = imported(many, RULES_MAX);
    assert_int_equal(rules_count(rules), RULES_MAX);
    rules_free(rules);
    refused(many, RULES_MAX + 1, "4096");
    rules_free(imported(&one, 1));
    one.port_count++;
    refused(&one, 1, "longer than");
    free(spans);
    free(many);
}

static void longer_lists_hold_more_memory(void **state)
{
    static const char *const list[] = {"one.example", "two.example"};
    const struct n2_rule one = {.names = list, .name_count = 1};
    const struct n2_rule rows[] = {{.names = list, .name_count = 2}, {.any_port = true}};
    struct rules *small = imported(&one, 1), *large = imported(rows, 2);

    (void)state;
    assert_true(rules_octets(small) > strlen(list[0]));
    assert_true(rules_octets(large) > rules_octets(small) + strlen(list[1]));
    rules_free(large);
    rules_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_relay_judges_every_datagram_as_the_server_would),
        cmocka_unit_test(rules_for_others_do_not_shorten_the_search),
        cmocka_unit_test(what_was_imported_is_exported_again_as_it_is),
        cmocka_unit_test(only_the_rules_that_concern_the_subject_are_sent),
        cmocka_unit_test(what_stands_behind_a_rule_that_fits_everything_is_not_sent),
        cmocka_unit_test(the_rules_of_standalone_open_everything_to_loopback_clients_only),
        cmocka_unit_test(without_a_rule_nothing_is_allowed),
        cmocka_unit_test(a_rule_of_empty_lists_fits_nothing),
        cmocka_unit_test(port_0_can_be_named_by_a_server),
        cmocka_unit_test(what_opens_special_addresses_is_what_the_server_says),
        cmocka_unit_test(a_mapped_network_is_its_ipv4_network),
        cmocka_unit_test(names_are_taken_in_one_form_only),
        cmocka_unit_test(a_name_that_was_imported_fits_as_a_pattern_does),
        cmocka_unit_test(what_is_malformed_is_refused_with_its_rule),
        cmocka_unit_test(rules_and_lists_are_bounded),
        cmocka_unit_test(longer_lists_hold_more_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
