/* ATYP, address and port, as they end requests, replies and datagram headers of SOCKS 5 (RFC 1928
 * section 5). Private to shared/socks.
 *
 *   +------+----------+----------+      ATYP  ADDR
 *   | ATYP |   ADDR   |   PORT   |       1    IPv4, 4 octets
 *   +------+----------+----------+       3    length n (1), name (n = 1..255, no NUL)
 *   |  1   | variable |    2     |       4    IPv6, 16 octets
 *   +------+----------+----------+ */
#pragma once

#include "shared/base/addr.h"
#include "shared/base/wire.h"

#define SOCKS5_ADDR_MAX (4 + DEST_NAME_MAX)

/* Reads one. Returns 0, also when octets are missing (then r is not ok), or the SOCKS_BAD_ that it
 * is. *ret must be zero, and holds rubbish unless 0 was returned and r is ok. */
int socks5_addr_read(struct wire_reader *r, struct dest *ret);
/* Writes one; w is not ok afterwards when dest is neither name nor address. */
void socks5_addr_put(struct wire_writer *w, const struct dest *dest);
