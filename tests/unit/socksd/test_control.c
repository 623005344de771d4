/* Control connections of UDP associations, without a daemon: how they end, on either side. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/socksd/control_fixture.h"

/* ---- the client's side ends ---- */

static void a_client_that_closes_ends_its_association(void **state)
{
    struct bench *b = *state;

    b->n2->relay.counters = counters;
    b->n2->relay.client = source;
    begin(b, 0);
    assert_int_equal(b->server.stats.controls, 1);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    close(b->far);
    b->far = -1;
    const char *line = is_over(b, "control_closed");
    says(line, "source=127.0.0.1:6000");
    says(line, "octets_up=100 octets_down=200 datagrams_up=4 datagrams_down=5 dropped=6");
    assert_int_equal(b->server.stats.control_ends[CONTROL_CLOSED], 1);
    assert_int_equal(b->server.stats.assoc_ends[N2_END_RELEASED], 0);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

/* Half a close is a close: nothing is ever sent to it. */
static void a_client_that_only_shuts_down_ends_it_too(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    shutdown(b->far, SHUT_WR);
    is_over(b, "control_closed");
    assert_true(is_closed(b->far));
}

static void a_client_that_resets_ends_its_association(void **state)
{
    const struct linger now = {.l_onoff = 1};
    struct bench *b = *state;

    begin(b, 0);
    assert_int_equal(setsockopt(b->far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(b->far);
    b->far = -1;
    is_over(b, "control_reset");
    assert_int_equal(b->server.stats.control_ends[CONTROL_RESET], 1);
}

static void a_little_is_swallowed_and_more_is_the_end(void **state)
{
    static const char octets[SWALLOWED];
    struct bench *b = *state;

    begin(b, 0);
    assert_int_equal(send(b->far, octets, SWALLOWED, 0), SWALLOWED);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    assert_int_equal(send(b->far, octets, 1, 0), 1);
    is_over(b, "control_data");
    assert_int_equal(b->server.stats.control_ends[CONTROL_DATA], 1);
}

static void what_was_sent_ahead_counts(void **state)
{
    struct bench *b = *state;

    begin(b, SWALLOWED);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    assert_int_equal(send(b->far, "x", 1, 0), 1);
    is_over(b, "control_data");
}

static void too_much_sent_ahead_ends_it_at_once(void **state)
{
    struct bench *b = *state;

    begin(b, SWALLOWED + 1);
    assert_true(is_closed(b->far));
    is_over(b, "control_data");
}

/* The record waits for the last word of the relay; the connection does not. */
static void a_relay_that_is_gone_costs_the_record_its_counters(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    assert_true(is_closed(b->far));
    assert_int_equal(b->session_ends, 0);
    assert_int_equal(b->server.stats.controls, 1);
    assert_int_equal(b->server.stats.associations, 1);
    answerer_break(&b->n2->relay);
    const char *line = is_over(b, "control_closed"); /* that is why, whoever was lost since */
    says_nothing_of(line, "octets_up");
    assert_int_equal(b->server.stats.control_ends[CONTROL_CLOSED], 1);
    assert_int_equal(b->server.stats.relay_lost, 0); /* counted once, by its reason */
}

/* Both sides at the same time: the relay's end overtakes the answer to our Release. */
static void what_the_client_has_ended_is_counted_by_that(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE, .counters = counters});
    says(is_over(b, "control_closed"), "octets_up=100");
    assert_int_equal(b->server.stats.control_ends[CONTROL_CLOSED], 1);
    assert_int_equal(b->server.stats.assoc_ends[N2_END_IDLE], 0);
    answerer_answer_held(&b->n2->relay);
}

/* ---- the relay's side ends ---- */

static void what_the_relay_ends_closes_the_connection(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_LOCKED, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE, .counters = counters});
    const char *line = is_over(b, "idle_timeout");
    says(line, "source=127.0.0.1:6000");
    says(line, "datagrams_up=4 datagrams_down=5 dropped=6");
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.assoc_ends[N2_END_IDLE], 1);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 0);
}

static void an_unused_one_has_no_source(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_UNUSED});
    says_nothing_of(is_over(b, "unused"), "source=");
}

static void a_lost_relay_closes_the_connection(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.epoch++; /* it has restarted */
    answerer_break(&b->n2->relay);
    answerer_mend(&b->n2->relay);
    says_nothing_of(is_over(b, "relay_lost"), "octets_up");
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.relay_lost, 1);
}

/* What it was opened for has failed after all, says the relay: as if it were lost. */
static void a_relay_that_says_failed_of_what_is_opened_loses_it(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_FAILED, .failed = {.code = N2_FULL}});
    is_over(b, "relay_lost");
    assert_true(is_closed(b->far));
}

/* A relay with a fault of its own: nobody has asked for a peer. */
static void a_relay_that_speaks_of_a_peer_is_ignored(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_PEER, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_LOCKED, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE});
    says(is_over(b, "idle_timeout"), "source=127.0.0.1:6000");
}

/* ---- the stop ---- */

static void a_stop_hears_the_last_word_of_each(void **state)
{
    struct bench *b = *state;

    b->n2->relay.counters = counters;
    begin(b, 0);
    control_stop_all(&b->server);
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.controls, 1);
    assert_int_equal(b->session_ends, 0);
    control_stop_all(&b->server); /* once is enough */
    says(is_over(b, "stopped"), "octets_up=100");
    assert_int_equal(b->server.stats.control_ends[CONTROL_STOPPED], 1);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

static void a_stop_leaves_alone_what_is_ending(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    control_stop_all(&b->server);
    answerer_answer_held(&b->n2->relay);
    is_over(b, "control_closed");
    assert_int_equal(b->server.stats.control_ends[CONTROL_STOPPED], 0);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

static void who_abandons_it_waits_for_nobody(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    control_abandon(b->association);
    assert_int_equal(b->server.stats.associations, 0);
    is_over(b, "stopped");
    assert_true(is_closed(b->far));
    CLIENT_WAIT(b->n2, answerer_holds(&b->n2->relay) == 0);
}

static void what_is_abandoned_while_it_ends_keeps_its_reason(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    control_abandon(b->association);
    is_over(b, "control_closed");
    answerer_answer_held(&b->n2->relay);
    CLIENT_WAIT(b->n2, answerer_holds(&b->n2->relay) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_that_closes_ends_its_association),
        TEST(a_client_that_only_shuts_down_ends_it_too),
        TEST(a_client_that_resets_ends_its_association),
        TEST(a_little_is_swallowed_and_more_is_the_end),
        TEST(what_was_sent_ahead_counts),
        TEST(too_much_sent_ahead_ends_it_at_once),
        TEST(a_relay_that_is_gone_costs_the_record_its_counters),
        TEST(what_the_client_has_ended_is_counted_by_that),
        TEST(what_the_relay_ends_closes_the_connection),
        TEST(an_unused_one_has_no_source),
        TEST(a_lost_relay_closes_the_connection),
        TEST(a_relay_that_says_failed_of_what_is_opened_loses_it),
        TEST(a_relay_that_speaks_of_a_peer_is_ignored),
        TEST(a_stop_hears_the_last_word_of_each),
        TEST(a_stop_leaves_alone_what_is_ending),
        TEST(who_abandons_it_waits_for_nobody),
        TEST(what_is_abandoned_while_it_ends_keeps_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
