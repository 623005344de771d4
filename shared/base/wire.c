#include "shared/base/wire.h"

#include <string.h>

struct wire_reader wire_read(const void *base, size_t len)
{
    return (struct wire_reader){.base = base, .len = len, .ok = true};
}

const uint8_t *wire_bytes(struct wire_reader *r, size_t n)
{
    static const uint8_t nothing[1];
    const uint8_t *p;

    if (!r->ok || n > r->len - r->at) {
        r->ok = false;
        return NULL;
    }
    /* No octets of an empty buffer is a success too, and must not look like the failure. */
    p = r->base != NULL ? r->base + r->at : nothing;
    r->at += n;
    return p;
}

uint8_t wire_u8(struct wire_reader *r)
{
    const uint8_t *p = wire_bytes(r, 1);
    return p == NULL ? 0 : p[0];
}

uint16_t wire_u16(struct wire_reader *r)
{
    const uint8_t *p = wire_bytes(r, 2);
    return p == NULL ? 0 : (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t wire_u32(struct wire_reader *r)
{
    const uint8_t *p = wire_bytes(r, 4);
    return p == NULL ? 0 : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

size_t wire_left(const struct wire_reader *r)
{
    return r->ok ? r->len - r->at : 0;
}

struct wire_writer wire_write(void *base, size_t len)
{
    return (struct wire_writer){.base = base, .len = len, .ok = true};
}

void wire_put_bytes(struct wire_writer *w, const void *bytes, size_t n)
{
    if (!w->ok || n > w->len - w->at) {
        w->ok = false;
        return;
    }
    if (n > 0)
        memcpy(w->base + w->at, bytes, n);
    w->at += n;
}

void wire_put_u8(struct wire_writer *w, uint8_t v)
{
    wire_put_bytes(w, &v, 1);
}

void wire_put_u16(struct wire_writer *w, uint16_t v)
{
    const uint8_t b[] = {(uint8_t)(v >> 8), (uint8_t)v};
    wire_put_bytes(w, b, sizeof(b));
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
    const uint8_t b[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    wire_put_bytes(w, b, sizeof(b));
}
