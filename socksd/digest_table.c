#include "socksd/digest_table.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"

#define RECENT(node) LIST_ENTRY(node, struct digest_record, recent)

int digest_table_init(struct digest_table *t, size_t room, size_t record_size)
{
    size_t buckets = 1;

    while (buckets < room)
        buckets *= 2;
    *t =
        (struct digest_table){.record_size = record_size, .room = room, .bucket_mask = buckets - 1};
    list_init(&t->recent);
    list_init(&t->spare);
    t->buckets = calloc(buckets, sizeof(struct digest_record *));
    t->records = calloc(room + 1, record_size);
    if (t->buckets && t->records)
        return 0;
    digest_table_fini(t);
    return -1;
}

void digest_table_fini(struct digest_table *t)
{
    free(t->buckets);
    free(t->records);
    *t = (struct digest_table){0};
}

static struct digest_record **bucket_of(struct digest_table *t, const uint8_t digest[DIGEST_LEN])
{
    uint64_t hash;

    memcpy(&hash, digest, sizeof(hash));
    return &t->buckets[hash & t->bucket_mask];
}

static void record_remove(struct digest_table *t, struct digest_record *r)
{
    struct digest_record **link = bucket_of(t, r->digest);

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    list_remove(&r->recent);
    list_append(&t->spare, &r->recent);
}

static struct digest_record *record_take(struct digest_table *t)
{
    struct digest_record *r;

    if (t->room == 0)
        return NULL;
    if (list_empty(&t->spare) && t->used < t->room) {
        r = (struct digest_record *)(void *)(t->records + t->used++ * t->record_size);
    } else {
        if (list_empty(&t->spare))
            record_remove(t, RECENT(t->recent.next));
        r = RECENT(t->spare.next);
        list_remove(&r->recent);
    }
    memset(r, 0, t->record_size);
    list_init(&r->recent);
    return r;
}

void *digest_table_find(struct digest_table *t, const uint8_t digest[DIGEST_LEN], uint64_t now)
{
    struct digest_record *r = *bucket_of(t, digest);

    while (r && !secret_equal(r->digest, digest, DIGEST_LEN))
        r = r->next;
    if (r && now >= r->until) {
        record_remove(t, r);
        return NULL;
    }
    return r;
}

void *digest_table_put(struct digest_table *t, const uint8_t digest[DIGEST_LEN], uint64_t now)
{
    struct digest_record *r = digest_table_find(t, digest, now);

    if (!r) {
        struct digest_record **bucket = bucket_of(t, digest);

        r = record_take(t);
        if (!r)
            return NULL;
        memcpy(r->digest, digest, DIGEST_LEN);
        r->next = *bucket;
        *bucket = r;
    }
    list_remove(&r->recent);
    list_append(&t->recent, &r->recent);
    return r;
}

void digest_table_clear(struct digest_table *t)
{
    while (!list_empty(&t->recent))
        record_remove(t, RECENT(t->recent.next));
}
