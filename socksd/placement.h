/* Which relay gets an association. Pure: the caller shows what is known of each relay.
 *
 * Power of two choices among those that can serve it: two at random, the one with the lower load.
 * What relays report is stale by construction, so what was placed since the last report counts as
 * load too; otherwise a burst would all go to whichever relay looked best a moment ago. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct placement_candidate {
    bool serves;       /* ready, not draining, of this kind, and not tried before */
    uint32_t held;     /* associations, as reported */
    uint32_t recent;   /* placed since that report */
    uint32_t capacity; /* associations at most; 0 = unknown */
};

/* The index of the chosen one, or -1. random: two independent random numbers. */
int placement_choose(const struct placement_candidate *c, size_t count, const uint32_t random[2]);
