/* SOCKS 5: RFC 1928. The user name and password messages (RFC 1929) are in socks5_userpass.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/socks/socks.h"

#define SOCKS5_VERSION       5
#define SOCKS5_GREETING_MAX  (2 + 255)
#define SOCKS5_SELECTION_LEN 2
#define SOCKS5_REQUEST_MAX   (7 + DEST_NAME_MAX)
#define SOCKS5_REPLY_MAX     SOCKS5_REQUEST_MAX
#define SOCKS5_REPLY_IP_MAX  (6 + 16) /* a reply whose bound address is no name */

/* Greeting, client to server (section 3)
 *
 *   +-----+----------+----------+
 *   | VER | NMETHODS | METHODS  |
 *   +-----+----------+----------+
 *   |  5  |    1     |  0..255  |
 *   +-----+----------+----------+
 *
 * No methods at all is outside the RFC, yet decoded: the answer is "none acceptable". */
struct socks5_greeting {
    const uint8_t *methods; /* enum socks_method; decoded: points into buf */
    uint8_t method_count;
};

int socks5_greeting_decode(const uint8_t *buf, size_t len, struct socks5_greeting *ret);
size_t socks5_greeting_encode(const struct socks5_greeting *greeting, uint8_t *buf, size_t size);

/* Method selection, server to client (section 3)
 *
 *   +-----+--------+
 *   | VER | METHOD |
 *   +-----+--------+
 *   |  5  |   1    |   X'FF': none acceptable, the client must close
 *   +-----+--------+
 */
int socks5_selection_decode(const uint8_t *buf, size_t len, uint8_t *ret_method);
size_t socks5_selection_encode(uint8_t method, uint8_t *buf, size_t size);

/* Request, client to server (sections 4 and 5)
 *
 *   +-----+-----+-------+------+----------+----------+      ATYP  ADDR
 *   | VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |       1    IPv4, 4 octets
 *   +-----+-----+-------+------+----------+----------+       3    length n (1), name (n = 1..255)
 *   |  5  |  1  | X'00' |  1   | variable |    2     |       4    IPv6, 16 octets
 *   +-----+-----+-------+------+----------+----------+
 *
 * Names are carried as they are, but for a length of 0 and a NUL inside, which are refused; they
 * stand in dest.name, and dest.addr has a port but no family. Not sayable: neither of the two. */
struct socks5_request {
    enum socks_command command;
    uint8_t rsv; /* as it came: ignored, not refused; send 0 */
    struct dest dest;
};

int socks5_request_decode(const uint8_t *buf, size_t len, struct socks5_request *ret);
size_t socks5_request_encode(const struct socks5_request *request, uint8_t *buf, size_t size);

/* Reply, server to client; BIND has two of them (section 6)
 *
 *   +-----+-----+-------+------+----------+----------+
 *   | VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |   addresses as in the request
 *   +-----+-----+-------+------+----------+----------+
 *   |  5  |  1  | X'00' |  1   | variable |    2     |
 *   +-----+-----+-------+------+----------+----------+
 *
 * Decodes a name in BND.ADDR too; we never send one, since clients do not expect it. */
struct socks5_reply {
    uint8_t code; /* REP, see reply.h */
    uint8_t rsv;  /* as it came; send 0: some clients refuse anything else */
    struct dest bound;
};

int socks5_reply_decode(const uint8_t *buf, size_t len, struct socks5_reply *ret);
size_t socks5_reply_encode(const struct socks5_reply *reply, uint8_t *buf, size_t size);
