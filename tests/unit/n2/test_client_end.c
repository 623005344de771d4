/* How associations end, as the asking side tells it: with the last counters, without, or not at
 * all; and what it hears of out-of-band ones before. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/client_bench.h"
#include "tests/lib/sockpairs.h"

enum { LEASE_MS = 60000, SHORT_LEASE_MS = 400, QUIET_MS = 60 };

static const struct n2_counters counters = {1, 2, 3, 4, 5, 6}, none;
static const struct addr client = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 40000};

static void counts_are(const struct n2_counters *got, const struct n2_counters *expected)
{
    assert_int_equal(got->octets_up, expected->octets_up);
    assert_int_equal(got->octets_down, expected->octets_down);
    assert_int_equal(got->duration_ms, expected->duration_ms);
    assert_int_equal(got->datagrams_up, expected->datagrams_up);
    assert_int_equal(got->datagrams_down, expected->datagrams_down);
    assert_int_equal(got->dropped, expected->dropped);
}

/* ---- finish ---- */

static void who_finishes_hears_the_counters_and_where_the_client_was(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    b->relay.counters = counters;
    b->relay.client = client;
    told_open(b, t, N2_UDP);
    assert_true(n2_assoc_finish(&t->n2));
    assert_int_equal(t->n2.state, N2_ASSOC_FINISHING);
    assert_int_equal(t->ended, 0);
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->why, N2_END_RELEASED);
    counts_are(&t->counters, &counters);
    assert_int_equal(t->locked, 1);
    assert_true(addr_equal(&t->client, &client));
    assert_int_equal(t->lost, 0);
    assert_int_equal(n2_client_assocs(b->client), 0);
    assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), 1);
}

static void a_relay_that_does_not_know_it_any_more_has_no_counters(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    b->relay.counters = counters; /* not sent: it knows nothing */
    b->relay.knows = false;
    told_open(b, t, N2_UDP);
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->why, N2_END_RELEASED);
    counts_are(&t->counters, &none);
    assert_int_equal(t->locked, 0);
}

static void a_refused_finish_ends_it_and_is_tried_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.refuse[N2_RELEASE] = N2_FULL;
    b->relay.hold = true;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    answerer_answer_held(&b->relay);
    b->relay.refuse[N2_RELEASE] = N2_REFUSAL_NONE;
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->why, N2_END_RELEASED);
    counts_are(&t->counters, &none);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), 2);
    assert_int_equal(t->ended + t->lost, 1);
}

/* The refusal ends the conversation as well; the Release outlives it. */
static void a_finish_that_is_stale_is_made_again_in_the_next_conversation(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.refuse[N2_RELEASE] = N2_STALE;
    b->relay.hold = true;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    answerer_answer_held(&b->relay);
    b->relay.refuse[N2_RELEASE] = N2_REFUSAL_NONE;
    CLIENT_WAIT(b, t->ended == 1);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    assert_int_equal(b->relay.hellos, 2);
    assert_int_equal(t->ended + t->lost, 1);
}

static void an_unanswered_finish_is_lost_and_made_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, t->lost == 1);
    b->relay.hold = false;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    assert_int_equal(t->ended, 0);
    assert_int_equal(t->lost, 1);
}

/* No inventory would find it: a stream that is attached goes on without us. */
static void an_unanswered_release_of_a_stream_is_made_again(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);
    int near, far;

    told_open(b, t, N2_CONNECT);
    sockpair_tcp(0, &near, &far);
    assert_int_equal(n2_assoc_attach(&t->n2, near, NULL, 0, NULL, 0), 0);
    CLIENT_WAIT(b, b->relay.legs_count == 1);
    b->relay.hold = true;
    n2_assoc_release(&t->n2);
    CLIENT_WAIT(b, b->relay.held != NULL);
    answerer_break(&b->relay);
    b->relay.hold = false;
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, answerer_holds(&b->relay) == 0);
    assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), 2);
    close(far);
}

/* Its own end, told by Watch, comes before the answer of the Release. */
static void its_own_end_may_overtake_a_finish(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    b->relay.knows = false;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    told_event(
        t, (struct n2_event){
               .type = N2_EVENT_ENDED, .end = N2_END_LIMIT, .counters = counters, .peer = client});
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->why, N2_END_LIMIT);
    counts_are(&t->counters, &counters);
    assert_int_equal(t->locked, 1);
    assert_true(addr_equal(&t->client, &client));
    answerer_answer_held(&b->relay);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->ended + t->lost, 1);
    assert_int_equal(answerer_count(&b->relay, N2_RELEASE, NULL), 1);
}

/* The same memory, another association: the first one's answer is not for it. */
static void a_late_answer_is_not_for_what_was_opened_since(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    told_event(t, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE});
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(told_ask(t, N2_UDP), 0);
    answerer_answer_held(&b->relay);
    CLIENT_WAIT(b, t->opened == 2);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(t->ended + t->lost, 1);
    assert_int_equal(t->n2.state, N2_ASSOC_OPENED);
}

static void a_finish_that_cannot_be_asked_says_so(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    for (size_t i = 0; i < N2_CALLS_MAX; i++) {
        struct told *other = told_new(b);
        assert_int_equal(told_ask(other, N2_UDP), 0);
    }
    assert_false(n2_assoc_finish(&t->n2));
    assert_int_equal(t->n2.state, N2_ASSOC_FREE);
    assert_int_equal(n2_client_assocs(b->client), N2_CALLS_MAX);
    CLIENT_WAIT(b, b->opened == N2_CALLS_MAX + 1);
    assert_int_equal(t->ended + t->lost, 0);
}

/* ---- locked ---- */

static const struct n2_event locked = {
    .type = N2_EVENT_LOCKED, .peer = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 40000}};

static void where_the_client_sends_from_is_told_and_told_again(void **state)
{
    struct client_bench *b = *state;
    struct n2_event other = locked;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    told_event(t, locked);
    CLIENT_WAIT(b, t->locked == 1);
    assert_true(addr_equal(&t->client, &client));
    other.peer.port = 40001;
    told_event(t, other);
    CLIENT_WAIT(b, t->locked == 2);
    assert_int_equal(t->client.port, 40001);
    assert_int_equal(t->n2.state, N2_ASSOC_OPENED);
}

static void it_is_told_while_the_end_is_awaited(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    b->relay.hold = true;
    assert_true(n2_assoc_finish(&t->n2));
    CLIENT_WAIT(b, b->relay.held != NULL);
    told_event(t, locked);
    CLIENT_WAIT(b, t->locked == 1);
    assert_int_equal(t->ended, 0);
    answerer_answer_held(&b->relay); /* without an address: nothing new */
    CLIENT_WAIT(b, t->ended == 1);
    assert_int_equal(t->locked, 1);
}

static void a_stream_is_never_locked(void **state)
{
    struct client_bench *b = *state;
    struct told *stream = told_new(b), *udp = told_new(b);

    told_open(b, stream, N2_CONNECT);
    told_open(b, udp, N2_UDP);
    told_event(stream, locked);
    told_event(stream, (struct n2_event){
                           .type = N2_EVENT_ENDED, .end = N2_END_ATTACH_TIMEOUT, .peer = client});
    told_event(udp, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_UNUSED});
    CLIENT_WAIT(b, udp->ended == 1);
    assert_int_equal(stream->ended, 1);
    assert_int_equal(stream->locked, 0);
    assert_int_equal(udp->locked, 0); /* no address came */
    assert_int_equal(udp->why, N2_END_UNUSED);
}

/* ---- tickets, and the lease ---- */

static void only_what_is_handed_over_has_a_ticket(void **state)
{
    struct client_bench *b = *state;
    struct told *stream = told_new(b), *udp = told_new(b);

    told_open(b, stream, N2_CONNECT);
    told_open(b, udp, N2_UDP);
    assert_non_null(stream->n2.ticket);
    assert_null(udp->n2.ticket);
    n2_assoc_release(&stream->n2);
    n2_assoc_release(&udp->n2);
    assert_null(stream->n2.ticket);
}

/* What has its connections outlives a silent server; all else is torn down by the relay. */
static void without_the_lease_only_streams_go_on(void **state)
{
    struct client_bench *b = client_bench_new("test_client_lease", SHORT_LEASE_MS);
    struct told *stream = told_new(b), *waiting = told_new(b), *udp = told_new(b),
                *finishing = told_new(b);
    int near, far;
    (void)state;

    told_open(b, stream, N2_CONNECT);
    told_open(b, waiting, N2_CONNECT);
    told_open(b, udp, N2_UDP);
    told_open(b, finishing, N2_UDP);
    sockpair_tcp(0, &near, &far);
    assert_int_equal(n2_assoc_attach(&stream->n2, near, NULL, 0, NULL, 0), 0);
    CLIENT_WAIT(b, b->relay.legs_count == 1);
    b->relay.mute = true;
    assert_true(n2_assoc_finish(&finishing->n2));
    CLIENT_WAIT(b, n2_client_stats(b->client)->leases_lost == 1);
    assert_int_equal(waiting->lost, 1);
    assert_int_equal(udp->lost, 1);
    assert_int_equal(finishing->lost, 1);
    assert_int_equal(stream->lost + stream->ended, 0);
    assert_int_equal(stream->n2.state, N2_ASSOC_ATTACHED);
    assert_int_equal(n2_client_assocs(b->client), 1);
    close(far);
    client_bench_free(b);
}

/* While the lease runs. */
static void a_broken_conversation_costs_what_is_opened_nothing(void **state)
{
    struct client_bench *b = *state;
    struct told *t = told_new(b);

    told_open(b, t, N2_UDP);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    assert_int_equal(t->lost + t->ended, 0);
    told_event(t, locked);
    CLIENT_WAIT(b, t->locked == 1);
}

static void what_the_relay_does_not_list_any_more_is_lost(void **state)
{
    struct client_bench *b = *state;
    struct told *gone = told_new(b), *kept = told_new(b);

    told_open(b, gone, N2_UDP);
    told_open(b, kept, N2_UDP);
    answerer_break(&b->relay);
    CLIENT_WAIT(b, !n2_client_ready(b->client));
    answerer_forget(&b->relay, gone->n2.node.id);
    answerer_mend(&b->relay);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    assert_int_equal(gone->lost, 1);
    assert_int_equal(kept->lost + kept->ended, 0);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = client_bench_new("test_client_end", LEASE_MS);
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
        TEST(who_finishes_hears_the_counters_and_where_the_client_was),
        TEST(a_relay_that_does_not_know_it_any_more_has_no_counters),
        TEST(a_refused_finish_ends_it_and_is_tried_again),
        TEST(a_finish_that_is_stale_is_made_again_in_the_next_conversation),
        TEST(an_unanswered_finish_is_lost_and_made_again),
        TEST(an_unanswered_release_of_a_stream_is_made_again),
        TEST(its_own_end_may_overtake_a_finish),
        TEST(a_late_answer_is_not_for_what_was_opened_since),
        TEST(a_finish_that_cannot_be_asked_says_so),
        TEST(where_the_client_sends_from_is_told_and_told_again),
        TEST(it_is_told_while_the_end_is_awaited),
        TEST(a_stream_is_never_locked),
        TEST(only_what_is_handed_over_has_a_ticket),
        cmocka_unit_test(without_the_lease_only_streams_go_on),
        TEST(a_broken_conversation_costs_what_is_opened_nothing),
        TEST(what_the_relay_does_not_list_any_more_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
