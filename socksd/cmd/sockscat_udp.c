/* udp: datagrams of a UDP association, each with a SOCKS header. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "socksd/cmd/sockscat_listen.h"
#include "socksd/cmd/sockscat_proxy.h"

/* What the request says of our source: zeros for what is not known (RFC 1928 section 6). With
 * --source there is a socket, bound; without, *ret_fd stays -1. 0, or -1 after telling why. */
static int source_open(const struct options *o, const struct proxy *p, struct addr *ret_source,
                       int *ret_fd)
{
    struct addr local = addr_any(p->local.family, 0);

    *ret_source = local;
    if (!o->has_source)
        return 0;
    if (!addr_parse_ip(o->source.host, &local)) {
        tell("--source: datagrams come from an address, not from \"%s\"", o->source.host);
        return -1;
    }
    local.port = o->source.port;
    *ret_fd = socket_bound(SOCK_DGRAM, 0, &local);
    return *ret_fd >= 0 && sockaddr_local(*ret_fd, ret_source) ? 0 : -1;
}

/* Asks for the association. 0, or -1 after telling why. */
static int associate(const struct options *o, struct proxy *p, const struct addr *source,
                     struct addr *ret_bound)
{
    char host[ADDR_TEXT_MAX];
    const struct socksc_request request = {.command = SOCKSC_UDP_ASSOCIATE,
                                           .host = addr_format_ip(source, host),
                                           .port = source->port};

    return proxy_ask(o, p, request) == 0 && proxy_bound(p, ret_bound) ? 0 : -1;
}

/* *fd is the socket of the source, or none yet. */
static int relay_connect(const struct proxy *p, const struct addr *source, const struct addr *bound,
                         int *fd)
{
    const struct addr any = addr_any(bound->family, 0);

    if (*fd >= 0 && source->family != bound->family) {
        tell("the relay's address is not of the family of --source");
        return -1;
    }
    if (*fd < 0)
        *fd = socket_bound(SOCK_DGRAM, 0, &any);
    return *fd >= 0 ? socket_connect(*fd, bound, p->deadline_ms) : -1;
}

static int associated(const struct options *o, struct proxy *p, const struct local *l, int *fd)
{
    struct carried c = {.control = p->fd};
    struct addr source, bound;

    if (source_open(o, p, &source, fd) != 0 || associate(o, p, &source, &bound) != 0 ||
        relay_connect(p, &source, &bound, fd) != 0)
        return CAT_FAILED;
    if (!o->has_listen && (o->print || o->verbose))
        tell_address(o, "carried by", &bound);
    c.relay = *fd;
    c.header_len = socksc_udp_encode(o->dest.host, o->dest.port, c.header, sizeof(c.header));
    return carry(o, l, &c);
}

static int serve_user(const struct options *o, const struct local *l)
{
    struct proxy p;
    int fd = -1, code = CAT_FAILED;

    if (proxy_dial(o, &p) == 0)
        code = associated(o, &p, l, &fd);
    if (fd >= 0)
        close(fd);
    proxy_close(&p);
    return code;
}

int run_udp(const struct options *o)
{
    const struct local standard = {.in = STDIN_FILENO,
                                   .out = STDOUT_FILENO,
                                   .wait_s = o->wait_s >= 0 ? (unsigned)o->wait_s : 1};

    return o->has_listen ? listen_udp(o, serve_user) : serve_user(o, &standard);
}
