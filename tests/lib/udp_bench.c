#include "tests/lib/udp_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"

enum { PATIENCE_MS = 2000, QUIET_MS = 50 };

/* ---- set and clear ---- */

static int bench_set(void **state, const struct engine_ops *ops, enum addr_family family)
{
    struct udp_bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    b->arena = malloc(BENCH_ARENA);
    b->engine = engine_new(ops);
    assert_non_null(b->arena);
    assert_non_null(b->engine);
    b->family = family;
    b->batch = ops == &engine_batch;
    *state = b;
    return 0;
}

int set_plain_ipv4(void **state)
{
    return bench_set(state, &engine_plain, ADDR_IPV4);
}

int set_plain_ipv6(void **state)
{
    return bench_set(state, &engine_plain, ADDR_IPV6);
}

int set_batch_ipv4(void **state)
{
    return bench_set(state, &engine_batch, ADDR_IPV4);
}

int set_batch_ipv6(void **state)
{
    return bench_set(state, &engine_batch, ADDR_IPV6);
}

int udp_bench_clear(void **state)
{
    struct udp_bench *b = *state;

    engine_free(b->engine);
    for (unsigned i = 0; i < b->fd_count; i++)
        close(b->fds[i]);
    free(b->arena);
    free(b);
    return 0;
}

/* ---- sockets ---- */

struct addr bench_ip(const struct udp_bench *b, const char *ipv4, const char *ipv6, uint16_t port)
{
    struct addr a;

    assert_true(addr_parse_ip(b->family == ADDR_IPV4 ? ipv4 : ipv6, &a));
    a.port = port;
    return a;
}

static int socket_open(struct udp_bench *b, const struct addr *at, struct addr *ret)
{
    struct addr loopback = bench_ip(b, "127.0.0.1", "::1", 0);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(at != NULL ? at : &loopback, &ss);
    const int on = 1, room = 1 << 20;

    assert_true(b->fd_count < BENCH_SOCKETS);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    b->fds[b->fd_count++] = fd;
    if (b->family == ADDR_IPV6)
        assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    if (ret != NULL)
        assert_true(sockaddr_local(fd, ret));
    return fd;
}

int bench_port(struct udp_bench *b, const struct addr *at, bool want_local, struct addr *ret)
{
    int fd = socket_open(b, at, ret);

    assert_int_equal(engine_prepare(b->engine, fd, b->family, want_local), 0);
    return fd;
}

int bench_peer(struct udp_bench *b, const struct addr *at, struct addr *ret)
{
    return socket_open(b, at, ret);
}

struct addr bench_nobody(struct udp_bench *b)
{
    struct addr a;

    close(socket_open(b, NULL, &a));
    b->fd_count--;
    return a;
}

static void wait_for(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};

    poll(&p, 1, ms);
}

/* ---- datagrams ---- */

static uint8_t octet_of(uint32_t number, size_t i)
{
    return i < 4 ? (uint8_t)(number >> 8 * i) : (uint8_t)(number * 31 + i * 7 + (i >> 8));
}

void datagram_fill(uint8_t *octets, uint32_t number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        octets[i] = octet_of(number, i);
}

bool datagram_intact(const uint8_t *octets, uint32_t number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (octets[i] != octet_of(number, i))
            return false;
    return true;
}

/* ---- the engine ---- */

void bench_send(struct udp_bench *b, int fd, const struct addr *to, const struct addr *local,
                uint32_t number, size_t len)
{
    uint8_t *octets = b->arena + b->arena_used;
    size_t first = number % 3 == 0 ? len : number * 7 % (len + 1);

    /* Octets in a row in memory are of one datagram or of two, as it comes. */
    b->arena_used += len + number % 2;
    assert_true(b->arena_used <= BENCH_ARENA);
    datagram_fill(octets, number, len);
    struct engine_datagram d = {
        .fd = fd,
        .to = *to,
        .iov = {{octets, first}, {octets + first, len - first}},
        .iov_count = number % 3 == 0 ? 1 : 2,
    };
    if (local != NULL)
        d.local = *local;
    engine_send(b->engine, &d);
}

void bench_flush(struct udp_bench *b)
{
    engine_flush(b->engine);
    b->arena_used = 0;
}

size_t bench_receive(struct udp_bench *b, int fd, const struct engine_run **ret)
{
    wait_for(fd, PATIENCE_MS);
    return engine_receive(b->engine, fd, ret);
}

static void run_check(const struct engine_run *run, const struct addr *from, uint32_t first,
                      const size_t *lens, size_t count, size_t *at)
{
    uint32_t octet = 0;

    assert_true(addr_equal(&run->from, from));
    assert_true(run->len == 0 || (run->segment > 0 && run->segment <= run->len));
    do {
        uint32_t left = run->len - octet, len = left < run->segment ? left : run->segment;
        assert_true(*at < count);
        assert_int_equal(len, lens[*at]);
        assert_true(datagram_intact(run->data + octet, first + (uint32_t)*at, len));
        octet += len;
        ++*at;
    } while (octet < run->len);
}

void bench_hears(struct udp_bench *b, int fd, const struct addr *from, uint32_t first,
                 const size_t *lens, size_t count)
{
    size_t at = 0;

    while (at < count) {
        const struct engine_run *runs;
        size_t n = bench_receive(b, fd, &runs);
        assert_in_range(n, 1, ENGINE_RUNS_MAX);
        for (size_t i = 0; i < n; i++)
            run_check(&runs[i], from, first, lens, count, &at);
    }
}

/* ---- peers ---- */

void peer_says(struct udp_bench *b, int fd, const struct addr *to, uint32_t number, size_t len)
{
    struct sockaddr_storage ss;
    socklen_t ss_len = sockaddr_from(to, &ss);

    datagram_fill(b->heard, number, len);
    assert_int_equal(sendto(fd, b->heard, len, 0, (struct sockaddr *)&ss, ss_len), len);
}

bool peer_says_run(struct udp_bench *b, int fd, const struct addr *to, uint32_t number, size_t len,
                   uint16_t segment)
{
    const int size = segment, none = 0;

    if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) != 0)
        return false;
    for (size_t at = 0; at < len; at += segment)
        datagram_fill(b->heard + at, number++, len - at < segment ? len - at : segment);
    struct sockaddr_storage ss;
    socklen_t ss_len = sockaddr_from(to, &ss);
    assert_int_equal(sendto(fd, b->heard, len, 0, (struct sockaddr *)&ss, ss_len), len);
    assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &none, sizeof(none)), 0);
    return true;
}

int peer_hears_any(struct udp_bench *b, int fd, int ms, struct addr *ret_from)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    wait_for(fd, ms);
    ssize_t n = recvfrom(fd, b->heard, sizeof(b->heard), 0, (struct sockaddr *)&ss, &len);
    if (n >= 0 && ret_from != NULL)
        assert_true(sockaddr_to((struct sockaddr *)&ss, ret_from));
    return (int)n;
}

struct addr peer_hears(struct udp_bench *b, int fd, uint32_t number, size_t len)
{
    struct addr from;

    assert_int_equal(peer_hears_any(b, fd, PATIENCE_MS, &from), len);
    assert_true(datagram_intact(b->heard, number, len));
    return from;
}

void peer_hears_nothing(struct udp_bench *b, int fd)
{
    assert_int_equal(peer_hears_any(b, fd, QUIET_MS, NULL), -1);
}
