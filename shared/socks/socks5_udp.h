/* The header in front of every datagram of a SOCKS 5 UDP association, both ways (RFC 1928 section 7):
 *
 *   +-----+------+------+----------+----------+----------+
 *   | RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
 *   +-----+------+------+----------+----------+----------+
 *   |  2  |  1   |  1   | variable |    2     | variable |
 *   +-----+------+------+----------+----------+----------+
 *
 * RSV is 0. FRAG is 0 for a datagram that stands alone. ATYP 1: 4 octets; 3: a length octet (not 0)
 * and so many octets without NUL; 4: 16 octets. From client to relay DST is where to send, from relay
 * to client it is the true sender. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/socks/socks.h"

#define SOCKS5_UDP_HEADER_MAX 262
#define SOCKS5_UDP_ADDR_MAX   22 /* what socks5_udp_encode writes at most for an address */

struct socks5_udp {
    uint8_t frag;
    struct dest dest; /* IPv4-mapped IPv6 is given as IPv4 */
};

/* The header's octets, or SOCKS_BAD (RSV not 0, an empty name, a NUL in it), SOCKS_BAD_ATYP, or
 * SOCKS_TOO_SHORT: the datagram ends within its header. *ret only when octets were taken. */
#define SOCKS_TOO_SHORT (-5)
int socks5_udp_decode(const uint8_t *buf, size_t len, struct socks5_udp *ret);
/* A header with FRAG 0 for an address (never a name): 10 or 22 octets, or 0 if they do not fit. An
 * IPv4-mapped address is written as IPv4. */
size_t socks5_udp_encode(const struct addr *sender, uint8_t *buf, size_t size);
/* The client's side: a header with FRAG 0 to a name or an address, which is written as it is. 0: it
 * does not fit, or dest is neither. */
size_t socks5_udp_encode_to(const struct dest *dest, uint8_t *buf, size_t size);
