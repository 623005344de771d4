/* HTTP on connected sockets, by libmicrohttpd on a libuv loop; the only door to that library.
 *
 * A connection has `timeout_ms` from its start, or from its last answer, to the end of a request's
 * headers, and again as long for the rest and the answer. One that overruns is reset. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "shared/base/err.h"
#include "shared/daemon/status_page.h"

struct status_http;

struct status_http_config {
    const struct status_site *site; /* this and the others outlive it */
    struct status_counters *counters;
    unsigned connections; /* at most so many at once; the caller counts */
    unsigned timeout_ms;
    /* A connection that status_http_add took is gone. */
    void (*gone)(void *owner);
};

/* NULL with the sentence; what libuv still holds then is freed from the loop. */
struct status_http *status_http_open(uv_loop_t *loop, const struct status_http_config *c,
                                     struct err *e);
/* Takes fd over (non-blocking, connected) and says true, or closes it and says false; gone(owner)
 * follows from the loop, and only after true. */
bool status_http_add(struct status_http *h, int fd, bool tcp, void *owner);
/* Closes all connections (gone is called for each) before it returns; closed(ctx) follows from the
 * loop. */
void status_http_close(struct status_http *h, void (*closed)(void *ctx), void *ctx);
