/* The sockets that clients send to: opened once, shared, bounded, closed when nobody uses them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 4, QUIET_MS = 20 };

static struct assoc_bench *started(void)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    assoc_bench_start(b, SOCKETS);
    return b;
}

static uint16_t nth(const struct assoc_bench *b, uint16_t n)
{
    return (uint16_t)(b->relay.config.base.relay.ports.first + n);
}

static bool opens(struct assoc_bench *b, uint16_t n)
{
    return client_ports_open(b->relay.client_ports, ADDR_IPV4, nth(b, n));
}

static void one_port_is_one_socket_however_often_it_is_wanted(void **state)
{
    struct assoc_bench *b = started();
    struct client_ports *c = b->relay.client_ports;
    (void)state;

    assert_true(opens(b, 0));
    assert_true(opens(b, 0));
    assert_int_equal(client_ports_count(c), 1);
    struct client_port *first = client_port_use(c, ADDR_IPV4, nth(b, 0));
    struct client_port *again = client_port_use(c, ADDR_IPV4, nth(b, 0));
    assert_ptr_equal(first, again);
    assert_int_equal(first->users, 2);
    assert_int_equal(first->port, nth(b, 0));
    assert_true(opens(b, 1));
    assert_int_equal(client_ports_count(c), 2);
    assert_int_equal(client_ports_max(c), SOCKETS);
    client_port_leave(first);
    client_port_leave(again);
    assoc_bench_free(b);
}

static void a_sweep_closes_what_nobody_has_used_for_so_long(void **state)
{
    struct assoc_bench *b = started();
    struct client_ports *c = b->relay.client_ports;
    (void)state;

    assert_true(opens(b, 0));
    assert_true(opens(b, 1));
    struct client_port *used = client_port_use(c, ADDR_IPV4, nth(b, 0));
    loop_run_for(&b->loop, QUIET_MS);
    client_ports_sweep(c, 3600000); /* not so long */
    assert_int_equal(client_ports_count(c), 2);
    client_ports_sweep(c, QUIET_MS / 2);
    assert_int_equal(client_ports_count(c), 1); /* the one in use stays, for ever */
    client_port_leave(used);
    client_ports_sweep(c, 3600000); /* unused from now */
    assert_int_equal(client_ports_count(c), 1);
    client_ports_sweep(c, 0);
    assert_int_equal(client_ports_count(c), 0);
    assert_true(opens(b, 0)); /* the port is free again */
    assoc_bench_free(b);
}

/* One that nobody uses is closed for it. */
static void at_the_bound_an_unused_one_makes_room(void **state)
{
    struct assoc_bench *b = started();
    struct client_ports *c = b->relay.client_ports;
    struct client_port *used[SOCKETS];
    (void)state;

    for (uint16_t i = 0; i < SOCKETS; i++) {
        assert_true(opens(b, i));
        used[i] = client_port_use(c, ADDR_IPV4, nth(b, i));
    }
    assert_false(opens(b, SOCKETS));
    assert_int_equal(client_ports_error(c), EMFILE);
    assert_int_equal(client_ports_count(c), SOCKETS);
    client_port_leave(used[2]);
    client_ports_forgive(c);
    assert_true(opens(b, SOCKETS));
    assert_int_equal(client_ports_count(c), SOCKETS);
    assert_int_equal(client_ports_error(c), 0);
    for (uint16_t i = 0; i < SOCKETS; i++)
        if (i != 2)
            client_port_leave(used[i]);
    assoc_bench_free(b);
}

/* A port that is taken says nothing of the others; no descriptor does. */
static void only_what_would_fail_for_every_port_is_not_tried_again(void **state)
{
    struct assoc_bench *b = started();
    struct client_ports *c = b->relay.client_ports;
    struct rlimit before, less;
    (void)state;

    assoc_socket(b, "127.0.0.1", nth(b, 0), NULL);
    assert_false(opens(b, 0));
    assert_int_equal(client_ports_error(c), EADDRINUSE);
    assert_true(opens(b, 1));

    int highest = fcntl(0, F_DUPFD, 0);
    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    less = before;
    less.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    assert_false(opens(b, 2));
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(client_ports_error(c), EMFILE);
    assert_false(opens(b, 3)); /* not tried */
    assert_true(opens(b, 1));  /* this one is there */
    client_ports_forgive(c);
    assert_int_equal(client_ports_error(c), 0);
    assert_true(opens(b, 3));
    assoc_bench_free(b);
}

static void a_family_that_is_not_bound_has_no_socket(void **state)
{
    struct assoc_bench *b = started();
    struct client_ports *c = b->relay.client_ports;
    (void)state;

    assert_false(client_ports_open(c, ADDR_IPV6, nth(b, 0)));
    assert_int_equal(client_ports_error(c), EAFNOSUPPORT);
    assert_int_equal(client_ports_count(c), 0);
    assoc_bench_free(b);
}

/* A datagram finds its association by address, port and socket. */
static void clients_at_one_port_are_told_apart(void **state)
{
    struct assoc_bench *b = assoc_bench_new(1);
    struct addr target, relay[3];
    int clients[3];
    (void)state;

    assoc_bench_start(b, SOCKETS);
    int far = assoc_socket(b, "127.0.0.1", 0, &target);
    for (uint32_t i = 0; i < 3; i++) {
        char ip[16];
        snprintf(ip, sizeof(ip), "127.0.0.%u", i + 1);
        relay[i] = assoc_open(b, i + 1, ip);
        assert_int_equal(relay[i].port, nth(b, 0));
        clients[i] = assoc_socket(b, ip, 0, NULL);
    }
    assert_int_equal(client_ports_count(b->relay.client_ports), 1);
    for (int i = 0; i < 3; i++) {
        static const char *const questions[] = {"one?", "two?", "three?"};
        static const char *const answers[] = {"one", "two", "three"};
        assoc_send(clients[i], &relay[i], &target, questions[i]);
        struct addr outer = assoc_hears(b, far, questions[i]);
        assoc_send_raw(far, &outer, answers[i], strlen(answers[i]));
        assoc_hears_from(b, clients[i], &target, answers[i]);
    }
    assert_int_equal(b->relay.stats.outer_sockets, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(assoc_release(b, i + 1)->u.release.counters.datagrams_down, 1);
    assoc_nothing_is_held(b);
    client_ports_sweep(b->relay.client_ports, 0);
    assert_int_equal(client_ports_count(b->relay.client_ports), 0);
    assoc_bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_port_is_one_socket_however_often_it_is_wanted),
        cmocka_unit_test(a_sweep_closes_what_nobody_has_used_for_so_long),
        cmocka_unit_test(at_the_bound_an_unused_one_makes_room),
        cmocka_unit_test(only_what_would_fail_for_every_port_is_not_tried_again),
        cmocka_unit_test(a_family_that_is_not_bound_has_no_socket),
        cmocka_unit_test(clients_at_one_port_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
