/* Remembers, for a short while, which passwords were right.
 *
 * A busy client opens many connections a second, and a good password hash takes tens of
 * milliseconds of a core: without this, one client could use up all of them. What is kept is an
 * HMAC- SHA256 of name and password, under a key that this process drew at its start and nobody
 * else knows. This does not weaken anything:
 *
 *   - only successes are kept, so a wrong password is hashed and slowed each time, as ever;
 *   - a hit needs the whole right password, and tells nothing that the answer does not tell;
 *   - neither password nor hash can be had from what is kept without the key, and who can read the
 *     key in this process's memory reads the passwords as they arrive;
 *   - it ends with the process, with its time (counted from the success, hits do not prolong it),
 *     and at once when the users change.
 *
 * verify_cache.c is the only file that includes OpenSSL's headers for digests. Times are monotonic
 * milliseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "socksd/digest_table.h"

#define VERIFY_KEY_LEN 32

struct verify_key {
    uint8_t octets[VERIFY_KEY_LEN];
};

void verify_key_draw(struct verify_key *ret);

struct verify_part {
    const void *octets;
    size_t len; /* up to VERIFY_PART_MAX */
};

#define VERIFY_PART_MAX  255
#define VERIFY_PARTS_MAX 3

/* HMAC-SHA256 of up to VERIFY_PARTS_MAX parts, each with its length in front, so that different
 * parts never give the same octets. False, with *ret undefined, if OpenSSL fails (memory). */
bool verify_digest(const struct verify_key *key, const struct verify_part *parts, size_t count,
                   uint8_t ret[DIGEST_LEN]);

struct verify_cache {
    struct digest_table table;
    uint64_t keep_ms;
};

/* keep_ms or entries 0: remembers nothing. 0, or -1 when memory is short. */
int verify_cache_init(struct verify_cache *c, size_t entries, uint64_t keep_ms);
void verify_cache_fini(struct verify_cache *c);
/* digest: of the name and the password. */
bool verify_cache_has(struct verify_cache *c, const uint8_t digest[DIGEST_LEN], uint64_t now);
void verify_cache_add(struct verify_cache *c, const uint8_t digest[DIGEST_LEN], uint64_t now);
void verify_cache_clear(struct verify_cache *c);
