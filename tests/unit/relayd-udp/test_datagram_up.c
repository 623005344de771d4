/* Datagrams of clients: whose they are, and which are dropped and why. (Where the others go:
 * test_datagram_route.c.) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64, QUIET_MS = 30 };

static const struct n2_limits no_limits;

/* One association of one client, and a target. */
struct scene {
    struct assoc_bench *b;
    int client, target;
    struct addr client_at, target_at;
    struct addr relay;
};

static struct scene scene_of(struct assoc_bench *b)
{
    struct scene s = {.b = b};

    assoc_bench_start(b, SOCKETS);
    s.client = assoc_socket(b, "127.0.0.1", 0, &s.client_at);
    s.target = assoc_socket(b, "127.0.0.1", 0, &s.target_at);
    s.relay = assoc_open(b, 1, "127.0.0.1");
    return s;
}

static struct scene scene(void)
{
    return scene_of(assoc_bench_new(PORTS));
}

/* The same, and locked. */
static struct scene locked_scene(struct assoc_bench *b)
{
    struct scene s = scene_of(b);

    assoc_send(s.client, &s.relay, &s.target_at, "first");
    assoc_hears(b, s.target, "first");
    assoc_event(b, N2_EVENT_LOCKED);
    return s;
}

static uint64_t counted_drops(struct assoc_bench *b)
{
    return assoc_release(b, 1)->u.release.counters.dropped;
}

/* ---- whose it is ---- */

static void the_first_valid_datagram_fixes_the_port(void **state)
{
    struct scene s = scene();
    int other = assoc_socket(s.b, "127.0.0.1", 0, NULL);
    (void)state;

    assoc_send(s.client, &s.relay, &s.target_at, "hello");
    assoc_hears(s.b, s.target, "hello");
    struct n2_event e = assoc_event(s.b, N2_EVENT_LOCKED);
    assert_true(addr_equal(&e.peer, &s.client_at));
    assert_int_equal(s.b->relay.stats.locks_learned, 1);
    assoc_send(other, &s.relay, &s.target_at, "another port");
    assoc_dropped(s.b, DROP_SOURCE_PORT, 1);
    assoc_send(s.client, &s.relay, &s.target_at, "again");
    assoc_hears(s.b, s.target, "again");
    assert_true(assoc_silent(s.target));
    assert_int_equal(counted_drops(s.b), 0); /* it was nobody's */
    assoc_bench_free(s.b);
}

static void what_is_no_socks_datagram_fixes_nothing(void **state)
{
    static const uint8_t reserved[] = {0, 1, 0, 1, 127, 0, 0, 1, 0, 9, 'x'};
    static const uint8_t no_atyp[] = {0, 0, 0, 2, 127, 0, 0, 1, 0, 9, 'x'};
    static const uint8_t no_name[] = {0, 0, 0, 3, 0, 0, 9, 'x'};
    struct scene s = scene();
    int other = assoc_socket(s.b, "127.0.0.1", 0, NULL);
    (void)state;

    assoc_send_raw(other, &s.relay, "", 0);
    assoc_send_raw(other, &s.relay, reserved, sizeof(reserved));
    assoc_send_raw(other, &s.relay, no_atyp, sizeof(no_atyp));
    assoc_send_raw(other, &s.relay, no_name, sizeof(no_name));
    assoc_send_raw(other, &s.relay, reserved, 9); /* cut */
    assoc_dropped(s.b, DROP_HEADER, 5);
    assert_int_equal(ports_stats(s.b->relay.ports).unlocked, 1);
    assoc_send(s.client, &s.relay, &s.target_at, "valid");
    struct n2_event e = assoc_event(s.b, N2_EVENT_LOCKED);
    assert_true(addr_equal(&e.peer, &s.client_at));
    assoc_hears(s.b, s.target, "valid");
    assoc_bench_free(s.b);
}

static void another_address_is_a_stranger(void **state)
{
    struct scene s = scene();
    int stranger = assoc_socket(s.b, "127.0.0.2", 0, NULL);
    (void)state;

    assoc_send(stranger, &s.relay, &s.target_at, "let me in");
    assoc_dropped(s.b, DROP_STRANGER, 1);
    assert_int_equal(ports_stats(s.b->relay.ports).unlocked, 1);
    assert_int_equal(s.b->relay.stats.used, 0);
    assoc_bench_free(s.b);
}

static void what_comes_late_finds_nobody(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    (void)state;

    b->relay.config.port_rest_ms = 60000;
    struct scene s = locked_scene(b);
    assoc_release(b, 1);
    assoc_send(s.client, &s.relay, &s.target_at, "late");
    assoc_dropped(b, DROP_LATE, 1);
    assoc_bench_free(b);
}

static void without_a_rest_what_comes_late_is_a_strangers(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct scene s = locked_scene(b);
    (void)state;

    assoc_release(b, 1);
    assoc_send(s.client, &s.relay, &s.target_at, "late");
    assoc_dropped(b, DROP_STRANGER, 1);
    assoc_bench_free(b);
}

/* ---- another port of its client ---- */

static void a_client_that_has_moved_may_be_followed(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr moved_at;
    (void)state;

    b->relay.config.relock_ms = 1;
    struct scene s = locked_scene(b);
    int moved = assoc_socket(b, "127.0.0.1", 0, &moved_at);
    loop_run_for(&b->loop, QUIET_MS);
    assoc_send_raw(moved, &s.relay, "x", 1); /* not by this */
    assoc_dropped(b, DROP_SOURCE_PORT, 1);
    assoc_send(moved, &s.relay, &s.target_at, "moved");
    struct addr outer = assoc_hears(b, s.target, "moved");
    struct n2_event e = assoc_event(b, N2_EVENT_LOCKED);
    assert_true(addr_equal(&e.peer, &moved_at));
    assert_int_equal(b->relay.stats.relocks, 1);
    assoc_send_raw(s.target, &outer, "answer", 6);
    assoc_hears_from(b, moved, &s.target_at, "answer");
    assert_true(assoc_silent(s.client));
    assert_true(addr_equal(&assoc_release(b, 1)->u.release.client, &moved_at));
    assoc_bench_free(b);
}

static void it_is_not_followed_again_so_soon_nor_when_that_is_off(void **state)
{
    static const uint64_t relock_ms[] = {0, 3600000};
    (void)state;

    for (size_t i = 0; i < 2; i++) {
        struct assoc_bench *b = assoc_bench_new(PORTS);
        b->relay.config.relock_ms = relock_ms[i];
        struct scene s = locked_scene(b);
        int moved = assoc_socket(b, "127.0.0.1", 0, NULL);
        assoc_send(moved, &s.relay, &s.target_at, "moved");
        assoc_dropped(b, DROP_SOURCE_PORT, 1);
        assert_int_equal(b->relay.stats.relocks, 0);
        assoc_bench_free(b);
    }
}

/* Of two, nobody can tell which has moved. */
static void with_two_on_a_port_nobody_is_followed(void **state)
{
    struct assoc_bench *b = assoc_bench_new(1);
    (void)state;

    b->relay.config.relock_ms = 1;
    assoc_bench_start(b, SOCKETS);
    struct addr relay = {0}, target;
    int third = assoc_socket(b, "127.0.0.1", 0, NULL);
    assoc_socket(b, "127.0.0.1", 0, &target);
    for (uint32_t i = 1; i <= 2; i++) {
        struct n2_open o = assoc_open_of(i);
        struct addr hint = assoc_at("127.0.0.1:0");
        hint.port = (uint16_t)(4000 + i);
        o.destinations = &hint;
        o.destination_count = 1;
        relay = assoc_ask_open(b, &o)->u.open.bound;
    }
    loop_run_for(&b->loop, QUIET_MS);
    assoc_send(third, &relay, &target, "whose?");
    assoc_dropped(b, DROP_SOURCE_PORT, 1);
    assert_int_equal(b->relay.stats.relocks, 0);
    assoc_bench_free(b);
}

/* ---- what is dropped, and counted as its association's ---- */

static void a_bad_header_is_dropped(void **state)
{
    static const uint8_t reserved[] = {0, 1, 0, 1, 127, 0, 0, 1, 0, 9};
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    assoc_send_raw(s.client, &s.relay, reserved, sizeof(reserved));
    assoc_send_raw(s.client, &s.relay, "", 0);
    assoc_dropped(s.b, DROP_HEADER, 2);
    assert_int_equal(counted_drops(s.b), 2);
    assoc_bench_free(s.b);
}

static void fragments_are_dropped_when_they_are_off(void **state)
{
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    assoc_send_fragment(s.client, &s.relay, 1, &s.target_at, "a");
    assoc_send_fragment(s.client, &s.relay, 0x82, &s.target_at, "b");
    assoc_dropped(s.b, DROP_FRAGMENT, 2);
    assert_int_equal(s.b->relay.stats.fragments, 2);
    assert_int_equal(counted_drops(s.b), 2);
    assoc_bench_free(s.b);
}

static void what_no_rule_allows_is_dropped(void **state)
{
    const struct prefix network = {.family = ADDR_IPV4, .bits = 32, .ip = {127, 0, 0, 1}};
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct scene s = locked_scene(b);
    struct addr other_port = s.target_at, other_address = s.target_at;
    const struct port_span span = {s.target_at.port, s.target_at.port};
    const struct n2_rule rule = {.allow = true,
                                 .opens_special = true,
                                 .networks = &network,
                                 .network_count = 1,
                                 .ports = &span,
                                 .port_count = 1};
    const struct n2_rules rules = {&rule, 1};
    (void)state;

    assoc_update(b, 1, 1, no_limits, &rules);
    other_port.port ^= 1;
    other_address.ip[3] = 2;
    assoc_send(s.client, &s.relay, &other_port, "a");
    assoc_send(s.client, &s.relay, &other_address, "b");
    assoc_send_name(s.client, &s.relay, "denied.example", other_port.port, "c");
    assoc_dropped(b, DROP_DENIED, 3);
    assert_int_equal(dnsserver_asked(b->dns, NULL, 0), 0);
    assoc_send(s.client, &s.relay, &s.target_at, "d");
    assoc_hears(b, s.target, "d");
    assert_int_equal(counted_drops(b), 3);
    assoc_bench_free(b);
}

static void without_rules_nothing_is_allowed(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o = assoc_open_of(1);
    struct addr target;
    (void)state;

    assoc_bench_start(b, SOCKETS);
    int client = assoc_socket(b, "127.0.0.1", 0, NULL);
    assoc_socket(b, "127.0.0.1", 0, &target);
    o.rules = NULL;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    assoc_send(client, &relay, &target, "x");
    assoc_dropped(b, DROP_DENIED, 1);
    assoc_bench_free(b);
}

static void what_is_protected_is_never_sent_to(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr own_port = assoc_at("127.0.0.1:0"), no_port = own_port;
    (void)state;

    assert_true(prefix_parse("127.0.9.0/24", &b->protect));
    b->relay.config.base.relay.protect.items = &b->protect;
    b->relay.config.base.relay.protect.count = 1;
    struct scene s = locked_scene(b);
    struct addr protected = assoc_at("127.0.9.9:53");
    own_port.port = b->relay.config.base.relay.ports.last;
    assoc_send(s.client, &s.relay, &protected, "a");
    assoc_send(s.client, &s.relay, &own_port, "b");
    assoc_send(s.client, &s.relay, &s.relay, "c");
    assoc_send(s.client, &s.relay, &no_port, "d");
    assoc_dropped(b, DROP_PROTECTED, 4);
    assert_int_equal(counted_drops(b), 4);
    assoc_bench_free(b);
}

static void a_family_without_an_address_of_ours_is_dropped(void **state)
{
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    const struct addr six = assoc_at("[::1]:9");
    (void)state;

    assoc_send(s.client, &s.relay, &six, "a");
    assoc_dropped(s.b, DROP_FAMILY, 1);
    assoc_bench_free(s.b);
}

static void without_a_descriptor_it_is_dropped_and_the_next_one_is_not(void **state)
{
    struct scene s = scene();
    struct rlimit before, less;
    (void)state;

    int highest = fcntl(0, F_DUPFD, 0);
    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    less = before;
    less.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    assoc_send(s.client, &s.relay, &s.target_at, "no");
    assoc_dropped(s.b, DROP_NO_SOCKET, 1);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(s.b->relay.stats.outer_sockets, 0);
    assoc_send(s.client, &s.relay, &s.target_at, "yes");
    assoc_hears(s.b, s.target, "yes");
    assert_int_equal(s.b->relay.stats.outer_sockets, 1);
    assoc_bench_free(s.b);
}

static void an_empty_payload_is_a_datagram_too(void **state)
{
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    assoc_send(s.client, &s.relay, &s.target_at, "");
    assoc_hears(s.b, s.target, "");
    const struct n2_answer *a = assoc_release(s.b, 1);
    assert_int_equal(a->u.release.counters.datagrams_up, 2);
    assert_int_equal(a->u.release.counters.octets_up, 5);
    assoc_bench_free(s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_valid_datagram_fixes_the_port),
        cmocka_unit_test(what_is_no_socks_datagram_fixes_nothing),
        cmocka_unit_test(another_address_is_a_stranger),
        cmocka_unit_test(what_comes_late_finds_nobody),
        cmocka_unit_test(without_a_rest_what_comes_late_is_a_strangers),
        cmocka_unit_test(a_client_that_has_moved_may_be_followed),
        cmocka_unit_test(it_is_not_followed_again_so_soon_nor_when_that_is_off),
        cmocka_unit_test(with_two_on_a_port_nobody_is_followed),
        cmocka_unit_test(a_bad_header_is_dropped),
        cmocka_unit_test(fragments_are_dropped_when_they_are_off),
        cmocka_unit_test(what_no_rule_allows_is_dropped),
        cmocka_unit_test(without_rules_nothing_is_allowed),
        cmocka_unit_test(what_is_protected_is_never_sent_to),
        cmocka_unit_test(a_family_without_an_address_of_ours_is_dropped),
        cmocka_unit_test(without_a_descriptor_it_is_dropped_and_the_next_one_is_not),
        cmocka_unit_test(an_empty_payload_is_a_datagram_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
