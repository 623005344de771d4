#include "relayd-udp/routes.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES = 1024, ROUTE_MS = 1000 };

struct routes {
    struct route places[PLACES];
};

struct routes *routes_new(void)
{
    return calloc(1, sizeof(struct routes)); /* pages that nobody uses are not there */
}

void routes_free(struct routes *r)
{
    free(r);
}

/* Associations stand some hundred octets apart. */
static size_t place_of(const struct association *a)
{
    uint64_t at = (uintptr_t)a;

    return (size_t)((at * UINT64_C(0x9e3779b97f4a7c15)) >> 52) % PLACES;
}

const struct route *routes_find(const struct routes *r, const struct association *a,
                                const uint8_t *data, size_t len, uint64_t now)
{
    const struct route *t = &r->places[place_of(a)];

    return t->owner == a && now < t->until && len >= t->header_len &&
                   memcmp(data, t->header, t->header_len) == 0
               ? t
               : NULL;
}

void routes_remember(struct routes *r, const struct association *a, const uint8_t *header,
                     size_t header_len, const struct addr *to, bool by_name, uint64_t now)
{
    struct route *t = &r->places[place_of(a)];

    if (header_len > sizeof(t->header))
        return;
    t->owner = a;
    t->until = now + ROUTE_MS;
    t->to = *to;
    t->by_name = by_name;
    t->header_len = (uint8_t)header_len;
    memcpy(t->header, header, header_len);
}

void routes_forget(struct routes *r, const struct association *a)
{
    struct route *t = &r->places[place_of(a)];

    if (t->owner == a)
        t->owner = NULL;
}
