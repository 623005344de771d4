/* Checks passwords off the loop, a bounded number at once, and slows down who guesses.
 *
 *   verify_start ─┬─ remembered as right ─────────────────────────────┐
 *                 ├─ too many at once ──────────── BUSY ──────────────┤
 *                 └─► WAITING ─► QUEUED ─► RUNNING ─┬─ RIGHT ─────────┴─► ANSWERING ─► callback
 *                     for its turn, if    hash, on  └─ WRONG, held back ─►
 *                     it failed before    a thread
 *
 * An attempt that failed makes the next ones of the same source (IPv6: /64) and user wait, and its
 * own answer too (socksd/verify_penalty.h); the wait is looked at again whenever an attempt leaves
 * the queue, so guesses that arrive at once gain nothing. Attempts that wait do not take places in
 * the queue. A right password that was seen shortly before needs no thread and no wait
 * (socksd/verify_cache.h). A user that does not exist costs, waits and answers like one that does.
 *
 * Nothing here waits for the network or blocks the loop. All functions are for the loop's thread.
 * No log: the caller knows whose attempt it was. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "shared/base/addr.h"
#include "shared/base/list.h"
#include "shared/base/sm.h"
#include "socksd/users.h"
#include "socksd/verify_penalty.h"

struct verify_config {
    unsigned concurrent; /* hashed at once, 1 to VERIFY_CONCURRENT_MAX; more than libuv has threads
                            (UV_THREADPOOL_SIZE, 4) wait there */
    unsigned queue;      /* that wait for a thread */
    unsigned delayed;    /* that wait for their turn, or whose answer is held back */
    size_t cache_entries;
    uint64_t cache_ms; /* how long a success is remembered; 0: not at all */
    struct penalty_config penalty;
};

#define VERIFY_CONCURRENT_MAX 64

#define VERIFY_CONFIG_DEFAULT                                                                      \
    ((struct verify_config){                                                                       \
        .concurrent = 4,                                                                           \
        .queue = 256,                                                                              \
        .delayed = 1024,                                                                           \
        .cache_entries = 1024,                                                                     \
        .cache_ms = 60000,                                                                         \
        .penalty = {.entries = 4096,                                                               \
                    .names_free = 8,                                                               \
                    .delay_first_ms = 250,                                                         \
                    .delay_most_ms = 8000,                                                         \
                    .forget_ms = 600000},                                                          \
    })

enum verify_outcome {
    VERIFY_WRONG,
    VERIFY_RIGHT,
    VERIFY_BUSY, /* not looked at: too many at once. A failure for the client */
};

struct verify;
struct verify_request;
typedef void (*verify_cb)(struct verify_request *r, enum verify_outcome outcome);

/* Embedded by the caller; its fields are verify.c's. */
struct verify_request {
    struct list node;
    struct sm sm;
    struct verify *verify;
    verify_cb cb;
    const void *user, *password;
    size_t user_len, password_len;
    struct penalty_keys keys;
    uint8_t credentials[DIGEST_LEN];
    uint64_t due;
    enum verify_outcome outcome;
};

struct verify_stats {
    /* Since the start: attempts by how they ended. `remembered` ones are among the right ones. */
    uint64_t right, wrong, busy, cancelled, remembered;
    uint64_t waited; /* times that one had to wait for its turn */
    /* Now. */
    unsigned running, queued, delayed;
};

/* users may be NULL: nobody passes. Takes a reference of its own. NULL when memory is short. */
struct verify *verify_new(uv_loop_t *loop, const struct verify_config *config, struct users *users);

/* From now on attempts that begin are checked with these users; one that is being hashed ends with
 * the old ones, and is not remembered. */
void verify_set_users(struct verify *v, struct users *users);

/* Once, before anything else is done with r. */
void verify_request_init(struct verify_request *r);

/* Starts to check; r must be at rest. cb is called once, later and from the loop, unless
 * verify_cancel or verify_close comes first; r is at rest again when it is called. user and
 * password stay the caller's, and stay as they are until then (he wipes them after that; the copies
 * made here are wiped here). user_len and password_len are at most 255. */
void verify_start(struct verify *v, struct verify_request *r, const struct addr *source,
                  const void *user, size_t user_len, const void *password, size_t password_len,
                  verify_cb cb);
/* Forgets r: no callback any more. A failure that is already being computed counts all the same.
 * Harmless for a request at rest. */
void verify_cancel(struct verify_request *r);

struct verify_stats verify_stats(const struct verify *v);

/* Cancels what is left, waits for the threads, frees v and calls closed (may be NULL), from the
 * loop, later. */
void verify_close(struct verify *v, void (*closed)(void *arg), void *arg);
