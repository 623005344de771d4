#include "shared/relay/ports_table.h"

#include <stdlib.h>

#include "shared/base/secret.h"
#include "shared/base/siphash.h"

#define FIRST_SIZE 16

uint64_t ports_table_hash(const struct ports_table *t, const void *key, size_t len)
{
    return siphash(t->secret, key, len);
}

bool ports_table_init(struct ports_table *t, uint64_t (*hash_of)(const struct ports_table *t,
                                                                 const struct ports_link *entry))
{
    *t = (struct ports_table){.hash_of = hash_of};
    secret_random(t->secret, sizeof(t->secret));
    t->buckets = calloc(FIRST_SIZE, sizeof(struct ports_link *));
    if (t->buckets != NULL)
        t->size = FIRST_SIZE;
    return t->buckets != NULL;
}

void ports_table_fini(struct ports_table *t)
{
    free(t->buckets);
    *t = (struct ports_table){0};
}

static struct ports_link **bucket_of(struct ports_table *t, const struct ports_link *entry)
{
    return &t->buckets[t->hash_of(t, entry) & (t->size - 1)];
}

static void bucket_push(struct ports_table *t, struct ports_link *entry)
{
    struct ports_link **bucket = bucket_of(t, entry);

    entry->next = *bucket;
    *bucket = entry;
}

void ports_table_reserve(struct ports_table *t, size_t count)
{
    struct ports_link **old = t->buckets, **buckets;
    size_t old_size = t->size, size = old_size;

    while (size < count)
        size *= 2;
    if (size == old_size || (buckets = calloc(size, sizeof(struct ports_link *))) == NULL)
        return;
    t->buckets = buckets;
    t->size = size;
    for (size_t i = 0; i < old_size; i++) {
        for (struct ports_link *e = old[i], *next; e != NULL; e = next) {
            next = e->next;
            bucket_push(t, e);
        }
    }
    free(old);
}

void ports_table_insert(struct ports_table *t, struct ports_link *entry)
{
    bucket_push(t, entry);
    t->count++;
}

void ports_table_remove(struct ports_table *t, struct ports_link *entry)
{
    struct ports_link **at = bucket_of(t, entry);

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    entry->next = NULL;
    t->count--;
}
