/* An endpoint: an IPv4 or IPv6 address and a port, in the one form the whole system passes around.
 *
 * Pure: no sockets (shared/net/sockaddr.h converts), no allocation. Addresses are in network byte
 * order as octets, ports in host byte order. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum addr_family { ADDR_NONE = 0, ADDR_IPV4 = 4, ADDR_IPV6 = 6 };

struct addr {
    uint8_t family;  /* enum addr_family */
    uint8_t ip[16];  /* network order; IPv4 uses the first four octets, the rest are zero */
    uint16_t port;   /* host order; 0 = none */
};

#define ADDR_TEXT_MAX 64 /* "[v6]:port" with its NUL, rounded up */

/* Where a client wants to go: a name (name[0] != 0) or an address; the port stands in addr.port
 * either way. The name is NUL-terminated, 1 to 255 octets without NUL, as it came. */
#define DEST_NAME_MAX 255
struct dest {
    struct addr addr;
    char name[DEST_NAME_MAX + 1];
};

/* A network: the first `bits` bits of ip; the others are zero. */
struct prefix {
    uint8_t family;
    uint8_t bits;
    uint8_t ip[16];
};

/* Ports from first to last, both included. */
struct port_span {
    uint16_t first, last;
};

struct addr addr_ipv4(const uint8_t ip[4], uint16_t port);
struct addr addr_ipv6(const uint8_t ip[16], uint16_t port);
/* The unspecified address of a family, with a port. */
struct addr addr_any(enum addr_family family, uint16_t port);

/* Octets of the address of this family: 4, 16 or 0. */
size_t addr_ip_len(enum addr_family family);

bool addr_equal(const struct addr *a, const struct addr *b);    /* family, address and port */
bool addr_ip_equal(const struct addr *a, const struct addr *b); /* family and address */
bool addr_is_any(const struct addr *a);                         /* 0.0.0.0 or ::, or no family */
bool addr_is_loopback(const struct addr *a);                    /* 127/8 or ::1 */
/* ::ffff:a.b.c.d becomes a.b.c.d; anything else is returned as it is. */
struct addr addr_unmap(const struct addr *a);

/* Reorders a list so that families alternate, beginning with that of the first, each in its own order
 * (RFC 8305, section 4): one family that is broken then costs one attempt, not all of its own. At
 * most 64 addresses are looked at. */
void addr_interleave(struct addr *list, size_t count);

/* Text. parse_ip takes a bare address ("192.0.2.1", "2001:db8::1", "[2001:db8::1]") and leaves
 * port 0; strict: no shorthand or octal IPv4. parse takes "a:port", "[v6]:port". All of them return
 * false and leave *ret alone on anything else. */
bool addr_parse_ip(const char *text, struct addr *ret);
bool addr_parse(const char *text, struct addr *ret);
/* Writes at most ADDR_TEXT_MAX octets with the NUL, returns buf. No family: "-". */
const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX]);    /* with the port */
const char *addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_MAX]); /* without */

/* "192.0.2.0/24", "2001:db8::/32", or a bare address (all its bits). False if host bits are set. */
bool prefix_parse(const char *text, struct prefix *ret);
bool prefix_contains(const struct prefix *p, const struct addr *a);
/* True for a network of IPv4-mapped addresses (::ffff:0:0/96 or within). */
bool prefix_is_mapped(const struct prefix *p);
/* True when every address of inner is in outer. */
bool prefix_within(const struct prefix *inner, const struct prefix *outer);
