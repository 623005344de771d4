#include "socksd/cmd/sockscat_proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"

uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* False when the time is over; deadline 0 is never. */
static bool wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = now_ms();
        int left = deadline_ms == 0 ? -1 : deadline_ms > now ? (int)(deadline_ms - now) : 0;
        int n = poll(&p, 1, left);

        if (n > 0)
            return true;
        if (n == 0)
            return false;
    }
}

static void set_blocking(int fd, bool blocking)
{
    int flags = fcntl(fd, F_GETFL);

    fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/* 0 or an errno. */
static int connect_by(int fd, const struct sockaddr *sa, socklen_t len, uint64_t deadline_ms)
{
    int error = 0;
    socklen_t error_len = sizeof(error);

    set_blocking(fd, false);
    if (connect(fd, sa, len) != 0) {
        if (errno != EINPROGRESS)
            return errno;
        if (!wait_for(fd, POLLOUT, deadline_ms))
            return ETIMEDOUT;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
    }
    set_blocking(fd, true);
    return error;
}

/* ---- sockets beside the proxy's ---- */

int socket_bound(int type, int protocol, const struct addr *local)
{
    int family = local->family == ADDR_IPV6 ? AF_INET6 : AF_INET, on = 1, fd;
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(local, &ss);

    fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) {
        tell("socket of protocol %d: %s", protocol, strerror(errno));
        return -1;
    }
    if (family == AF_INET6) /* addresses keep the family that they were given with */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0)
        return fd;
    tell("our address %s: %s", addr_format(local, text), strerror(errno));
    close(fd);
    return -1;
}

int socket_connect(int fd, const struct addr *to, uint64_t deadline_ms)
{
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);
    int error = connect_by(fd, (struct sockaddr *)&ss, len, deadline_ms);

    if (error == 0)
        return 0;
    tell("%s: %s", addr_format(to, text), strerror(error));
    return -1;
}

/* ---- the proxy ---- */

static int dial_one(struct proxy *p, const struct addrinfo *ai)
{
    int error, on = 1;

    p->fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, ai->ai_protocol);
    if (p->fd < 0)
        return errno;
    error = connect_by(p->fd, ai->ai_addr, ai->ai_addrlen, p->deadline_ms);
    if (error == 0) {
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        sockaddr_local(p->fd, &p->local);
        sockaddr_peer(p->fd, &p->remote);
        return 0;
    }
    close(p->fd);
    p->fd = -1;
    return error;
}

int proxy_dial(const struct options *o, struct proxy *p)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char port[8];
    int error;

    *p = (struct proxy){.fd = -1, .deadline_ms = now_ms() + o->timeout_s * UINT64_C(1000)};
    snprintf(port, sizeof(port), "%u", (unsigned)o->proxy.port);
    error = getaddrinfo(o->proxy.host, port, &hints, &list);
    if (error != 0) {
        tell("proxy %s: %s", o->proxy.host, gai_strerror(error));
        return -1;
    }
    error = EADDRNOTAVAIL;
    for (struct addrinfo *ai = list; ai != NULL && p->fd < 0; ai = ai->ai_next)
        error = dial_one(p, ai);
    freeaddrinfo(list);
    if (p->fd >= 0)
        return 0;
    tell("proxy %s port %s: %s", o->proxy.host, port, strerror(error));
    return -1;
}

void proxy_close(struct proxy *p)
{
    socksc_free(p->handshake);
    if (p->fd >= 0)
        close(p->fd);
    *p = (struct proxy){.fd = -1};
}

static int tell_result(const struct options *o, const struct socksc *s)
{
    if (socksc_result(s) == SOCKSC_REFUSED)
        tell("refused by the proxy: %s (%s %u)", socksc_sentence(s),
             o->version == SOCKSC_SOCKS5 ? "REP" : "CD", (unsigned)socksc_code(s));
    else
        tell("%s", socksc_sentence(s));
    return -1;
}

/* Sends what there is to send. False: it cannot be sent. */
static bool send_some(struct proxy *p, uint64_t deadline_ms)
{
    size_t len;
    const void *out = socksc_output(p->handshake, &len);
    ssize_t n;

    if (len == 0)
        return true;
    if (!wait_for(p->fd, POLLOUT, deadline_ms))
        return false;
    n = send(p->fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        socksc_sent(p->handshake, (size_t)n);
    return n > 0 || errno == EAGAIN || errno == EINTR;
}

/* Looks at what came and takes what belongs to the handshake; payload stays in the socket. */
static void take_some(struct proxy *p)
{
    uint8_t buf[1024];
    ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);

    if (n > 0)
        recv(p->fd, buf, socksc_take(p->handshake, buf, (size_t)n), MSG_DONTWAIT);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        socksc_end(p->handshake);
}

/* Goes on while the result is `from`. 0: DONE or LISTENING. */
static int advance(const struct options *o, struct proxy *p, enum socksc_result from,
                   uint64_t deadline_ms)
{
    while (socksc_result(p->handshake) == from) {
        size_t len;

        if (!send_some(p, deadline_ms)) {
            socksc_end(p->handshake);
            break;
        }
        socksc_output(p->handshake, &len);
        if (len > 0)
            continue;
        if (!wait_for(p->fd, POLLIN, deadline_ms)) {
            tell("the proxy did not answer within %u s", o->timeout_s);
            return -1;
        }
        take_some(p);
    }
    switch (socksc_result(p->handshake)) {
    case SOCKSC_LISTENING:
    case SOCKSC_DONE:
        return 0;
    default:
        return tell_result(o, p->handshake);
    }
}

int proxy_ask(const struct options *o, struct proxy *p, struct socksc_request request)
{
    enum socksc_result why;

    request.version = o->version;
    request.user = o->user;
    request.password = o->user != NULL && o->password[0] != '\0' ? o->password : NULL;
    p->handshake = socksc_new(&request, &why);
    if (p->handshake == NULL) {
        tell("%s", socksc_result_sentence(why));
        return -1;
    }
    return advance(o, p, SOCKSC_MORE, p->deadline_ms);
}

int proxy_wait_peer(const struct options *o, struct proxy *p)
{
    return advance(o, p, SOCKSC_LISTENING, 0);
}

bool proxy_bound(const struct proxy *p, struct addr *ret)
{
    const struct socksc_endpoint *bound = socksc_bound(p->handshake);
    struct addr a;

    if (!addr_parse_ip(bound->host, &a)) {
        tell("the proxy bound a name, \"%s\", which is no address", bound->host);
        return false;
    }
    if (addr_is_any(&a))
        a = p->remote;
    a.port = bound->port;
    *ret = a;
    return true;
}

bool proxy_holds(int fd)
{
    uint8_t dropped[1024];
    ssize_t n = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}
