/* How long an attempt has to wait for the failures before it.
 *
 * Two memories, each bounded, each forgetting a record after a while without failures:
 *
 *   pair     (source, user): the first failure costs delay_first_ms, each further one twice as
 * much, up to delay_most_ms source   counts names that failed, not failures; the first names_free
 * are free, then as above. A client with a stale password costs its neighbours behind one address
 * nothing; one that tries many names is slowed. Who has succeeded from there before is not
 * concerned.
 *
 * An attempt that begins while there is a penalty reserves its turn: the next one of the same pair
 * (source) waits the delay from then on, so that guessing in parallel is no faster. Nobody is
 * locked out: after the wait, the right password passes; and other sources do not notice.
 *
 * Pure but for memory: it is told the time (monotonic milliseconds). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "socksd/digest_table.h"

struct penalty_config {
    size_t entries; /* of each memory */
    unsigned names_free;
    uint64_t delay_first_ms, delay_most_ms; /* delay_first_ms 0: nothing is slowed */
    uint64_t forget_ms;
};

struct penalty {
    struct penalty_config config;
    struct digest_table pairs, sources;
};

/* Who tries: digests of the source, and of source and user. */
struct penalty_keys {
    uint8_t pair[DIGEST_LEN];
    uint8_t source[DIGEST_LEN];
};

/* 0, or -1 when memory is short. */
int penalty_init(struct penalty *p, const struct penalty_config *config);
void penalty_fini(struct penalty *p);

/* Milliseconds until an attempt may begin; 0: now. */
uint64_t penalty_wait(struct penalty *p, const struct penalty_keys *keys, uint64_t now);
/* An attempt begins. */
void penalty_begin(struct penalty *p, const struct penalty_keys *keys, uint64_t now);
/* It has failed. Returns the milliseconds for which the answer is held back. */
uint64_t penalty_fail(struct penalty *p, const struct penalty_keys *keys, uint64_t now);
/* It has succeeded: the failures of the pair are forgotten, those of the source are not. */
void penalty_succeed(struct penalty *p, const struct penalty_keys *keys, uint64_t now);
