#include "shared/nat/nat_impl.h"

#include <string.h>

bool nat_offers(const struct nat *n, uint8_t ptcl)
{
    return memchr(n->config.ptcls, ptcl, n->config.ptcl_count) != NULL;
}

static bool is_multicast(const struct addr *a)
{
    return a->family == ADDR_IPV4 ? a->ip[0] >= 224 : a->ip[0] == 0xff;
}

static bool is_link_local(const struct addr *a)
{
    return a->family == ADDR_IPV6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

static const char *suits_address(const struct nat *n, const struct addr *a)
{
    if (a->port == 0)
        return "a port is not known";
    if (addr_is_any(a) || is_multicast(a))
        return "an address is not one host's";
    if (is_link_local(a))
        return "a link-local address needs an interface";
    if (addr_is_loopback(a) && (a->family == ADDR_IPV6 || !n->config.loopback))
        return "a loopback address cannot be forwarded (route_localnet is off, or it is ::1)";
    return NULL;
}

const char *nat_suits(const struct nat *n, const struct nat_entry *e)
{
    const char *why;

    if (!nat_offers(n, e->ptcl))
        return "the kernel does not translate this protocol";
    if (e->source.family != e->bound.family || e->target.family != e->bound.family)
        return "the kernel does not translate one family into the other";
    if (e->from.family != ADDR_NONE && e->from.family != e->target.family)
        return "the address to send from is of another family";
    if (e->tag == 0 || e->tag > nat_tags(n))
        return "there is no such tag";
    why = suits_address(n, &e->source);
    if (why == NULL)
        why = suits_address(n, &e->bound);
    if (why == NULL)
        why = suits_address(n, &e->target);
    return why;
}
