/* A growing run of octets with a limit. Appending past the limit, or without memory, makes it
 * `failed` and changes nothing else; check once at the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap, limit;
    bool failed;
};

void buf_init(struct buf *b, size_t limit);
void buf_fini(struct buf *b);
/* Empties it and keeps the memory. */
void buf_reset(struct buf *b);
/* Room for n more octets at the end (not counted in len yet), or NULL. */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_append(struct buf *b, const void *bytes, size_t n);
