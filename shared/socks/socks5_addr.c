#include "shared/socks/socks5_addr.h"

#include <string.h>

#include "shared/socks/socks.h"

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

int socks5_addr_read(struct wire_reader *r, struct dest *ret)
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

void socks5_addr_put(struct wire_writer *w, const struct dest *dest)
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
