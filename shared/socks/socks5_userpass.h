/* User name and password for SOCKS 5: RFC 1929. It follows the selection of method X'02'. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/socks/socks.h"

#define SOCKS5_USERPASS_VERSION    1 /* of this sub-negotiation, not of SOCKS */
#define SOCKS5_USERPASS_MAX        (3 + 2 * 255)
#define SOCKS5_USERPASS_STATUS_LEN 2

/* Request, client to server (section 2)
 *
 *   +-----+------+--------+------+--------+
 *   | VER | ULEN | UNAME  | PLEN | PASSWD |
 *   +-----+------+--------+------+--------+
 *   |  1  |  1   | 0..255 |  1   | 0..255 |   any octets
 *   +-----+------+--------+------+--------+
 *
 * The RFC says 1 to 255; clients do send 0, and it is not for a codec to judge credentials. */
struct socks5_userpass {
    const uint8_t *user, *password; /* decoded: point into buf, so that no copy needs wiping */
    uint8_t user_len, password_len;
};

int socks5_userpass_decode(const uint8_t *buf, size_t len, struct socks5_userpass *ret);
size_t socks5_userpass_encode(const struct socks5_userpass *request, uint8_t *buf, size_t size);

/* Status, server to client (section 2)
 *
 *   +-----+--------+
 *   | VER | STATUS |
 *   +-----+--------+
 *   |  1  |   1    |   0: success; anything else: failure, and the server must close
 *   +-----+--------+
 */
int socks5_userpass_status_decode(const uint8_t *buf, size_t len, uint8_t *ret_status);
size_t socks5_userpass_status_encode(uint8_t status, uint8_t *buf, size_t size);
