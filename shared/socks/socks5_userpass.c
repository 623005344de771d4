#include "shared/socks/socks5_userpass.h"

#include "shared/base/wire.h"

int socks5_userpass_decode(const uint8_t *buf, size_t len, struct socks5_userpass *ret)
{
    struct wire_reader r = wire_read(buf, len);
    struct socks5_userpass got;
    uint8_t version;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_USERPASS_VERSION)
        return SOCKS_BAD;
    got.user_len = wire_u8(&r);
    got.user = wire_bytes(&r, got.user_len);
    got.password_len = wire_u8(&r);
    got.password = wire_bytes(&r, got.password_len);
    if (!r.ok)
        return SOCKS_MORE;
    *ret = got;
    return (int)r.at;
}

size_t socks5_userpass_encode(const struct socks5_userpass *request, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_USERPASS_VERSION);
    wire_put_u8(&w, request->user_len);
    wire_put_bytes(&w, request->user, request->user_len);
    wire_put_u8(&w, request->password_len);
    wire_put_bytes(&w, request->password, request->password_len);
    return w.ok ? w.at : 0;
}

int socks5_userpass_status_decode(const uint8_t *buf, size_t len, uint8_t *ret_status)
{
    struct wire_reader r = wire_read(buf, len);
    uint8_t version, status;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_USERPASS_VERSION)
        return SOCKS_BAD;
    status = wire_u8(&r);
    if (!r.ok)
        return SOCKS_MORE;
    *ret_status = status;
    return (int)r.at;
}

size_t socks5_userpass_status_encode(uint8_t status, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_USERPASS_VERSION);
    wire_put_u8(&w, status);
    return w.ok ? w.at : 0;
}
