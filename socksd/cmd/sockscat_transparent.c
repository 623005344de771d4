/* transparent: plain packets to the address that the proxy gives, which forwards them
 * (draft-lucioni-a-socks-transparent-proxy-method-00). The association lives as long as the
 * connection to the proxy. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "socksd/cmd/sockscat_listen.h"
#include "socksd/cmd/sockscat_proxy.h"
#include "socksd/cmd/sockscat_pump.h"

struct association {
    struct proxy proxy;
    int fd;                        /* what packets are sent from; -1 with --hold */
    struct socksc_endpoint source; /* as the request says it */
    struct addr bound;
};

/* Where a socket of ours must be bound so that packets come from the source that is announced: its
 * address if it is one, else ours on the way to the proxy, which is what the proxy sees. */
static struct addr local_of(const struct options *o, const struct proxy *p)
{
    struct addr local = p->local, given;

    local.port = 0;
    if (o->has_source) {
        if (addr_parse_ip(o->source.host, &given) && !addr_is_any(&given))
            local = given;
        local.port = o->source.port;
    }
    return local;
}

/* The source that the request announces: the one that was given, word for word; else "the address
 * that you see" and the port that the socket has. */
static void announce(const struct options *o, struct association *a)
{
    const struct addr any = addr_any(a->proxy.local.family, 0);
    struct addr local = any;

    if (o->has_source) {
        a->source = o->source;
        return;
    }
    if (a->fd >= 0)
        sockaddr_local(a->fd, &local);
    addr_format_ip(&any, a->source.host);
    a->source.port = local.port;
}

static int source_open(const struct options *o, struct association *a)
{
    const struct addr local = local_of(o, &a->proxy);

    if (!o->hold) {
        a->fd = socket_bound(o->protocol == PROTOCOL_TCP ? SOCK_STREAM : SOCK_DGRAM, o->protocol,
                             &local);
        if (a->fd < 0)
            return -1;
    }
    announce(o, a);
    return 0;
}

static int ask(const struct options *o, struct association *a)
{
    const struct socksc_request request = {
        .command = SOCKSC_TRANSPARENT,
        .host = o->dest.host,
        .port = o->dest.port,
        .protocol = o->protocol,
        .source_host = a->source.host,
        .source_port = a->source.port,
    };

    return proxy_ask(o, &a->proxy, request) == 0 && proxy_bound(&a->proxy, &a->bound) ? 0 : -1;
}

static int connect_to_bound(const struct options *o, struct association *a)
{
    if (o->hold)
        return 0;
    if (local_of(o, &a->proxy).family != a->bound.family) {
        tell("the relay's address is not of the family of our source");
        return -1;
    }
    return socket_connect(a->fd, &a->bound, a->proxy.deadline_ms);
}

/* 0, or -1 after telling why; a needs association_close either way. */
static int association_open(const struct options *o, struct association *a)
{
    *a = (struct association){.fd = -1};
    if (proxy_dial(o, &a->proxy) != 0 || source_open(o, a) != 0 || ask(o, a) != 0)
        return -1;
    if (!o->has_listen)
        tell_address(o, "carried by", &a->bound);
    return connect_to_bound(o, a);
}

static void association_close(struct association *a)
{
    if (a->fd >= 0)
        close(a->fd);
    proxy_close(&a->proxy);
}

static int serve_stream(const struct options *o, int in, int out)
{
    struct association a;
    int code = CAT_FAILED;

    if (association_open(o, &a) == 0)
        code = pump(in, out, a.fd, a.proxy.fd);
    association_close(&a);
    return code;
}

static int serve_connection(const struct options *o, int connection)
{
    int code = serve_stream(o, connection, connection);

    close(connection);
    return code;
}

static int serve_datagrams(const struct options *o, const struct local *l)
{
    struct association a;
    struct carried c = {.header_len = 0};
    int code = CAT_FAILED;

    if (association_open(o, &a) == 0) {
        c.relay = a.fd;
        c.control = a.proxy.fd;
        code = carry(o, l, &c);
    }
    association_close(&a);
    return code;
}

/* False when standard input has ended. */
static bool input_goes_on(void)
{
    uint8_t dropped[4096];
    ssize_t n = read(STDIN_FILENO, dropped, sizeof(dropped));

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static int hold(const struct options *o)
{
    struct association a;
    int code = association_open(o, &a) == 0 ? CAT_DONE : CAT_FAILED;

    while (code == CAT_DONE) {
        struct pollfd p[2] = {{STDIN_FILENO, POLLIN, 0}, {a.proxy.fd, POLLIN, 0}};

        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents != 0 && !proxy_holds(a.proxy.fd))
            code = tell("the proxy ended the association");
        else if (p[0].revents != 0 && !input_goes_on())
            break;
    }
    association_close(&a);
    return code;
}

int run_transparent(const struct options *o)
{
    const struct local standard = {.in = STDIN_FILENO,
                                   .out = STDOUT_FILENO,
                                   .wait_s = o->wait_s >= 0 ? (unsigned)o->wait_s : 1};

    if (o->hold)
        return hold(o);
    if (o->protocol == PROTOCOL_TCP)
        return o->has_listen ? listen_tcp(o, serve_connection)
                             : serve_stream(o, STDIN_FILENO, STDOUT_FILENO);
    return o->has_listen ? listen_udp(o, serve_datagrams) : serve_datagrams(o, &standard);
}
