/* Reassembly of SOCKS 5 UDP fragments (RFC 1928 section 7), a queue and a timer per association:
 *
 *   FRAG 1 ─► FRAG 2 ─► ... ─► FRAG 0x80 | n: whole        0x81 alone is whole, too
 *
 * Only fragments in order can succeed, since a lower number resets the queue: so a gap resets it at
 * once, as nothing could fill it; so does 127 that is not the last, as nothing could follow it. A
 * repeated number is dropped. FRAG 0 abandons the queue and stands for itself (the caller's part:
 * reassembly_abandon); 0x80 means nothing; another destination than the first fragment's abandons
 * the queue, before its number is looked at; so does a sum beyond ENGINE_PAYLOAD_MAX, or beyond
 * what all associations together may hold. The timer starts with the first fragment (at least 5 s
 * by the RFC); a fragment that comes later finds the queue abandoned, whether the caller has asked
 * or not.
 *
 * Zeroed memory is an idle queue; it costs nothing until the first fragment. Pure but for memory:
 * it is told the time, and the caller asks reassembly_expired. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REASSEMBLY_TIME_MS 5000

/* What all queues together hold and may hold, in octets asked of malloc. max may be changed at any
 * time, below held, too: then nothing more is taken until enough was given back. */
struct reassembly_budget {
    size_t held, max;
    uint32_t time_ms; /* of the timer; 0: REASSEMBLY_TIME_MS */
};

struct reassembly {
    struct reassembly_queue *queue; /* NULL: idle */
};

enum reassembly_result {
    REASSEMBLY_KEPT,      /* more has to come */
    REASSEMBLY_WHOLE,     /* *ret is the datagram's payload */
    REASSEMBLY_DUPLICATE, /* a repeated number, or 0x80: the fragment was dropped, the queue is as
                             before */
    REASSEMBLY_ABANDONED, /* the fragment does not fit: the queue is gone, the fragment too, unless
                             it is number 1: then it has begun a new one (and the result is KEPT or
                             WHOLE, with *ret_lost set) */
    REASSEMBLY_FULL,      /* no memory or no budget: the queue and the fragment are gone */
};

/* One fragment: frag is its FRAG octet (not 0), dest the octets of ATYP, address and port as they
 * stand in the header (at most 259), data its payload (copied). *ret_lost is the number of
 * fragments that were thrown away, this one included; it is always set. With WHOLE, *ret and
 * *ret_len are the payload, which stays (and counts against the budget) until the next call with r;
 * otherwise they are left alone. */
enum reassembly_result reassembly_add(struct reassembly *r, struct reassembly_budget *b,
                                      uint8_t frag, const uint8_t *dest, size_t dest_len,
                                      const uint8_t *data, size_t len, uint64_t now,
                                      const uint8_t **ret, size_t *ret_len, unsigned *ret_lost);
/* Throws the queue away (a whole datagram that was returned, too); how many fragments were lost. */
unsigned reassembly_abandon(struct reassembly *r, struct reassembly_budget *b);
/* True when fragments wait and their time is up. */
bool reassembly_expired(const struct reassembly *r, uint64_t now);
