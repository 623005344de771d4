/* Where an association's last datagram went, so that the next one with the same header need not be
 * judged again. For a moment only, since names, protected destinations and addresses of this host
 * may change; and one place for a few associations, so that idle ones cost nothing: who loses its
 * place is judged. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

struct association;
struct routes;

struct route {
    const struct association *owner; /* NULL: an empty place */
    uint64_t until;
    struct addr to;
    bool by_name;
    uint8_t header_len;
    uint8_t header[72]; /* RSV and FRAG 0, address, port; longer ones are not remembered */
};

/* NULL without memory. */
struct routes *routes_new(void);
void routes_free(struct routes *r); /* NULL is allowed */

/* The route of a datagram that begins like the last one, or NULL. Good until the next call. */
const struct route *routes_find(const struct routes *r, const struct association *a,
                                const uint8_t *data, size_t len, uint64_t now);
/* header: the whole of it, with FRAG 0. */
void routes_remember(struct routes *r, const struct association *a, const uint8_t *header,
                     size_t header_len, const struct addr *to, bool by_name, uint64_t now);
void routes_forget(struct routes *r, const struct association *a);
