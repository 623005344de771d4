/* connect and bind. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socksd/cmd/sockscat_listen.h"
#include "socksd/cmd/sockscat_proxy.h"
#include "socksd/cmd/sockscat_pump.h"

static struct socksc_request request_of(const struct options *o, enum socksc_command command)
{
    return (struct socksc_request){.command = command, .host = o->dest.host, .port = o->dest.port};
}

static int connect_and_pump(const struct options *o, int in, int out)
{
    struct proxy p;
    struct addr bound;
    int code = CAT_FAILED;

    if (proxy_dial(o, &p) == 0 && proxy_ask(o, &p, request_of(o, SOCKSC_CONNECT)) == 0) {
        if (!o->has_listen && (o->print || o->verbose) && proxy_bound(&p, &bound))
            tell_address(o, "connected from", &bound);
        code = pump(in, out, p.fd, -1);
    }
    proxy_close(&p);
    return code;
}

static int serve_connection(const struct options *o, int connection)
{
    int code = connect_and_pump(o, connection, connection);

    close(connection);
    return code;
}

int run_connect(const struct options *o)
{
    if (o->has_listen)
        return listen_tcp(o, serve_connection);
    return connect_and_pump(o, STDIN_FILENO, STDOUT_FILENO);
}

static int listen_and_pump(const struct options *o, struct proxy *p)
{
    struct addr a;

    if (!proxy_bound(p, &a))
        return CAT_FAILED;
    tell_address(o, "listening on", &a);
    if (proxy_wait_peer(o, p) != 0)
        return CAT_FAILED;
    if ((o->print || o->verbose) && addr_parse_ip(socksc_peer(p->handshake)->host, &a)) {
        a.port = socksc_peer(p->handshake)->port;
        tell_address(o, "connection from", &a);
    }
    return pump(STDIN_FILENO, STDOUT_FILENO, p->fd, -1);
}

int run_bind(const struct options *o)
{
    struct socksc_request request = request_of(o, SOCKSC_BIND);
    struct proxy p;
    int code = CAT_FAILED;

    if (request.host[0] == '\0')
        request.host = "0.0.0.0"; /* anybody */
    if (proxy_dial(o, &p) == 0 && proxy_ask(o, &p, request) == 0)
        code = listen_and_pump(o, &p);
    proxy_close(&p);
    return code;
}
