/* The PROXY protocol ("The PROXY protocol, Versions 1 & 2", W. Tarreau; section numbers are its):
 * what a balancer says of the client's connection before the client's first octet.
 *
 * Pure: no I/O, no allocation, no log. The header is ours to read only; nobody says it here.
 *
 * Version 1 (section 2.1), one line of at most 107 octets:
 *
 *   PROXY TCP4 <client> <destination> <client port> <destination port> CR LF
 *   PROXY TCP6 <client> <destination> <client port> <destination port> CR LF
 *   PROXY UNKNOWN CR LF
 *   PROXY UNKNOWN <anything without CR and LF> CR LF
 *
 * Exactly one space between fields. Addresses are strict text of the family that was named; ports
 * are decimal, 0 to 65535, without leading zeros. UNKNOWN says nothing of the client.
 *
 * Version 2 (section 2.2):
 *
 *   +-----------+---------+-----+-----+--------------------------+------+
 *   | SIGNATURE | VER CMD | FAM | LEN |        ADDRESSES         | TLVS |
 *   +-----------+---------+-----+-----+--------------------------+------+
 *   |    12     |    1    |  1  |  2  | 0, 12, 36 or 216, by FAM | rest |
 *   +-----------+---------+-----+-----+--------------------------+------+
 *                                     '--------- LEN octets ------------'
 *
 *   SIGNATURE  0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
 *   VER CMD    20 LOCAL: from the balancer itself; FAM and all LEN octets are passed over
 *              21 PROXY: on behalf of a client
 *   FAM        11 TCP4   client ip 4, destination ip 4, client port 2, destination port 2
 *              21 TCP6   the same with 16 octets per ip
 *              31 Unix   client path 108, destination path 108; says nothing of an IP client
 *              00 none   says nothing of the client; all LEN octets are passed over
 *   LEN        at most 1024
 *   TLVS       type 1, length 2, value; behind addresses each must end inside LEN. Type 03 is the
 *              CRC32C (RFC 4960, appendix B) of the whole header, its own four octets as zeros, and
 *              must be right and the only one (section 2.2.3). All others are passed over.
 *
 * Refused though the document would let us take it: datagrams (FAM x2), half of a family (x0, 01),
 * a client at 0.0.0.0 or ::, a lone CR or LF behind UNKNOWN. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

#define PROXY_V1_MAX     107
#define PROXY_V2_LEN_MAX 1024
#define PROXY_HEADER_MAX (16 + PROXY_V2_LEN_MAX)

struct proxy_header {
    uint8_t version;                 /* 1 or 2 */
    bool local;                      /* the connection's own addresses hold; those here are empty */
    struct addr client, destination; /* who connected to the balancer, and where; never mapped */
};

/* What the decoder returns besides the octets that the header took. */
enum {
    PROXY_MORE = 0,     /* right so far, but not whole */
    PROXY_MISSING = -1, /* these octets are no header: neither "PROXY" nor the signature */
    PROXY_BAD = -2,     /* a header began, and is wrong */
};

/* Takes one header from the front of buf; what follows it is not looked at. *ret is written only
 * when octets were taken.
 *
 * Octets are judged in their order: version 1 each by itself and each field when it is whole,
 * version 2 each field of the head and then the rest at once. What was refused stays refused in the
 * same way, whatever follows, so that the splits of the input change nothing. */
int proxy_header_decode(const uint8_t *buf, size_t len, struct proxy_header *ret);
