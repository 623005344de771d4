/* `resolver:`, for every daemon that looks names up. */
#pragma once

#include "shared/daemon/schema.h"
#include "shared/net/resolve.h"

struct resolver_keys {
    SCHEMA_ITEMS(struct addr) servers;
    uint64_t timeout_ms, tries, cache_entries, negative_ms;
};

extern const struct schema resolver_schema;

/* What resolver_new takes; points into k. */
struct resolver_config resolver_config_of(const struct resolver_keys *k);
