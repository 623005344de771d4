#include "shared/socks/socks4.h"

#include <string.h>

#include "shared/base/wire.h"

#define REPLY_VERSION 0

/* 0.0.0.x with x not 0: no address, but the mark of 4a. */
static bool announces_name(const uint8_t ip[4])
{
    return ip[0] == 0 && ip[1] == 0 && ip[2] == 0 && ip[3] != 0;
}

/* Takes a field and its NUL. Returns 0, also when its end is not there yet (then r is not ok), or
 * SOCKS_TOO_LONG. */
static int read_field(struct wire_reader *r, const uint8_t **ret, uint8_t *ret_len)
{
    size_t left = wire_left(r);
    const uint8_t *field = wire_bytes(r, left); /* all there is; what is not ours is given back */
    const uint8_t *end;

    if (field == NULL)
        return 0;
    end = memchr(field, 0, left <= SOCKS4_FIELD_MAX ? left : SOCKS4_FIELD_MAX + 1);
    if (end == NULL && left > SOCKS4_FIELD_MAX)
        return SOCKS_TOO_LONG;
    if (end == NULL) {
        r->ok = false;
        return 0;
    }
    *ret = field;
    *ret_len = (uint8_t)(end - field);
    r->at -= left - (*ret_len + 1u);
    return 0;
}

static int read_domain(struct wire_reader *r, char name[DEST_NAME_MAX + 1])
{
    const uint8_t *domain;
    uint8_t domain_len;
    int bad = read_field(r, &domain, &domain_len);

    if (bad != 0 || !r->ok)
        return bad;
    if (domain_len == 0)
        return SOCKS_BAD;
    memcpy(name, domain, domain_len);
    return 0;
}

int socks4_request_decode(const uint8_t *buf, size_t len, struct socks4_request *ret)
{
    struct wire_reader r = wire_read(buf, len);
    struct socks4_request got = {0};
    uint8_t version, command;
    const uint8_t *ip;
    uint16_t port;
    int bad;

    version = wire_u8(&r);
    if (r.ok && version != SOCKS4_VERSION)
        return SOCKS_BAD;
    command = wire_u8(&r);
    if (r.ok && command != SOCKS_CONNECT && command != SOCKS_BIND)
        return SOCKS_BAD_COMMAND;
    port = wire_u16(&r);
    ip = wire_bytes(&r, 4);
    bad = read_field(&r, &got.userid, &got.userid_len);
    if (bad != 0 || !r.ok)
        return bad;
    got.command = command;
    if (announces_name(ip)) {
        got.dest.addr.port = port;
        bad = read_domain(&r, got.dest.name);
        if (bad != 0 || !r.ok)
            return bad;
    } else {
        got.dest.addr = addr_ipv4(ip, port);
    }
    *ret = got;
    return (int)r.at;
}

size_t socks4_request_encode(const struct socks4_request *request, uint8_t *buf, size_t size)
{
    static const uint8_t name_follows[4] = {0, 0, 0, 1};
    const struct dest *dest = &request->dest;
    size_t name_len = strnlen(dest->name, sizeof(dest->name));
    struct wire_writer w = wire_write(buf, size);

    if (name_len > SOCKS4_FIELD_MAX)
        return 0;
    if (name_len == 0 && (dest->addr.family != ADDR_IPV4 || announces_name(dest->addr.ip)))
        return 0;
    if (request->userid_len > 0 && memchr(request->userid, 0, request->userid_len) != NULL)
        return 0;
    wire_put_u8(&w, SOCKS4_VERSION);
    wire_put_u8(&w, (uint8_t)request->command);
    wire_put_u16(&w, dest->addr.port);
    wire_put_bytes(&w, name_len > 0 ? name_follows : dest->addr.ip, 4);
    wire_put_bytes(&w, request->userid, request->userid_len);
    wire_put_u8(&w, 0);
    if (name_len > 0)
        wire_put_bytes(&w, dest->name, name_len + 1);
    return w.ok ? w.at : 0;
}

int socks4_reply_decode(const uint8_t *buf, size_t len, struct socks4_reply *ret)
{
    struct wire_reader r = wire_read(buf, len);
    uint8_t version, code;
    const uint8_t *ip;
    uint16_t port;

    version = wire_u8(&r);
    if (r.ok && version != REPLY_VERSION)
        return SOCKS_BAD;
    code = wire_u8(&r);
    port = wire_u16(&r);
    ip = wire_bytes(&r, 4);
    if (!r.ok)
        return SOCKS_MORE;
    *ret = (struct socks4_reply){.code = code, .bound = addr_ipv4(ip, port)};
    return (int)r.at;
}

size_t socks4_reply_encode(const struct socks4_reply *reply, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    if (reply->bound.family != ADDR_IPV4)
        return 0;
    wire_put_u8(&w, REPLY_VERSION);
    wire_put_u8(&w, reply->code);
    wire_put_u16(&w, reply->bound.port);
    wire_put_bytes(&w, reply->bound.ip, 4);
    return w.ok ? w.at : 0;
}
