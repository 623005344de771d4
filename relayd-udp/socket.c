#include "relayd-udp/socket.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"

bool udp_local_address(const struct udp_relay *r, enum addr_family family, struct addr *ret)
{
    const struct relay_keys *k = &r->config.base.relay;

    *ret = k->bind.count > 0 ? relay_config_pick(k->bind.items, k->bind.count, family)
                             : addr_any(family, 0);
    return ret->family != ADDR_NONE;
}

static int bind_socket(int fd, const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(at, &ss);
    int one = 1;

    if (at->family == ADDR_IPV6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    return bind(fd, (struct sockaddr *)&ss, len) == 0 ? 0 : -errno;
}

int udp_socket(const struct udp_relay *r, enum addr_family family, uint16_t port,
               uint64_t buffer_octets)
{
    int size = buffer_octets < INT32_MAX / 2 ? (int)buffer_octets : INT32_MAX / 2;
    struct addr at;

    if (!udp_local_address(r, family, &at))
        return -EAFNOSUPPORT;
    int fd = socket(family == ADDR_IPV6 ? AF_INET6 : AF_INET,
                    SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    at.port = port;
    int rc = bind_socket(fd, &at);
    if (rc == 0)
        rc = engine_prepare(r->engine, fd, family, port != 0);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    /* Beyond the kernel's bound only with the privilege. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    return fd;
}

uint64_t udp_socket_overflows(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(info);

    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}
