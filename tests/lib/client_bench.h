/* A control server's side of N2 for tests: an n2_client, an answerer that it talks to, and
 * associations that count what they are told.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include "shared/n2/n2_client.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/n2_answerer.h"

enum { BENCH_PATIENCE_MS = 10000 };

/* An association, and what it was told. When the relay refuses what refresh asked for, it is
 * finished. */
struct told {
    struct n2_assoc n2;
    struct client_bench *bench;
    struct told *next; /* of bench.told */
    int opened, refused, locked, refreshed, refresh_refused, ended, lost, leg_failed;
    enum n2_end why;
    struct n2_counters counters;
    struct addr client;
    /* What refresh asks for. */
    struct n2_limits limits;
    const struct n2_rules *rules;
};

struct client_bench {
    struct loop loop;
    struct answerer relay;
    struct n2_client *client;
    struct told *told;
    /* All of them together. */
    size_t opened, ended, lost, refreshed;
};

/* Ready, with a relay whose lease is that long. */
struct client_bench *client_bench_new(const char *name, uint32_t lease_ms);
void client_bench_free(struct client_bench *b);

/* Runs until it holds. */
#define CLIENT_WAIT(b, condition)                                                                  \
    do {                                                                                           \
        uint64_t until_ = uv_hrtime() / 1000000 + BENCH_PATIENCE_MS;                               \
        while (!(condition)) {                                                                     \
            if (uv_hrtime() / 1000000 > until_)                                                    \
                fail_msg("waited in vain for: %s", #condition);                                    \
            loop_run_for(&(b)->loop, 2);                                                           \
        }                                                                                          \
    } while (0)

/* Free, and freed with b: a test that fails may leave it as it is. */
struct told *told_new(struct client_bench *b);
/* Asks, without waiting; -EAGAIN: too many wait. */
int told_ask(struct told *t, enum n2_kind kind);
/* Opened. */
void told_open(struct client_bench *b, struct told *t, enum n2_kind kind);
/* An event about it. */
void told_event(struct told *t, struct n2_event e);
