/* More associations given up at once than calls fit into a message. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/client_bench.h"

enum { LEASE_MS = 60000, MANY = 1500 };

static void open_many(struct client_bench *b, struct told **ret)
{
    for (size_t i = 0; i < MANY; i++) {
        ret[i] = told_new(b);
        if (i == MANY / 2)
            CLIENT_WAIT(b, b->opened == i);
        assert_int_equal(told_ask(ret[i], N2_UDP), 0);
    }
    CLIENT_WAIT(b, b->opened == MANY);
    assert_int_equal(answerer_holds(&b->relay), MANY);
}

static void all_that_is_released_at_once_is_released_at_the_relay(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];

    open_many(b, many);
    for (size_t i = 0; i < MANY; i++)
        n2_assoc_release(&many[i]->n2);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
}

static void what_could_not_be_finished_is_released_at_the_relay(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];
    size_t asked = 0;

    open_many(b, many);
    for (size_t i = 0; i < MANY; i++)
        asked += n2_assoc_finish(&many[i]->n2);
    CLIENT_WAIT(b, b->ended == asked);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = client_bench_new("test_client_burst", LEASE_MS);
    return 0;
}

static int clear_bench(void **state)
{
    client_bench_free(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_that_is_released_at_once_is_released_at_the_relay),
        TEST(what_could_not_be_finished_is_released_at_the_relay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
