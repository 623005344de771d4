/* Who tries to get another's datagrams, and those that come late. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "tests/unit/relay/ports_fixture.h"

static void nobody_comes_where_an_unlocked_one_waits(void **state)
{
    struct ports *p = ports_of(700, 701, 0);
    struct ports_claim victim, c[50], more;

    (void)state;
    assert_int_equal(take(p, &victim, v4(1, 0), "victim", 0), PORTS_OK);
    for (uint16_t i = 0; i < 50; i++) {
        assert_int_equal(take(p, &c[i], v4(1, i + 1), "thief", 0), PORTS_OK);
        assert_int_not_equal(c[i].port, victim.port);
    }
    assert_int_equal(take(p, &more, v4(1, 0), "thief", 0), PORTS_NONE_LEFT);
    for (int i = 0; i < 50; i++)
        ports_release(p, &c[i], 0);
    assert_int_equal(take(p, &more, v4(1, 0), "thief", REST_MS), PORTS_OK);
    assert_int_not_equal(more.port, victim.port);
    ports_release(p, &more, REST_MS);
    ports_release(p, &victim, REST_MS);
    ports_free(p);
}

static void an_unlocked_one_does_not_come_where_another_is_locked(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim victim, thief;

    (void)state;
    assert_int_equal(take(p, &victim, v4(1, 5000), "", 0), PORTS_OK);
    assert_int_equal(take(p, &thief, v4(1, 0), "", 0), PORTS_NONE_LEFT);
    ports_release(p, &victim, 0);
    assert_int_equal(take(p, &thief, v4(1, 0), "", REST_MS - 1), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &thief, v4(1, 0), "", REST_MS), PORTS_OK);
    ports_release(p, &thief, REST_MS);
    ports_free(p);
}

static void an_equal_hint_never_lands_on_the_same_port(void **state)
{
    struct ports *p = ports_of(700, 763, 0);
    struct ports_claim victim, c[64];
    bool seen[64] = {false};

    (void)state;
    assert_int_equal(take(p, &victim, v4(1, 0), "victim", 0), PORTS_OK);
    assert_true(ports_lock(p, &victim, 5000, 0));
    seen[victim.port - 700] = true;
    for (int i = 0; i < 63; i++) {
        assert_int_equal(take(p, &c[i], v4(1, 5000), "thief", 0), PORTS_OK);
        assert_false(seen[c[i].port - 700]);
        seen[c[i].port - 700] = true;
    }
    assert_int_equal(take(p, &c[63], v4(1, 5000), "thief", 0), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &c[63], v4(1, 5001), "honest", 0), PORTS_OK);
    for (int i = 0; i < 64; i++)
        ports_release(p, &c[i], 0);
    ports_release(p, &victim, 0);
    ports_free(p);
}

static void one_socket_for_two_associations_is_told_apart_by_our_port(void **state)
{
    struct ports *p = ports_of(700, 1723, 0);
    struct ports_claim a, b, *found;

    (void)state;
    assert_int_equal(take(p, &a, v6(1, 5000), "", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v6(1, 5000), "", 0), PORTS_OK);
    assert_int_not_equal(a.port, b.port);
    assert_int_equal(find(p, v6(1, 5000), a.port, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &a);
    assert_int_equal(find(p, v6(1, 5000), b.port, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &b);
    ports_release(p, &a, 0);
    assert_int_equal(find(p, v6(1, 5000), a.port, &found), PORTS_LATE);
    assert_int_equal(find(p, v6(1, 5000), b.port, &found), PORTS_LOCKED);
    ports_release(p, &b, 0);
    ports_free(p);
}

static void one_socket_for_two_unlocked_associations_too(void **state)
{
    struct ports *p = ports_of(700, 701, 0);
    struct ports_claim a, b, *found;

    (void)state;
    assert_int_equal(take(p, &a, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v4(1, 0), "", 0), PORTS_OK);
    assert_int_not_equal(a.port, b.port);
    assert_true(ports_lock(p, &a, 5000, 0));
    assert_int_equal(find(p, v4(1, 5000), b.port, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &b);
    assert_true(ports_lock(p, &b, 5000, 0));
    assert_int_equal(find(p, v4(1, 5000), a.port, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &a);
    assert_int_equal(find(p, v4(1, 5000), b.port, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &b);
    ports_release(p, &a, 0);
    ports_release(p, &b, 0);
    ports_free(p);
}

static void sixteen_silent_ones_leave_a_seventeenth_alone(void **state)
{
    struct ports *p = ports_of(700, 731, 16);
    struct ports_claim silent[16], more, working, *found;

    (void)state;
    for (int i = 0; i < 16; i++)
        assert_int_equal(take(p, &silent[i], v4(1, 0), "silent", 0), PORTS_OK);
    assert_int_equal(take(p, &more, v4(1, 0), "silent", 0), PORTS_CAPPED);
    /* The same address, so the same ports; another identity. */
    assert_int_equal(take(p, &working, v4(1, 0), "working", 0), PORTS_OK);
    assert_int_equal(find(p, v4(1, 5000), working.port, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &working);
    assert_true(ports_lock(p, &working, 5000, 0));
    assert_int_equal(find(p, v4(1, 5000), working.port, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &working);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(find(p, v4(1, 5000), silent[i].port, &found), PORTS_UNLOCKED);
        assert_ptr_equal(found, &silent[i]);
        ports_release(p, &silent[i], 0);
    }
    ports_release(p, &working, 0);
    ports_free(p);
}

static void a_late_datagram_of_a_locked_one_finds_nobody(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim old, other, same, *found = &old;

    (void)state;
    assert_int_equal(take(p, &old, v4(1, 5000), "", 0), PORTS_OK);
    ports_release(p, &old, 100);
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LATE);
    assert_null(found);
    assert_int_equal(find(p, v4(1, 5001), 700, &found), PORTS_STRANGER);
    assert_int_equal(find(p, v4(2, 5000), 700, &found), PORTS_STRANGER);
    /* Another client port may come meanwhile; the datagram is late as before. */
    assert_int_equal(take(p, &other, v4(1, 5001), "", 100), PORTS_OK);
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LATE);
    assert_null(found);
    assert_int_equal(take(p, &same, v4(1, 5000), "", 100 + REST_MS - 1), PORTS_NONE_LEFT);
    ports_sweep(p, 100 + REST_MS - 1);
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LATE);
    ports_sweep(p, 100 + REST_MS);
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_OTHER_PORT);
    assert_int_equal(take(p, &same, v4(1, 5000), "", 100 + REST_MS), PORTS_OK);
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &same);
    ports_release(p, &same, 5000);
    ports_release(p, &other, 5000);
    ports_sweep(p, 5000 + REST_MS);
    assert_true(is_empty(p));
    ports_free(p);
}

static void an_unlocked_one_that_ended_leaves_its_whole_port_to_nobody(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim old, c, *found;

    (void)state;
    assert_int_equal(take(p, &old, v4(1, 0), "", 0), PORTS_OK);
    ports_release(p, &old, 0);
    assert_int_equal(find(p, v4(1, 1), 700, &found), PORTS_LATE);
    assert_int_equal(find(p, v4(1, 65535), 700, &found), PORTS_LATE);
    assert_null(found);
    assert_int_equal(take(p, &c, v4(1, 0), "", REST_MS - 1), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &c, v4(1, 9), "", REST_MS - 1), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &c, v4(1, 9), "", REST_MS), PORTS_OK);
    ports_release(p, &c, REST_MS);
    ports_free(p);
}

static void without_rest_a_key_is_free_at_once(void **state)
{
    struct ports_config config = {.first = 700, .last = 700};
    struct ports *p = ports_new(&config);
    struct ports_claim c, *found;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
        ports_release(p, &c, 0);
        assert_int_equal(find(p, v4(1, 6), 700, &found), PORTS_STRANGER);
        assert_true(is_empty(p));
        assert_int_equal(take(p, &c, v4(1, 6), "", 0), PORTS_OK);
        assert_true(ports_lock(p, &c, 7, 0));
        assert_true(ports_lock(p, &c, 6, 0));
        ports_release(p, &c, 0);
        assert_int_equal(find(p, v4(1, 6), 700, &found), PORTS_STRANGER);
    }
    assert_true(is_empty(p));
    ports_free(p);
}

static void a_relock_is_offered_to_the_only_one(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim a, b, *found;

    (void)state;
    assert_int_equal(take(p, &a, v4(1, 5000), "", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v4(1, 6000), "", 0), PORTS_OK);
    assert_int_equal(find(p, v4(1, 5001), 700, &found), PORTS_OTHER_PORT);
    assert_null(found);
    ports_release(p, &a, 0);
    assert_int_equal(find(p, v4(1, 5001), 700, &found), PORTS_OTHER_PORT);
    assert_ptr_equal(found, &b);
    assert_true(ports_lock(p, &b, 5001, 0));
    assert_int_equal(find(p, v4(1, 5001), 700, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &b);
    ports_release(p, &b, 0);
    ports_free(p);
}

static void a_relock_never_takes_anothers_key(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim victim, thief, *found;

    (void)state;
    assert_int_equal(take(p, &victim, v4(1, 5000), "", 0), PORTS_OK);
    assert_int_equal(take(p, &thief, v4(1, 6000), "", 0), PORTS_OK);
    assert_false(ports_lock(p, &thief, 5000, 0));
    assert_int_equal(thief.client.port, 6000);
    assert_int_equal(find(p, v4(1, 6000), 700, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &thief);
    ports_release(p, &victim, 0);
    assert_false(ports_lock(p, &thief, 5000, REST_MS - 1));
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LATE);
    assert_true(ports_lock(p, &thief, 5000, REST_MS));
    ports_release(p, &thief, REST_MS);
    ports_free(p);
}

static void after_a_relock_the_former_key_rests(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim c, d, *found;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
    assert_true(ports_lock(p, &c, 5000, 0));
    assert_int_equal(ports_stats(p).resting, 0);
    assert_true(ports_lock(p, &c, 5000, 0));
    assert_int_equal(ports_stats(p).resting, 0);
    assert_true(ports_lock(p, &c, 5001, 0));
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LATE);
    assert_int_equal(take(p, &d, v4(1, 5000), "", REST_MS - 1), PORTS_NONE_LEFT);
    assert_false(ports_lock(p, &c, 5000, REST_MS - 1));
    assert_true(ports_lock(p, &c, 5000, REST_MS));
    assert_int_equal(find(p, v4(1, 5000), 700, &found), PORTS_LOCKED);
    ports_release(p, &c, REST_MS);
    ports_sweep(p, 2 * REST_MS);
    assert_true(is_empty(p));
    ports_free(p);
}

static void once_locked_others_may_come_with_other_ports(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim first, hinted, unlocked;

    (void)state;
    assert_int_equal(take(p, &first, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(take(p, &hinted, v4(1, 6000), "", 0), PORTS_NONE_LEFT);
    assert_true(ports_lock(p, &first, 5000, 0));
    assert_int_equal(take(p, &hinted, v4(1, 6000), "", 0), PORTS_OK);
    assert_int_equal(take(p, &unlocked, v4(1, 0), "", 0), PORTS_NONE_LEFT);
    ports_release(p, &first, 0);
    ports_release(p, &hinted, 0);
    ports_free(p);
}

static void what_rests_is_bounded_and_the_oldest_goes_first(void **state)
{
    enum { EXTRA = 100 };
    struct ports *p = ports_of(700, 701, 0);
    struct ports_claim c, *found;

    (void)state;
    assert_int_equal(take(p, &c, v4(0, 0), "", 0), PORTS_OK);
    ports_release(p, &c, 0);
    for (uint32_t i = 1; i < PORTS_RESTING_MAX; i++) {
        assert_int_equal(take(p, &c, v6(i, 0), "", 0), PORTS_OK);
        ports_release(p, &c, 0);
    }
    assert_int_equal(ports_stats(p).resting, PORTS_RESTING_MAX);
    assert_true((find(p, v4(0, 1), 700, &found) == PORTS_LATE) !=
                (find(p, v4(0, 1), 701, &found) == PORTS_LATE));
    for (uint32_t i = 0; i < EXTRA; i++) {
        assert_int_equal(take(p, &c, v4(i + 1, 9), "", 0), PORTS_OK);
        ports_release(p, &c, 0);
        assert_int_equal(find(p, v4(i + 1, 9), c.port, &found), PORTS_LATE);
    }
    assert_int_equal(ports_stats(p).resting, PORTS_RESTING_MAX);
    /* What is forgotten holds no port any more. */
    assert_int_equal(ports_stats(p).sites, PORTS_RESTING_MAX);
    for (uint16_t port = 700; port <= 701; port++) {
        assert_int_equal(find(p, v4(0, 1), port, &found), PORTS_STRANGER);
        assert_int_equal(find(p, v6(EXTRA - 1, 1), port, &found), PORTS_STRANGER);
    }
    assert_true((find(p, v6(EXTRA, 1), 700, &found) == PORTS_LATE) !=
                (find(p, v6(EXTRA, 1), 701, &found) == PORTS_LATE));
    ports_sweep(p, REST_MS);
    assert_true(is_empty(p));
    ports_free(p);
}

/* The bound is reached with keys of one site alone: what makes room is of the same site. */
static void a_site_outlives_the_keys_it_forgets(void **state)
{
    struct ports *p = ports_of(700, 700, 0);
    struct ports_claim c, *found;
    uint64_t now = 0;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 1), "", now), PORTS_OK);
    for (uint32_t i = 2; i <= 65535; i++)
        assert_true(ports_lock(p, &c, (uint16_t)i, now));
    assert_int_equal(ports_stats(p).resting, 65534);
    for (uint32_t i = 1; i <= 3; i++) {
        struct ports_claim d;
        assert_int_equal(take(p, &d, v4(2, (uint16_t)i), "", now), PORTS_OK);
        ports_release(p, &d, now);
    }
    assert_int_equal(ports_stats(p).resting, PORTS_RESTING_MAX);
    assert_int_equal(find(p, v4(1, 1), 700, &found), PORTS_OTHER_PORT);
    assert_ptr_equal(found, &c);
    assert_true(ports_lock(p, &c, 1, now));
    assert_int_equal(find(p, v4(1, 2), 700, &found), PORTS_OTHER_PORT);
    ports_release(p, &c, now);
    assert_int_equal(find(p, v4(1, 1), 700, &found), PORTS_LATE);
    assert_int_equal(ports_stats(p).sites, 2);
    ports_sweep(p, now + REST_MS);
    assert_true(is_empty(p));
    ports_free(p);
}

static void freeing_forgets_what_rests(void **state)
{
    struct ports *p = ports_of(700, 709, 0);
    struct ports_claim c;

    (void)state;
    for (uint16_t i = 0; i < 10; i++) {
        assert_int_equal(take(p, &c, v4(i, i % 2 ? i : 0), "me", 0), PORTS_OK);
        ports_release(p, &c, 0);
    }
    assert_int_equal(ports_stats(p).resting, 10);
    ports_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_comes_where_an_unlocked_one_waits),
        cmocka_unit_test(an_unlocked_one_does_not_come_where_another_is_locked),
        cmocka_unit_test(an_equal_hint_never_lands_on_the_same_port),
        cmocka_unit_test(one_socket_for_two_associations_is_told_apart_by_our_port),
        cmocka_unit_test(one_socket_for_two_unlocked_associations_too),
        cmocka_unit_test(sixteen_silent_ones_leave_a_seventeenth_alone),
        cmocka_unit_test(a_late_datagram_of_a_locked_one_finds_nobody),
        cmocka_unit_test(an_unlocked_one_that_ended_leaves_its_whole_port_to_nobody),
        cmocka_unit_test(without_rest_a_key_is_free_at_once),
        cmocka_unit_test(a_relock_is_offered_to_the_only_one),
        cmocka_unit_test(a_relock_never_takes_anothers_key),
        cmocka_unit_test(after_a_relock_the_former_key_rests),
        cmocka_unit_test(once_locked_others_may_come_with_other_ports),
        cmocka_unit_test(what_rests_is_bounded_and_the_oldest_goes_first),
        cmocka_unit_test(a_site_outlives_the_keys_it_forgets),
        cmocka_unit_test(freeing_forgets_what_rests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
