/* More associations given up at once than calls fit into a message, and what an Inventory does
 * then. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/client_bench.h"

enum { LEASE_MS = 60000, MANY = 1500, QUIET_MS = 60 };

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

/* ---- an Inventory, and no room for its calls ---- */

static void lose_the_conversation(struct client_bench *b)
{
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
}

/* In the next conversation the first page has been asked for, and the relay thinks. Meanwhile so
 * many of them are finished that there is no room for a further call. */
static void fill_behind_the_first_page(struct client_bench *b, struct told **finished)
{
    b->relay.hold = true;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, b->relay.held != NULL);
    assert_int_equal(answerer_count(&b->relay, N2_INVENTORY, NULL), 1);
    for (size_t i = 0; i < N2_CALLS_MAX; i++)
        assert_true(n2_assoc_finish(&finished[i]->n2));
}

static void a_page_that_finds_no_room_is_asked_for_later(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];

    open_many(b, many);
    lose_the_conversation(b);
    fill_behind_the_first_page(b, many);
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    CLIENT_WAIT(b, b->ended == N2_CALLS_MAX);
    assert_int_equal(answerer_holds(&b->relay), MANY - N2_CALLS_MAX);
    assert_int_equal(b->lost, 0);
    assert_int_equal(b->relay.hellos, 2);
    told_open(b, told_new(b), N2_UDP);
}

/* What a page brings to light is released; where there is no room for that, another Inventory finds
 * it. */
static void what_is_unknown_here_and_finds_no_room_is_released_later(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];

    open_many(b, many);
    lose_the_conversation(b);
    for (size_t i = N2_CALLS_MAX; i < MANY; i++)
        n2_assoc_forget(&many[i]->n2); /* by an earlier life of us, say */
    fill_behind_the_first_page(b, many);
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, b->ended == N2_CALLS_MAX);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    assert_int_equal(b->lost, 0);
}

/* Finishes that had no answer are Releases, which wait for the next conversation. */
static void the_first_page_may_find_no_room_either(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];

    open_many(b, many);
    lose_the_conversation(b);
    fill_behind_the_first_page(b, many);
    answerer_answer_held(&b->relay);
    b->relay.hold = true;
    CLIENT_WAIT(b, b->relay.held != NULL); /* the finishes */
    answerer_break(&b->relay);
    CLIENT_WAIT(b, b->lost == N2_CALLS_MAX);
    b->relay.hold = false;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    CLIENT_WAIT(b, answerer_holds(&b->relay) == MANY - N2_CALLS_MAX);
    assert_int_equal(b->lost, N2_CALLS_MAX);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(b->ended, 0);
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
        TEST(a_page_that_finds_no_room_is_asked_for_later),
        TEST(what_is_unknown_here_and_finds_no_room_is_released_later),
        TEST(the_first_page_may_find_no_room_either),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
