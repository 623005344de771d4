/* What every datagram engine owes: bounds, octets, order, local addresses, numbers. What it owes
 * when something fails is in test_engine_udp_errors.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/lib/netns.h"
#include "tests/lib/udp_bench.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const size_t sizes[] = {0, 1, 2, 64, 1200, 1472, 1473, 9000, 65507};

/* ---- in ---- */

static void datagrams_of_every_size_are_heard(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);

    for (size_t i = 0; i < COUNT(sizes); i++) {
        peer_says(b, peer, &port, (uint32_t)i, sizes[i]);
        bench_hears(b, fd, &from, (uint32_t)i, &sizes[i], 1);
    }
}

static void datagrams_are_heard_in_order_with_their_bounds(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    size_t lens[40];

    for (size_t i = 0; i < COUNT(lens); i++) {
        lens[i] = sizes[i * i % 7];
        peer_says(b, peer, &port, 100 + (uint32_t)i, lens[i]);
    }
    bench_hears(b, fd, &from, 100, lens, COUNT(lens));
}

static void a_run_is_heard_as_the_datagrams_it_is_made_of(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const size_t lens[] = {1200, 1200, 1200, 1200, 1200, 300};

    peer_says(b, peer, &port, 6, 10); /* what comes later has more to tell than this */
    bench_hears(b, fd, &from, 6, &(size_t){10}, 1);
    if (!peer_says_run(b, peer, &port, 7, 5 * 1200 + 300, 1200))
        skip();
    bench_hears(b, fd, &from, 7, lens, COUNT(lens));
    const struct engine_stats *s = &b->engine->stats;
    assert_int_equal(s->datagrams_in, 7);
    assert_int_equal(s->octets_in, 10 + 5 * 1200 + 300);
    assert_int_equal(s->gro_datagrams, b->batch ? 6 : 0);
}

static void a_run_does_not_swallow_its_neighbours(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const size_t lens[] = {500, 500, 500, 500, 500, 0, 499, 500};

    peer_says(b, peer, &port, 0, 500);
    if (!peer_says_run(b, peer, &port, 1, 1000, 500))
        skip();
    assert_true(peer_says_run(b, peer, &port, 3, 1000, 500));
    for (uint32_t i = 5; i < COUNT(lens); i++)
        peer_says(b, peer, &port, i, lens[i]);
    bench_hears(b, fd, &from, 0, lens, COUNT(lens));
}

static void one_receive_takes_a_bounded_number(void **state)
{
    struct udp_bench *b = *state;
    struct addr port;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, NULL);
    const struct engine_run *runs;

    for (uint32_t i = 0; i < 2 * ENGINE_RUNS_MAX + 5; i++)
        peer_says(b, peer, &port, i, 100);
    assert_int_equal(bench_receive(b, fd, &runs), ENGINE_RUNS_MAX);
    assert_int_equal(engine_receive(b->engine, fd, &runs), ENGINE_RUNS_MAX);
    assert_int_equal(engine_receive(b->engine, fd, &runs), 5);
    assert_true(datagram_intact(runs[4].data, 2 * ENGINE_RUNS_MAX + 4, 100));
    assert_int_equal(engine_receive(b->engine, fd, &runs), 0);
}

static void nothing_waits_is_not_an_error(void **state)
{
    struct udp_bench *b = *state;
    int fd = bench_port(b, NULL, true, NULL);
    const struct engine_run *runs;

    assert_int_equal(engine_receive(b->engine, fd, &runs), 0);
    assert_int_equal(b->engine->stats.receive_errors, 0);
}

/* ---- out ---- */

static void datagrams_of_every_size_are_sent(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, to;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &to);

    for (uint32_t i = 0; i < 3 * COUNT(sizes); i++) {
        size_t len = sizes[i % COUNT(sizes)];
        bench_send(b, fd, &to, NULL, i, len);
        bench_flush(b);
        struct addr from = peer_hears(b, peer, i, len);
        assert_true(addr_equal(&from, &port));
    }
    peer_hears_nothing(b, peer);
}

static void datagrams_to_one_peer_leave_in_order_with_their_bounds(void **state)
{
    struct udp_bench *b = *state;
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    uint32_t sent = 0, heard = 0;
    size_t lens[40];

    srandom(1);
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < COUNT(lens); i++) {
            lens[i] = i > 0 && random() % 3 > 0 ? lens[i - 1] : sizes[random() % 7];
            bench_send(b, fd, &to, NULL, sent++, lens[i]);
        }
        bench_flush(b);
        for (size_t i = 0; i < COUNT(lens); i++)
            peer_hears(b, peer, heard++, lens[i]);
    }
    peer_hears_nothing(b, peer);
    assert_int_equal(b->engine->stats.gso_refused, 0);
}

/* No bound of the kernel's is met: segments in one send, octets in one send, datagrams queued. */
static void long_runs_leave_whole(void **state)
{
    struct udp_bench *b = *state;
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL), peer = bench_peer(b, NULL, &to);
    static const struct {
        uint32_t count;
        size_t len;
    } runs[] = {{150, 1}, {65, 8}, {58, 1200}, {4, 32743}, {3, 32754}, {3, 32765}, {2, 65507}};
    uint32_t sent = 0, heard = 0;

    for (size_t i = 0; i < COUNT(runs); i++) {
        for (uint32_t n = 0; n < runs[i].count; n++)
            bench_send(b, fd, &to, NULL, sent++, runs[i].len);
        bench_flush(b);
        for (uint32_t n = 0; n < runs[i].count; n++)
            peer_hears(b, peer, heard++, runs[i].len);
    }
    assert_int_equal(b->engine->stats.gso_refused, 0);
    assert_int_equal(b->engine->stats.datagrams_out, sent);
}

struct sent {
    uint32_t number[64];
    size_t len[64];
    size_t count, heard;
};

static void hear_all(struct udp_bench *b, int peer, const struct addr *ports, struct sent *sent,
                     size_t count)
{
    for (size_t left = count; left > 0; left--) {
        struct addr from;
        int len = peer_hears_any(b, peer, 2000, &from);
        size_t i = addr_equal(&from, &ports[0]) ? 0 : addr_equal(&from, &ports[1]) ? 1 : 2;
        struct sent *s = &sent[i];
        assert_true(s->heard < s->count);
        assert_int_equal(len, s->len[s->heard]);
        assert_true(datagram_intact(b->heard, s->number[s->heard], s->len[s->heard]));
        s->heard++;
    }
}

static void mixed_datagrams_reach_mixed_peers_through_mixed_sockets(void **state)
{
    enum { PORTS = 3, PEERS = 12, ROUNDS = 20, EACH = 60 };
    struct udp_bench *b = *state;
    struct addr ports[PORTS], to[PEERS];
    int fd[PORTS], peer[PEERS];
    uint32_t number = 0;

    for (int i = 0; i < PORTS; i++)
        fd[i] = bench_port(b, NULL, false, &ports[i]);
    for (int i = 0; i < PEERS; i++)
        peer[i] = bench_peer(b, NULL, &to[i]);
    srandom(2);
    for (int round = 0; round < ROUNDS; round++) {
        static struct sent sent[PEERS][PORTS];
        size_t counts[PEERS] = {0};
        memset(sent, 0, sizeof(sent));
        int peers =
            round % 2 == 0 ? 3 : PEERS; /* runs that grow side by side, or too many for it */
        for (int n = 0; n < EACH; n++, number++) {
            int p = (int)(random() % peers), f = (int)(random() % PORTS);
            struct sent *s = &sent[p][f];
            s->number[s->count] = number;
            s->len[s->count] = sizes[random() % 2 + (number % 11 == 0 ? 0 : 3)];
            bench_send(b, fd[f], &to[p], NULL, number, s->len[s->count++]);
            counts[p]++;
        }
        bench_flush(b);
        for (int p = 0; p < PEERS; p++)
            hear_all(b, peer[p], ports, sent[p], counts[p]);
    }
    for (int p = 0; p < PEERS; p++)
        peer_hears_nothing(b, peer[p]);
    assert_int_equal(b->engine->stats.datagrams_out, number);
}

static void runs_grow_side_by_side(void **state)
{
    struct udp_bench *b = *state;
    struct addr to[4];
    int fd[2], peer[4];

    for (int i = 0; i < 2; i++)
        fd[i] = bench_port(b, NULL, false, NULL);
    for (int i = 0; i < 4; i++)
        peer[i] = bench_peer(b, NULL, &to[i]);
    for (uint32_t i = 0; i < 40; i++)
        bench_send(b, fd[i % 4 / 2], &to[i % 4], NULL, i, 1000);
    bench_flush(b);
    for (uint32_t i = 0; i < 40; i++)
        peer_hears(b, peer[i % 4], i, 1000);
    assert_int_equal(b->engine->stats.gso_datagrams, b->batch ? 40 : 0);
    assert_int_equal(b->engine->stats.sends, b->batch ? 2 : 40);
}

static void what_was_not_flushed_leaves_before_the_next_receive(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const struct engine_run *runs;

    peer_says(b, peer, &port, 1, 900);
    assert_int_equal(bench_receive(b, fd, &runs), 1);
    struct engine_datagram d = {
        .fd = fd, .to = from, .iov = {{runs[0].data, runs[0].len}}, .iov_count = 1};
    engine_send(b->engine, &d);
    peer_says(b, peer, &port, 2, 900); /* into the same buffer */
    assert_int_equal(bench_receive(b, fd, &runs), 1);
    peer_hears(b, peer, 1, 900);
}

static void octets_may_be_changed_where_they_were_heard(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const struct engine_run *runs;

    peer_says(b, peer, &port, 1, 900);
    assert_int_equal(bench_receive(b, fd, &runs), 1);
    datagram_fill(runs[0].data, 2, 900);
    struct engine_datagram d = {.fd = fd, .to = from, .iov = {{runs[0].data, 900}}, .iov_count = 1};
    engine_send(b->engine, &d);
    engine_flush(b->engine);
    peer_hears(b, peer, 2, 900);
}

static void an_engine_may_end_with_a_full_queue(void **state)
{
    struct udp_bench *b = *state;
    struct addr to;
    int fd = bench_port(b, NULL, false, NULL);

    bench_peer(b, NULL, &to);
    for (uint32_t i = 0; i < 20; i++)
        bench_send(b, fd, &to, NULL, i, i);
    engine_free(NULL);
}

/* ---- local addresses ---- */

static void the_local_address_is_told_and_used(void **state)
{
    struct udp_bench *b = *state;
    struct addr any = bench_ip(b, "0.0.0.0", "::", 0), port, from;
    int fd = bench_port(b, &any, true, &port), peer = bench_peer(b, NULL, &from);

    if (b->family == ADDR_IPV6 && netns_missing() != NULL) {
        print_message("[          ] without ::2: %s\n", netns_missing());
        skip();
    }
    for (uint32_t i = 0; i < 4; i++) {
        struct addr at = i % 2 == 0 ? bench_ip(b, "127.0.0.1", "::1", port.port)
                                    : bench_ip(b, "127.0.0.2", "::2", port.port);
        const struct engine_run *runs;
        peer_says(b, peer, &at, i, 50);
        assert_int_equal(bench_receive(b, fd, &runs), 1);
        struct addr local = runs[0].local;
        assert_true(addr_ip_equal(&local, &at));
        assert_int_equal(local.port, 0);
        bench_send(b, fd, &from, &local, i, 60);
        bench_flush(b);
        struct addr answered = peer_hears(b, peer, i, 60);
        assert_true(addr_equal(&answered, &at));
    }
}

static void the_local_address_is_not_told_unasked(void **state)
{
    struct udp_bench *b = *state;
    struct addr port;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, NULL);
    const struct engine_run *runs;

    peer_says(b, peer, &port, 1, 50);
    assert_int_equal(bench_receive(b, fd, &runs), 1);
    assert_int_equal(runs[0].local.family, ADDR_NONE);
}

static void datagrams_of_several_local_addresses_stay_in_order(void **state)
{
    struct udp_bench *b = *state;
    struct addr any = bench_ip(b, "0.0.0.0", "::", 0), port, to;
    int fd = bench_port(b, &any, true, &port), peer = bench_peer(b, NULL, &to);

    if (b->family == ADDR_IPV6 && netns_missing() != NULL) {
        print_message("[          ] without ::2: %s\n", netns_missing());
        skip();
    }
    struct addr local[] = {bench_ip(b, "127.0.0.1", "::1", 0), bench_ip(b, "127.0.0.2", "::2", 0)};
    for (uint32_t i = 0; i < 24; i++)
        bench_send(b, fd, &to, &local[i / 3 % 2], i, 700);
    bench_flush(b);
    for (uint32_t i = 0; i < 24; i++) {
        struct addr from = peer_hears(b, peer, i, 700);
        assert_true(addr_ip_equal(&from, &local[i / 3 % 2]));
    }
}

/* ---- numbers ---- */

static void the_numbers_add_up(void **state)
{
    struct udp_bench *b = *state;
    struct addr port, from;
    int fd = bench_port(b, NULL, false, &port), peer = bench_peer(b, NULL, &from);
    const size_t lens[] = {10, 10, 10, 5, 0, 20};
    const struct engine_stats *s = &b->engine->stats;

    for (uint32_t i = 0; i < COUNT(lens); i++)
        peer_says(b, peer, &port, i, lens[i]);
    bench_hears(b, fd, &from, 0, lens, COUNT(lens));
    assert_int_equal(s->datagrams_in, 6);
    assert_int_equal(s->octets_in, 55);
    assert_int_equal(s->receives, b->batch ? 1 : 7);

    for (uint32_t i = 0; i < COUNT(lens); i++)
        bench_send(b, fd, &from, NULL, i, lens[i]);
    bench_flush(b);
    for (uint32_t i = 0; i < COUNT(lens); i++)
        peer_hears(b, peer, i, lens[i]);
    assert_int_equal(s->datagrams_out, 6);
    assert_int_equal(s->octets_out, 55);
    assert_int_equal(s->gso_datagrams, b->batch ? 4 : 0);
    assert_int_equal(s->sends, b->batch ? 1 : 6);
    assert_int_equal(s->receive_errors + s->send_full + s->send_failed + s->gso_refused, 0);
}

/* ---- the suite, once per engine and family ---- */

#define TEST(f, set) cmocka_unit_test_setup_teardown(f, set, udp_bench_clear)
#define SUITE(set)                                                                                 \
    TEST(datagrams_of_every_size_are_heard, set),                                                  \
        TEST(datagrams_are_heard_in_order_with_their_bounds, set),                                 \
        TEST(a_run_is_heard_as_the_datagrams_it_is_made_of, set),                                  \
        TEST(a_run_does_not_swallow_its_neighbours, set),                                          \
        TEST(one_receive_takes_a_bounded_number, set), TEST(nothing_waits_is_not_an_error, set),   \
        TEST(datagrams_of_every_size_are_sent, set),                                               \
        TEST(datagrams_to_one_peer_leave_in_order_with_their_bounds, set),                         \
        TEST(long_runs_leave_whole, set),                                                          \
        TEST(mixed_datagrams_reach_mixed_peers_through_mixed_sockets, set),                        \
        TEST(runs_grow_side_by_side, set),                                                         \
        TEST(what_was_not_flushed_leaves_before_the_next_receive, set),                            \
        TEST(octets_may_be_changed_where_they_were_heard, set),                                    \
        TEST(an_engine_may_end_with_a_full_queue, set),                                            \
        TEST(the_local_address_is_told_and_used, set),                                             \
        TEST(the_local_address_is_not_told_unasked, set),                                          \
        TEST(datagrams_of_several_local_addresses_stay_in_order, set),                             \
        TEST(the_numbers_add_up, set)

int main(void)
{
    const struct CMUnitTest plain_ipv4[] = {SUITE(set_plain_ipv4)};
    const struct CMUnitTest plain_ipv6[] = {SUITE(set_plain_ipv6)};
    const struct CMUnitTest batch_ipv4[] = {SUITE(set_batch_ipv4)};
    const struct CMUnitTest batch_ipv6[] = {SUITE(set_batch_ipv6)};

    netns_enter();
    int failed = cmocka_run_group_tests_name("plain, IPv4", plain_ipv4, NULL, NULL);
    failed += cmocka_run_group_tests_name("plain, IPv6", plain_ipv6, NULL, NULL);
    failed += cmocka_run_group_tests_name("batch, IPv4", batch_ipv4, NULL, NULL);
    return failed + cmocka_run_group_tests_name("batch, IPv6", batch_ipv6, NULL, NULL);
}
