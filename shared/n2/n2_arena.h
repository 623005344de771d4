/* Memory for one message at a time: handed out from the front of blocks, forgotten together. */
#pragma once

#include <stddef.h>

struct n2_arena;

/* NULL without memory. */
struct n2_arena *n2_arena_new(void);
/* NULL is allowed. */
void n2_arena_free(struct n2_arena *a);
/* Everything allocated with it is gone. */
void n2_arena_reset(struct n2_arena *a);
/* n octets, aligned for anything, not cleared; NULL without memory. */
void *n2_arena_alloc(struct n2_arena *a, size_t n);
