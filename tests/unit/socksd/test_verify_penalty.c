#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "socksd/verify_penalty.h"

static const struct penalty_config config = {
    .entries = 64,
    .names_free = 3,
    .delay_first_ms = 250,
    .delay_most_ms = 8000,
    .forget_ms = 600000,
};

static struct penalty_keys keys(unsigned source, unsigned user)
{
    return (struct penalty_keys){.pair = {(uint8_t)source, (uint8_t)user},
                                 .source = {(uint8_t)source}};
}

static int setup(void **state)
{
    static struct penalty p;

    *state = &p;
    return penalty_init(&p, &config);
}

static int teardown(void **state)
{
    penalty_fini(*state);
    return 0;
}

static void failures_of_a_pair_double_the_wait_up_to_a_limit(void **state)
{
    static const uint64_t waits[] = {250, 500, 1000, 2000, 4000, 8000, 8000, 8000};
    struct penalty_keys k = keys(1, 1);
    struct penalty *p = *state;
    uint64_t now = 1000;

    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        assert_int_equal(penalty_wait(p, &k, now), 0);
        penalty_begin(p, &k, now);
        assert_int_equal(penalty_fail(p, &k, now), waits[i]);
        assert_int_equal(penalty_wait(p, &k, now), waits[i]);
        assert_int_equal(penalty_wait(p, &k, now + waits[i] - 1), 1);
        now += waits[i];
    }
}

static void others_do_not_notice(void **state)
{
    struct penalty_keys k = keys(1, 1), other_user = keys(1, 2), other_source = keys(2, 1);
    struct penalty *p = *state;

    for (unsigned i = 0; i < 100; i++)
        penalty_fail(p, &k, 0);
    assert_int_equal(penalty_wait(p, &k, 0), 8000);
    assert_int_equal(penalty_wait(p, &other_user, 0), 0);
    assert_int_equal(penalty_wait(p, &other_source, 0), 0);
}

static void a_success_forgets_the_failures_of_its_pair(void **state)
{
    struct penalty_keys k = keys(1, 1);
    struct penalty *p = *state;

    penalty_fail(p, &k, 0);
    penalty_fail(p, &k, 250);
    assert_int_equal(penalty_wait(p, &k, 300), 450);
    penalty_succeed(p, &k, 300);
    assert_int_equal(penalty_wait(p, &k, 300), 0);
    assert_int_equal(penalty_fail(p, &k, 300), 250);
}

static void failures_are_forgotten_after_a_while_without_any(void **state)
{
    struct penalty_keys k = keys(1, 1);
    struct penalty *p = *state;

    penalty_fail(p, &k, 0);
    penalty_fail(p, &k, 500000);
    assert_int_equal(penalty_fail(p, &k, 1000000), 1000);
    assert_int_equal(penalty_fail(p, &k, 1600000), 250);
}

static void a_turn_that_is_taken_makes_the_next_one_wait(void **state)
{
    struct penalty_keys k = keys(1, 1);
    struct penalty *p = *state;

    penalty_fail(p, &k, 0);
    penalty_fail(p, &k, 0);
    assert_int_equal(penalty_wait(p, &k, 600), 0);
    penalty_begin(p, &k, 600);
    assert_int_equal(penalty_wait(p, &k, 600), 500);
    /* Without a failure there are no turns. */
    k = keys(2, 2);
    penalty_begin(p, &k, 600);
    assert_int_equal(penalty_wait(p, &k, 600), 0);
}

static void a_source_that_tries_many_names_is_slowed(void **state)
{
    struct penalty *p = *state;
    struct penalty_keys k, neighbour = keys(2, 1);

    for (unsigned user = 1; user <= 3; user++) {
        k = keys(1, user);
        assert_int_equal(penalty_wait(p, &k, 0), 0);
        penalty_fail(p, &k, 0);
    }
    k = keys(1, 4);
    assert_int_equal(penalty_wait(p, &k, 0), 0);
    penalty_fail(p, &k, 0);
    k = keys(1, 5);
    assert_int_equal(penalty_wait(p, &k, 0), 250);
    assert_int_equal(penalty_fail(p, &k, 250), 500);
    k = keys(1, 6);
    assert_int_equal(penalty_wait(p, &k, 250), 500);
    assert_int_equal(penalty_wait(p, &neighbour, 250), 0);
    /* And one at a time. */
    penalty_begin(p, &k, 1000);
    k = keys(1, 7);
    assert_int_equal(penalty_wait(p, &k, 1000), 500);
}

static void who_has_succeeded_does_not_pay_for_the_names_that_others_try(void **state)
{
    struct penalty_keys alice = keys(1, 200), new = keys(1, 201), k;
    struct penalty *p = *state;

    penalty_succeed(p, &alice, 0);
    for (unsigned user = 1; user <= 20; user++) {
        k = keys(1, user);
        penalty_fail(p, &k, 0);
    }
    assert_int_equal(penalty_wait(p, &new, 0), 8000);
    assert_int_equal(penalty_wait(p, &alice, 0), 0);
    /* A success clears its pair, not the source. */
    penalty_succeed(p, &alice, 0);
    assert_int_equal(penalty_wait(p, &new, 0), 8000);
    /* Own failures count as ever. */
    assert_int_equal(penalty_fail(p, &alice, 0), 250);
}

static void one_name_that_fails_again_and_again_is_one_name(void **state)
{
    struct penalty_keys stale = keys(1, 1), other = keys(1, 2);
    struct penalty *p = *state;

    for (unsigned i = 0; i < 50; i++)
        penalty_fail(p, &stale, i * 8000);
    assert_int_equal(penalty_wait(p, &other, 50 * 8000), 0);
}

static void the_memory_is_bounded_and_the_most_recent_failures_stay(void **state)
{
    struct penalty *p = *state;
    struct penalty_keys k;

    for (unsigned source = 0; source < 200; source++) {
        k = keys(source, 1);
        penalty_fail(p, &k, 0);
    }
    k = keys(0, 1);
    assert_int_equal(penalty_wait(p, &k, 0), 0);
    k = keys(199, 1);
    assert_int_equal(penalty_wait(p, &k, 0), 250);
}

static void a_first_delay_of_nothing_slows_nothing(void **state)
{
    struct penalty_config off = config;
    struct penalty_keys k = keys(1, 1);
    struct penalty p;

    (void)state;
    off.delay_first_ms = 0;
    assert_int_equal(penalty_init(&p, &off), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(penalty_fail(&p, &k, 0), 0);
    assert_int_equal(penalty_wait(&p, &k, 0), 0);
    penalty_fini(&p);
    off.entries = 0;
    assert_int_equal(penalty_init(&p, &off), 0);
    assert_int_equal(penalty_fail(&p, &k, 0), 0);
    penalty_succeed(&p, &k, 0);
    penalty_fini(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failures_of_a_pair_double_the_wait_up_to_a_limit),
        TEST(others_do_not_notice),
        TEST(a_success_forgets_the_failures_of_its_pair),
        TEST(failures_are_forgotten_after_a_while_without_any),
        TEST(a_turn_that_is_taken_makes_the_next_one_wait),
        TEST(a_source_that_tries_many_names_is_slowed),
        TEST(who_has_succeeded_does_not_pay_for_the_names_that_others_try),
        TEST(one_name_that_fails_again_and_again_is_one_name),
        TEST(the_memory_is_bounded_and_the_most_recent_failures_stay),
        cmocka_unit_test(a_first_delay_of_nothing_slows_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
