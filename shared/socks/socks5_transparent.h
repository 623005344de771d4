/* The TRANSPARENT request of SOCKS 5 (draft-lucioni-a-socks-transparent-proxy-method-00, section
 * 3.1): an ordinary request of command 4, and behind it which packets from whom shall be carried.
 *
 *   +-----+-----+-------+------+----------+----------+------+--------+--------+--------+
 *   | VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT | PTCL | S.ATYP | S.ADDR | S.PORT |
 *   +-----+-----+-------+------+----------+----------+------+--------+--------+--------+
 *   |  5  |  4  | X'00' |  1   | variable |    2     |  1   |   1    |variable|   2    |
 *   +-----+-----+-------+------+----------+----------+------+--------+--------+--------+
 *
 * PTCL is a protocol number of IANA (6 TCP, 17 UDP). Both addresses are those of RFC 1928 section
 * 5: types 1, 3 and 4. The reply is the ordinary one (socks5.h); BND is where packets go, and REP 9
 * means that nobody serves this PTCL. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/socks/socks5.h"

#define SOCKS5_TRANSPARENT_MAX         (SOCKS5_REQUEST_MAX + 5 + DEST_NAME_MAX)
#define SOCKS5_REP_PROTOCOL_NOT_SERVED 9

struct socks5_transparent {
    struct dest dest;
    uint8_t protocol; /* PTCL, any value: who serves it is not for a codec to judge */
    struct dest
        source; /* where the client's packets come from; zeros stand for what is not known */
};

/* The contract of socks.h. SOCKS_BAD_COMMAND: another command than 4, perhaps one of socks5.h;
 * SOCKS_BAD: another version, RSV not 0, a name that is empty or has a NUL in it; SOCKS_BAD_ATYP:
 * of either address. */
int socks5_transparent_decode(const uint8_t *buf, size_t len, struct socks5_transparent *ret);
/* Not sayable: a destination or source that is neither name nor address. */
size_t socks5_transparent_encode(const struct socks5_transparent *request, uint8_t *buf,
                                 size_t size);
