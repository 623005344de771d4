#include "shared/socks/socks5.h"

#include <string.h>

#include "shared/base/wire.h"

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

/* Requests and replies end alike: ATYP, address, port. The readers return 0, also when octets are
 * missing (then r is not ok), or the SOCKS_BAD_ that it is. */

static int read_name(struct wire_reader *r, struct dest *ret)
{
    uint8_t len = wire_u8(r);
    const uint8_t *name;

    if (r->ok && len == 0)
        return SOCKS_BAD;
    name = wire_bytes(r, len);
    if (!r->ok)
        return 0;
    if (memchr(name, 0, len) != NULL)
        return SOCKS_BAD;
    memcpy(ret->name, name, len);
    ret->name[len] = '\0';
    ret->addr.port = wire_u16(r);
    return 0;
}

static void read_ip(struct wire_reader *r, enum addr_family family, struct dest *ret)
{
    const uint8_t *ip = wire_bytes(r, addr_ip_len(family));
    uint16_t port = wire_u16(r);

    if (r->ok)
        ret->addr = family == ADDR_IPV4 ? addr_ipv4(ip, port) : addr_ipv6(ip, port);
}

static int read_dest(struct wire_reader *r, struct dest *ret)
{
    uint8_t atyp = wire_u8(r);

    if (!r->ok)
        return 0;
    switch (atyp) {
    case SOCKS_ATYP_IPV4:
        read_ip(r, ADDR_IPV4, ret);
        return 0;
    case SOCKS_ATYP_NAME:
        return read_name(r, ret);
    case SOCKS_ATYP_IPV6:
        read_ip(r, ADDR_IPV6, ret);
        return 0;
    default:
        return SOCKS_BAD_ATYP;
    }
}

static void put_dest(struct wire_writer *w, const struct dest *dest)
{
    size_t name_len = strnlen(dest->name, sizeof(dest->name));
    size_t ip_len = addr_ip_len(dest->addr.family);

    if (name_len > DEST_NAME_MAX || (name_len == 0 && ip_len == 0)) {
        w->ok = false;
        return;
    }
    if (name_len > 0) {
        wire_put_u8(w, SOCKS_ATYP_NAME);
        wire_put_u8(w, (uint8_t)name_len);
        wire_put_bytes(w, dest->name, name_len);
    } else {
        wire_put_u8(w, dest->addr.family == ADDR_IPV4 ? SOCKS_ATYP_IPV4 : SOCKS_ATYP_IPV6);
        wire_put_bytes(w, dest->addr.ip, ip_len);
    }
    wire_put_u16(w, dest->addr.port);
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
    bad = read_dest(&r, &got.dest);
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
    put_dest(&w, &request->dest);
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
    bad = read_dest(&r, &got.bound);
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
    put_dest(&w, &reply->bound);
    return w.ok ? w.at : 0;
}
