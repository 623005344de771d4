/* Special-purpose addresses: where a rule that does not name them must not lead.
 *
 * The ranges of IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890, RFC 8190) that are
 * not globally reachable, multicast, and what lies outside IPv6's global unicast space (2000::/3).
 * A more specific exception that is globally reachable (192.0.0.9, 2001:20::/28 ...) is not made:
 * nothing that a proxy serves lives there.
 *
 * An IPv6 address that carries an IPv4 address is judged by the one it carries:
 *
 *   ::ffff:a.b.c.d       mapped (RFC 4291)      packets go to a.b.c.d
 *   64:ff9b::a.b.c.d     NAT64 (RFC 6052)       a translator sends them to a.b.c.d
 *   2002:a.b.c.d::       6to4 (RFC 3056)        a.b.c.d unpacks them
 *   2001:0:server:..:~client  Teredo (RFC 4380) a.b.c.d unpacks them; special in any case
 *
 * 64:ff9b:1::/48 (RFC 8215) may be cut anywhere by its network's operator and is special as a
 * whole. A translator with a prefix of its own network cannot be known here: deny it by a rule.
 *
 * Pure: no allocation, no state. */
#pragma once

#include <stddef.h>

#include "shared/base/addr.h"

struct special {
    struct prefix prefix;
    const char *name; /* constant, [a-z0-9_]+, for logs and metrics: "loopback" */
};

/* The range that makes a special, the most specific one, as a constant; NULL if a is globally
 * reachable. The port does not matter. For a carried IPv4 address it is that one's range. An
 * address of no family is special ("none"). */
const struct special *special_find(const struct addr *a);
/* The same for a whole network: non-NULL only if every address of it is special. */
const struct special *special_find_prefix(const struct prefix *p);

/* The IPv4 addresses that packets to a come by: none for most addresses, one for mapped, NAT64 and
 * 6to4, two for Teredo (client, server). Writes them with port 0, returns how many. */
#define SPECIAL_CARRIED_MAX 2
size_t special_carried(const struct addr *a, struct addr ret[SPECIAL_CARRIED_MAX]);
