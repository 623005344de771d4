/* Datagrams of clients: fragments that make a whole, and the way that was taken last. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64 };

static const struct n2_limits no_limits;

/* One association of one client, locked, and a target. */
struct scene {
    struct assoc_bench *b;
    int client, target;
    struct addr client_at, target_at;
    struct addr relay;
};

static struct scene locked_scene(struct assoc_bench *b)
{
    struct scene s = {.b = b};

    assoc_bench_start(b, SOCKETS);
    s.client = assoc_socket(b, "127.0.0.1", 0, &s.client_at);
    s.target = assoc_socket(b, "127.0.0.1", 0, &s.target_at);
    s.relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(s.client, &s.relay, &s.target_at, "first");
    assoc_hears(b, s.target, "first");
    assoc_event(b, N2_EVENT_LOCKED);
    return s;
}

static uint64_t counted_drops(struct assoc_bench *b)
{
    return assoc_release(b, 1)->u.release.counters.dropped;
}

/* ---- fragments ---- */

static struct assoc_bench *with_fragments(void)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    b->relay.config.fragments = true;
    return b;
}

static void fragments_in_order_leave_as_one(void **state)
{
    struct scene s = locked_scene(with_fragments());
    (void)state;

    assoc_send_fragment(s.client, &s.relay, 1, &s.target_at, "one ");
    assoc_send_fragment(s.client, &s.relay, 2, &s.target_at, "two ");
    assoc_send_fragment(s.client, &s.relay, 0x83, &s.target_at, "three");
    assoc_hears(s.b, s.target, "one two three");
    assert_int_equal(s.b->relay.stats.reassembled, 1);
    assert_int_equal(s.b->relay.fragments.held, 0);
    assert_true(list_empty(&s.b->relay.fragmented));
    assert_int_equal(counted_drops(s.b), 0);
    assoc_bench_free(s.b);
}

/* The route that it would take is no way around the queue. */
static void a_whole_datagram_abandons_fragments(void **state)
{
    struct scene s = locked_scene(with_fragments());
    (void)state;

    assoc_send_fragment(s.client, &s.relay, 1, &s.target_at, "one");
    assoc_send_fragment(s.client, &s.relay, 2, &s.target_at, "two");
    assoc_send(s.client, &s.relay, &s.target_at, "whole");
    assoc_hears(s.b, s.target, "whole");
    assoc_dropped(s.b, DROP_FRAGMENT, 2);
    assoc_send_fragment(s.client, &s.relay, 0x83, &s.target_at, "three");
    assoc_dropped(s.b, DROP_FRAGMENT, 3);
    assert_true(assoc_silent(s.target));
    assert_true(list_empty(&s.b->relay.fragmented));
    assoc_bench_free(s.b);
}

static void fragments_beyond_the_budget_are_dropped(void **state)
{
    struct assoc_bench *b = with_fragments();
    (void)state;

    b->relay.config.fragment_octets = 1;
    struct scene s = locked_scene(b);
    assoc_send_fragment(s.client, &s.relay, 1, &s.target_at, "one");
    assoc_dropped(b, DROP_FRAGMENT_MEMORY, 1);
    assert_int_equal(b->relay.fragments.held, 0);
    assert_int_equal(counted_drops(b), 1);
    assoc_bench_free(b);
}

static void fragments_whose_time_is_up_are_swept_away(void **state)
{
    struct assoc_bench *b = with_fragments();
    (void)state;

    b->relay.config.fragment_ms = 1;
    struct scene s = locked_scene(b);
    assoc_send_fragment(s.client, &s.relay, 1, &s.target_at, "one");
    ASSOC_WAIT(b, b->relay.stats.fragments == 1);
    assoc_dropped(b, DROP_FRAGMENT, 1);
    assert_int_equal(b->relay.fragments.held, 0);
    assert_true(list_empty(&b->relay.fragmented));
    assoc_bench_free(b);
}

/* ---- the way that was taken last ---- */

static void an_update_of_the_rules_closes_the_way_taken_before(void **state)
{
    const struct n2_rules nothing = {NULL, 0};
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    assoc_send(s.client, &s.relay, &s.target_at, "as before");
    assoc_hears(s.b, s.target, "as before");
    assoc_update(s.b, 1, 1, no_limits, &nothing);
    assoc_send(s.client, &s.relay, &s.target_at, "not any more");
    assoc_dropped(s.b, DROP_DENIED, 1);
    assert_true(assoc_silent(s.target));
    assoc_update(s.b, 1, 2, no_limits, &assoc_rules_all);
    assoc_send(s.client, &s.relay, &s.target_at, "again");
    assoc_hears(s.b, s.target, "again");
    assoc_bench_free(s.b);
}

static void the_way_of_a_name_is_closed_by_an_update_too(void **state)
{
    const struct n2_rules nothing = {NULL, 0};
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "target.example", 300, "127.0.0.1");
    assoc_send_name(s.client, &s.relay, "target.example", s.target_at.port, "one");
    assoc_hears(s.b, s.target, "one");
    assoc_send_name(s.client, &s.relay, "target.example", s.target_at.port, "two");
    assoc_hears(s.b, s.target, "two");
    assoc_update(s.b, 1, 1, no_limits, &nothing);
    assoc_send_name(s.client, &s.relay, "target.example", s.target_at.port, "three");
    assoc_dropped(s.b, DROP_DENIED, 1);
    assert_true(assoc_silent(s.target));
    assoc_bench_free(s.b);
}

static void an_update_without_rules_leaves_the_way_open(void **state)
{
    const struct n2_limits limits = {.idle_ms = 100000};
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    assoc_update(s.b, 1, 1, limits, NULL);
    assoc_send(s.client, &s.relay, &s.target_at, "as before");
    assoc_hears(s.b, s.target, "as before");
    assoc_bench_free(s.b);
}

/* The same destination, and yet not the same header. */
static void the_way_is_only_for_whole_datagrams_without_faults(void **state)
{
    uint8_t octets[] = {0, 0, 0, 1, 127, 0, 0, 1, 0, 0, 'x'};
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    (void)state;

    octets[8] = (uint8_t)(s.target_at.port >> 8);
    octets[9] = (uint8_t)s.target_at.port;
    octets[2] = 1;
    assoc_send_raw(s.client, &s.relay, octets, sizeof(octets));
    assoc_dropped(s.b, DROP_FRAGMENT, 1);
    assoc_forget_drops(s.b);
    octets[2] = 0;
    for (size_t reserved = 0; reserved < 2; reserved++) {
        octets[reserved] = 1;
        assoc_send_raw(s.client, &s.relay, octets, sizeof(octets));
        octets[reserved] = 0;
    }
    assoc_dropped(s.b, DROP_HEADER, 2);
    assoc_send_raw(s.client, &s.relay, octets, sizeof(octets));
    assoc_hears(s.b, s.target, "x");
    assoc_bench_free(s.b);
}

static void two_targets_in_turn_each_get_theirs(void **state)
{
    struct scene s = locked_scene(assoc_bench_new(PORTS));
    struct addr second_at;
    int second = assoc_socket(s.b, "127.0.0.7", 0, &second_at);
    (void)state;

    for (int i = 0; i < 3; i++) {
        assoc_send(s.client, &s.relay, &s.target_at, "for the first");
        assoc_send(s.client, &s.relay, &second_at, "for the second");
        assoc_hears(s.b, s.target, "for the first");
        assoc_hears(s.b, second, "for the second");
    }
    assert_true(assoc_silent(s.target));
    assert_true(assoc_silent(second));
    assoc_bench_free(s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fragments_in_order_leave_as_one),
        cmocka_unit_test(a_whole_datagram_abandons_fragments),
        cmocka_unit_test(fragments_beyond_the_budget_are_dropped),
        cmocka_unit_test(fragments_whose_time_is_up_are_swept_away),
        cmocka_unit_test(an_update_of_the_rules_closes_the_way_taken_before),
        cmocka_unit_test(the_way_of_a_name_is_closed_by_an_update_too),
        cmocka_unit_test(an_update_without_rules_leaves_the_way_open),
        cmocka_unit_test(the_way_is_only_for_whole_datagrams_without_faults),
        cmocka_unit_test(two_targets_in_turn_each_get_theirs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
