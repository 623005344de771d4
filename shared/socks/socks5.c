#include "shared/socks/socks5.h"

#include "shared/base/wire.h"
#include "shared/socks/socks5_addr.h"

int socks5_greeting_decode(const uint8_t *buf, size_t len, struct socks5_greeting *ret)
{
    struct wire_reader r = wire_read(buf, len);
    uint8_t version, count;
    const uint8_t *methods;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_VERSION)
        return SOCKS_BAD;
    count = wire_u8(&r);
    methods = wire_bytes(&r, count);
    if (!r.ok)
        return SOCKS_MORE;
    *ret = (struct socks5_greeting){.methods = methods, .method_count = count};
    return (int)r.at;
}

size_t socks5_greeting_encode(const struct socks5_greeting *greeting, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, greeting->method_count);
    wire_put_bytes(&w, greeting->methods, greeting->method_count);
    return w.ok ? w.at : 0;
}

int socks5_selection_decode(const uint8_t *buf, size_t len, uint8_t *ret_method)
{
    struct wire_reader r = wire_read(buf, len);
    uint8_t version, method;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_VERSION)
        return SOCKS_BAD;
    method = wire_u8(&r);
    if (!r.ok)
        return SOCKS_MORE;
    *ret_method = method;
    return (int)r.at;
}

size_t socks5_selection_encode(uint8_t method, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, method);
    return w.ok ? w.at : 0;
}

int socks5_request_decode(const uint8_t *buf, size_t len, struct socks5_request *ret)
{
    struct wire_reader r = wire_read(buf, len);
    struct socks5_request got = {0};
    uint8_t version, command;
    int bad;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_VERSION)
        return SOCKS_BAD;
    command = wire_u8(&r);
    if (r.ok && (command < SOCKS_CONNECT || command > SOCKS_UDP_ASSOCIATE))
        return SOCKS_BAD_COMMAND;
    got.command = command;
    got.rsv = wire_u8(&r);
    bad = socks5_addr_read(&r, &got.dest);
    if (bad != 0 || !r.ok)
        return bad;
    *ret = got;
    return (int)r.at;
}

size_t socks5_request_encode(const struct socks5_request *request, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, (uint8_t)request->command);
    wire_put_u8(&w, request->rsv);
    socks5_addr_put(&w, &request->dest);
    return w.ok ? w.at : 0;
}

int socks5_reply_decode(const uint8_t *buf, size_t len, struct socks5_reply *ret)
{
    struct wire_reader r = wire_read(buf, len);
    struct socks5_reply got = {0};
    uint8_t version;
    int bad;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS5_VERSION)
        return SOCKS_BAD;
    got.code = wire_u8(&r);
    got.rsv = wire_u8(&r);
    bad = socks5_addr_read(&r, &got.bound);
    if (bad != 0 || !r.ok)
        return bad;
    *ret = got;
    return (int)r.at;
}

size_t socks5_reply_encode(const struct socks5_reply *reply, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u8(&w, SOCKS5_VERSION);
    wire_put_u8(&w, reply->code);
    wire_put_u8(&w, reply->rsv);
    socks5_addr_put(&w, &reply->bound);
    return w.ok ? w.at : 0;
}
