/* Opens of associations, over a real link: what is refused and with which word, where the client is
 * told to send, and what its hint is good for. */
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

static struct assoc_bench *started(void)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    assoc_bench_start(b, SOCKETS);
    return b;
}

static void is_refused(struct assoc_bench *b, const struct n2_open *o, enum n2_refusal_code code,
                       const char *text)
{
    uint64_t before = b->relay.base.counts.refused[code];
    const struct n2_answer *a = assoc_ask_open(b, o);

    assert_int_equal(a->what, N2_NONE);
    assert_int_equal(a->refused.code, code);
    assert_string_equal(a->refused.text, text);
    assert_int_equal(b->relay.base.counts.refused[code], before + 1);
}

/* ---- what an Open may not say ---- */

static void an_open_that_says_too_much_or_too_little_is_refused(void **state)
{
    struct assoc_bench *b = started();
    struct n2_open o;
    uint32_t id = 0;
    (void)state;

    o = assoc_open_of(++id);
    o.ptcl = 6;
    is_refused(b, &o, N2_UNSUPPORTED, "ptcl");
    o = assoc_open_of(++id);
    o.bind = assoc_at("127.0.0.1:0");
    is_refused(b, &o, N2_UNSUPPORTED, "bind");
    o = assoc_open_of(++id);
    o.bind.port = 20000;
    is_refused(b, &o, N2_UNSUPPORTED, "bind");
    o = assoc_open_of(++id);
    o.client = (struct addr){0};
    is_refused(b, &o, N2_BAD, "client");
    o = assoc_open_of(++id);
    o.client = assoc_at("0.0.0.0:4000");
    is_refused(b, &o, N2_BAD, "client");
    assoc_nothing_is_held(b);
    assert_int_equal(b->relay.base.counts.opened[N2_UDP], 0);
    assoc_bench_free(b);
}

static void rules_that_are_too_long_are_refused(void **state)
{
    enum { NAMES = POLICY_OCTETS_MAX / 200 + 1 };
    struct assoc_bench *b = started();
    struct n2_open o = assoc_open_of(1);
    const char **names = calloc(NAMES, sizeof(*names));
    char name[201];
    (void)state;

    memset(name, 'a', 200);
    name[200] = '\0';
    for (size_t i = 0; i < NAMES; i++)
        names[i] = name;
    const struct n2_rule rule = {.allow = true, .names = names, .name_count = NAMES};
    const struct n2_rules rules = {&rule, 1};
    o.rules = &rules;
    is_refused(b, &o, N2_BAD, "rules");
    assoc_nothing_is_held(b);
    free(names);
    assoc_bench_free(b);
}

/* ---- where it cannot be served ---- */

static void a_family_that_is_not_bound_is_unsupported(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o;
    (void)state;

    b->bind = assoc_at("[::1]:0");
    assoc_bench_start(b, SOCKETS);
    o = assoc_open_of(1);
    is_refused(b, &o, N2_UNSUPPORTED, "family");
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void an_address_that_is_not_ours_cannot_be_bound(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o;
    (void)state;

    b->bind = assoc_at("192.0.2.1:0");
    assoc_bench_start(b, SOCKETS);
    o = assoc_open_of(1);
    is_refused(b, &o, N2_CANNOT_BIND, "the configured address cannot be bound");
    assoc_nothing_is_held(b);
    /* It is asked again, not remembered. */
    b->bind = assoc_at("127.0.0.1:0");
    assoc_open(b, 2, "127.0.0.1");
    assoc_bench_free(b);
}

static void a_port_that_somebody_else_has_is_no_port(void **state)
{
    struct assoc_bench *b = assoc_bench_new(1);
    uint16_t port = b->relay.config.base.relay.ports.first;
    struct n2_open o = assoc_open_of(1);
    (void)state;

    assoc_socket(b, "127.0.0.1", port, NULL);
    assoc_bench_start(b, SOCKETS);
    is_refused(b, &o, N2_NO_PORT, "no port for this client");
    assoc_nothing_is_held(b);
    close(b->fds[--b->fd_count]);
    assert_int_equal(assoc_open(b, 2, "127.0.0.1").port, port);
    assoc_bench_free(b);
}

static void a_port_in_use_is_passed_over(void **state)
{
    struct assoc_bench *b = assoc_bench_new(4);
    uint16_t first = b->relay.config.base.relay.ports.first;
    (void)state;

    for (uint16_t i = 0; i < 3; i++)
        assoc_socket(b, "127.0.0.1", (uint16_t)(first + i), NULL);
    assoc_bench_start(b, SOCKETS);
    assert_int_equal(assoc_open(b, 1, "127.0.0.1").port, first + 3);
    assoc_bench_free(b);
}

/* Nobody could tell whose the first datagram is. */
static void one_port_has_room_for_one_silent_association_per_client(void **state)
{
    struct assoc_bench *b = assoc_bench_new(1);
    struct n2_open o = assoc_open_of(2);
    (void)state;

    assoc_bench_start(b, SOCKETS);
    struct addr first = assoc_open(b, 1, "127.0.0.1");
    is_refused(b, &o, N2_NO_PORT, "no port for this client");
    assert_int_equal(b->relay.stats.associations, 1);
    struct addr other = assoc_open(b, 3, "127.0.0.2");
    assert_true(addr_equal(&first, &other));
    assoc_bench_free(b);
}

static void what_is_unlocked_is_capped_by_identity(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o;
    (void)state;

    b->relay.config.unlocked = 2;
    assoc_bench_start(b, SOCKETS);
    int fd = assoc_socket(b, "127.0.0.1", 0, NULL);
    struct addr target = assoc_at("127.0.0.1:9");
    struct addr relay = assoc_open(b, 1, "127.0.0.1");
    assoc_open(b, 2, "127.0.0.1");
    o = assoc_open_of(3);
    is_refused(b, &o, N2_FULL, "associations of this client that were not used yet");
    o = assoc_open_of(4);
    o.owner = "alice";
    assert_int_equal(assoc_ask_open(b, &o)->what, N2_OPEN);
    /* One that is used does not count. */
    assoc_send(fd, &relay, &target, "x");
    assoc_event(b, N2_EVENT_LOCKED);
    assoc_open(b, 5, "127.0.0.1");
    o = assoc_open_of(6);
    is_refused(b, &o, N2_FULL, "associations of this client that were not used yet");
    assoc_bench_free(b);
}

static void without_a_socket_for_its_client_it_is_full(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct n2_open o = assoc_open_of(2);
    (void)state;

    assoc_bench_start(b, 1);
    assoc_open(b, 1, "127.0.0.1");
    is_refused(b, &o, N2_FULL, "descriptors");
    assert_int_equal(b->relay.stats.associations, 1);
    assert_int_equal(client_ports_count(b->relay.client_ports), 1);
    assoc_bench_free(b);
}

/* ---- where the client is told to send ---- */

static void an_advertised_address_goes_before_the_bound_one(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    (void)state;

    b->advertise = assoc_at("203.0.113.9:0");
    b->relay.config.base.relay.advertise.items = &b->advertise;
    b->relay.config.base.relay.advertise.count = 1;
    assoc_bench_start(b, SOCKETS);
    struct addr told = assoc_open(b, 1, "127.0.0.1");
    assert_true(addr_ip_equal(&told, &b->advertise));
    assert_in_range(told.port, b->relay.config.base.relay.ports.first,
                    b->relay.config.base.relay.ports.last);
    assoc_bench_free(b);
}

/* Bound to every address: the one through which the client reached the server, if it is ours. */
static void the_unspecified_address_is_never_told(void **state)
{
    static const struct {
        const char *client_local, *told;
    } rows[] = {{"127.0.0.3:1080", "127.0.0.3"},
                {"192.0.2.1:1080", "127.0.0.1"}, /* the server's host is another */
                {"0.0.0.0:1080", "127.0.0.1"}};
    struct assoc_bench *b = assoc_bench_new(PORTS);
    (void)state;

    b->bind = assoc_at("0.0.0.0:0");
    assoc_bench_start(b, SOCKETS);
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct n2_open o = assoc_open_of(i + 1);
        struct addr expected;
        o.client_local = assoc_at(rows[i].client_local);
        assert_true(addr_parse_ip(rows[i].told, &expected));
        const struct n2_answer *a = assoc_ask_open(b, &o);
        assert_true(a->u.open.opened);
        assert_true(addr_ip_equal(&a->u.open.bound, &expected));
    }
    assoc_bench_free(b);
}

/* ---- the hint ---- */

static void a_truthful_hint_locks_at_once(void **state)
{
    struct assoc_bench *b = started();
    struct n2_open o = assoc_open_of(1);
    struct addr hint, target;
    int named = assoc_socket(b, "127.0.0.1", 0, &hint),
        other = assoc_socket(b, "127.0.0.1", 0, NULL);
    int far = assoc_socket(b, "127.0.0.1", 0, &target);
    (void)state;

    o.destinations = &hint;
    o.destination_count = 1;
    struct addr relay = assoc_ask_open(b, &o)->u.open.bound;
    assert_int_equal(b->relay.stats.locks_hinted, 1);
    assoc_send(other, &relay, &target, "not mine");
    assoc_dropped(b, DROP_SOURCE_PORT, 1);
    assoc_send(named, &relay, &target, "mine");
    assoc_hears(b, far, "mine");
    assert_int_equal(b->relay.stats.locks_learned, 0);
    assert_int_equal(n2_server_grants(b->relay.base.n2), 1);
    asker_watch(&b->asker, 0, 0);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(b->asker.seen.event_count, 0); /* the server knows it */
    assert_true(addr_equal(&assoc_release(b, 1)->u.release.client, &hint));
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void a_hint_about_somebody_else_or_without_a_port_is_none(void **state)
{
    static const char *const hints[] = {"127.0.0.2:4000", "0.0.0.0:4000", "127.0.0.1:0",
                                        "0.0.0.0:0", "[::1]:4000"};
    struct assoc_bench *b = started();
    (void)state;

    for (uint32_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        struct n2_open o = assoc_open_of(i + 1);
        struct addr hint = assoc_at(hints[i]);
        o.destinations = &hint;
        o.destination_count = 1;
        assert_true(assoc_ask_open(b, &o)->u.open.opened);
        assert_int_equal(ports_stats(b->relay.ports).unlocked, i + 1);
    }
    assert_int_equal(b->relay.stats.locks_hinted, 0);
    assoc_bench_free(b);
}

static void hinted_clients_share_a_port_and_each_has_its_own_key(void **state)
{
    struct assoc_bench *b = assoc_bench_new(1);
    struct n2_open o = assoc_open_of(1);
    struct addr hint = assoc_at("127.0.0.1:4000");
    (void)state;

    assoc_bench_start(b, SOCKETS);
    o.destinations = &hint;
    o.destination_count = 1;
    assert_true(assoc_ask_open(b, &o)->u.open.opened);
    o.association = assoc_open_of(2).association;
    is_refused(b, &o, N2_NO_PORT, "no port for this client"); /* the same key */
    hint.port = 4001;
    o.association = assoc_open_of(3).association;
    assert_true(assoc_ask_open(b, &o)->u.open.opened);
    assert_int_equal(client_ports_count(b->relay.client_ports), 1);
    assoc_bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_that_says_too_much_or_too_little_is_refused),
        cmocka_unit_test(rules_that_are_too_long_are_refused),
        cmocka_unit_test(a_family_that_is_not_bound_is_unsupported),
        cmocka_unit_test(an_address_that_is_not_ours_cannot_be_bound),
        cmocka_unit_test(a_port_that_somebody_else_has_is_no_port),
        cmocka_unit_test(a_port_in_use_is_passed_over),
        cmocka_unit_test(one_port_has_room_for_one_silent_association_per_client),
        cmocka_unit_test(what_is_unlocked_is_capped_by_identity),
        cmocka_unit_test(without_a_socket_for_its_client_it_is_full),
        cmocka_unit_test(an_advertised_address_goes_before_the_bound_one),
        cmocka_unit_test(the_unspecified_address_is_never_told),
        cmocka_unit_test(a_truthful_hint_locks_at_once),
        cmocka_unit_test(a_hint_about_somebody_else_or_without_a_port_is_none),
        cmocka_unit_test(hinted_clients_share_a_port_and_each_has_its_own_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
