/* Placement is pure: a view of relays in, an index out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "socksd/placement.h"

enum { MANY = 10000 };

/* A generator of our own, so that a failure can be repeated. */
static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33);
}

static int choose(const struct placement_candidate *c, size_t n, uint64_t *seed)
{
    const uint32_t random[2] = {next_random(seed), next_random(seed)};

    return placement_choose(c, n, random);
}

static void nobody_serves_means_nobody_is_chosen(void **state)
{
    const struct placement_candidate c[2] = {{.capacity = 10}, {.capacity = 10}};
    uint64_t seed = 1;

    (void)state;
    assert_int_equal(choose(c, 2, &seed), -1);
    assert_int_equal(choose(c, 0, &seed), -1);
}

static void the_only_one_that_serves_is_chosen(void **state)
{
    const struct placement_candidate c[3] = {{.capacity = 10}, {.serves = true, .held = 9, .capacity = 10}, {0}};
    uint64_t seed = 2;

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(choose(c, 3, &seed), 1);
}

static void of_two_the_less_loaded_is_always_chosen(void **state)
{
    const struct placement_candidate c[2] = {{.serves = true, .held = 500, .capacity = 1000},
                                             {.serves = true, .held = 60, .capacity = 100}};
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(choose(c, 2, &seed), 0);
}

static void a_full_relay_is_chosen_only_when_all_are_full(void **state)
{
    struct placement_candidate c[2] = {{.serves = true, .held = 100, .capacity = 100},
                                       {.serves = true, .held = 999, .capacity = 1000}};
    uint64_t seed = 4;

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_int_equal(choose(c, 2, &seed), 1);
    c[1].recent = 1;
    assert_in_range(choose(c, 2, &seed), 0, 1);
}

/* Load is reported before the burst and not during it. */
static void a_burst_under_stale_load_spreads(void **state)
{
    struct placement_candidate c[4];
    uint64_t seed = 5;

    (void)state;
    for (int i = 0; i < 4; i++)
        c[i] = (struct placement_candidate){.serves = true, .held = i == 0 ? 0 : 100, .capacity = 100000};
    for (int i = 0; i < MANY; i++)
        c[choose(c, 4, &seed)].recent++;
    for (int i = 0; i < 4; i++)
        assert_in_range(c[i].recent, MANY / 4 - 200, MANY / 4 + 200);
}

static void every_one_of_equal_relays_gets_its_share(void **state)
{
    struct placement_candidate c[3] = {{.serves = true}, {.serves = true}, {.serves = true}};
    unsigned got[3] = {0};
    uint64_t seed = 6;

    (void)state;
    for (int i = 0; i < MANY; i++)
        got[choose(c, 3, &seed)]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(got[i], MANY / 4, MANY / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_serves_means_nobody_is_chosen),
        cmocka_unit_test(the_only_one_that_serves_is_chosen),
        cmocka_unit_test(of_two_the_less_loaded_is_always_chosen),
        cmocka_unit_test(a_full_relay_is_chosen_only_when_all_are_full),
        cmocka_unit_test(a_burst_under_stale_load_spreads),
        cmocka_unit_test(every_one_of_equal_relays_gets_its_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
