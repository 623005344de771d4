#include "shared/net/sockaddr.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

socklen_t sockaddr_from(const struct addr *a, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (a->family == ADDR_IPV4) {
        struct sockaddr_in *in = (struct sockaddr_in *)ss;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    if (a->family == ADDR_IPV6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof(*in6);
    }
    return 0;
}

bool sockaddr_to(const struct sockaddr *sa, struct addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        *ret = addr_ipv4((const uint8_t *)&in->sin_addr, ntohs(in->sin_port));
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        struct addr a = addr_ipv6((const uint8_t *)&in6->sin6_addr, ntohs(in6->sin6_port));
        *ret = addr_unmap(&a);
        return true;
    }
    return false;
}

bool sockaddr_local(int fd, struct addr *ret)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    memset(ret, 0, sizeof(*ret));
    return getsockname(fd, (struct sockaddr *)&ss, &len) == 0 &&
           sockaddr_to((struct sockaddr *)&ss, ret);
}

bool sockaddr_peer(int fd, struct addr *ret)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    memset(ret, 0, sizeof(*ret));
    return getpeername(fd, (struct sockaddr *)&ss, &len) == 0 &&
           sockaddr_to((struct sockaddr *)&ss, ret);
}

bool sockaddr_is_local(const struct addr *a)
{
    struct addr probe = *a;
    struct sockaddr_storage ss;

    probe.port = 0;
    socklen_t len = sockaddr_from(&probe, &ss);
    if (len == 0)
        return false;
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno != EAFNOSUPPORT;
    bool local = bind(fd, (struct sockaddr *)&ss, len) == 0 || errno != EADDRNOTAVAIL;
    close(fd);
    return local;
}

/* Connecting a datagram socket asks the routing table and sends nothing. */
bool sockaddr_towards(const struct addr *to, struct addr *ret)
{
    struct addr probe = *to;
    struct sockaddr_storage ss;

    if (to->family == ADDR_NONE || addr_is_any(to))
        return false;
    probe.port = probe.port != 0 ? probe.port : 9;
    socklen_t len = sockaddr_from(&probe, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0 && sockaddr_local(fd, ret);
    if (fd >= 0)
        close(fd);
    return ok;
}
