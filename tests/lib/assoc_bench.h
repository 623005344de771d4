/* relayd-udp without its process, for tests: a struct udp_relay on the test's loop, a control
 * server that opens associations over a real link, clients and targets on 127.0.0.0/8.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include <sys/socket.h>

#include "relayd-udp/association.h"
#include "tests/lib/dnsserver.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/n2_asker.h"

enum { ASSOC_BENCH_SOCKETS = 16, ASSOC_BENCH_PATIENCE_MS = 10000 };

struct assoc_bench {
    struct loop loop;
    char url[64];
    struct udp_relay relay;
    struct asker asker;
    struct dnsserver *dns;
    uint32_t dns_retry_ms; /* may be changed before the start */
    uint64_t seq;          /* the last event seen */
    int fds[ASSOC_BENCH_SOCKETS];
    size_t fd_count;
    /* Lists of the configuration. */
    struct addr bind, advertise;
    struct prefix protect;
};

/* Nothing runs yet: b->relay.config may be changed. It serves IPv4 at 127.0.0.1, with the engine
 * `plain`, no rest, no bound on what is unlocked, a free range of `ports` ports. */
struct assoc_bench *assoc_bench_new(uint16_t ports);
/* At most so many sockets towards clients. */
void assoc_bench_start(struct assoc_bench *b, uint32_t client_sockets);
/* What is left is ended; then nothing may be held any more. */
void assoc_bench_free(struct assoc_bench *b);

/* Runs until it holds. */
#define ASSOC_WAIT(b, condition)                                                                   \
    do {                                                                                           \
        uint64_t until_ = uv_hrtime() / 1000000 + ASSOC_BENCH_PATIENCE_MS;                         \
        while (!(condition)) {                                                                     \
            if (uv_hrtime() / 1000000 > until_)                                                    \
                fail_msg("waited in vain for: %s", #condition);                                    \
            loop_run_for(&(b)->loop, 1);                                                           \
        }                                                                                          \
    } while (0)

/* "127.0.0.2:53", "[::1]:53". */
struct addr assoc_at(const char *text);
/* Everything is allowed, special-purpose addresses, too. */
extern const struct n2_rules assoc_rules_all;

/* An Open as socksd would send it, for a client at 127.0.0.1; change it as you like. number: of the
 * association, up to 63. */
struct n2_open assoc_open_of(uint32_t number);
const struct n2_answer *assoc_ask_open(struct assoc_bench *b, const struct n2_open *o);
/* For a client at that address: it succeeds; where to send. */
struct addr assoc_open(struct assoc_bench *b, uint32_t number, const char *client);
const struct n2_answer *assoc_release(struct assoc_bench *b, uint32_t number);
const struct n2_answer *assoc_update(struct assoc_bench *b, uint32_t number, uint32_t revision,
                                     struct n2_limits limits, const struct n2_rules *rules);
/* The next event, which is of that type. */
struct n2_event assoc_event(struct assoc_bench *b, enum n2_event_type type);

/* A nonblocking socket, closed with b; port 0: any. */
int assoc_socket(struct assoc_bench *b, const char *ip, uint16_t port, struct addr *ret);
/* len octets as they are. */
void assoc_send_raw(int fd, const struct addr *to, const void *octets, size_t len);
/* A client's datagram: a header with FRAG and an address, or a name and its port, and a text. */
void assoc_send(int fd, const struct addr *relay, const struct addr *dest, const char *text);
void assoc_send_fragment(int fd, const struct addr *relay, uint8_t frag, const struct addr *dest,
                         const char *text);
void assoc_send_name(int fd, const struct addr *relay, const char *name, uint16_t port,
                     const char *text);
/* Waits for a datagram, which is this text; who it came from. */
struct addr assoc_hears(struct assoc_bench *b, int fd, const char *text);
/* The same, with a header of FRAG 0 in front, which tells of this sender. */
void assoc_hears_from(struct assoc_bench *b, int fd, const struct addr *sender, const char *text);
/* Nothing waits there. */
bool assoc_silent(int fd);
/* Waits until so many datagrams were dropped for this reason, and for no other. */
void assoc_dropped(struct assoc_bench *b, enum drop why, uint64_t count);
/* What is dropped is counted from here. */
void assoc_forget_drops(struct assoc_bench *b);
/* No association, and nothing that one holds. */
void assoc_nothing_is_held(const struct assoc_bench *b);
