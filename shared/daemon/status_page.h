/* Which answer a request to the status endpoint gets. Pure: no HTTP library, no sockets; status.c
 * feeds it and sends what it says. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shared/daemon/status.h"

#define STATUS_PARAMS_MAX                                                                          \
    (STATUS_FILTERS_MAX + 4) /* one more than can be right is one too many                         \
                              */

struct status_site {
    const struct status_pages *pages;
    void *ctx;
    char **hosts;
    size_t host_count;
    bool detail;
};

struct status_param {
    const char *name, *value; /* decoded, with a NUL behind them and perhaps within */
    size_t name_len, value_len;
};

struct status_request {
    const char *method, *path; /* the path is decoded */
    bool tcp;
    const char *host; /* of the Host header; NULL: there was none (HTTP/1.0) */
    unsigned host_count;
    struct status_param params[STATUS_PARAMS_MAX];
    unsigned param_count; /* as they came; only the first STATUS_PARAMS_MAX are kept */
};

struct status_reply {
    unsigned code;
    const char *type;  /* Content-Type */
    const char *allow; /* for the Allow header, or NULL */
    char *body;        /* the caller frees it; NULL when memory ran out: len 0, code 500 */
    size_t len;
};

void status_answer(const struct status_site *site, const struct status_request *q,
                   struct status_reply *ret);
