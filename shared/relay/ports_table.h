/* A growing hash table for ports.c: intrusive, chained, and keyed with a secret of its own, since
 * who is in it chooses parts of the key (addresses of an IPv6 network, ports).
 *
 * It grows only in ports_table_reserve: inserting and removing never allocate, never fail, and cost
 * the same whatever is in it. It never shrinks, and owns no entries. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ports_link {
    struct ports_link *next; /* in its bucket */
};

#define PORTS_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

struct ports_table {
    struct ports_link **buckets;
    size_t size; /* a power of two */
    uint32_t count;
    uint64_t secret[2];
    /* The hash of an entry, by ports_table_hash. */
    uint64_t (*hash_of)(const struct ports_table *t, const struct ports_link *entry);
};

/* False without memory; then, as with zeroed memory, fini is harmless. */
bool ports_table_init(struct ports_table *t, uint64_t (*hash_of)(const struct ports_table *t,
                                                                 const struct ports_link *entry));
void ports_table_fini(struct ports_table *t);

/* shared/base/siphash.h, keyed with the table's secret. */
uint64_t ports_table_hash(const struct ports_table *t, const void *key, size_t len);

/* The first in the bucket of that hash, or NULL; the caller follows `next` and compares. */
static inline struct ports_link *ports_table_first(const struct ports_table *t, uint64_t hash)
{
    return t->buckets[hash & (t->size - 1)];
}

/* Makes room, so that `count` entries are found at once. Without memory the table stays as it is:
 * fuller, and right. */
void ports_table_reserve(struct ports_table *t, size_t count);
void ports_table_insert(struct ports_table *t, struct ports_link *entry);
/* entry is in the table, and hashes as it did when it came. */
void ports_table_remove(struct ports_table *t, struct ports_link *entry);
