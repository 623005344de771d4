/* What a client asked for, in one form for all dialects. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/socks/socks.h"

#define REQUEST_USERID_MAX 255

struct request {
    uint8_t version; /* 4 or 5 */
    enum socks_command command;
    /* A name that is an IP literal ("192.0.2.1", "::1", "[::1]") has become an address here; one
     * trailing dot is gone from names. IPv4-mapped IPv6 addresses have become IPv4. */
    struct dest dest;
    /* TRANSPARENT only: the protocol (IANA's number) and where the client's packets come from, in the
     * form of dest; zeros are what is not known. */
    uint8_t ptcl;
    struct dest source;
    /* SOCKS 4 only: what the client calls its user. Not authenticated; logged, never matched. */
    char userid[REQUEST_USERID_MAX + 1];
    uint8_t userid_len; /* userid may hold any octet but NUL */
};

/* Brings dest and source into the form above. False, and the request is to be refused, when no name is
 * left ("."), for a CONNECT to port 0, or for a TRANSPARENT to port 0 or the unspecified address. */
bool request_normalise(struct request *r);
