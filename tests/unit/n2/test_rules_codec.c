/* DatagramRules: what arrives is what was sent, and nothing that is malformed arrives. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/n2_fields.h"

static const uint8_t id[ID_LEN] = {1};

static struct prefix net(const char *text)
{
    struct prefix p;

    assert_true(prefix_parse(text, &p));
    return p;
}

/* ---- by hand ---- */

/* The only call of a message. */
static const struct n2_call *only_call(struct n2_arena *a, unsigned field, struct buf *what)
{
    struct buf call = fields_buf(), message = fields_buf();
    struct n2_request r;

    raw_varint(&call, CALL_ID, 1);
    raw_varint(&call, CALL_REMAINING_MS, 1);
    raw_message(&call, field, what);
    raw_varint(&message, REQUEST_VERSION, 1);
    raw_text(&message, REQUEST_SERVER_ID, "s");
    raw_fixed64(&message, REQUEST_SERVER_EPOCH, 1);
    raw_message(&message, REQUEST_CALLS, &call);
    assert_false(message.failed);
    assert_int_equal(n2_request_decode(a, message.data, message.len, &r), 0);
    assert_int_equal(r.call_count, 1);
    buf_fini(&message);
    return r.calls;
}

static const struct n2_call *open_of_kind(struct n2_arena *a, enum n2_kind kind, struct buf *rules)
{
    struct buf b = fields_buf(), to = fields_endpoint(4, 80);

    raw_octets(&b, OPEN_ASSOCIATION, id, ID_LEN);
    raw_varint(&b, OPEN_KIND, kind);
    raw_message(&b, OPEN_DESTINATIONS, &to);
    raw_message(&b, OPEN_RULES, rules);
    return only_call(a, CALL_OPEN, &b);
}

static const struct n2_call *update_of(struct n2_arena *a, struct buf *rules)
{
    struct buf b = fields_buf();

    raw_octets(&b, UPDATE_ASSOCIATION, id, ID_LEN);
    raw_varint(&b, UPDATE_REVISION, 1);
    raw_message(&b, UPDATE_RULES, rules);
    return only_call(a, CALL_UPDATE, &b);
}

static struct buf copy_of(const struct buf *from)
{
    struct buf b = fields_buf();

    buf_append(&b, from->data, from->len);
    return b;
}

/* How rules are taken, in an Open and in an Update alike; rule is emptied. */
static enum n2_refusal_code verdict_of_rule(struct buf *rule)
{
    struct n2_arena *a = n2_arena_new();
    struct buf rules = fields_buf(), again;

    raw_message(&rules, RULES_RULES, rule);
    again = copy_of(&rules);
    const struct n2_call *open = open_of_kind(a, N2_UDP, &rules);
    enum n2_refusal_code code = open->invalid;
    const char *text = open->invalid_text;
    const struct n2_call *update = update_of(a, &again);
    assert_int_equal(update->invalid, code);
    if (code != N2_REFUSAL_NONE) {
        assert_string_equal(text, "rules");
        assert_string_equal(update->invalid_text, "rules");
    }
    n2_arena_free(a);
    return code;
}

static enum n2_refusal_code verdict_of_network(unsigned field, const uint8_t *ip, size_t len,
                                               uint64_t bits)
{
    struct buf rule = fields_buf(), network = fields_buf();

    raw_octets(&network, NETWORK_IP, ip, len);
    raw_varint(&network, NETWORK_BITS, bits);
    raw_message(&rule, field, &network);
    return verdict_of_rule(&rule);
}

static enum n2_refusal_code verdict_of_ports(uint64_t first, uint64_t last)
{
    struct buf rule = fields_buf(), span = fields_buf();

    raw_varint(&span, SPAN_FIRST, first);
    raw_varint(&span, SPAN_LAST, last);
    raw_message(&rule, RULE_PORTS, &span);
    return verdict_of_rule(&rule);
}

static enum n2_refusal_code verdict_of_name(const char *name)
{
    struct buf rule = fields_buf();

    raw_text(&rule, RULE_NAMES, "good.example");
    raw_text(&rule, RULE_NAMES, name);
    return verdict_of_rule(&rule);
}

static void a_network_has_4_or_16_octets_and_no_bit_behind_its_length(void **state)
{
    static const unsigned fields[] = {RULE_NETWORKS, RULE_SPECIAL};
    static const uint8_t zero[17], ip[16] = {10, 0x80, 0, 0};
    static const size_t wrong[] = {0, 1, 3, 5, 15, 17};
    (void)state;

    for (size_t i = 0; i < COUNT(fields); i++) {
        unsigned f = fields[i];

        for (size_t n = 0; n < COUNT(wrong); n++)
            assert_int_equal(verdict_of_network(f, zero, wrong[n], 0), N2_BAD);
        assert_int_equal(verdict_of_network(f, zero, 4, 0), N2_REFUSAL_NONE);
        assert_int_equal(verdict_of_network(f, zero, 16, 0), N2_REFUSAL_NONE);
        assert_int_equal(verdict_of_network(f, zero, 4, 32), N2_REFUSAL_NONE);
        assert_int_equal(verdict_of_network(f, zero, 4, 33), N2_BAD);
        assert_int_equal(verdict_of_network(f, zero, 16, 128), N2_REFUSAL_NONE);
        assert_int_equal(verdict_of_network(f, zero, 16, 129), N2_BAD);
        assert_int_equal(verdict_of_network(f, zero, 4, 256), N2_BAD);
        assert_int_equal(verdict_of_network(f, zero, 4, UINT32_MAX), N2_BAD);
        /* 10.128.0.0 and a80:: end with bit 9. */
        assert_int_equal(verdict_of_network(f, ip, 4, 8), N2_BAD);
        assert_int_equal(verdict_of_network(f, ip, 4, 9), N2_REFUSAL_NONE);
        assert_int_equal(verdict_of_network(f, ip, 4, 0), N2_BAD);
        assert_int_equal(verdict_of_network(f, ip, 16, 8), N2_BAD);
        assert_int_equal(verdict_of_network(f, ip, 16, 9), N2_REFUSAL_NONE);
    }
}

static void ports_are_in_order_and_of_16_bits(void **state)
{
    (void)state;
    assert_int_equal(verdict_of_ports(0, 0), N2_REFUSAL_NONE);
    assert_int_equal(verdict_of_ports(53, 53), N2_REFUSAL_NONE);
    assert_int_equal(verdict_of_ports(0, 65535), N2_REFUSAL_NONE);
    assert_int_equal(verdict_of_ports(54, 53), N2_BAD);
    assert_int_equal(verdict_of_ports(0, 65536), N2_BAD);
    assert_int_equal(verdict_of_ports(65536, 65536), N2_BAD);
    assert_int_equal(verdict_of_ports(65536 + 53, 65536 + 54), N2_BAD);
}

static void a_name_has_1_to_255_octets(void **state)
{
    char name[DEST_NAME_MAX + 2];
    (void)state;

    assert_int_equal(verdict_of_name("a"), N2_REFUSAL_NONE);
    assert_int_equal(verdict_of_name(".example"), N2_REFUSAL_NONE);
    assert_int_equal(verdict_of_name(""), N2_BAD);
    memset(name, 'a', sizeof(name));
    name[DEST_NAME_MAX + 1] = '\0';
    assert_int_equal(verdict_of_name(name), N2_BAD);
    name[DEST_NAME_MAX] = '\0';
    assert_int_equal(verdict_of_name(name), N2_REFUSAL_NONE);
}

static void put_empty_rules(struct buf *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buf rule = fields_buf();
        raw_message(rules, RULES_RULES, &rule);
    }
}

static void there_are_4096_rules_at_most(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct buf rules = fields_buf();
    (void)state;

    put_empty_rules(&rules, N2_RULES_MAX);
    const struct n2_call *open = open_of_kind(a, N2_UDP, &rules);
    assert_int_equal(open->invalid, N2_REFUSAL_NONE);
    assert_int_equal(open->u.open->rules->count, N2_RULES_MAX);
    rules = fields_buf();
    put_empty_rules(&rules, N2_RULES_MAX + 1);
    assert_int_equal(open_of_kind(a, N2_UDP, &rules)->invalid, N2_BAD);
    rules = fields_buf();
    put_empty_rules(&rules, N2_RULES_MAX + 1);
    assert_int_equal(update_of(a, &rules)->invalid, N2_BAD);
    n2_arena_free(a);
}

static void only_an_open_of_datagrams_has_rules(void **state)
{
    struct n2_arena *a = n2_arena_new();
    (void)state;

    for (enum n2_kind kind = N2_CONNECT; kind < N2_KINDS; kind++) {
        struct buf rules = fields_buf();
        enum n2_refusal_code code = open_of_kind(a, kind, &rules)->invalid;
        assert_int_equal(code, kind == N2_UDP ? N2_REFUSAL_NONE : N2_BAD);
    }
    n2_arena_free(a);
}

static void a_list_without_rules_is_not_an_absent_one(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct buf rules = fields_buf(), b = fields_buf();
    (void)state;

    const struct n2_call *update = update_of(a, &rules);
    assert_non_null(update->u.update.rules);
    assert_int_equal(update->u.update.rules->count, 0);
    raw_octets(&b, UPDATE_ASSOCIATION, id, ID_LEN);
    update = only_call(a, CALL_UPDATE, &b);
    assert_int_equal(update->invalid, N2_REFUSAL_NONE);
    assert_null(update->u.update.rules);
    n2_arena_free(a);
}

static void a_mapped_network_arrives_as_its_ipv4_network(void **state)
{
    static const struct {
        const char *sent, *got;
    } rows[] = {
        {"::ffff:8.8.8.0/120", "8.8.8.0/24"},
        {"::ffff:0.0.0.0/96", "0.0.0.0/0"},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"::fffe:0:0/95", "::fffe:0:0/95"},
        {"::/0", "::/0"},
        {"64:ff9b::808:800/120", "64:ff9b::808:800/120"},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct prefix sent = net(rows[i].sent), wanted = net(rows[i].got);
        struct buf rules = fields_buf(), rule = fields_buf(), network = fields_buf();
        struct n2_arena *a = n2_arena_new();

        raw_octets(&network, NETWORK_IP, sent.ip, 16);
        raw_varint(&network, NETWORK_BITS, sent.bits);
        raw_message(&rule, RULE_NETWORKS, &network);
        raw_message(&rules, RULES_RULES, &rule);
        const struct n2_call *open = open_of_kind(a, N2_UDP, &rules);
        assert_int_equal(open->invalid, N2_REFUSAL_NONE);
        assert_memory_equal(open->u.open->rules->items[0].networks, &wanted, sizeof(wanted));
        n2_arena_free(a);
    }
}

/* ---- there and back ---- */

static void rules_are_equal(const struct n2_rules *got, const struct n2_rules *sent)
{
    assert_int_equal(got->count, sent->count);
    for (size_t i = 0; i < got->count; i++) {
        const struct n2_rule *g = &got->items[i], *s = &sent->items[i];

        assert_int_equal(g->allow, s->allow);
        assert_int_equal(g->any_destination, s->any_destination);
        assert_int_equal(g->opens_special, s->opens_special);
        assert_int_equal(g->any_port, s->any_port);
        assert_int_equal(g->name_count, s->name_count);
        for (size_t n = 0; n < s->name_count; n++)
            assert_string_equal(g->names[n], s->names[n]);
        assert_int_equal(g->network_count, s->network_count);
        if (s->network_count > 0)
            assert_memory_equal(g->networks, s->networks, s->network_count * sizeof(struct prefix));
        assert_int_equal(g->special_count, s->special_count);
        if (s->special_count > 0)
            assert_memory_equal(g->special, s->special, s->special_count * sizeof(struct prefix));
        assert_int_equal(g->port_count, s->port_count);
        if (s->port_count > 0)
            assert_memory_equal(g->ports, s->ports, s->port_count * sizeof(struct port_span));
    }
}

/* Both calls with these rules arrive with them. */
static void arrives(const struct n2_rules *rules)
{
    const struct n2_open open = {.association = id, .kind = N2_UDP, .owner = "", .rules = rules};
    const struct n2_update update = {.association = id, .revision = 2, .rules = rules};
    const struct n2_call calls[] = {
        {.id = 1, .remaining_ms = 1, .what = N2_OPEN, .u.open = &open},
        {.id = 2, .remaining_ms = 1, .what = N2_UPDATE, .u.update = update},
    };
    struct n2_arena *a = n2_arena_new();
    struct n2_request r;
    struct buf b = fields_buf();

    n2_put_request_head(&b, &(struct n2_head){1, "s", 1, 1, 0});
    n2_put_call(&b, &calls[0]);
    n2_put_call(&b, &calls[1]);
    assert_false(b.failed);
    assert_int_equal(n2_request_decode(a, b.data, b.len, &r), 0);
    assert_int_equal(r.call_count, 2);
    assert_int_equal(r.calls[0].invalid, N2_REFUSAL_NONE);
    assert_int_equal(r.calls[1].invalid, N2_REFUSAL_NONE);
    if (rules != NULL) {
        rules_are_equal(r.calls[0].u.open->rules, rules);
        rules_are_equal(r.calls[1].u.update.rules, rules);
    } else {
        assert_null(r.calls[0].u.open->rules);
        assert_null(r.calls[1].u.update.rules);
    }
    buf_fini(&b);
    n2_arena_free(a);
}

static void what_was_sent_arrives(void **state)
{
    static const char *const names[] = {"a.example", ".b.example", "c"};
    const struct prefix networks[] = {net("0.0.0.0/0"), net("8.8.8.0/24"), net("::/0"),
                                      net("2001:db8::/32"), net("::1")};
    static const struct port_span ports[] = {{0, 0}, {53, 53}, {1000, 65535}};
    const struct n2_rule items[] = {
        {.allow = true,
         .names = names,
         .name_count = COUNT(names),
         .networks = networks,
         .network_count = COUNT(networks),
         .special = networks + 4,
         .special_count = 1,
         .ports = ports,
         .port_count = COUNT(ports)},
        {0},
        {.networks = networks + 1, .network_count = 3, .any_port = true},
        {.ports = ports + 1, .port_count = 1, .any_destination = true},
        {.allow = true, .any_destination = true, .opens_special = true, .any_port = true},
    };
    (void)state;

    arrives(&(struct n2_rules){items, COUNT(items)});
    arrives(&(struct n2_rules){items + 1, 1});
    arrives(&(struct n2_rules){NULL, 0});
    arrives(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_has_4_or_16_octets_and_no_bit_behind_its_length),
        cmocka_unit_test(ports_are_in_order_and_of_16_bits),
        cmocka_unit_test(a_name_has_1_to_255_octets),
        cmocka_unit_test(there_are_4096_rules_at_most),
        cmocka_unit_test(only_an_open_of_datagrams_has_rules),
        cmocka_unit_test(a_list_without_rules_is_not_an_absent_one),
        cmocka_unit_test(a_mapped_network_arrives_as_its_ipv4_network),
        cmocka_unit_test(what_was_sent_arrives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
