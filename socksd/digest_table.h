/* A bounded table of records under keyed digests. When it is full, a new record takes the place of
 * the one that was put longest ago; a record is also gone once its time is over.
 *
 * Keys are digests under a key of this process (verify_digest), so that nobody outside can choose
 * which of them meet in a bucket. Pure but for memory: it is told the time (monotonic
 * milliseconds). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/list.h"

#define DIGEST_LEN 32

/* The first member of every record. */
struct digest_record {
    struct list recent;
    struct digest_record *next; /* in the bucket */
    uint64_t until;             /* gone from this moment on; set by the owner of the table */
    uint8_t digest[DIGEST_LEN];
};

struct digest_table {
    struct digest_record **buckets;
    char *records;
    size_t record_size, room, used, bucket_mask;
    struct list recent; /* in use: the oldest first */
    struct list spare;  /* used once, and free again */
};

/* Room for that many records of that size, which begin with a struct digest_record. 0, or -1 when
 * memory is short (then nothing is to be ended). room 0: holds nothing. */
int digest_table_init(struct digest_table *t, size_t room, size_t record_size);
void digest_table_fini(struct digest_table *t); /* accepts a zeroed table */

/* The record under this digest, or NULL. */
void *digest_table_find(struct digest_table *t, const uint8_t digest[DIGEST_LEN], uint64_t now);
/* The same, made if there is none: then zeroed behind its struct digest_record, and the caller sets
 * `until`. Now the youngest. NULL only if the table has no room at all. */
void *digest_table_put(struct digest_table *t, const uint8_t digest[DIGEST_LEN], uint64_t now);
void digest_table_clear(struct digest_table *t);
