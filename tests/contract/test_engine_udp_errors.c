/* What every datagram engine owes when something fails: it costs what failed, and nothing else. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "tests/lib/netns.h"
#include "tests/lib/udp_bench.h"

static const struct addr connected = {.family = ADDR_NONE};

static void need_own_network(void)
{
    if (netns_missing() != NULL) {
        print_message("[          ] %s\n", netns_missing());
        skip();
    }
}

static void set_option(int fd, int level, int option, int value)
{
    assert_int_equal(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

/* ---- what the network reports ---- */

static void ask_for_reports(struct udp_bench *b, int fd)
{
    if (b->family == ADDR_IPV4)
        set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    else
        set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
}

static bool has_report(int fd, int ms)
{
    struct pollfd p = {fd, 0, 0};

    return poll(&p, 1, ms) == 1 && (p.revents & POLLERR) != 0;
}

static void a_report_does_not_end_a_connected_socket(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, nobody = bench_nobody(b);
    int fd = bench_port(b, NULL, false, &port);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&nobody, &ss);
    const struct engine_run *runs;

    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    bench_send(b, fd, &connected, NULL, 1, 10);
    bench_flush(b);
    assert_true(has_report(fd, 2000));
    assert_int_equal(engine_receive(b->engine, fd, &runs), 0);
    assert_int_equal(b->engine->stats.receive_errors, 1);

    int peer = bench_peer(b, &nobody, NULL); /* somebody now */
    peer_says(b, peer, &port, 2, 20);
    bench_hears(b, fd, &nobody, 2, &(size_t){20}, 1);
    bench_send(b, fd, &connected, NULL, 3, 30);
    bench_flush(b);
    peer_hears(b, peer, 3, 30);
}

static void a_datagram_that_nobody_hears_costs_an_unconnected_socket_nothing(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from, nobody = bench_nobody(b);
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);

    for (uint32_t i = 0; i < 6; i++) {
        bench_send(b, fd, &nobody, NULL, i, 100);
        bench_flush(b);
        peer_says(b, peer, &port, i, 100);
        bench_hears(b, fd, &from, i, &(size_t){100}, 1);
    }
    assert_int_equal(b->engine->stats.datagrams_out, 6);
}

static void a_report_hides_no_datagram(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from, nobody = bench_nobody(b);
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const struct engine_run *runs;

    ask_for_reports(b, fd);
    for (uint32_t i = 0; i < 3; i++)
        peer_says(b, peer, &port, i, 100);
    bench_send(b, fd, &nobody, NULL, 1, 10);
    bench_flush(b);
    assert_true(has_report(fd, 2000));
    assert_int_equal(bench_receive(b, fd, &runs), 3);
    assert_true(datagram_intact(runs[2].data, 2, 100));
    assert_int_equal(b->engine->stats.receive_errors, 1);
}

/* Otherwise its loop would never sleep again. */
static void a_socket_with_reports_gets_quiet(void **state)
{
    struct udp_bench *b = *state;
    struct addr nobody = bench_nobody(b);
    int fd = bench_port(b, NULL, false, NULL);
    const struct engine_run *runs;

    ask_for_reports(b, fd);
    for (uint32_t i = 0; i < 20; i++) {
        bench_send(b, fd, &nobody, NULL, i, 10 + i);
        bench_flush(b);
    }
    assert_true(has_report(fd, 2000));
    assert_int_equal(engine_receive(b->engine, fd, &runs), 0);
    assert_false(has_report(fd, 0));
}

static void a_report_costs_the_next_datagrams_nothing(void **state)
{
    struct udp_bench *b = *state;
    struct addr to, nobody = bench_nobody(b);
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    const struct engine_stats *s = &b->engine->stats;

    ask_for_reports(b, fd);
    for (uint32_t i = 0; i < 8; i++) { /* alone, and as a run */
        bench_send(b, fd, &nobody, NULL, i, 1 + i);
        bench_flush(b);
        assert_true(has_report(fd, 2000));
        for (uint32_t n = 0; n <= i % 4; n++)
            bench_send(b, fd, &to, NULL, n, 100);
        bench_flush(b);
        for (uint32_t n = 0; n <= i % 4; n++)
            peer_hears(b, peer, n, 100);
    }
    assert_int_equal(s->send_failed + s->gso_refused, 0);
    assert_int_equal(s->datagrams_out, 8 + 2 * (1 + 2 + 3 + 4));
}

/* ---- full buffers ---- */

static void a_full_receive_buffer_costs_what_came_too_late(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const struct engine_run *runs;
    uint32_t heard = 0;
    size_t n;

    set_option(fd, SOL_SOCKET, SO_RCVBUF, 1); /* the least there is */
    for (uint32_t i = 0; i < 100; i++)
        peer_says(b, peer, &port, i, 300);
    while ((n = engine_receive(b->engine, fd, &runs)) > 0)
        for (size_t i = 0; i < n; i++, heard++)
            assert_true(runs[i].len == 300 && datagram_intact(runs[i].data, heard, 300));
    assert_in_range(heard, 1, 99);
    peer_says(b, peer, &port, 200, 300);
    bench_hears(b, fd, &from, 200, &(size_t){300}, 1);
    assert_int_equal(b->engine->stats.receive_errors, 0);
}

/* More than there is room for is told of a datagram with 40 octets of IP options. */
static void a_message_that_was_cut_is_dropped_alone(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, true, &port), peer = bench_peer(b, NULL, &from);
    const size_t lens[] = {100, 100};
    uint8_t options[40];

    memset(options, IPOPT_NOOP, sizeof(options));
    set_option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    set_option(fd, SOL_SOCKET, SO_TIMESTAMPING,
               SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE);
    set_option(fd, IPPROTO_IP, IP_RECVTTL, 1);
    set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
    set_option(fd, IPPROTO_IP, IP_RECVOPTS, 1);
    set_option(fd, IPPROTO_IP, IP_ORIGDSTADDR, 1);
    set_option(fd, IPPROTO_IP, IP_CHECKSUM, 1);
    peer_says(b, peer, &port, 1, 100);
    assert_int_equal(setsockopt(peer, IPPROTO_IP, IP_OPTIONS, options, sizeof(options)), 0);
    peer_says(b, peer, &port, 66, 100);
    assert_int_equal(setsockopt(peer, IPPROTO_IP, IP_OPTIONS, options, 0), 0);
    peer_says(b, peer, &port, 2, 100);
    bench_hears(b, fd, &from, 1, lens, 2);
    assert_int_equal(b->engine->stats.receive_errors, 1);
    assert_int_equal(b->engine->stats.datagrams_in, 2);
}

/* Datagrams stay in the socket's buffer for as long as a neighbour does not tell its address. */
static struct addr silent_neighbour(struct udp_bench *b)
{
    static unsigned last;
    char ipv4[32], ipv6[32];

    if (++last == 1) {
        netns_ip("link add quiet0 type veth peer name quiet1");
        netns_ip("addr add 192.0.2.1/24 dev quiet0");
        netns_ip("-6 addr add 2001:db8::1/64 dev quiet0 nodad");
        netns_ip("link set quiet0 up");
        netns_ip("link set quiet1 up");
    }
    snprintf(ipv4, sizeof(ipv4), "192.0.2.%u", 100 + last);
    snprintf(ipv6, sizeof(ipv6), "2001:db8::%u", 100 + last);
    return bench_ip(b, ipv4, ipv6, 9);
}

static void a_full_send_buffer_costs_that_socket_alone(void **state)
{
    need_own_network();
    struct udp_bench *b = *state;
    struct addr any = bench_ip(b, "0.0.0.0", "::", 0), quiet = silent_neighbour(b), good;
    int full = bench_port(b, &any, false, NULL), fd = bench_port(b, NULL, false, NULL);
    int peer = bench_peer(b, NULL, &good);
    const struct engine_stats *s = &b->engine->stats;

    set_option(full, SOL_SOCKET, SO_SNDBUF, 1); /* the least there is */
    for (uint32_t i = 0; i < 20; i++) {
        bench_send(b, full, &quiet, NULL, i, 1000 + i);
        bench_send(b, fd, &good, NULL, i, 1000 + i);
    }
    for (uint32_t i = 20; i < 30; i++)
        bench_send(b, full, &quiet, NULL, i, 1000 + i);
    bench_flush(b);
    for (uint32_t i = 0; i < 20; i++)
        peer_hears(b, peer, i, 1000 + i);
    assert_in_range(s->send_full, 1, 29);
    assert_int_equal(s->datagrams_out + s->send_full, 50);
    assert_int_equal(s->send_failed, 0);
}

/* ---- bad destinations ---- */

static void a_bad_destination_costs_its_own_datagrams(struct udp_bench *b, struct addr bad,
                                                      size_t len)
{
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    const struct engine_stats *s = &b->engine->stats;
    uint64_t failed = s->send_failed, sent = s->datagrams_out;

    for (uint32_t i = 0; i < 24; i++) { /* three of each in turn, as runs can be made of */
        if (i / 3 % 2 == 0)
            bench_send(b, fd, &to, NULL, i, 100 + i / 6);
        else
            bench_send(b, fd, &bad, NULL, i, len);
    }
    bench_flush(b);
    for (uint32_t i = 0; i < 24; i++)
        if (i / 3 % 2 == 0)
            peer_hears(b, peer, i, 100 + i / 6);
    peer_hears_nothing(b, peer);
    assert_int_equal(s->send_failed - failed, 12);
    assert_int_equal(s->datagrams_out - sent, 12);
    assert_int_equal(s->send_full, 0);
}

static void nobody_has_port_0(void **state)
{
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b, bench_ip(b, "127.0.0.1", "::1", 0), 50);
    assert_int_equal(b->engine->stats.gso_refused, 0); /* nor is it blamed on the path */
}

static void broadcast_is_not_allowed(void **state)
{
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b, bench_ip(b, "255.255.255.255", "::", 9), 50);
}

static void the_other_family_is_not_reached(void **state)
{
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b,
                                              b->family == ADDR_IPV4
                                                  ? addr_ipv6((uint8_t[16]){[15] = 1}, 9)
                                                  : addr_ipv4((uint8_t[4]){127, 0, 0, 1}, 9),
                                              50);
}

static void there_is_no_way_to_it(void **state)
{
    need_own_network();
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b, bench_ip(b, "198.51.100.1", "2001:db8:1::1", 9),
                                              50);
}

static void a_datagram_may_be_too_long(void **state)
{
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b, bench_nobody(b), 65535);
}

static void a_socket_that_is_not_connected_needs_a_destination(void **state)
{
    struct udp_bench *b = *state;

    a_bad_destination_costs_its_own_datagrams(b, connected, 50);
}

/* ---- runs that are refused ---- */

static void say_and_hear(struct udp_bench *b, int fd, const struct addr *to, int peer,
                         uint32_t count, size_t len)
{
    for (uint32_t i = 0; i < count; i++)
        bench_send(b, fd, to, NULL, i, i + 1 < count ? len : len / 2);
    bench_flush(b);
    for (uint32_t i = 0; i < count; i++)
        peer_hears(b, peer, i, i + 1 < count ? len : len / 2);
}

/* The kernel makes no runs without checksums. */
static void a_refused_run_leaves_piece_by_piece(void **state)
{
    struct udp_bench *b = *state;
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    const struct engine_stats *s = &b->engine->stats;

    if (b->family == ADDR_IPV4)
        set_option(fd, SOL_SOCKET, SO_NO_CHECK, 1);
    else
        set_option(fd, SOL_UDP, UDP_NO_CHECK6_TX, 1);
    if (b->family == ADDR_IPV6)
        set_option(peer, SOL_UDP, UDP_NO_CHECK6_RX, 1);
    say_and_hear(b, fd, &to, peer, 10, 301);
    assert_int_equal(s->gso_refused, b->batch ? 1 : 0);
    assert_int_equal(s->gso_datagrams, 0);
    assert_int_equal(s->datagrams_out, 10);
    assert_int_equal(s->octets_out, 9 * 301 + 150);
    say_and_hear(b, fd, &to, peer, 10, 301);
    assert_int_equal(s->gso_refused, b->batch ? 1 : 0); /* it was not tried again */
}

static void what_a_path_is_too_narrow_for_leaves_piece_by_piece(void **state)
{
    need_own_network();
    struct udp_bench *b = *state;
    struct addr to, other_ip = bench_ip(b, "127.0.0.2", "::2", 0), other;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    int other_peer = bench_peer(b, &other_ip, &other);
    const struct engine_stats *s = &b->engine->stats;

    netns_ip("link set lo mtu 1500");
    say_and_hear(b, fd, &to, peer, 20, 2000);
    say_and_hear(b, fd, &to, peer, 20, 2000);
    say_and_hear(b, fd, &to, peer, 20, 2100);
    assert_int_equal(s->gso_refused, b->batch ? 1 : 0);
    assert_int_equal(s->gso_datagrams, 0);
    say_and_hear(b, fd, &to, peer, 20, 1400); /* what is not wider goes on as before */
    assert_int_equal(s->gso_datagrams, b->batch ? 20 : 0);
    say_and_hear(b, fd, &other, other_peer, 20, 1400);
    assert_int_equal(s->gso_datagrams, b->batch ? 40 : 0);
    assert_int_equal(s->datagrams_out, 100);
    assert_int_equal(s->send_failed, 0);
    netns_ip("link set lo mtu 65536");
}

static void of_a_run_that_must_not_be_fragmented_the_short_end_arrives(void **state)
{
    need_own_network();
    struct udp_bench *b = *state;
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    const struct engine_stats *s = &b->engine->stats;

    netns_ip("link set lo mtu 1500");
    if (b->family == ADDR_IPV4)
        set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
    else
        set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
    for (uint32_t i = 0; i < 10; i++)
        bench_send(b, fd, &to, NULL, i, i < 9 ? 1600 : 100);
    bench_flush(b);
    peer_hears(b, peer, 9, 100);
    assert_int_equal(s->send_failed, 9);
    assert_int_equal(s->datagrams_out, 1);
    assert_int_equal(s->gso_refused, b->batch ? 1 : 0);
    netns_ip("link set lo mtu 65536");
}

/* As a device without checksums would say, the kernel says EIO of UDP-Lite: then nobody gets runs.
 */
static void without_the_acceleration_all_goes_on(void **state)
{
    struct udp_bench *b = *state;
    struct addr to, lite_to = bench_ip(b, "127.0.0.1", "::1", 9);
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    int lite = socket(b->family == ADDR_IPV4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK,
                      IPPROTO_UDPLITE);
    const struct engine_stats *s = &b->engine->stats;

    if (lite < 0) {
        print_message("[          ] this kernel has no UDP-Lite\n");
        skip();
    }
    say_and_hear(b, fd, &to, peer, 10, 500);
    assert_int_equal(s->gso_datagrams, b->batch ? 10 : 0);
    for (uint32_t i = 0; i < 5; i++)
        bench_send(b, lite, &lite_to, NULL, i, 500);
    bench_flush(b);
    close(lite);
    assert_int_equal(s->gso_refused, b->batch ? 1 : 0);
    assert_int_equal(s->datagrams_out, 15);
    say_and_hear(b, fd, &to, peer, 10, 500);
    assert_int_equal(s->gso_datagrams, b->batch ? 10 : 0);
    assert_int_equal(s->datagrams_out, 25);
}

static void what_cannot_be_asked_for_is_told(void **state)
{
    struct udp_bench *b = *state;

    assert_int_equal(engine_prepare(b->engine, -1, b->family, true), -EBADF);
    assert_int_equal(engine_prepare(b->engine, -1, b->family, false), 0);
}

/* ---- the suite, once per engine and family ---- */

#define TEST(f, set) cmocka_unit_test_setup_teardown(f, set, udp_bench_clear)
#define SUITE(set)                                                                                 \
    TEST(a_report_does_not_end_a_connected_socket, set),                                           \
        TEST(a_datagram_that_nobody_hears_costs_an_unconnected_socket_nothing, set),               \
        TEST(a_report_hides_no_datagram, set), TEST(a_socket_with_reports_gets_quiet, set),        \
        TEST(a_report_costs_the_next_datagrams_nothing, set),                                      \
        TEST(a_full_receive_buffer_costs_what_came_too_late, set),                                 \
        TEST(a_full_send_buffer_costs_that_socket_alone, set), TEST(nobody_has_port_0, set),       \
        TEST(the_other_family_is_not_reached, set), TEST(there_is_no_way_to_it, set),              \
        TEST(a_datagram_may_be_too_long, set),                                                     \
        TEST(a_socket_that_is_not_connected_needs_a_destination, set),                             \
        TEST(a_refused_run_leaves_piece_by_piece, set),                                            \
        TEST(what_a_path_is_too_narrow_for_leaves_piece_by_piece, set),                            \
        TEST(of_a_run_that_must_not_be_fragmented_the_short_end_arrives, set),                     \
        TEST(without_the_acceleration_all_goes_on, set),                                           \
        TEST(what_cannot_be_asked_for_is_told, set)

int main(void)
{
    const struct CMUnitTest plain_ipv4[] = {
        SUITE(set_plain_ipv4), TEST(broadcast_is_not_allowed, set_plain_ipv4),
        TEST(a_message_that_was_cut_is_dropped_alone, set_plain_ipv4)};
    const struct CMUnitTest plain_ipv6[] = {SUITE(set_plain_ipv6)};
    const struct CMUnitTest batch_ipv4[] = {
        SUITE(set_batch_ipv4), TEST(broadcast_is_not_allowed, set_batch_ipv4),
        TEST(a_message_that_was_cut_is_dropped_alone, set_batch_ipv4)};
    const struct CMUnitTest batch_ipv6[] = {SUITE(set_batch_ipv6)};

    netns_enter();
    int failed = cmocka_run_group_tests_name("plain, IPv4", plain_ipv4, NULL, NULL);
    failed += cmocka_run_group_tests_name("plain, IPv6", plain_ipv6, NULL, NULL);
    failed += cmocka_run_group_tests_name("batch, IPv4", batch_ipv4, NULL, NULL);
    return failed + cmocka_run_group_tests_name("batch, IPv6", batch_ipv6, NULL, NULL);
}
