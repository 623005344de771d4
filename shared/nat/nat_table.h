/* Entries by what their packets look like, and the triples that are held. Pure but for memory and
 * randomness; the order of both is secret. Both are bounded from the start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

struct nat_entry;
struct ct_name;

struct nat_table {
    struct nat_entry **buckets;
    size_t mask; /* buckets less one */
    uint64_t key[2];
    uint32_t count;
};

/* 0 or -1 without memory. */
int nat_table_init(struct nat_table *t, uint32_t capacity);
void nat_table_fini(struct nat_table *t);
struct nat_entry *nat_table_find(const struct nat_table *t, const struct ct_name *name);
/* Its key is not in the table. */
void nat_table_insert(struct nat_table *t, struct nat_entry *e);
void nat_table_remove(struct nat_table *t, struct nat_entry *e);
/* fn may remove the entry it is given. */
void nat_table_each(struct nat_table *t, void (*fn)(struct nat_entry *e, void *arg), void *arg);

struct nat_triple {
    struct nat_triple *next;
    struct addr bound;
    uint32_t holds;
    uint8_t ptcl;
};

enum { NAT_HELD_BUCKETS = 1024 };

struct nat_held {
    struct nat_triple *buckets[NAT_HELD_BUCKETS];
    uint64_t key[2];
    uint32_t count;
};

void nat_held_init(struct nat_held *h);
void nat_held_fini(struct nat_held *h);
struct nat_triple *nat_held_find(const struct nat_held *h, uint8_t ptcl, const struct addr *bound);
/* Not there yet. NULL without memory. */
struct nat_triple *nat_held_insert(struct nat_held *h, uint8_t ptcl, const struct addr *bound);
void nat_held_remove(struct nat_held *h, struct nat_triple *t);
void nat_held_each(struct nat_held *h, void (*fn)(struct nat_triple *t, void *arg), void *arg);
