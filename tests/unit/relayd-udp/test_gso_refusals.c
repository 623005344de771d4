#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "relayd-udp/gso_refusals.h"

static struct addr peer(uint8_t last, uint16_t port)
{
    return addr_ipv4((uint8_t[4]){192, 0, 2, last}, port);
}

static bool found(const struct gso_refusals *g, uint8_t last, uint32_t segment, uint64_t now)
{
    struct addr a = peer(last, 1);
    return gso_refusals_find(g, &a, segment, now);
}

static void zeroed_memory_remembers_nothing(void **state)
{
    (void)state;
    struct gso_refusals g = {0};
    struct addr none = {.family = ADDR_NONE};

    assert_false(found(&g, 1, 1200, 0));
    assert_false(gso_refusals_find(&g, &none, 1200, 0));
    assert_int_equal(g.last_until, 0);
}

static void a_refusal_holds_for_that_peer_and_longer_segments(void **state)
{
    (void)state;
    struct gso_refusals g = {0};
    struct addr a = peer(1, 53);

    gso_refusals_note(&g, &a, 1500, 1000);
    assert_true(found(&g, 1, 1500, 1000));
    assert_true(found(&g, 1, 9000, 1000));
    assert_false(found(&g, 1, 1499, 1000));
    assert_false(found(&g, 2, 1500, 1000));
}

static void a_refusal_is_forgotten_in_time(void **state)
{
    (void)state;
    struct gso_refusals g = {0};
    struct addr a = peer(1, 53);

    gso_refusals_note(&g, &a, 1500, 1000);
    assert_true(found(&g, 1, 1500, 1000 + GSO_REFUSAL_MS - 1));
    assert_false(found(&g, 1, 1500, 1000 + GSO_REFUSAL_MS));
    assert_int_equal(g.last_until, 1000 + GSO_REFUSAL_MS);
}

static void the_shortest_refused_segment_counts(void **state)
{
    (void)state;
    struct gso_refusals g = {0};
    struct addr a = peer(1, 53);

    gso_refusals_note(&g, &a, 1500, 1000);
    gso_refusals_note(&g, &a, 1300, 2000);
    gso_refusals_note(&g, &a, 1400, 3000);
    assert_true(found(&g, 1, 1300, 3000));
    /* ... until it is forgotten: the path may be wider now. */
    gso_refusals_note(&g, &a, 1400, 3000 + GSO_REFUSAL_MS);
    assert_false(found(&g, 1, 1300, 3000 + GSO_REFUSAL_MS));
    assert_true(found(&g, 1, 1400, 3000 + GSO_REFUSAL_MS));
}

static void absence_holds_for_everybody(void **state)
{
    (void)state;
    struct gso_refusals g = {0};

    gso_refusals_note_absent(&g, 1000);
    assert_true(found(&g, 1, 1, 1000));
    assert_true(found(&g, 2, 1, 1000 + GSO_ABSENT_MS - 1));
    assert_false(found(&g, 2, 1, 1000 + GSO_ABSENT_MS));
    assert_int_equal(g.last_until, 1000 + GSO_ABSENT_MS);
}

/* Bounded, and never wrong about another peer. */
static void more_peers_than_places_forget_each_other(void **state)
{
    (void)state;
    struct gso_refusals g = {0};
    unsigned remembered = 0;

    for (int i = 1; i < 200; i++) {
        struct addr a = peer((uint8_t)i, 53);
        gso_refusals_note(&g, &a, 1500, 1000);
        assert_true(found(&g, (uint8_t)i, 1500, 1000));
    }
    for (int i = 1; i < 200; i++)
        remembered += found(&g, (uint8_t)i, 1500, 1000);
    assert_in_range(remembered, GSO_REFUSALS_MAX / 2, GSO_REFUSALS_MAX);
    assert_false(found(&g, 200, 1500, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_memory_remembers_nothing),
        cmocka_unit_test(a_refusal_holds_for_that_peer_and_longer_segments),
        cmocka_unit_test(a_refusal_is_forgotten_in_time),
        cmocka_unit_test(the_shortest_refused_segment_counts),
        cmocka_unit_test(absence_holds_for_everybody),
        cmocka_unit_test(more_peers_than_places_forget_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
