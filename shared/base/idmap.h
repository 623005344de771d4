/* 128-bit random id -> object, intrusive, growing.
 *
 * Ids are drawn at random by whoever creates the object, yet may come from a hostile peer: the
 * bucket is chosen by a hash keyed with a per-map secret. The map owns no objects. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ID_LEN      16
#define ID_TEXT_LEN 33 /* hexadecimal with its NUL */

struct idmap_node {
    uint8_t id[ID_LEN];
    struct idmap_node *next;
};

struct idmap {
    struct idmap_node **buckets;
    size_t count, size; /* size is a power of two, or 0 before the first insertion */
    uint64_t key[2];
};

#define IDMAP_ENTRY(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

void idmap_init(struct idmap *m);
void idmap_fini(struct idmap *m);
struct idmap_node *idmap_find(const struct idmap *m, const uint8_t id[ID_LEN]);
/* node->id is set and not yet in the map. Returns 0, or -1 when memory is short (nothing changed). */
int idmap_insert(struct idmap *m, struct idmap_node *node);
/* node is in the map. */
void idmap_remove(struct idmap *m, struct idmap_node *node);
/* Calls fn for every node; fn may remove the node it is given, and no other. */
void idmap_each(struct idmap *m, void (*fn)(struct idmap_node *node, void *arg), void *arg);

const char *id_format(const uint8_t id[ID_LEN], char buf[ID_TEXT_LEN]);
