/* Reassembly of SOCKS 5 UDP fragments (RFC 1928 section 7), one queue and one timer per association:
 *
 *   FRAG 1 ─► FRAG 2 ─► ... ─► FRAG 0x80 | n: whole
 *
 * Only fragments in order can succeed, since a lower number resets the queue: so a gap resets it at
 * once, as nothing could fill it. A repeated number is dropped. FRAG 0 abandons the queue and stands
 * for itself; 0x80 means nothing; another destination than the first fragment's abandons the queue;
 * so does a sum beyond ENGINE_PAYLOAD_MAX, or beyond what all associations together may hold. The
 * timer starts with the first fragment (at least 5 s by the RFC).
 *
 * Zeroed memory is an idle queue; it costs nothing until the first fragment. Pure but for memory: it
 * is told the time, and the caller asks reassembly_expired. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REASSEMBLY_TIME_MS 5000

/* What all queues together hold and may hold, in octets of memory. */
struct reassembly_budget {
    size_t held, max;
};

struct reassembly {
    struct reassembly_queue *queue; /* NULL: idle */
};

enum reassembly_result {
    REASSEMBLY_KEPT,      /* more has to come */
    REASSEMBLY_WHOLE,     /* *ret is the datagram's payload */
    REASSEMBLY_DUPLICATE, /* the fragment was dropped, the queue is as before */
    REASSEMBLY_ABANDONED, /* the fragment does not fit: the queue is gone, the fragment too, unless it
                             is number 1: then it has begun a new one (and the result is KEPT, with
                             *ret_lost set) */
    REASSEMBLY_FULL,      /* no memory or no budget: the same */
};

/* One fragment: frag is its FRAG octet (not 0), dest the octets of ATYP, address and port as they
 * stand in the header (at most 259), data its payload. *ret_lost is the number of fragments that were
 * thrown away, this one included. With WHOLE, *ret and *ret_len are the payload, which stays until the
 * next call with r. */
enum reassembly_result reassembly_add(struct reassembly *r, struct reassembly_budget *b,
                                      uint8_t frag, const uint8_t *dest, size_t dest_len,
                                      const uint8_t *data, size_t len, uint64_t now,
                                      const uint8_t **ret, size_t *ret_len, unsigned *ret_lost);
/* Throws the queue away (a whole datagram that was returned, too); how many fragments were lost. */
unsigned reassembly_abandon(struct reassembly *r, struct reassembly_budget *b);
/* True when fragments wait and their time is up. */
bool reassembly_expired(const struct reassembly *r, uint64_t now);
