/* Reloads, as control connections pass them on to relays. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/socksd/control_fixture.h"

static void a_reload_tells_the_relay_what_is_in_force(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    rules_free(b->server.config.rules);
    b->server.config.rules = rules_for_alice("192.0.2.0/24");
    b->server.config.timeouts.idle_ms = 4321;
    control_refresh_all(&b->server);
    CLIENT_WAIT(b->n2, answerer_count(&b->n2->relay, N2_UPDATE, NULL) == 1);
    const struct asked_call *u = answerer_last(&b->n2->relay, N2_UPDATE);
    assert_int_equal(u->rules, 1); /* hers only */
    assert_int_equal(u->idle_ms, 4321);
    assert_true(u->must_understand);
    assert_int_equal(b->server.stats.associations, 1);
}

static void a_relay_that_refuses_the_rules_ends_the_association_by_that_name(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.counters = counters;
    b->n2->relay.refuse[N2_UPDATE] = N2_FULL;
    control_refresh_all(&b->server);
    says(is_over(b, "rules_refused"), "octets_up=100");
    assert_true(is_closed(b->far));
    assert_int_equal(answerer_holds(&b->n2->relay), 0);
    assert_int_equal(b->server.stats.control_ends[CONTROL_RULES], 1);
    assert_int_equal(b->server.stats.relay_lost, 0);
    assert_int_equal(b->server.stats.assoc_ends[N2_END_RELEASED], 0);
}

/* What a session asked for may be forbidden before it is answered. */
static void a_reload_before_the_reply_is_made_good_after_it(void **state)
{
    struct bench *b = *state;

    open_one(b);
    b->server.config.timeouts.idle_ms = 4321;
    b->server.generation++;
    control_refresh_all(&b->server); /* it is not listed yet */
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 0);
    go_on(b, 0);
    CLIENT_WAIT(b->n2, answerer_count(&b->n2->relay, N2_UPDATE, NULL) == 1);
    assert_int_equal(answerer_last(&b->n2->relay, N2_UPDATE)->idle_ms, 4321);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 1);
}

static void without_a_reload_nothing_is_told(void **state)
{
    struct bench *b = *state;

    b->server.generation = 3; /* before it was opened */
    begin(b, 0);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 0);
}

/* It is over as soon as it begins. */
static void a_reload_before_the_reply_and_too_much_sent_ahead(void **state)
{
    struct bench *b = *state;

    open_one(b);
    b->server.generation++;
    go_on(b, SWALLOWED + 1);
    is_over(b, "control_data");
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 0);
}

/* In the same turn, before its Release has left. */
static void a_reload_leaves_alone_what_is_ending(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    control_stop_all(&b->server);
    control_refresh_all(&b->server);
    is_over(b, "stopped");
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reload_tells_the_relay_what_is_in_force),
        TEST(a_relay_that_refuses_the_rules_ends_the_association_by_that_name),
        TEST(a_reload_before_the_reply_is_made_good_after_it),
        TEST(without_a_reload_nothing_is_told),
        TEST(a_reload_before_the_reply_and_too_much_sent_ahead),
        TEST(a_reload_leaves_alone_what_is_ending),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
