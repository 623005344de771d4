#include "shared/n2/n2_arena.h"

#include <stdlib.h>

enum { ARENA_BLOCK = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    max_align_t data[];
};

struct n2_arena {
    struct arena_block *blocks; /* the newest first */
};

void *n2_arena_alloc(struct n2_arena *a, size_t n)
{
    size_t rounded = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct arena_block *b = a->blocks;

    if (b == NULL || b->size - b->used < rounded) {
        size_t size = rounded > ARENA_BLOCK ? rounded : ARENA_BLOCK;
        b = malloc(sizeof(*b) + size);
        if (b == NULL)
            return NULL;
        *b = (struct arena_block){.next = a->blocks, .size = size};
        a->blocks = b;
    }
    void *at = (char *)b->data + b->used;
    b->used += rounded;
    return at;
}

struct n2_arena *n2_arena_new(void)
{
    return calloc(1, sizeof(struct n2_arena));
}

static void drop_newest(struct n2_arena *a)
{
    struct arena_block *next = a->blocks->next;

    free(a->blocks);
    a->blocks = next;
}

/* One block is kept for the next message. */
void n2_arena_reset(struct n2_arena *a)
{
    while (a->blocks != NULL && (a->blocks->next != NULL || a->blocks->size > ARENA_BLOCK))
        drop_newest(a);
    if (a->blocks != NULL)
        a->blocks->used = 0;
}

void n2_arena_free(struct n2_arena *a)
{
    while (a != NULL && a->blocks != NULL)
        drop_newest(a);
    free(a);
}
