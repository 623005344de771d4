#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define CHUNK  (256 * 1024)

/* A connection needs no memory of its own: its descriptor and role fit into the event. */
enum role {
    ROLE_ONCE,
    ROLE_ECHO,
    ROLE_SINK,
    ROLE_SOURCE,
    ROLE_UDP_ECHO,
    ROLE_UDP_SINK,
    ROLE_UDP_COUNT,
    ROLES
};

static const char *const role_names[ROLES] = {"once",     "echo",     "sink",     "source",
                                              "udp_echo", "udp_sink", "udp_count"};

#define LISTENER UINT64_C(0x100)
#define STDIN    UINT64_C(0x200)

static uint8_t chunk[CHUNK];

static int add(int epoll_fd, int fd, uint64_t role, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.u64 = role << 32 | (uint32_t)fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

/* The port in host order, or -1. TCP_NODELAY is inherited by what is accepted. */
static int open_listener(int epoll_fd, struct in_addr address, enum role role)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = address};
    socklen_t len = sizeof(at);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&at, &len) ||
        add(epoll_fd, fd, LISTENER | role, EPOLLIN)) {
        close(fd);
        return -1;
    }
    return ntohs(at.sin_port);
}

static int open_datagrams(int epoll_fd, struct in_addr address, enum role role)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);
    int fd = target_udp_open(address, role == ROLE_UDP_SINK);

    if (fd < 0)
        return -1;
    if (getsockname(fd, (struct sockaddr *)&at, &len) || add(epoll_fd, fd, role, EPOLLIN)) {
        close(fd);
        return -1;
    }
    return ntohs(at.sin_port);
}

/* Each returns true when the connection is done with. A short send of an echo means that the other
 * side asks faster than it reads, which no load here does. */

static bool serve_once(int fd)
{
    uint8_t octet;
    ssize_t n = recv(fd, &octet, 1, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n == 1)
        send(fd, &octet, 1, MSG_NOSIGNAL);
    return true;
}

static bool serve_echo(int fd)
{
    ssize_t n = recv(fd, chunk, 4096, 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    return n <= 0 || send(fd, chunk, (size_t)n, MSG_NOSIGNAL) != n;
}

static bool serve_sink(int fd)
{
    ssize_t n = recv(fd, NULL, 4 * CHUNK, MSG_TRUNC);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool serve_source(int fd)
{
    ssize_t n = send(fd, chunk, CHUNK, MSG_NOSIGNAL);
    return n < 0 && errno != EAGAIN;
}

static bool serve(int fd, uint64_t role)
{
    switch (role) {
    case ROLE_ONCE:
        return serve_once(fd);
    case ROLE_ECHO:
        return serve_echo(fd);
    case ROLE_SINK:
        return serve_sink(fd);
    case ROLE_UDP_ECHO:
        target_udp_echo(fd);
        return false;
    case ROLE_UDP_SINK:
        target_udp_sink(fd);
        return false;
    case ROLE_UDP_COUNT:
        target_udp_count(fd);
        return false;
    default:
        return serve_source(fd);
    }
}

static void accept_all(int epoll_fd, int listener, uint64_t role)
{
    uint32_t events = role == ROLE_SOURCE ? EPOLLOUT : EPOLLIN;
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        /* The octet of a direct connection is often there already. */
        bool done = role == ROLE_ONCE && serve(fd, role);
        if (done || add(epoll_fd, fd, role, events))
            close(fd);
    }
}

static bool stdin_ended(void)
{
    char line[64];
    return read(STDIN_FILENO, line, sizeof(line)) <= 0;
}

static void serve_until_stdin_ends(int epoll_fd)
{
    struct epoll_event events[EVENTS];

    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = (int)(uint32_t)events[i].data.u64;
            uint64_t role = events[i].data.u64 >> 32;

            if (role & STDIN) {
                if (stdin_ended())
                    return;
            } else if (role & LISTENER) {
                accept_all(epoll_fd, fd, role & ~LISTENER);
            } else if (serve(fd, role)) {
                close(fd);
            }
        }
    }
}

int target_serve(struct in_addr address)
{
    struct rlimit lim;
    int port[ROLES];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
    if (epoll_fd < 0 || add(epoll_fd, STDIN_FILENO, STDIN, EPOLLIN)) {
        perror("socksbench target: stdin must be a pipe, a socket or a terminal");
        return 1;
    }
    for (enum role role = 0; role < ROLES; role++) {
        port[role] = role < ROLE_UDP_ECHO ? open_listener(epoll_fd, address, role)
                                          : open_datagrams(epoll_fd, address, role);
        if (port[role] < 0) {
            perror("socksbench target: listen");
            return 1;
        }
    }
    for (enum role role = 0; role < ROLES; role++)
        printf("%s\"%s\": %d", role ? ", " : "{", role_names[role], port[role]);
    puts("}");
    fflush(stdout);
    serve_until_stdin_ends(epoll_fd);
    return 0;
}
