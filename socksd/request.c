#include "socksd/request.h"

#include <string.h>

static bool normalise_name(struct dest *dest)
{
    size_t len = strlen(dest->name);
    uint16_t port = dest->addr.port;

    if (dest->name[len - 1] == '.')
        dest->name[--len] = '\0';
    if (len == 0)
        return false;
    if (addr_parse_ip(dest->name, &dest->addr)) {
        memset(dest->name, 0, sizeof(dest->name));
        dest->addr.port = port;
    }
    return true;
}

static bool normalise(struct dest *dest)
{
    if (dest->name[0] != '\0' && !normalise_name(dest))
        return false;
    dest->addr = addr_unmap(&dest->addr);
    return true;
}

/* A target without a port, or that is no address, cannot be sent to. */
static bool is_exact(const struct dest *dest)
{
    return dest->addr.port != 0 && (dest->name[0] != '\0' || !addr_is_any(&dest->addr));
}

bool request_normalise(struct request *r)
{
    if (!normalise(&r->dest))
        return false;
    if (r->command == SOCKS_TRANSPARENT)
        return normalise(&r->source) && is_exact(&r->dest);
    return r->command != SOCKS_CONNECT || r->dest.addr.port != 0;
}
