/* Names to addresses, on the loop: c-ares asks, answers are remembered, questions are bounded.
 *
 *   resolver_cached ── known: a literal, localhost, a remembered answer, a name that cannot exist
 *        │ not known
 *   resolve_start ──► joins the query for this name, or starts one ──► callback
 *                                  │ resolve_cancel: the query goes on, for the cache
 *                                  └ its time is up: RESOLVE_TIMED_OUT, the query goes on too
 *
 * Answers are in the order of RFC 6724 section 6, both families, IPv4-mapped addresses made IPv4,
 * without duplicates. /etc/hosts comes first (CARES_HOSTS in the environment names another file).
 * Names are absolute: the search list of resolv.conf is not used, so that the name that is resolved
 * is the name that the rules have judged. For the same reason a backslash, which c-ares would take
 * for an escape, makes a name that does not exist.
 *
 * Answered without a query: literals; "localhost" and names below it (RFC 6761 section 6.3);
 * RESOLVE_NOT_FOUND for names that are empty, longer than 255 octets, or hold anything but visible
 * ASCII. Case and one dot at the end make no difference.
 *
 * Remembered, by least recent use: answers for their TTL (1 s to 300 s; 0: not at all), answers of
 * the hosts file for a second, RESOLVE_NOT_FOUND for negative_ms; failures and time-outs never.
 *
 * All of it is for the loop's thread. A question does not keep the loop alive. No log. */
#pragma once

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/net/loop.h"

/* Addresses of an answer; when there are more, both families keep a share. */
#define RESOLVE_MAX 32

struct resolver; /* the cache, and the way to the servers */
struct resolve;  /* one question */

struct resolver_config {
    const struct addr *servers; /* no port: 53 */
    size_t server_count;        /* none: those of the system's resolv.conf, read once */
    uint32_t timeout_ms;        /* of the first try; c-ares doubles it each round. 0: 2000 */
    uint32_t tries;             /* per server. 0: 2 */
    uint32_t queries_max;       /* questions at once, and names asked for at once. 0: 1024 */
    uint32_t cache_entries;     /* 0: nothing is remembered */
    uint32_t negative_ms;       /* 0: not remembered */
    uint32_t question_ms; /* a question altogether. 0: all tries at all servers, 15 s at most */
};

#define RESOLVER_CONFIG_DEFAULT                                                                    \
    ((struct resolver_config){                                                                     \
        .timeout_ms = 2000,                                                                        \
        .tries = 2,                                                                                \
        .queries_max = 1024,                                                                       \
        .cache_entries = 4096,                                                                     \
        .negative_ms = 5000,                                                                       \
    })

enum resolve_status {
    RESOLVE_OK,        /* at least one address */
    RESOLVE_NOT_FOUND, /* no such name, or a name without an address */
    RESOLVE_FAILED,    /* the servers failed, refused, sent nonsense or cannot be reached */
    RESOLVE_TIMED_OUT,
    RESOLVE_BUSY, /* never called back; for whoever keeps why resolve_start gave NULL */
    RESOLVE_NO_MEMORY,
};

/* addrs (count of them, 0 unless RESOLVE_OK) is valid until it returns. The question is gone when
 * it is called; it may start and cancel questions and free the resolver. */
typedef void (*resolve_cb)(void *arg, enum resolve_status status, const struct addr *addrs,
                           size_t count);

struct resolver_stats {
    /* Since the start. */
    uint64_t questions; /* resolve_start, and resolver_cached when it knew */
    uint64_t cache_hits;
    uint64_t queries; /* names asked for: hosts file, then servers (A and AAAA count as one) */
    /* How questions ended; the others were answered or cancelled. */
    uint64_t not_found, failed, timed_out, no_memory;
    uint64_t busy; /* resolve_start gave NULL */
    /* Now. */
    uint32_t waiting;   /* questions */
    uint32_t in_flight; /* queries, those nobody waits for any more included */
    uint32_t cached;    /* names */
};

/* 0 and *ret is the caller's; or -1 with the sentence in e. config is copied. */
int resolver_new(struct loop *l, const struct resolver_config *config, struct resolver **ret,
                 struct err *e);
/* Every question is cancelled without a callback. Its memory returns with the loop's next
 * iteration, or in loop_fini. NULL is allowed. */
void resolver_free(struct resolver *r);

/* The answer when it is known at once: true, with the first cap addresses in ret (port 0) and their
 * number in *ret_count; 0 of them means RESOLVE_NOT_FOUND. False: ask with resolve_start. */
bool resolver_cached(struct resolver *r, const char *name, struct addr *ret, size_t cap,
                     size_t *ret_count);

/* Asks for the addresses of name (copied); port, in host order, is filled into them. cb is called
 * once, from the loop, never before this returns. NULL: too many at once, or no memory. */
struct resolve *resolve_start(struct resolver *r, const char *name, uint16_t port, resolve_cb cb,
                              void *arg);
/* cb is not called any more. NULL is allowed. */
void resolve_cancel(struct resolve *q);

struct resolver_stats resolver_stats(const struct resolver *r);
