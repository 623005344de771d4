/* Associations from their Open to their end, over a real link: what ends one, what an Update
 * changes, and that nothing is left of it. (Opens: test_association_open.c.) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64, QUIET_MS = 60 };

static const struct n2_limits no_limits;

static struct assoc_bench *started(void)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    assoc_bench_start(b, SOCKETS);
    return b;
}

/* ---- time and limits ---- */

static void one_that_was_never_used_ends_as_unused(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o = assoc_open_of(1);
    (void)state;

    b->relay.config.unused_ms = 100;
    assoc_bench_start(b, SOCKETS);
    o.limits.idle_ms = 1; /* is for later */
    assert_true(assoc_ask_open(b, &o)->u.open.opened);
    struct n2_event e = assoc_event(b, N2_EVENT_ENDED);
    assert_int_equal(e.end, N2_END_UNUSED);
    assert_true(e.counters.duration_ms >= 100);
    assert_int_equal(e.counters.datagrams_up, 0);
    assert_int_equal(e.peer.family, ADDR_NONE);
    assoc_nothing_is_held(b);
    assert_int_equal(b->relay.base.counts.ended[N2_END_UNUSED], 1);
    assoc_bench_free(b);
}

static void one_that_is_idle_ends_as_idle(void **state)
{
    enum { UNUSED_MS = 200, IDLE_MS = 300 };
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o = assoc_open_of(1);
    struct addr client, target;
    int fd = assoc_socket(b, "127.0.0.1", 0, &client);
    (void)state;

    assoc_socket(b, "127.0.0.1", 0, &target);
    b->relay.config.unused_ms = UNUSED_MS;
    assoc_bench_start(b, SOCKETS);
    o.limits.idle_ms = IDLE_MS;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    assoc_send(fd, &relay, &target, "hello");
    assoc_event(b, N2_EVENT_LOCKED);
    struct n2_event e = assoc_event(b, N2_EVENT_ENDED);
    assert_int_equal(e.end, N2_END_IDLE);
    assert_true(e.counters.duration_ms >= IDLE_MS);
    assert_int_equal(e.counters.datagrams_up, 1);
    assert_int_equal(e.counters.octets_up, 5);
    assert_true(addr_equal(&e.peer, &client));
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* An idle limit of zero is the relay's own. */
static void without_a_limit_the_configured_idle_time_holds(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr target;
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL);
    (void)state;

    assoc_socket(b, "127.0.0.1", 0, &target);
    b->relay.config.unused_ms = 50;
    b->relay.config.base.relay.idle_ms = 120;
    assoc_bench_start(b, SOCKETS);
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(fd, &relay, &target, "hello");
    assoc_event(b, N2_EVENT_LOCKED);
    assert_int_equal(assoc_event(b, N2_EVENT_ENDED).end, N2_END_IDLE);
    assoc_bench_free(b);
}

static void an_update_may_end_what_has_been_idle_for_longer(void **state)
{
    struct assoc_bench *b = started();
    struct addr target;
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL);
    (void)state;

    assoc_socket(b, "127.0.0.1", 0, &target);
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(fd, &relay, &target, "hello");
    assoc_event(b, N2_EVENT_LOCKED);
    loop_run_for(&b->loop, QUIET_MS);
    const struct n2_limits brief = {.idle_ms = QUIET_MS / 2};
    assert_int_equal(assoc_update(b, 1, 1, brief, NULL)->u.update_revision, 1);
    assert_int_equal(assoc_event(b, N2_EVENT_ENDED).end, N2_END_IDLE);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void the_datagram_that_passes_the_limit_ends_it(void **state)
{
    struct assoc_bench *b = started();
    struct n2_open o = assoc_open_of(1);
    struct addr client, target;
    int fd = assoc_socket(b, "127.0.0.1", 0, &client);
    int far = assoc_socket(b, "127.0.0.1", 0, &target);
    (void)state;

    o.limits.octets = 10;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    assoc_send(fd, &relay, &target, "12345");
    struct addr outer = assoc_hears(b, far, "12345");
    assoc_send_raw(far, &outer, "67890", 5);
    assoc_hears_from(b, fd, &target, "67890"); /* ten are allowed */
    assert_int_equal(b->relay.stats.associations, 1);
    assoc_event(b, N2_EVENT_LOCKED);
    assoc_send(fd, &relay, &target, "x");
    struct n2_event e = assoc_event(b, N2_EVENT_ENDED);
    assert_int_equal(e.end, N2_END_LIMIT);
    assert_int_equal(e.counters.octets_up, 6);
    assert_int_equal(e.counters.octets_down, 5);
    assert_int_equal(e.counters.datagrams_up, 2);
    assert_int_equal(e.counters.datagrams_down, 1);
    assert_int_equal(e.counters.dropped, 0);
    assert_true(addr_equal(&e.peer, &client));
    assoc_hears(b, far, "x");
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void what_a_target_sends_counts_against_the_limit_too(void **state)
{
    struct assoc_bench *b = started();
    struct n2_open o = assoc_open_of(1);
    struct addr target;
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL);
    int far = assoc_socket(b, "127.0.0.1", 0, &target);
    (void)state;

    o.limits.octets = 10;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    assoc_send(fd, &relay, &target, "1");
    struct addr outer = assoc_hears(b, far, "1");
    assoc_send_raw(far, &outer, "0123456789", 10);
    assoc_hears_from(b, fd, &target, "0123456789"); /* has left before the end */
    assoc_event(b, N2_EVENT_LOCKED);
    assert_int_equal(assoc_event(b, N2_EVENT_ENDED).end, N2_END_LIMIT);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void an_update_below_what_was_moved_ends_it(void **state)
{
    struct assoc_bench *b = started();
    struct addr target;
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL), far = assoc_socket(b, "127.0.0.1", 0, &target);
    (void)state;

    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(fd, &relay, &target, "12345");
    assoc_hears(b, far, "12345");
    assoc_event(b, N2_EVENT_LOCKED);
    const struct n2_limits as_moved = {.octets = 5}, less = {.octets = 4};
    assoc_update(b, 1, 1, as_moved, NULL);
    assert_int_equal(b->relay.stats.associations, 1);
    assert_int_equal(assoc_update(b, 1, 2, less, NULL)->what, N2_UPDATE);
    assert_int_equal(assoc_event(b, N2_EVENT_ENDED).end, N2_END_LIMIT);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* ---- Update of rules ---- */

static void an_update_with_rules_that_are_refused_changes_nothing(void **state)
{
    enum { NAMES = POLICY_OCTETS_MAX / 200 + 1 };
    struct assoc_bench *b = started();
    const char **names = calloc(NAMES, sizeof(*names));
    struct n2_open o = assoc_open_of(1);
    struct addr target;
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL), far = assoc_socket(b, "127.0.0.1", 0, &target);
    char name[201];
    (void)state;

    memset(name, 'a', 200);
    name[200] = '\0';
    for (size_t i = 0; i < NAMES; i++)
        names[i] = name;
    const struct n2_rule rule = {.names = names, .name_count = NAMES};
    const struct n2_rules rules = {&rule, 1};
    const struct n2_limits tiny = {.octets = 1};
    o.limits.octets = 1000;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    const struct n2_answer *a = assoc_update(b, 1, 1, tiny, &rules);
    assert_int_equal(a->what, N2_NONE);
    assert_int_equal(a->refused.code, N2_BAD);
    assoc_send(fd, &relay, &target, "as before");
    assoc_hears(b, far, "as before");
    assert_int_equal(b->relay.stats.associations, 1);
    assert_int_equal(assoc_update(b, 1, 1, no_limits, NULL)->what, N2_UPDATE);
    free(names);
    assoc_bench_free(b);
}

static void associations_with_the_same_rules_share_them(void **state)
{
    const struct n2_rule rule = {.allow = true, .any_destination = true, .any_port = true};
    const struct n2_rules rules = {&rule, 1};
    struct assoc_bench *b = started();
    (void)state;

    assoc_open(b, 1, "127.0.0.1");
    assoc_open(b, 2, "127.0.0.1");
    assert_int_equal(b->relay.policies.count, 1);
    assoc_update(b, 1, 1, no_limits, &rules);
    assert_int_equal(b->relay.policies.count, 2);
    assoc_update(b, 2, 1, no_limits, &rules);
    assert_int_equal(b->relay.policies.count, 1);
    assoc_release(b, 1);
    assert_int_equal(b->relay.policies.count, 1);
    assoc_release(b, 2);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* ---- the end ---- */

static void a_release_lets_go_of_all_that_is_pending(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr target;
    (void)state;

    b->relay.config.fragments = true;
    assoc_bench_start(b, SOCKETS);
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL), far = assoc_socket(b, "127.0.0.1", 0, &target);
    dnsserver_behave(b->dns, "silent.example", 0, DNSSERVER_SILENT);
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(fd, &relay, &target, "a peer, a route, a socket");
    assoc_hears(b, far, "a peer, a route, a socket");
    assoc_send_name(fd, &relay, "silent.example", 9, "waits");
    assoc_send_name(fd, &relay, "silent.example", 9, "waits, too");
    assoc_send_name(fd, &relay, "silent.example", 10, "waits for the same name");
    assoc_send_fragment(fd, &relay, 1, &target, "waits for more");
    assoc_send_fragment(fd, &relay, 2, &target, "waits for more");
    ASSOC_WAIT(b, b->relay.stats.fragments == 2);
    assert_int_equal(b->relay.stats.names_waiting, 3);
    assert_true(b->relay.fragments.held > 0);
    assert_int_equal(b->relay.stats.outer_sockets, 1);
    const struct n2_answer *a = assoc_release(b, 1);
    assert_true(a->u.release.known);
    assert_int_equal(a->u.release.counters.datagrams_up, 1);
    assoc_nothing_is_held(b);
    assert_int_equal(b->relay.base.counts.ended[N2_END_RELEASED], 1);
    assoc_bench_free(b);
}

/* The same, with the relay as a whole. */
static void the_relay_may_stop_with_all_that_is_pending(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr target;
    (void)state;

    b->relay.config.fragments = true;
    assoc_bench_start(b, SOCKETS);
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL);
    assoc_socket(b, "127.0.0.1", 0, &target);
    dnsserver_behave(b->dns, "silent.example", 0, DNSSERVER_SILENT);
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_open(b, 2, "127.0.0.2");
    assoc_send(fd, &relay, &target, "a route");
    assoc_send_name(fd, &relay, "silent.example", 9, "waits");
    assoc_send_fragment(fd, &relay, 1, &target, "waits for more");
    ASSOC_WAIT(b, b->relay.stats.fragments == 1);
    assert_int_equal(b->relay.stats.names_waiting, 1);
    assoc_bench_free(b);
}

/* Datagrams for it stand in the socket in the very turn in which it ends. */
static void datagrams_behind_the_one_that_ends_it_find_nobody(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o = assoc_open_of(1);
    struct addr target;
    (void)state;

    b->relay.config.port_rest_ms = 60000;
    assoc_bench_start(b, SOCKETS);
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL), far = assoc_socket(b, "127.0.0.1", 0, &target);
    o.limits.octets = 3;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    for (int i = 0; i < 5; i++)
        assoc_send(fd, &relay, &target, "12");
    assoc_event(b, N2_EVENT_LOCKED);
    struct n2_event e = assoc_event(b, N2_EVENT_ENDED);
    assert_int_equal(e.end, N2_END_LIMIT);
    assert_int_equal(e.counters.datagrams_up, 2);
    assoc_hears(b, far, "12");
    assoc_hears(b, far, "12");
    assoc_dropped(b, DROP_LATE, 3);
    assert_true(assoc_silent(far));
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* Ports towards clients are shared by all: a number of free ones would say nothing. */
static void load_tells_of_descriptors_and_of_no_ports(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    const struct n2_load *load = &b->asker.seen.load;
    struct addr target_at;
    (void)state;

    assoc_bench_start(b, 5);
    int client = assoc_socket(b, "127.0.0.1", 0, NULL);
    int target = assoc_socket(b, "127.0.0.1", 0, &target_at);
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_open(b, 2, "127.0.0.2");
    asker_watch(&b->asker, 0, 0);
    ASSOC_WAIT(b, b->asker.watch_replies == 1);
    assert_int_equal(load->associations, 2);
    assert_int_equal(load->ports_free, 0);
    assert_int_equal(load->capacity, b->relay.base.capacity);
    uint32_t free = load->descriptors_free;
    assert_true(free > 0);
    assoc_send(client, &relay, &target_at, "x"); /* now it needs a socket towards targets */
    assoc_hears(b, target, "x");
    assoc_event(b, N2_EVENT_LOCKED);
    assert_int_equal(load->descriptors_free, free - 1);
    assert_int_equal(load->ports_free, 0);
    assoc_bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_was_never_used_ends_as_unused),
        cmocka_unit_test(one_that_is_idle_ends_as_idle),
        cmocka_unit_test(without_a_limit_the_configured_idle_time_holds),
        cmocka_unit_test(an_update_may_end_what_has_been_idle_for_longer),
        cmocka_unit_test(the_datagram_that_passes_the_limit_ends_it),
        cmocka_unit_test(what_a_target_sends_counts_against_the_limit_too),
        cmocka_unit_test(an_update_below_what_was_moved_ends_it),
        cmocka_unit_test(an_update_with_rules_that_are_refused_changes_nothing),
        cmocka_unit_test(associations_with_the_same_rules_share_them),
        cmocka_unit_test(a_release_lets_go_of_all_that_is_pending),
        cmocka_unit_test(the_relay_may_stop_with_all_that_is_pending),
        cmocka_unit_test(datagrams_behind_the_one_that_ends_it_find_nobody),
        cmocka_unit_test(load_tells_of_descriptors_and_of_no_ports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
