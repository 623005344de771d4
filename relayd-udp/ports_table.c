#include "relayd-udp/ports_table.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"

#define FIRST_SIZE 16

static uint64_t rotate(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t ports_table_hash(const struct ports_table *t, const void *key, size_t len)
{
    uint64_t v[4] = {
        t->secret[0] ^ UINT64_C(0x736f6d6570736575),
        t->secret[1] ^ UINT64_C(0x646f72616e646f6d),
        t->secret[0] ^ UINT64_C(0x6c7967656e657261),
        t->secret[1] ^ UINT64_C(0x7465646279746573),
    };
    const uint8_t *at = key;
    uint64_t word, last = (uint64_t)len << 56;

    for (; len >= sizeof(word); at += sizeof(word), len -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        sip_word(v, word);
    }
    for (size_t i = 0; i < len; i++)
        last |= (uint64_t)at[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
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
