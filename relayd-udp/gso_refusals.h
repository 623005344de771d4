/* Which paths refuse runs (UDP_SEGMENT), remembered for a while, so that not every run has to be
 * refused again before it is sent piece by piece.
 *
 * A path that refuses segments of one size refuses longer ones, too (its MTU). Bounded: peers share
 * places, the newest stays; what is forgotten costs one more refusal. Zeroed memory remembers
 * nothing. Pure: it is told the time, in milliseconds. */
#pragma once

#include "shared/base/addr.h"

#define GSO_REFUSAL_MS   10000 /* one peer */
#define GSO_ABSENT_MS    60000 /* everybody */
#define GSO_REFUSALS_MAX 64

struct gso_refusals {
    uint64_t last_until;   /* nothing is remembered beyond; 0: nothing was ever refused */
    uint64_t absent_until; /* no peer gets runs */
    struct gso_refusal {
        struct addr peer; /* its port does not matter */
        uint32_t segment; /* the shortest that was refused */
        uint64_t until;
    } places[GSO_REFUSALS_MAX];
};

/* The way to peer refused segments of this size. */
void gso_refusals_note(struct gso_refusals *g, const struct addr *peer, uint32_t segment,
                       uint64_t now);
/* The kernel, or a device, cannot do it at all. */
void gso_refusals_note_absent(struct gso_refusals *g, uint64_t now);
/* True: do not try. */
bool gso_refusals_find(const struct gso_refusals *g, const struct addr *peer, uint32_t segment,
                       uint64_t now);
