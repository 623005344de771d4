/* Datagrams that wait for a name: bounded, in their order, judged by what the name turns out to be.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64, QUIET_MS = 30, RETRY_MS = 250 };

static const struct n2_limits no_limits;

/* One association, locked by its first datagram, and a target. */
struct scene {
    struct assoc_bench *b;
    int client, target;
    struct addr target_at, relay;
};

static struct scene scene_of(struct assoc_bench *b)
{
    struct scene s = {.b = b};

    assoc_bench_start(b, SOCKETS);
    s.client = assoc_socket(b, "127.0.0.1", 0, NULL);
    s.target = assoc_socket(b, "127.0.0.1", 0, &s.target_at);
    s.relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(s.client, &s.relay, &s.target_at, "hello");
    assoc_hears(b, s.target, "hello");
    assoc_event(b, N2_EVENT_LOCKED);
    return s;
}

/* Where a name server that was silent is soon asked again. */
static struct scene slow_scene(void)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    b->dns_retry_ms = RETRY_MS;
    return scene_of(b);
}

static void send_name(const struct scene *s, const char *name, const char *text)
{
    assoc_send_name(s->client, &s->relay, name, s->target_at.port, text);
}

static void nothing_waits(const struct assoc_bench *b)
{
    assert_int_equal(b->relay.stats.names_waiting, 0);
    assert_int_equal(b->relay.stats.names_octets, 0);
}

/* ---- found ---- */

static void what_waits_for_a_name_leaves_in_its_order(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "target.example", 300, "127.0.0.1");
    send_name(&s, "target.example", "one");
    send_name(&s, "target.example", "two");
    send_name(&s, "target.example", "three");
    assoc_hears(s.b, s.target, "one");
    assoc_hears(s.b, s.target, "two");
    assoc_hears(s.b, s.target, "three");
    nothing_waits(s.b);
    assert_int_equal(dnsserver_asked(s.b->dns, NULL, 1), 1); /* one question for them all */
    assoc_bench_free(s.b);
}

static void another_spelling_is_the_same_question(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "target.example", 300, "127.0.0.1");
    send_name(&s, "target.example", "x");
    send_name(&s, "TARGET.example", "x");
    send_name(&s, "target.example.", "x");
    for (int i = 0; i < 3; i++)
        assoc_hears(s.b, s.target, "x");
    nothing_waits(s.b);
    assert_int_equal(dnsserver_asked(s.b->dns, NULL, 1), 1);
    assoc_bench_free(s.b);
}

static void a_known_name_is_not_asked_for_again(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "target.example", 300, "127.0.0.1");
    for (int i = 0; i < 3; i++) {
        send_name(&s, "target.example", "x");
        assoc_hears(s.b, s.target, "x");
    }
    assert_int_equal(dnsserver_asked(s.b->dns, "target.example", 1), 1);
    assoc_bench_free(s.b);
}

static void who_was_sent_to_by_name_may_answer(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr second_at;
    int second = assoc_socket(s.b, "127.0.0.2", s.target_at.port, &second_at);
    (void)state;

    dnsserver_address(s.b->dns, "second.example", 300, "127.0.0.2");
    send_name(&s, "second.example", "hello");
    struct addr outer = assoc_hears(s.b, second, "hello");
    assoc_send_raw(second, &outer, "answer", 6);
    assoc_hears_from(s.b, s.client, &second_at, "answer"); /* the true sender, not the name */
    assoc_bench_free(s.b);
}

static void literals_and_localhost_need_no_server(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    send_name(&s, "127.0.0.1", "literal");
    assoc_hears(s.b, s.target, "literal");
    send_name(&s, "localhost", "localhost");
    assoc_hears(s.b, s.target, "localhost");
    assert_int_equal(dnsserver_asked(s.b->dns, NULL, 0), 0);
    nothing_waits(s.b);
    assoc_bench_free(s.b);
}

/* Of several addresses, the one that was sent to before. */
static void a_name_stays_with_the_address_it_was_sent_to(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr third_at;
    int third = assoc_socket(s.b, "127.0.0.3", s.target_at.port, &third_at);
    (void)state;

    assoc_send(s.client, &s.relay, &third_at, "by address");
    assoc_hears(s.b, third, "by address");
    dnsserver_address(s.b->dns, "many.example", 300, "127.0.0.9");
    dnsserver_address(s.b->dns, "many.example", 300, "127.0.0.3");
    dnsserver_address(s.b->dns, "many.example", 300, "127.0.0.8");
    send_name(&s, "many.example", "by name");
    assoc_hears(s.b, third, "by name");
    assoc_bench_free(s.b);
}

/* ---- not found, or not allowed ---- */

static void what_waits_for_a_name_that_is_not_found_is_dropped(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    send_name(&s, "nowhere.example", "one");
    send_name(&s, "nowhere.example", "two");
    assoc_dropped(s.b, DROP_NAME, 2);
    nothing_waits(s.b);
    send_name(&s, "nowhere.example", "three"); /* remembered */
    assoc_dropped(s.b, DROP_NAME, 3);
    assoc_forget_drops(s.b);
    send_name(&s, "not a name", "four"); /* no rule can speak of it */
    assoc_dropped(s.b, DROP_DENIED, 1);
    assert_int_equal(assoc_release(s.b, 1)->u.release.counters.dropped, 4);
    assoc_bench_free(s.b);
}

static void a_name_whose_servers_fail_is_dropped(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_behave(s.b->dns, "broken.example", 0, DNSSERVER_REFUSED);
    send_name(&s, "broken.example", "x");
    assoc_dropped(s.b, DROP_NAME, 1);
    nothing_waits(s.b);
    assoc_bench_free(s.b);
}

/* The rules have the last word on each address (a name may point anywhere). */
static void a_name_does_not_lead_where_its_address_may_not(void **state)
{
    static const char *const names[] = {"inside.example"};
    const struct n2_rule rule = {.allow = true, .any_port = true, .names = names, .name_count = 1};
    const struct n2_rules rules = {&rule, 1}; /* it opens no special-purpose address */
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    assoc_update(s.b, 1, 1, no_limits, &rules);
    dnsserver_address(s.b->dns, "inside.example", 300, "127.0.0.1");
    send_name(&s, "inside.example", "one");
    assoc_dropped(s.b, DROP_DENIED, 1);
    send_name(&s, "inside.example", "two"); /* known now */
    assoc_dropped(s.b, DROP_DENIED, 2);
    assert_true(assoc_silent(s.target));
    nothing_waits(s.b);
    assoc_bench_free(s.b);
}

static void a_name_of_what_is_protected_is_dropped(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "relay.example", 300, "127.0.0.1");
    assoc_send_name(s.client, &s.relay, "relay.example", s.relay.port, "x");
    assoc_dropped(s.b, DROP_PROTECTED, 1);
    assoc_bench_free(s.b);
}

static void a_name_of_a_family_that_is_not_served_is_dropped(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    dnsserver_address(s.b->dns, "six.example", 300, "::1");
    send_name(&s, "six.example", "x");
    assoc_dropped(s.b, DROP_FAMILY, 1);
    assoc_bench_free(s.b);
}

/* Judged when it leaves, by what is in force then. */
static void an_update_while_it_waits_decides(void **state)
{
    const struct n2_rules nothing = {NULL, 0};
    struct scene s = slow_scene();
    (void)state;

    dnsserver_address(s.b->dns, "slow.example", 300, "127.0.0.1");
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_SILENT);
    send_name(&s, "slow.example", "x");
    ASSOC_WAIT(s.b, s.b->relay.stats.names_waiting == 1);
    assoc_update(s.b, 1, 1, no_limits, &nothing);
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_RIGHT);
    assoc_dropped(s.b, DROP_DENIED, 1);
    nothing_waits(s.b);
    assoc_bench_free(s.b);
}

/* ---- bounds ---- */

static void no_more_wait_for_names_than_may(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    (void)state;

    b->relay.config.pending = 3;
    struct scene s = scene_of(b);
    dnsserver_behave(b->dns, "silent.example", 0, DNSSERVER_SILENT);
    dnsserver_behave(b->dns, "quiet.example", 0, DNSSERVER_SILENT);
    send_name(&s, "silent.example", "1");
    send_name(&s, "silent.example", "2");
    send_name(&s, "quiet.example", "3");
    send_name(&s, "silent.example", "4");
    send_name(&s, "quiet.example", "5");
    assoc_dropped(b, DROP_NAME_QUEUE, 2);
    assert_int_equal(b->relay.stats.names_waiting, 3);
    /* Each association has its own share. */
    struct addr second_at;
    int second = assoc_socket(b, "127.0.0.2", 0, &second_at);
    struct addr relay = assoc_open(b, 2, "127.0.0.2");
    assoc_send_name(second, &relay, "silent.example", 9, "6");
    ASSOC_WAIT(b, b->relay.stats.names_waiting == 4);
    /* What waits is thrown away with it, and counted. */
    assert_int_equal(assoc_release(b, 1)->u.release.counters.dropped, 5);
    assert_int_equal(b->relay.stats.names_waiting, 1);
    assoc_release(b, 2);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* ---- the end ---- */

static void a_limit_may_end_it_among_what_waits(void **state)
{
    struct scene s = slow_scene();
    const struct n2_limits limits = {.octets = 10};
    (void)state;

    assoc_update(s.b, 1, 1, limits, NULL); /* "hello" was five */
    dnsserver_address(s.b->dns, "slow.example", 300, "127.0.0.1");
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_SILENT);
    for (int i = 0; i < 4; i++)
        send_name(&s, "slow.example", "four");
    ASSOC_WAIT(s.b, s.b->relay.stats.names_waiting == 4);
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_RIGHT);
    struct n2_event e = assoc_event(s.b, N2_EVENT_ENDED);
    assert_int_equal(e.end, N2_END_LIMIT);
    assert_int_equal(e.counters.octets_up, 13);
    assert_int_equal(e.counters.datagrams_up, 3);
    assert_int_equal(e.counters.dropped, 2); /* the one that reached it was sent */
    assoc_dropped(s.b, DROP_NAME, 2);
    assoc_hears(s.b, s.target, "four");
    assoc_hears(s.b, s.target, "four");
    loop_run_for(&s.b->loop, QUIET_MS);
    assert_true(assoc_silent(s.target));
    assoc_nothing_is_held(s.b);
    assoc_bench_free(s.b);
}

static void an_answer_that_comes_after_the_end_finds_nothing(void **state)
{
    struct scene s = slow_scene();
    (void)state;

    dnsserver_address(s.b->dns, "slow.example", 300, "127.0.0.1");
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_SILENT);
    send_name(&s, "slow.example", "x");
    ASSOC_WAIT(s.b, s.b->relay.stats.names_waiting == 1);
    assoc_release(s.b, 1);
    assoc_nothing_is_held(s.b);
    dnsserver_behave(s.b->dns, "slow.example", 0, DNSSERVER_RIGHT);
    ASSOC_WAIT(s.b, dnsserver_asked(s.b->dns, "slow.example", 1) > 1);
    loop_run_for(&s.b->loop, QUIET_MS);
    assert_true(assoc_silent(s.target));
    assoc_bench_free(s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_for_a_name_leaves_in_its_order),
        cmocka_unit_test(another_spelling_is_the_same_question),
        cmocka_unit_test(a_known_name_is_not_asked_for_again),
        cmocka_unit_test(who_was_sent_to_by_name_may_answer),
        cmocka_unit_test(literals_and_localhost_need_no_server),
        cmocka_unit_test(a_name_stays_with_the_address_it_was_sent_to),
        cmocka_unit_test(what_waits_for_a_name_that_is_not_found_is_dropped),
        cmocka_unit_test(a_name_whose_servers_fail_is_dropped),
        cmocka_unit_test(a_name_does_not_lead_where_its_address_may_not),
        cmocka_unit_test(a_name_of_what_is_protected_is_dropped),
        cmocka_unit_test(a_name_of_a_family_that_is_not_served_is_dropped),
        cmocka_unit_test(an_update_while_it_waits_decides),
        cmocka_unit_test(no_more_wait_for_names_than_may),
        cmocka_unit_test(a_limit_may_end_it_among_what_waits),
        cmocka_unit_test(an_answer_that_comes_after_the_end_finds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
