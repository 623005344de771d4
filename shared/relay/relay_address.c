#include "shared/relay/relay_address.h"

#include <errno.h>

#include "shared/net/sockaddr.h"

struct addr relay_address_reachable(const struct relay_keys *k, const struct addr *local,
                                    const struct n2_open *o)
{
    enum addr_family family = (enum addr_family)o->client.family;
    struct addr a = relay_config_pick(k->advertise.items, k->advertise.count, family);

    errno = 0;
    if (a.family == ADDR_NONE && local->family == family && !addr_is_any(local))
        a = *local;
    if (a.family == ADDR_NONE && o->client_local.family == family &&
        !addr_is_any(&o->client_local) && sockaddr_is_local(&o->client_local))
        a = o->client_local;
    if (a.family == ADDR_NONE && !sockaddr_towards(&o->client, &a))
        a.family = ADDR_NONE;
    return a;
}
