#include "tests/lib/proto_raw.h"

#include <string.h>

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2 };

static void put_number(struct buf *b, uint64_t n)
{
    do {
        uint8_t octet = (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
        buf_append(b, &octet, 1);
        n >>= 7;
    } while (n > 0);
}

static void put_tag(struct buf *b, unsigned field, unsigned type)
{
    put_number(b, (uint64_t)field << 3 | type);
}

void raw_varint(struct buf *b, unsigned field, uint64_t value)
{
    put_tag(b, field, VARINT);
    put_number(b, value);
}

void raw_fixed64(struct buf *b, unsigned field, uint64_t value)
{
    put_tag(b, field, FIXED64);
    for (int i = 0; i < 8; i++)
        buf_append(b, (const uint8_t[]){(uint8_t)(value >> (8 * i))}, 1);
}

void raw_octets(struct buf *b, unsigned field, const void *octets, size_t n)
{
    put_tag(b, field, DELIMITED);
    put_number(b, n);
    buf_append(b, octets, n);
}

void raw_text(struct buf *b, unsigned field, const char *text)
{
    raw_octets(b, field, text, strlen(text));
}

void raw_message(struct buf *b, unsigned field, struct buf *inner)
{
    raw_octets(b, field, inner->data, inner->len);
    buf_fini(inner);
}
