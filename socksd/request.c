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

bool request_normalise(struct request *r)
{
    if (r->dest.name[0] != '\0' && !normalise_name(&r->dest))
        return false;
    r->dest.addr = addr_unmap(&r->dest.addr);
    return r->command != SOCKS_CONNECT || r->dest.addr.port != 0;
}
