/* The ports that clients connect to: opened once, shared, bounded, closed when nobody uses them;
 * and connections that are nobody's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relayd-tcp/tcp_relay.h"
#include "shared/net/sockaddr.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

enum { PORTS = 8, SOCKETS = 4, SWEPT_MS = 3500 };

struct bench {
    struct loop loop;
    struct tcp_relay relay;
};

static uint16_t nth(const struct bench *b, uint16_t n)
{
    return (uint16_t)(b->relay.config.transparent_ports.first + n);
}

static bool opens(struct bench *b, uint16_t n)
{
    return accept_ports_open(b->relay.accept_ports, ADDR_IPV4, nth(b, n));
}

static struct addr at(const char *ip, uint16_t port)
{
    struct addr a;

    assert_true(addr_parse_ip(ip, &a));
    a.port = port;
    return a;
}

static int connect_to(uint16_t port)
{
    const struct addr to = at("127.0.0.1", port);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&to, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

/* Leaves no descriptor to be had. */
static struct rlimit no_descriptors(void)
{
    int highest = fcntl(0, F_DUPFD, 0);
    struct rlimit before, less;

    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    less = before;
    less.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    return before;
}

static const struct accept_stats *stats(const struct bench *b)
{
    return accept_ports_stats(b->relay.accept_ports);
}

static void one_port_is_one_socket_however_often_it_is_wanted(void **state)
{
    struct bench *b = *state;
    struct accept_ports *p = b->relay.accept_ports;

    assert_true(opens(b, 0));
    assert_true(opens(b, 0));
    assert_int_equal(accept_ports_count(p), 1);
    struct accept_port *first = accept_port_use(p, ADDR_IPV4, nth(b, 0));
    struct accept_port *again = accept_port_use(p, ADDR_IPV4, nth(b, 0));
    assert_ptr_equal(first, again);
    assert_int_equal(first->users, 2);
    assert_true(accept_ports_open(p, ADDR_IPV6, nth(b, 0))); /* the families have one each */
    assert_int_equal(accept_ports_count(p), 2);
    assert_int_equal(accept_ports_max(p), SOCKETS);
    accept_port_leave(first);
    accept_port_leave(again);
}

static void what_nobody_uses_is_closed_in_time_and_then_nothing_ticks(void **state)
{
    struct bench *b = *state;
    struct accept_ports *p = b->relay.accept_ports;

    assert_true(opens(b, 0));
    assert_true(opens(b, 1));
    struct accept_port *used = accept_port_use(p, ADDR_IPV4, nth(b, 0));
    loop_run_for(&b->loop, SWEPT_MS);
    assert_int_equal(accept_ports_count(p), 1); /* the one in use stays */
    accept_port_leave(used);
    loop_run_for(&b->loop, SWEPT_MS);
    assert_int_equal(accept_ports_count(p), 0);
    assert_int_equal(b->loop.wheel.count, 0);
    assert_true(opens(b, 0)); /* the port is free again */
    assert_int_equal(b->loop.wheel.count, 1);
}

static void at_the_bound_an_unused_one_makes_room(void **state)
{
    struct bench *b = *state;
    struct accept_ports *p = b->relay.accept_ports;
    struct accept_port *used[SOCKETS];

    for (uint16_t i = 0; i < SOCKETS; i++) {
        assert_true(opens(b, i));
        used[i] = accept_port_use(p, ADDR_IPV4, nth(b, i));
    }
    assert_false(opens(b, SOCKETS));
    assert_int_equal(accept_ports_error(p), EMFILE);
    accept_port_leave(used[2]);
    accept_ports_forgive(p);
    assert_true(opens(b, SOCKETS));
    assert_int_equal(accept_ports_count(p), SOCKETS);
    assert_int_equal(accept_ports_error(p), 0);
}

/* A port that is taken says nothing of the others; no descriptor does. */
static void only_what_would_fail_for_every_port_is_not_tried_again(void **state)
{
    struct bench *b = *state;
    struct accept_ports *p = b->relay.accept_ports;
    const struct addr taken = at("127.0.0.1", nth(b, 0));
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&taken, &ss);
    int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(holder, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(holder, 1), 0);
    assert_false(opens(b, 0));
    assert_int_equal(accept_ports_error(p), EADDRINUSE);
    assert_true(opens(b, 1));
    struct rlimit before = no_descriptors();
    assert_false(opens(b, 2));
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(accept_ports_error(p), EMFILE);
    assert_false(opens(b, 3)); /* not tried */
    assert_true(opens(b, 1));  /* this one is there */
    accept_ports_forgive(p);
    assert_true(opens(b, 3));
    close(holder);
}

static void who_is_nobodys_is_reset_and_counted(void **state)
{
    struct bench *b = *state;
    char octet;

    assert_true(opens(b, 0));
    int fd = connect_to(nth(b, 0));
    loop_run_for(&b->loop, 50);
    assert_int_equal(stats(b)->refused[ACCEPT_STRANGER], 1);
    assert_int_equal(stats(b)->accepted, 0);
    assert_int_equal(recv(fd, &octet, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
}

static bool usable(void *arg, enum addr_family family, uint16_t port)
{
    return accept_ports_open(arg, family, port);
}

static void a_claim_of_the_address_tells_why(void **state)
{
    struct bench *b = *state;
    struct tcp_relay *r = &b->relay;
    const struct addr client = at("127.0.0.1", 1); /* no connection of ours comes from there */
    struct ports_claim c;

    assert_int_equal(
        ports_claim(r->ports, &c, &client, "", loop_now(&b->loop), usable, r->accept_ports),
        PORTS_OK);
    int fd = connect_to(c.port);
    loop_run_for(&b->loop, 50);
    assert_int_equal(stats(b)->refused[ACCEPT_SOURCE_PORT], 1);
    ports_release(r->ports, &c, loop_now(&b->loop));
    close(fd);
}

static void without_a_descriptor_it_rests_and_takes_who_waits_later(void **state)
{
    struct bench *b = *state;

    assert_true(opens(b, 0));
    int fd = connect_to(nth(b, 0));
    struct rlimit before = no_descriptors();
    uint64_t turns = loop_run_for(&b->loop, 350);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(turns < 50);
    assert_in_range(stats(b)->errors, 2, 5); /* it tried again */
    assert_int_equal(stats(b)->refused[ACCEPT_STRANGER], 0);
    loop_run_for(&b->loop, 250);
    assert_int_equal(stats(b)->refused[ACCEPT_STRANGER], 1);
    close(fd);
}

static void only_open_ports_of_this_host_are_our_own(void **state)
{
    struct bench *b = *state;
    const struct accept_ports *p = b->relay.accept_ports;
    const struct addr own = at("127.0.0.1", nth(b, 0)), other = at("127.0.0.1", nth(b, 1));
    const struct addr any = at("0.0.0.0", nth(b, 0)), any6 = at("::", nth(b, 0));
    const struct addr six = at("::1", nth(b, 0)), far = at("192.0.2.1", nth(b, 0));
    const struct addr outside = at("127.0.0.1", 9);

    assert_false(accept_ports_own(p, &own));
    assert_true(opens(b, 0));
    assert_true(accept_ports_own(p, &own));
    assert_true(accept_ports_own(p, &any));
    assert_true(accept_ports_own(p, &any6));
    assert_false(accept_ports_own(p, &other));
    assert_false(accept_ports_own(p, &six));
    assert_false(accept_ports_own(p, &far));
    assert_false(accept_ports_own(p, &outside));
}

/* ---- setting the bench ---- */

/* A range that nobody uses, most likely: below what the kernel gives out. */
static uint16_t first_port(void)
{
    return (uint16_t)(12000 + getpid() % 1000 * PORTS);
}

static int set_bench(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct tcp_relay *r = &b->relay;
    uint16_t first = first_port();
    const struct ports_config ports = {first, (uint16_t)(first + PORTS - 1), 100, 0};

    *state = b;
    assert_int_equal(loop_init(&b->loop), 0);
    r->base.loop = &b->loop;
    r->config.transparent_ports = (struct schema_ports){ports.first, ports.last};
    r->config.port_rest_ms = ports.rest_ms;
    r->ports = ports_new(&ports);
    r->accept_ports = accept_ports_new(r, SOCKETS);
    assert_non_null(r->ports);
    assert_non_null(r->accept_ports);
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    accept_ports_free(b->relay.accept_ports);
    ports_free(b->relay.ports);
    assert_int_equal(b->loop.wheel.count, 0);
    loop_fini(&b->loop);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_port_is_one_socket_however_often_it_is_wanted),
        TEST(what_nobody_uses_is_closed_in_time_and_then_nothing_ticks),
        TEST(at_the_bound_an_unused_one_makes_room),
        TEST(only_what_would_fail_for_every_port_is_not_tried_again),
        TEST(who_is_nobodys_is_reset_and_counted),
        TEST(a_claim_of_the_address_tells_why),
        TEST(without_a_descriptor_it_rests_and_takes_who_waits_later),
        TEST(only_open_ports_of_this_host_are_our_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
