/* Updates of limits and rules, as the asking side makes them: paced, numbered, made again until the
 * relay has them, and never left half done. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/lib/client_bench.h"

enum { LEASE_MS = 60000, QUIET_MS = 60, NAMES_MAX = 6000, NAME_LEN = 200 };

/* ---- rules of a length ---- */

static const char *const *long_names(void)
{
    static char name[NAME_LEN + 1];
    static const char *names[NAMES_MAX];

    memset(name, 'a', NAME_LEN);
    for (size_t i = 0; i < NAMES_MAX; i++)
        names[i] = name;
    return names;
}

/* One rule of about that many octets. */
static struct n2_rule rule_of(size_t octets)
{
    struct n2_rule r = {.allow = true, .any_port = true, .names = long_names()};

    r.name_count = octets / NAME_LEN;
    assert_true(r.name_count <= NAMES_MAX);
    return r;
}

static struct n2_rules rules_of(const struct n2_rule *r)
{
    return (struct n2_rules){r, 1};
}

static size_t updates(const struct client_bench *b, const struct told *t)
{
    return answerer_count(&b->relay, N2_UPDATE, t != NULL ? t->n2.node.id : NULL);
}

/* ---- one ---- */

static void a_stale_one_is_asked_for_what_shall_be_and_tells_the_relay(void **state)
{
    const struct n2_rule rule = {.allow = true, .any_destination = true, .any_port = true};
    const struct n2_rules rules = rules_of(&rule);
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    t->rules = &rules;
    t->limits.idle_ms = 1234;
    told_open(b, t, N2_UDP);
    assert_int_equal(answerer_last(&b->relay, N2_OPEN)->rules, 1);
    assert_true(answerer_last(&b->relay, N2_OPEN)->must_understand);
    n2_assoc_stale(&t->n2);
    assert_int_equal(t->refreshed, 0); /* from the loop */
    CLIENT_WAIT(b, updates(b, t) == 1);
    assert_int_equal(t->refreshed, 1);
    const struct asked_call *u = answerer_last(&b->relay, N2_UPDATE);
    assert_int_equal(u->revision, 1);
    assert_int_equal(u->idle_ms, 1234);
    assert_int_equal(u->rules, 1);
    assert_true(u->must_understand);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->refreshed, 1);
    assert_int_equal(t->n2.state, N2_ASSOC_OPENED);
}

/* A relay without the feature shall not refuse what has no rules. */
static void without_rules_nothing_need_be_understood(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_CONNECT);
    assert_false(answerer_last(&b->relay, N2_OPEN)->must_understand);
    n2_assoc_stale(&t->n2);
    CLIENT_WAIT(b, updates(b, t) == 1);
    assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->rules, -1);
    assert_false(answerer_last(&b->relay, N2_UPDATE)->must_understand);
}

static void the_revision_rises_with_every_update(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    for (uint32_t i = 1; i <= 5; i++) {
        n2_assoc_stale(&t->n2);
        CLIENT_WAIT(b, updates(b, t) == i);
        assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->revision, i);
    }
}

static void a_new_association_begins_anew(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    for (int i = 0; i < 2; i++) {
        told_open(b, t, N2_UDP);
        n2_assoc_stale(&t->n2);
        CLIENT_WAIT(b, updates(b, t) == 1);
        assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->revision, 1);
        n2_assoc_release(&t->n2);
    }
}

static void stale_twice_is_told_once(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    n2_assoc_stale(&t->n2);
    n2_assoc_stale(&t->n2);
    CLIENT_WAIT(b, updates(b, t) == 1);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(updates(b, t), 1);
}

/* While the first one flies, things have changed again. */
static void stale_while_an_update_flies_is_told_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    n2_assoc_stale(&t->n2);
    CLIENT_WAIT(b, b->relay.held != NULL);
    t->limits.idle_ms = 99;
    n2_assoc_stale(&t->n2);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->refreshed, 1); /* one message flies at a time */
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, updates(b, t) == 2);
    assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->revision, 2);
    assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->idle_ms, 99);
}

static void what_is_given_up_while_stale_is_not_asked(void **state)
{
    struct client_bench *b = *state;
    struct told *released = told_new(b), *finished = told_new(b);

    told_open(b, released, N2_UDP);
    told_open(b, finished, N2_UDP);
    n2_assoc_stale(&released->n2);
    n2_assoc_stale(&finished->n2);
    n2_assoc_release(&released->n2);
    assert_true(n2_assoc_finish(&finished->n2));
    CLIENT_WAIT(b, finished->ended == 1);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(released->refreshed + finished->refreshed, 0);
    assert_int_equal(updates(b, NULL), 0);
}

/* ---- many ---- */

enum { MANY = 700 };

static void open_many(struct client_bench *b, struct told **ret, size_t n,
                      const struct n2_rules *rules)
{
    for (size_t i = 0; i < n; i++) {
        ret[i] = told_new(b);
        assert_int_equal(told_ask(ret[i], N2_UDP), 0);
        ret[i]->rules = rules;
    }
    CLIENT_WAIT(b, b->opened == n);
}

static size_t calls_in(const struct answerer *a, unsigned message, enum n2_what what)
{
    size_t n = 0;

    for (size_t i = 0; i < a->asked_count; i++)
        n += a->asked[i].message == message && a->asked[i].what == what;
    return n;
}

static void of_many_stale_ones_no_message_is_more_than_half_full(void **state)
{
    struct client_bench *b = *state;
    struct told *many[MANY];

    open_many(b, many, MANY, NULL);
    unsigned before = b->relay.messages;

    for (size_t i = 0; i < MANY; i++)
        n2_assoc_stale(&many[i]->n2);
    CLIENT_WAIT(b, updates(b, NULL) >= MANY);
    assert_int_equal(b->relay.messages - before, 2);
    assert_int_equal(calls_in(&b->relay, before + 1, N2_UPDATE), N2_CALLS_MAX / 2);
    assert_int_equal(calls_in(&b->relay, before + 2, N2_UPDATE), MANY - N2_CALLS_MAX / 2);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(many[i]->refreshed, 1);
        assert_int_equal(updates(b, many[i]), 1);
    }
}

static void an_open_does_not_wait_behind_many_updates(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b), *many[MANY];

    open_many(b, many, MANY, NULL);
    unsigned before = b->relay.messages;

    for (size_t i = 0; i < MANY; i++)
        n2_assoc_stale(&many[i]->n2);
    assert_int_equal(told_ask(t, N2_UDP), 0);
    CLIENT_WAIT(b, t->opened == 1);
    assert_int_equal(answerer_last(&b->relay, N2_OPEN)->message, before + 1);
    CLIENT_WAIT(b, updates(b, NULL) == MANY);
}

static void of_long_updates_no_message_is_much_more_than_half_full(void **state)
{
    enum { LONG = 100000, FEW = 20 };
    const struct n2_rule rule = rule_of(LONG);
    const struct n2_rules rules = rules_of(&rule);
    struct client_bench *b = *state;
    struct told *many[FEW];

    open_many(b, many, FEW, &rules);
    unsigned before = b->relay.messages;

    for (size_t i = 0; i < FEW; i++)
        n2_assoc_stale(&many[i]->n2);
    CLIENT_WAIT(b, updates(b, NULL) == FEW);
    assert_in_range(b->relay.longest, N2_MESSAGE_MAX / 2, N2_MESSAGE_MAX / 2 + 2 * LONG);
    assert_in_range(b->relay.messages - before, 4, 5);
    assert_int_equal(b->lost, 0);
}

static void one_that_fits_into_no_message_is_lost_alone(void **state)
{
    const struct n2_rule rule = rule_of(N2_MESSAGE_MAX + 4096);
    const struct n2_rules rules = rules_of(&rule);
    struct client_bench *b = *state;
    struct told *first = told_new(b), *huge = told_new(b), *last = told_new(b);

    told_open(b, first, N2_UDP);
    told_open(b, huge, N2_UDP);
    told_open(b, last, N2_UDP);
    huge->rules = &rules;
    n2_assoc_stale(&first->n2);
    n2_assoc_stale(&huge->n2);
    n2_assoc_stale(&last->n2);
    CLIENT_WAIT(b, updates(b, last) == 1);
    assert_int_equal(huge->lost, 1);
    assert_int_equal(huge->n2.state, N2_ASSOC_FREE);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 2);
    assert_int_equal(updates(b, first), 1);
    assert_int_equal(first->lost + last->lost, 0);
}

/* ---- what the relay says, or does not ---- */

static void an_update_without_an_answer_is_made_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    n2_assoc_stale(&t->n2);
    CLIENT_WAIT(b, b->relay.held != NULL);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    b->relay.hold = false;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, updates(b, t) == 2);
    assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->revision, 2);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->refreshed, 2);
    assert_int_equal(t->lost + t->ended, 0);
}

static void what_becomes_stale_between_conversations_waits_for_the_next(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    n2_assoc_stale(&t->n2);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->refreshed, 0);
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, updates(b, t) == 1);
}

/* It must not go on with rules that are no longer right; what it was is still asked for. */
static void whose_update_is_refused_is_told_so_and_may_finish(void **state)
{
    static const enum n2_refusal_code codes[] = {N2_BAD, N2_FULL, N2_UNSUPPORTED};
    const struct n2_counters counters = {.datagrams_up = 7};
    struct client_bench *b = *state;

    b->relay.counters = counters;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct told *t = told_new(b);
        told_open(b, t, N2_UDP);
        b->relay.refuse[N2_UPDATE] = codes[i];
        n2_assoc_stale(&t->n2);
        CLIENT_WAIT(b, t->ended == 1);
        assert_int_equal(t->refresh_refused, 1);
        assert_int_equal(t->why, N2_END_RELEASED);
        assert_int_equal(t->counters.datagrams_up, 7);
        assert_int_equal(t->n2.state, N2_ASSOC_FREE);
        assert_int_equal(answerer_holds(&b->relay), 0);
        assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), i + 1);
        assert_int_equal(t->lost, 0);
    }
    assert_int_equal(b->relay.hellos, 1);
}

/* Between the Update and its answer; nobody is there to be told. */
static void what_is_given_up_meanwhile_hears_of_no_refusal(void **state)
{
    struct client_bench *b = *state;
    struct told *released = told_new(b), *finished = told_new(b);

    told_open(b, released, N2_UDP);
    told_open(b, finished, N2_UDP);
    b->relay.refuse[N2_UPDATE] = N2_FULL;
    b->relay.hold = true;
    n2_assoc_stale(&released->n2);
    n2_assoc_stale(&finished->n2);
    CLIENT_WAIT(b, b->relay.held != NULL);
    n2_assoc_release(&released->n2);
    assert_true(n2_assoc_finish(&finished->n2));
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, finished->ended == 1);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    assert_int_equal(updates(b, NULL), 2);
    assert_int_equal(released->refresh_refused + finished->refresh_refused, 0);
    assert_int_equal(released->lost + released->ended + finished->lost, 0);
}

static void an_update_of_what_has_ended_is_harmless(void **state)
{
    const struct n2_counters counters = {.datagrams_up = 7};
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.refuse[N2_UPDATE] = N2_EXPIRED;
    n2_assoc_stale(&t->n2);
    CLIENT_WAIT(b, updates(b, t) == 1);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->lost + t->ended + t->refresh_refused, 0);
    assert_int_equal(t->n2.state, N2_ASSOC_OPENED);
    told_event(t,
               (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE, .counters = counters});
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->counters.datagrams_up, 7);
    assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), 0);
}

static void an_update_in_a_stale_conversation_is_made_again_in_the_next(void **state)
{
    static const enum n2_refusal_code codes[] = {N2_STALE, N2_CONFLICT};
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        b->relay.refuse[N2_UPDATE] = codes[i];
        b->relay.hold = true;
        n2_assoc_stale(&t->n2);
        CLIENT_WAIT(b, b->relay.held != NULL);
        answerer_answer_held(&b->relay);
        b->relay.refuse[N2_UPDATE] = N2_REFUSAL_NONE;
        CLIENT_WAIT(b, updates(b, t) == 2 * i + 2);
        assert_int_equal(b->relay.hellos, i + 2);
        assert_int_equal(answerer_last(&b->relay, N2_UPDATE)->revision, 2 * i + 2);
    }
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->refreshed, 4);
    assert_int_equal(t->lost + t->ended + t->refresh_refused, 0);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = client_bench_new("test_client_update", LEASE_MS);
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
        TEST(a_stale_one_is_asked_for_what_shall_be_and_tells_the_relay),
        TEST(without_rules_nothing_need_be_understood),
        TEST(the_revision_rises_with_every_update),
        TEST(a_new_association_begins_anew),
        TEST(stale_twice_is_told_once),
        TEST(stale_while_an_update_flies_is_told_again),
        TEST(what_is_given_up_while_stale_is_not_asked),
        TEST(of_many_stale_ones_no_message_is_more_than_half_full),
        TEST(an_open_does_not_wait_behind_many_updates),
        TEST(of_long_updates_no_message_is_much_more_than_half_full),
        TEST(one_that_fits_into_no_message_is_lost_alone),
        TEST(an_update_without_an_answer_is_made_again),
        TEST(what_becomes_stale_between_conversations_waits_for_the_next),
        TEST(whose_update_is_refused_is_told_so_and_may_finish),
        TEST(what_is_given_up_meanwhile_hears_of_no_refusal),
        TEST(an_update_of_what_has_ended_is_harmless),
        TEST(an_update_in_a_stale_conversation_is_made_again_in_the_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
