#include "shared/base/idmap.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/base/siphash.h"

#define FIRST_SIZE 16

static struct idmap_node **bucket_of(const struct idmap *m, const uint8_t id[ID_LEN])
{
    return &m->buckets[siphash(m->key, id, ID_LEN) & (m->size - 1)];
}

void idmap_init(struct idmap *m)
{
    *m = (struct idmap){0};
    secret_random(m->key, sizeof(m->key));
}

void idmap_fini(struct idmap *m)
{
    free(m->buckets);
    *m = (struct idmap){0};
}

struct idmap_node *idmap_find(const struct idmap *m, const uint8_t id[ID_LEN])
{
    if (m->size == 0)
        return NULL;
    for (struct idmap_node *n = *bucket_of(m, id); n != NULL; n = n->next)
        if (memcmp(n->id, id, ID_LEN) == 0)
            return n;
    return NULL;
}

static void bucket_push(struct idmap *m, struct idmap_node *node)
{
    struct idmap_node **bucket = bucket_of(m, node->id);

    node->next = *bucket;
    *bucket = node;
}

/* Doubles the buckets. Without memory the map stays as it is: fuller, and right. */
static void grow(struct idmap *m)
{
    struct idmap_node **old = m->buckets;
    size_t old_size = m->size, size = old_size == 0 ? FIRST_SIZE : old_size * 2;
    struct idmap_node **buckets = calloc(size, sizeof(*buckets));

    if (buckets == NULL)
        return;
    m->buckets = buckets;
    m->size = size;
    for (size_t i = 0; i < old_size; i++) {
        for (struct idmap_node *n = old[i], *next; n != NULL; n = next) {
            next = n->next;
            bucket_push(m, n);
        }
    }
    free(old);
}

int idmap_insert(struct idmap *m, struct idmap_node *node)
{
    if (m->count >= m->size)
        grow(m);
    if (m->size == 0)
        return -1;
    bucket_push(m, node);
    m->count++;
    return 0;
}

void idmap_remove(struct idmap *m, struct idmap_node *node)
{
    struct idmap_node **at = bucket_of(m, node->id);

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    m->count--;
}

void idmap_each(struct idmap *m, void (*fn)(struct idmap_node *node, void *arg), void *arg)
{
    for (size_t i = 0; i < m->size; i++) {
        for (struct idmap_node *n = m->buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            fn(n, arg);
        }
    }
}

const char *id_format(const uint8_t id[ID_LEN], char buf[ID_TEXT_LEN])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < ID_LEN; i++) {
        buf[2 * i] = digits[id[i] >> 4];
        buf[2 * i + 1] = digits[id[i] & 15];
    }
    buf[2 * ID_LEN] = '\0';
    return buf;
}
