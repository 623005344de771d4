#include "relayd-tcp/bind.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/secret.h"
#include "shared/net/sockaddr.h"

enum { ACCEPTS_PER_TURN = 8, BACKLOG = 8 };

static void refuse(struct n2_refusal *r, enum n2_refusal_code code, const char *text)
{
    *r = (struct n2_refusal){.code = code, .text = text};
}

/* The family that the peer will use: its own if it is known, else the client's. */
static enum addr_family family_of(const struct n2_open *o)
{
    if (o->destination_count > 0 && o->destinations[0].family != ADDR_NONE)
        return o->destinations[0].family;
    if (o->bind.family != ADDR_NONE)
        return o->bind.family;
    return o->client.family == ADDR_IPV6 ? ADDR_IPV6 : ADDR_IPV4;
}

static int listen_at(const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(at, &ss);
    int one = 1;

    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (at->family == ADDR_IPV6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* inherited by what is accepted */
    if (at->port != 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

/* Any port of the configured range, begun at a random place so that ports cannot be foreseen. */
static int listen_in_range(const struct tcp_config *c, struct addr at)
{
    const struct schema_ports *range = &c->base.relay.ports;
    uint32_t size = (uint32_t)range->last - range->first + 1, start;
    int rc = -EADDRINUSE;

    if (!c->ports_given)
        return listen_at(&at);
    secret_random(&start, sizeof(start));
    for (uint32_t i = 0; i < size && rc == -EADDRINUSE; i++) {
        at.port = (uint16_t)(range->first + (start + i) % size);
        rc = listen_at(&at);
    }
    return rc;
}

static int listen_wanted(const struct tcp_config *c, struct addr at, uint16_t port,
                         struct n2_refusal *refused)
{
    const struct schema_ports *range = &c->base.relay.ports;

    if (port != 0 && port < 1024 && !c->privileged_ports) {
        refuse(refused, N2_CANNOT_BIND, "privileged port");
        return -1;
    }
    if (port != 0 && c->ports_given && (port < range->first || port > range->last)) {
        refuse(refused, N2_NO_PORT, "outside the configured ports");
        return -1;
    }
    at.port = port;
    int fd = port != 0 ? listen_at(&at) : listen_in_range(c, at);
    if (fd >= 0)
        return fd;
    if (fd == -EADDRINUSE)
        refuse(refused, N2_NO_PORT, port != 0 ? "port in use" : "all ports in use");
    else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)
        refuse(refused, N2_FULL, "descriptors");
    else
        refuse(refused, N2_CANNOT_BIND, "cannot listen there");
    return -1;
}

static struct addr told(const struct tcp_config *c, const struct n2_open *o,
                        const struct addr *local)
{
    const struct relay_keys *k = &c->base.relay;
    struct addr a = relay_config_pick(k->advertise.items, k->advertise.count, local->family);
    uint16_t port = local->port;

    if (a.family == ADDR_NONE)
        a = *local;
    if (addr_is_any(&a) && o->destination_count > 0)
        sockaddr_towards(&o->destinations[0], &a);
    if (addr_is_any(&a) && o->client_local.family == local->family)
        a = o->client_local;
    a.port = port;
    return a;
}

int bind_listen(const struct tcp_config *c, const struct n2_open *o, struct addr *ret_bound,
                struct n2_refusal *ret_refused)
{
    const struct relay_keys *k = &c->base.relay;
    enum addr_family family = family_of(o);
    struct addr at = relay_config_pick(k->bind.items, k->bind.count, family);

    if (at.family == ADDR_NONE)
        at = addr_any(family, 0);
    if (o->bind.family != ADDR_NONE && !addr_is_any(&o->bind)) {
        if (!addr_is_any(&at) && !addr_ip_equal(&at, &o->bind)) {
            refuse(ret_refused, N2_CANNOT_BIND, "not an address of this relay");
            return -1;
        }
        at = o->bind;
    }
    int fd = listen_wanted(c, at, o->bind.port, ret_refused);
    struct addr local;
    if (fd >= 0 && !sockaddr_local(fd, &local)) {
        close(fd);
        refuse(ret_refused, N2_CANNOT_BIND, "no local address");
        return -1;
    }
    if (fd >= 0)
        *ret_bound = told(c, o, &local);
    return fd;
}

static bool is_expected(const struct addr *peer, const struct addr *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (addr_is_any(&expected[i]) || addr_ip_equal(&expected[i], peer))
            return true;
    }
    return count == 0;
}

int bind_accept(int listening, const struct addr *expected, size_t expected_count,
                uint64_t *refused, struct addr *ret_peer)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof(ss);
        int fd = accept4(listening, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS))
            return -errno;
        if (fd < 0)
            return -EAGAIN;
        sockaddr_to((struct sockaddr *)&ss, ret_peer);
        if (is_expected(ret_peer, expected, expected_count))
            return fd;
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
        ++*refused;
    }
    return -EAGAIN;
}
