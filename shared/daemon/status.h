/* The endpoint that says how a daemon is doing: read-only HTTP/1.1 on Unix sockets and TCP, by
 * libmicrohttpd on our own loop (status_http.c is the door): no threads, no signal handlers.
 *
 *   GET, HEAD  /              text: the paths that are served here
 *              /livez         text: 200 "ok", or 503 "not alive: REASON"
 *              /readyz        text: 200 "ok", or 503 "not ready: REASON"
 *              /metrics       Prometheus text (prom.h)
 *              /status        JSON ┐
 *              /associations  JSON ├ over TCP only with `detail`
 *              /relays        JSON ┘
 *
 *   /associations?limit=N&after=CURSOR&FILTER=VALUE   one page of a list; N from 1 to 1000, or 100
 *
 * Refusals are a sentence: 400 an unknown, repeated or malformed parameter; 403 a Host that is
 * neither an IP address, localhost nor a configured name (a web page that rebinds its name must not
 * read us; not asked on Unix sockets); 404; 405 with Allow; 500 a page that did not fit its limit.
 *
 * Bounded whatever a client does. A listener serves so many connections at once; the next wait in
 * the kernel. A connection has `timeout_ms` for the headers of its request, idling before it
 * included, and again as long for the rest and the answer; then it is reset, however busily it
 * sends or takes one octet at a time. Pages are built whole, with a limit, and freed when they are
 * sent or the connection is gone. Without descriptors a listener rests for a second instead of
 * spinning. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/daemon/json.h"
#include "shared/daemon/prom.h"

#define STATUS_FILTERS_MAX 8
#define STATUS_REASON_MAX  256

/* What was asked of /associations; valid during the callback. */
struct status_query {
    unsigned limit;    /* 1 to 1000 */
    const char *after; /* a cursor that an earlier page gave; NULL: from the start */
    /* Values of status_pages.filters, in that order; NULL: not asked for. 1 to 255 octets, no NUL;
     * what they may be is the page's business. */
    const char *filter[STATUS_FILTERS_MAX];
};

/* What the pages say. Called on the loop, one at a time; they only read, return soon, and must not
 * call status_close. The struct and what it points at outlive the endpoint. */
struct status_pages {
    /* False with the reason why not (at most cap octets with the NUL, one line). NULL: always. */
    bool (*live)(void *ctx, char *reason, size_t cap);
    bool (*ready)(void *ctx, char *reason, size_t cap);
    /* Whole families into p. The pages below put members into an object that is open. NULL: 404. */
    void (*metrics)(void *ctx, struct prom *p);
    void (*status)(void *ctx, struct json *j);
    /* At most q->limit rows, and the next cursor if there are more. -1 with a sentence for a
     * cursor or a filter that makes no sense: 400. */
    int (*associations)(void *ctx, const struct status_query *q, struct json *j, struct err *e);
    void (*relays)(void *ctx, struct json *j);
    /* Names of the filters that /associations knows, up to STATUS_FILTERS_MAX, NULL behind the
     * last; NULL: none. Every other parameter is refused by its name. */
    const char *const *filters;
};

/* Everything is copied. Zero is the default of a number. */
struct status_config {
    const char *const *listen; /* "unix:/path", "192.0.2.1:9080", "[::1]:9080" */
    size_t listen_count;
    const char *const *hosts; /* names that Host may have over TCP */
    size_t host_count;
    mode_t unix_mode;     /* 0660 */
    bool detail;          /* all pages over TCP too */
    unsigned connections; /* per listener: 32 */
    unsigned timeout_ms;  /* 10000 */
};

struct status_counters {
    uint64_t connections; /* open now */
    uint64_t accepted;
    uint64_t requests; /* that reached a page or a refusal of ours */
    uint64_t refused;  /* of these 4xx */
    uint64_t failed;   /* of these 500: a page that did not fit */
    uint64_t expired;  /* connections reset for slowness */
    uint64_t rests;    /* times a listener rested for want of descriptors or memory */
};

struct status;

/* Is every address in listen well-formed? For `--check`; opens nothing. */
int status_check(const struct status_config *c, struct err *e);
/* Listens on all of it, or nothing: NULL with the sentence (the loop then still has handles to
 * close). pages and ctx as above. Keeps the loop alive until closed. */
struct status *status_open(uv_loop_t *loop, const struct status_config *c,
                           const struct status_pages *pages, void *ctx, struct err *e);
/* Closes the listeners (and removes their socket files) and all connections at once; s is gone for
 * the caller. closed(ctx) follows from the loop, never before this returns; it may be NULL. */
void status_close(struct status *s, void (*closed)(void *ctx));

/* The address that listener i has, its port filled in; false for Unix sockets and i too large. */
bool status_local(const struct status *s, size_t i, struct addr *ret);
const struct status_counters *status_counters(const struct status *s);
