/* A bounded big-endian cursor with a sticky error: read or write all fields, check once.
 *
 * After an operation that did not fit, every later one is a no-op that yields zeros, and ok stays
 * false. Nothing is allocated and nothing outside [base, base + len) is touched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader {
    const uint8_t *base;
    size_t len, at;
    bool ok;
};

struct wire_writer {
    uint8_t *base;
    size_t len, at;
    bool ok;
};

struct wire_reader wire_read(const void *base, size_t len);
uint8_t wire_u8(struct wire_reader *r);
uint16_t wire_u16(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
/* The next n octets in place, or NULL. */
const uint8_t *wire_bytes(struct wire_reader *r, size_t n);
size_t wire_left(const struct wire_reader *r);

struct wire_writer wire_write(void *base, size_t len);
void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t n);
