#include "relayd-tcp/protect.h"

#include <unistd.h>

#include "shared/net/sockaddr.h"

/* An address of this host can be bound. Asked only when the port already matches a listener. */
static bool is_local(const struct addr *a)
{
    struct addr probe = *a;
    struct sockaddr_storage ss;

    probe.port = 0;
    socklen_t len = sockaddr_from(&probe, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

bool protect_forbids(const struct relay *r, const struct addr *to)
{
    for (size_t i = 0; i < r->config.relay.protect.count; i++) {
        if (prefix_contains(&r->config.relay.protect.items[i], to))
            return true;
    }
    for (size_t i = 0; i < r->own_count; i++) {
        const struct addr *own = &r->own[i];
        if (own->port == to->port &&
            (addr_ip_equal(own, to) || ((addr_is_any(own) || addr_is_any(to)) && is_local(to))))
            return true;
    }
    /* Connecting to the unspecified address reaches this host. */
    return n2_server_protects(r->n2, to, false) ||
           (n2_server_protects(r->n2, to, true) && is_local(to));
}
