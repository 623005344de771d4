/* For tests of datagram engines: an engine with its ports, peers that use the kernel plainly, and
 * datagrams that are known by their number.
 *
 * Whatever goes wrong here fails the test. Waits end after two seconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relayd-udp/engine.h"

#define BENCH_SOCKETS 32
#define BENCH_ARENA   (4u << 20)

struct udp_bench {
    struct engine *engine;
    enum addr_family family;
    bool batch; /* runs are to be expected */
    int fds[BENCH_SOCKETS];
    unsigned fd_count;
    uint8_t *arena; /* what was sent and not flushed */
    size_t arena_used;
    uint8_t heard[65536];
};

/* For cmocka_unit_test_setup_teardown. */
int set_plain_ipv4(void **state);
int set_plain_ipv6(void **state);
int set_batch_ipv4(void **state);
int set_batch_ipv6(void **state);
int udp_bench_clear(void **state);

/* The one of the bench's family, with a port. */
struct addr bench_ip(const struct udp_bench *b, const char *ipv4, const char *ipv6, uint16_t port);
/* The engine's socket, bound to `at` (port 0: any; NULL: loopback, any port); *ret (may be NULL) is
 * where it is. Closed with the bench, as is a peer. */
int bench_port(struct udp_bench *b, const struct addr *at, bool want_local, struct addr *ret);
int bench_peer(struct udp_bench *b, const struct addr *at, struct addr *ret);
/* A loopback address where nobody listens. */
struct addr bench_nobody(struct udp_bench *b);

/* By the engine: datagram `number`, in one or two pieces. local may be NULL. */
void bench_send(struct udp_bench *b, int fd, const struct addr *to, const struct addr *local,
                uint32_t number, size_t len);
void bench_flush(struct udp_bench *b);
/* The engine hears exactly datagrams first, first + 1, ... of these lengths from there. */
void bench_hears(struct udp_bench *b, int fd, const struct addr *from, uint32_t first,
                 const size_t *lens, size_t count);
/* One receive, when something waits or goes wrong. */
size_t bench_receive(struct udp_bench *b, int fd, const struct engine_run **ret);

void peer_says(struct udp_bench *b, int fd, const struct addr *to, uint32_t number, size_t len);
/* As one send with UDP_SEGMENT: each segment has the next number. False: not on this kernel. */
bool peer_says_run(struct udp_bench *b, int fd, const struct addr *to, uint32_t number, size_t len,
                   uint16_t segment);
/* The next one is that datagram; who sent it. */
struct addr peer_hears(struct udp_bench *b, int fd, uint32_t number, size_t len);
/* The next one, whichever, in b->heard; -1 when none comes within ms. */
int peer_hears_any(struct udp_bench *b, int fd, int ms, struct addr *ret_from);
void peer_hears_nothing(struct udp_bench *b, int fd);

void datagram_fill(uint8_t *octets, uint32_t number, size_t len);
bool datagram_intact(const uint8_t *octets, uint32_t number, size_t len);
