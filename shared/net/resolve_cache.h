/* What names resolved to, for a while; the least recently used one makes room.
 *
 * A balanced tree, so that names chosen by an enemy find nothing to collide in. Pure: it is told
 * the time (monotonic milliseconds). Names are compared octet by octet; the caller has made them
 * lower case. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/list.h"

struct resolve_cache {
    void *tree;         /* of struct resolve_cached, by name */
    struct list recent; /* the least recently used one is first */
    size_t count, capacity;
};

struct resolve_cached {
    struct list node;
    const char *name;
    uint64_t until;
    size_t count; /* 0: there is no such name */
    struct addr addrs[];
};

/* capacity 0: remembers nothing. */
void resolve_cache_init(struct resolve_cache *c, size_t capacity);
void resolve_cache_fini(struct resolve_cache *c);
/* NULL if it is not known, or not any more. Valid until the next call. */
const struct resolve_cached *resolve_cache_find(struct resolve_cache *c, const char *name,
                                                uint64_t now);
/* Remembers (copies), or replaces, until `until`. Short of memory it forgets. */
void resolve_cache_put(struct resolve_cache *c, const char *name, const struct addr *addrs,
                       size_t count, uint64_t until);
