#include "shared/socks/socks5_transparent.h"

#include "shared/base/wire.h"
#include "shared/socks/socks5_addr.h"

/* VER, CMD, RSV. Returns 0, also when octets are missing, or the SOCKS_BAD_ that it is. */
static int read_head(struct wire_reader *r)
{
    uint8_t octet;

    octet = wire_u8(r);
    if (r->ok && octet != SOCKS5_VERSION)
        return SOCKS_BAD;
    octet = wire_u8(r);
    if (r->ok && octet != SOCKS_TRANSPARENT)
        return SOCKS_BAD_COMMAND;
    octet = wire_u8(r);
    return r->ok && octet != 0 ? SOCKS_BAD : 0;
}

int socks5_transparent_decode(const uint8_t *buf, size_t len, struct socks5_transparent *ret)
{
    struct wire_reader r = wire_read(buf, len);
    struct socks5_transparent got = {0};
    int bad;

    bad = read_head(&r);
    if (bad == 0)
        bad = socks5_addr_read(&r, &got.dest);
    if (bad != 0)
        return bad;
    got.protocol = wire_u8(&r);
    bad = socks5_addr_read(&r, &got.source);
    if (bad != 0 || !r.ok)
        return bad;
    *ret = got;
    return (int)r.at;
}

size_t socks5_transparent_encode(const struct socks5_transparent *request, uint8_t *buf,
                                 size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, SOCKS_TRANSPARENT);
    wire_put_u8(&w, 0);
    socks5_addr_put(&w, &request->dest);
    wire_put_u8(&w, request->protocol);
    socks5_addr_put(&w, &request->source);
    return w.ok ? w.at : 0;
}
