/* Which events the asking side waits for: all that are told in their order, over conversations, and
 * where some were lost, those behind the Inventory that makes up for them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/client_bench.h"

enum { LEASE_MS = 60000, QUIET_MS = 60, DROPPED = 5000 };

static const struct n2_event locked = {
    .type = N2_EVENT_LOCKED,
    .peer = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 40000},
};

static uint64_t inventories(const struct client_bench *b)
{
    return n2_client_stats(b->client)->inventories;
}

static void is_told(struct client_bench *b, struct told *t)
{
    int before = t->locked;

    told_event(t, locked);
    CLIENT_WAIT(b, t->locked == before + 1);
}

/* The Inventory of the new conversation is younger than they are, and does not tell what they do.
 */
static void what_happened_between_conversations_is_told(void **state)
{
    struct client_bench *b = *state;
    struct told *before = told_new(b), *between = told_new(b);

    told_open(b, before, N2_UDP);
    told_open(b, between, N2_UDP);
    is_told(b, before);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    told_event(between, locked);
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    CLIENT_WAIT(b, between->locked == 1);
    assert_int_equal(inventories(b), 1);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(before->locked, 1); /* once */
    assert_true(addr_equal(&between->client, &locked.peer));
}

/* The Inventory does not list it any more; how it ended comes by Watch, with the counters. */
static void what_ended_between_conversations_is_told_as_ended(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    told_event(t, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE});
    answerer_forget(&b->relay, t->n2.node.id);
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, t->ended + t->lost == 1);
    assert_int_equal(t->ended, 1);
}

static void what_happens_during_an_inventory_is_told(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    b->relay.hold = true;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, b->relay.held != NULL);
    told_event(t, locked);
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, t->locked == 1);
}

/* Else the same gap would be met by every Watch. */
static void what_was_lost_is_not_waited_for(void **state)
{
    struct client_bench *b = *state;
    struct told *kept = told_new(b), *gone = told_new(b);

    told_open(b, kept, N2_UDP);
    told_open(b, gone, N2_UDP);
    is_told(b, kept);
    answerer_forget(&b->relay, gone->n2.node.id);
    answerer_drop_events(&b->relay, DROPPED);
    CLIENT_WAIT(b, gone->lost == 1);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    is_told(b, kept);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(n2_client_stats(b->client)->gaps, 1);
    assert_int_equal(inventories(b), 1);
    assert_int_equal(kept->lost + kept->ended, 0);
}

/* That there was a gap once is not remembered. */
static void after_a_gap_is_made_good_nothing_is_skipped_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    answerer_drop_events(&b->relay, DROPPED);
    CLIENT_WAIT(b, n2_client_stats(b->client)->gaps == 1 && n2_client_ready(b->client));
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    told_event(t, locked);
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, t->locked == 1);
    assert_int_equal(n2_client_stats(b->client)->gaps, 1);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = client_bench_new("test_client_events", LEASE_MS);
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
        TEST(what_happened_between_conversations_is_told),
        TEST(what_ended_between_conversations_is_told_as_ended),
        TEST(what_happens_during_an_inventory_is_told),
        TEST(what_was_lost_is_not_waited_for),
        TEST(after_a_gap_is_made_good_nothing_is_skipped_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
