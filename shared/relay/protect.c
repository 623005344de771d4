#include "shared/relay/protect.h"

#include "shared/net/sockaddr.h"

bool protect_forbids(const struct relay *r, const struct addr *to)
{
    for (size_t i = 0; i < r->config->relay.protect.count; i++) {
        if (prefix_contains(&r->config->relay.protect.items[i], to))
            return true;
    }
    for (size_t i = 0; i < r->own_count; i++) {
        const struct addr *own = &r->own[i];
        if (own->port == to->port &&
            (addr_ip_equal(own, to) ||
             ((addr_is_any(own) || addr_is_any(to)) && sockaddr_is_local(to))))
            return true;
    }
    /* Connecting to the unspecified address reaches this host. */
    return n2_server_protects(r->n2, to, false) ||
           (n2_server_protects(r->n2, to, true) && sockaddr_is_local(to));
}
