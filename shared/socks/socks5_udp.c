#include "shared/socks/socks5_udp.h"

#include <string.h>

#include "shared/base/wire.h"
#include "shared/socks/socks5_addr.h"

/* How many octets of address or name come, for a name behind its length octet; or the SOCKS_BAD_
 * that it is. When the length is missing, r is not ok. */
static int read_host_len(struct wire_reader *r, uint8_t atyp)
{
    uint8_t len;

    switch (atyp) {
    case SOCKS_ATYP_IPV4:
        return 4;
    case SOCKS_ATYP_IPV6:
        return 16;
    case SOCKS_ATYP_NAME:
        len = wire_u8(r);
        return r->ok && len == 0 ? SOCKS_BAD : len;
    default:
        return SOCKS_BAD_ATYP;
    }
}

static struct addr addr_of(uint8_t atyp, const uint8_t *ip, uint16_t port)
{
    struct addr a = atyp == SOCKS_ATYP_IPV4 ? addr_ipv4(ip, port) : addr_ipv6(ip, port);

    return addr_unmap(&a);
}

int socks5_udp_decode(const uint8_t *buf, size_t len, struct socks5_udp *ret)
{
    struct wire_reader r = wire_read(buf, len);
    uint16_t rsv, port;
    uint8_t frag, atyp;
    const uint8_t *host;
    int host_len;

    rsv = wire_u16(&r);
    if (rsv != 0)
        return SOCKS_BAD;
    frag = wire_u8(&r);
    atyp = wire_u8(&r);
    if (!r.ok)
        return SOCKS_TOO_SHORT;
    host_len = read_host_len(&r, atyp);
    if (host_len < 0)
        return host_len;
    host = wire_bytes(&r, (size_t)host_len);
    if (r.ok && atyp == SOCKS_ATYP_NAME && memchr(host, 0, (size_t)host_len) != NULL)
        return SOCKS_BAD;
    port = wire_u16(&r);
    if (!r.ok)
        return SOCKS_TOO_SHORT;
    /* Done for every datagram: *ret is not cleared as a whole, most of it is the name. */
    ret->frag = frag;
    if (atyp == SOCKS_ATYP_NAME) {
        ret->dest.addr = (struct addr){.port = port};
        memcpy(ret->dest.name, host, (size_t)host_len);
        ret->dest.name[host_len] = '\0';
    } else {
        ret->dest.addr = addr_of(atyp, host, port);
        ret->dest.name[0] = '\0';
    }
    return (int)r.at;
}

size_t socks5_udp_encode(const struct addr *sender, uint8_t *buf, size_t size)
{
    struct addr a = addr_unmap(sender);
    size_t ip_len = addr_ip_len(a.family);
    struct wire_writer w = wire_write(buf, size);

    if (ip_len == 0)
        return 0;
    wire_put_u16(&w, 0);
    wire_put_u8(&w, 0);
    wire_put_u8(&w, a.family == ADDR_IPV4 ? SOCKS_ATYP_IPV4 : SOCKS_ATYP_IPV6);
    wire_put_bytes(&w, a.ip, ip_len);
    wire_put_u16(&w, a.port);
    return w.ok ? w.at : 0;
}

size_t socks5_udp_encode_to(const struct dest *dest, uint8_t *buf, size_t size)
{
    struct wire_writer w = wire_write(buf, size);

    wire_put_u16(&w, 0);
    wire_put_u8(&w, 0);
    socks5_addr_put(&w, dest);
    return w.ok ? w.at : 0;
}
