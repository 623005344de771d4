#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int conn_fail(struct load *load, struct conn *conn, const char *what, int err)
{
    load_note_failure(load, what, err);
    conn_close(conn);
    return -1;
}

/* The port is chosen when the destination is known: it need not be one that no other uses. */
static int bind_source(const struct conn *conn)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = conn->source};
    int one = 1;

    if (setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)))
        return -1;
    return bind(conn->fd, (struct sockaddr *)&from, sizeof(from));
}

/* No TCP_NODELAY: each message here is answered before the next, so Nagle has nothing to hold back.
 */
int conn_start(struct load *load, struct conn *conn)
{
    const struct load_options *opt = &load->opt;
    const struct sockaddr_in *to = opt->server.sin_port ? &opt->server : &opt->target;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};

    conn->started_ns = now_ns();
    conn->got = 0;
    conn->waiting = false;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return conn_fail(load, conn, "socket", errno);
    conn->state = CONN_CONNECTING;
    if (conn->source.s_addr && bind_source(conn))
        return conn_fail(load, conn, "bind", errno);
    if (connect(conn->fd, (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS)
        return conn_fail(load, conn, "connect", errno);
    ev.data.ptr = conn;
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->fd, &ev))
        return conn_fail(load, conn, "epoll_ctl", errno);
    return 0;
}

void conn_close(struct conn *conn)
{
    if (conn->state != CONN_NONE && conn->fd >= 0)
        close(conn->fd);
    if (conn->udp_fd >= 0)
        close(conn->udp_fd);
    conn->fd = conn->udp_fd = -1;
    conn->state = CONN_NONE;
}

/* A message of the handshake is far below what an empty socket buffer takes: short means broken. */
static int send_whole(struct load *load, struct conn *conn, const void *data, size_t len)
{
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len)
        return 0;
    return conn_fail(load, conn, "send in the handshake", n < 0 ? errno : 0);
}

/* Reads on until conn->reply holds `want` octets: 1 when it does, 0 not yet, -1 failed. */
static int collect(struct load *load, struct conn *conn, size_t want)
{
    while (conn->got < want) {
        ssize_t n = recv(conn->fd, conn->reply + conn->got, want - conn->got, 0);
        if (n > 0)
            conn->got = (uint8_t)(conn->got + n);
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno == EAGAIN)
            return 0;
        else
            return conn_fail(load, conn, n ? "recv in the handshake" : "closed in the handshake",
                             n ? errno : 0);
    }
    return 1;
}

static int send_greeting(struct load *load, struct conn *conn)
{
    static const uint8_t greeting[] = {5, 1, 0};

    conn->state = CONN_METHOD;
    return send_whole(load, conn, greeting, sizeof(greeting));
}

static int read_method(struct load *load, struct conn *conn)
{
    uint8_t request[10] = {5, 1, 0, 1};
    int r = collect(load, conn, 2);

    if (r <= 0)
        return r;
    if (conn->reply[0] != 5 || conn->reply[1] != 0)
        return conn_fail(load, conn, "server does not offer method 0", 0);
    memcpy(request + 4, &load->opt.target.sin_addr, 4);
    memcpy(request + 8, &load->opt.target.sin_port, 2);
    if (load->opt.udp && udp_request(conn, request))
        return conn_fail(load, conn, "a UDP socket", errno);
    conn->state = CONN_REPLY;
    conn->got = 0;
    return send_whole(load, conn, request, sizeof(request));
}

/* Both forms that carry an address have at least 10 octets; a refusal is told from its first two.
 */
static int read_reply(struct load *load, struct conn *conn)
{
    char what[32];
    int r = collect(load, conn, 10);

    if (r < 0 || conn->got < 2)
        return r;
    if (conn->reply[0] != 5 || conn->reply[1] != 0) {
        snprintf(what, sizeof(what), "SOCKS reply %u", conn->reply[1]);
        return conn_fail(load, conn, what, 0);
    }
    if (r == 0)
        return 0;
    if (conn->reply[3] != 1 && conn->reply[3] != 4)
        return conn_fail(load, conn, "SOCKS reply without an address", 0);
    r = collect(load, conn, conn->reply[3] == 1 ? 10 : 22);
    if (r == 1 && load->opt.udp && udp_connect(load, conn))
        return conn_fail(load, conn, "connect to the relay", errno);
    return r;
}

static int connected(struct load *load, struct conn *conn, uint32_t events)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (events & (EPOLLERR | EPOLLHUP)) {
        getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len);
        return conn_fail(load, conn, "connect", err);
    }
    return (events & EPOLLOUT) ? 1 : 0;
}

int conn_step(struct load *load, struct conn *conn, uint32_t events)
{
    int r = 0;

    switch (conn->state) {
    case CONN_CONNECTING:
        r = connected(load, conn, events);
        if (r == 1 && load->opt.server.sin_port)
            r = send_greeting(load, conn);
        break;
    case CONN_METHOD:
        r = read_method(load, conn);
        break;
    case CONN_REPLY:
        r = read_reply(load, conn);
        break;
    case CONN_NONE:
    case CONN_OPEN:
        break;
    }
    if (r == 1) {
        conn->state = CONN_OPEN;
        conn->got = 0;
        hist_add(&load->handshake, now_ns() - conn->started_ns);
    }
    return r;
}
