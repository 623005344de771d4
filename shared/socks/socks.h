/* The words that all SOCKS dialects share. Pure: no I/O, no allocation, no log in this folder.
 *
 * Every message has a pair of codecs:
 *
 *   int    x_decode(buf, len, ret)      takes one message from the front of buf; see below
 *   size_t x_encode(message, buf, size) octets written; 0 when they do not fit in size, or when the
 *                                       message cannot be said in this form (then buf is undefined)
 *
 * Integers are in network byte order on the wire, ports in host byte order in structs. */
#pragma once

enum socks_command {
    SOCKS_CONNECT = 1,
    SOCKS_BIND = 2,
    SOCKS_UDP_ASSOCIATE = 3, /* SOCKS 5 and later */
    SOCKS_TRANSPARENT = 4,   /* SOCKS 5: draft-lucioni-a-socks-transparent-proxy-method */
};
/* "connect", "bind", "udp-associate", "transparent"; "unknown" for anything else. */
const char *socks_command_name(enum socks_command command);

enum socks_atyp { SOCKS_ATYP_IPV4 = 1, SOCKS_ATYP_NAME = 3, SOCKS_ATYP_IPV6 = 4 };

enum socks_method {
    SOCKS_METHOD_NONE = 0x00,
    SOCKS_METHOD_GSSAPI = 0x01,
    SOCKS_METHOD_USERPASS = 0x02,
    SOCKS_METHOD_NO_ACCEPTABLE = 0xff,
};

/* What every decoder returns: how many octets the message took, or one of these. ret is written
 * only when octets were taken.
 *
 * A decoder judges octets in their order, each field as soon as it is whole: what was refused stays
 * refused in the same way, whatever follows, so that the splits of the input change nothing. */
enum {
    SOCKS_MORE = 0,         /* right so far, but not whole */
    SOCKS_BAD = -1,         /* not such a message; the others are particular cases of it */
    SOCKS_BAD_COMMAND = -2, /* a command that we do not know; its layout may be anything */
    SOCKS_BAD_ATYP = -3,    /* an address type that we do not know, so of unknown length */
    SOCKS_TOO_LONG = -4,    /* a field that should have ended by now */
};
