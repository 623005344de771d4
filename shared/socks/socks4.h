/* SOCKS 4 ("SOCKS: A protocol for TCP proxy across firewalls", Y.-D. Lee) and its extension 4a
 * ("SOCKS 4A: A Simple Extension to SOCKS 4 Protocol"). Neither is an RFC.
 *
 * Terminated fields are bounded by us: at most 255 octets stand before their NUL. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/socks/socks.h"

#define SOCKS4_VERSION     4
#define SOCKS4_FIELD_MAX   255
#define SOCKS4_REQUEST_MAX (8 + 2 * (SOCKS4_FIELD_MAX + 1))
#define SOCKS4_REPLY_LEN   8

/* Request
 *
 *   +----+----+---------+-------+--------+-----+        +----------+-----+
 *   | VN | CD | DSTPORT | DSTIP | USERID | NUL |  (4a)  |  DOMAIN  | NUL |
 *   +----+----+---------+-------+--------+-----+        +----------+-----+
 *   | 4  | 1  |    2    |   4   | 0..255 |  1  |        |  1..255  |  1  |
 *   +----+----+---------+-------+--------+-----+        +----------+-----+
 *
 * CD: 1 CONNECT, 2 BIND. DOMAIN follows exactly when DSTIP is 0.0.0.x with x not 0; the name then
 * stands in dest.name, DSTIP is dropped (0.0.0.1 is sent), and dest.addr has a port but no family.
 *
 * Not sayable: an IPv6 destination; an address 0.0.0.x; a NUL inside USERID. */
struct socks4_request {
    enum socks_command command;
    struct dest dest;
    const uint8_t *userid; /* decoded: points into buf */
    uint8_t userid_len;
};

int socks4_request_decode(const uint8_t *buf, size_t len, struct socks4_request *ret);
size_t socks4_request_encode(const struct socks4_request *request, uint8_t *buf, size_t size);

/* Reply; BIND has two of them
 *
 *   +----+----+---------+-------+
 *   | VN | CD | DSTPORT | DSTIP |
 *   +----+----+---------+-------+
 *   | 0  | 1  |    2    |   4   |
 *   +----+----+---------+-------+
 *
 * CD: 90 granted, 91 rejected or failed, 92 no identd at the client, 93 identd disagrees. bound is
 * IPv4; 0.0.0.0 stands for "the address you reached me on". Not sayable: another family. */
struct socks4_reply {
    uint8_t code;
    struct addr bound;
};

int socks4_reply_decode(const uint8_t *buf, size_t len, struct socks4_reply *ret);
size_t socks4_reply_encode(const struct socks4_reply *reply, uint8_t *buf, size_t size);
