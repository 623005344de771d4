/* What the client of an out-of-band association is told to send to. */
#pragma once

#include "shared/n2/n2.h"
#include "shared/relay/relay_config.h"

/* In the family of o->client: what k advertises; else `local`, the address that our sockets towards
 * clients are bound to; else the one through which the client reached the server, if it is ours;
 * else the one of ours that leads to the client. `local` may be unspecified or without a family:
 * it is then not looked at. The port is undefined.
 *
 * Without a family: there is none, for want of a descriptor if errno is EMFILE or ENFILE. Never the
 * unspecified one. */
struct addr relay_address_reachable(const struct relay_keys *k, const struct addr *local,
                                    const struct n2_open *o);
