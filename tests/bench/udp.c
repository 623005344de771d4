#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define OCTETS      64
#define ASK_AGAIN   UINT64_C(500000000)
#define ASK_AT_ONCE 64

size_t udp_header(const struct load *load, uint8_t ret[UDP_HEADER])
{
    if (load->opt.server.sin_port == 0)
        return 0;
    memcpy(ret, (uint8_t[4]){0, 0, 0, 1}, 4);
    memcpy(ret + 4, &load->opt.target.sin_addr, 4);
    memcpy(ret + 8, &load->opt.target.sin_port, 2);
    return UDP_HEADER;
}

/* UDP_GRO: what arrives in a run is taken in one call, so that the load is not what bounds. */
static int open_socket(struct conn *conn)
{
    int one = 1, room = 4 << 20;

    conn->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->udp_fd < 0)
        return -1;
    setsockopt(conn->udp_fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
    setsockopt(conn->udp_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    return 0;
}

int udp_request(struct conn *conn, uint8_t ret[10])
{
    struct sockaddr_in own;
    socklen_t len = sizeof(own);

    if (getsockname(conn->fd, (struct sockaddr *)&own, &len) || open_socket(conn))
        return -1;
    own.sin_port = 0;
    if (bind(conn->udp_fd, (struct sockaddr *)&own, len) ||
        getsockname(conn->udp_fd, (struct sockaddr *)&own, &len))
        return -1;
    memset(ret, 0, 10);
    memcpy(ret, (uint8_t[4]){5, 3, 0, 1}, 4);
    if (conn->hint) {
        memcpy(ret + 4, &own.sin_addr, 4);
        memcpy(ret + 8, &own.sin_port, 2);
    }
    return 0;
}

/* Until it was connected, anybody could send to it: an earlier association's late answer, where the
 * port is the same. */
static void drain(int fd)
{
    uint8_t octet;

    while (recv(fd, &octet, 1, 0) >= 0)
        continue;
}

int udp_connect(const struct load *load, struct conn *conn)
{
    struct sockaddr_in relay = {.sin_family = AF_INET};

    if (conn->reply[3] != 1) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    memcpy(&relay.sin_addr, conn->reply + 4, 4);
    memcpy(&relay.sin_port, conn->reply + 8, 2);
    if (relay.sin_addr.s_addr == 0)
        relay.sin_addr = load->opt.server.sin_addr;
    if (connect(conn->udp_fd, (struct sockaddr *)&relay, sizeof(relay)))
        return -1;
    drain(conn->udp_fd);
    return 0;
}

static int open_direct(struct load *load, struct conn *conn)
{
    const struct sockaddr_in *to = &load->opt.target;

    if (open_socket(conn) || connect(conn->udp_fd, (const struct sockaddr *)to, sizeof(*to))) {
        load_note_failure(load, "a UDP socket", errno);
        return -1;
    }
    conn->state = CONN_OPEN;
    load->open++;
    return 0;
}

int udp_open_all(struct load *load)
{
    struct epoll_event ev = {.events = EPOLLIN};

    if (load->opt.server.sin_port && load_open_all(load))
        return -1;
    for (unsigned i = 0; i < load->opt.streams; i++) {
        struct conn *conn = &load->conns[i];

        if (load->opt.server.sin_port == 0 && open_direct(load, conn))
            return -1;
        ev.data.ptr = conn;
        if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->udp_fd, &ev)) {
            load_note_failure(load, "epoll_ctl", errno);
            return -1;
        }
    }
    return 0;
}

/* ---- once each ---- */

static void ask(struct load *load, struct conn *conn)
{
    uint8_t datagram[UDP_HEADER + OCTETS] = {0};
    size_t header = udp_header(load, datagram);

    conn->waiting = true;
    conn->sent_ns = now_ns();
    if (send(conn->udp_fd, datagram, header + OCTETS, MSG_NOSIGNAL) < 0 && errno != ECONNREFUSED)
        load_note_failure(load, "send of a datagram", errno);
}

/* load->busy counts the associations that wait. */
static void on_answer(struct load *load, struct conn *conn, uint32_t events)
{
    uint8_t datagram[UDP_HEADER + OCTETS + 1];

    if (events & EPOLLRDHUP) {
        load_note_failure(load, "the server closed a control connection", 0);
        load->done = true;
        return;
    }
    ssize_t n = recv(conn->udp_fd, datagram, sizeof(datagram), 0);
    if (n < OCTETS || !conn->waiting)
        return;
    conn->waiting = false;
    load->done = --load->busy == 0;
}

/* conns[done..next) have been asked; those that were asked long ago are asked again. */
static void ask_again(struct load *load, unsigned next)
{
    for (unsigned i = 0; i < next; i++) {
        struct conn *conn = &load->conns[i];
        if (conn->waiting && now_ns() - conn->sent_ns > ASK_AGAIN)
            ask(load, conn);
    }
}

int udp_once_each(struct load *load, double limit)
{
    uint64_t until = now_ns() + (uint64_t)(limit * 1e9);
    unsigned next = 0;

    load->busy = 0;
    while (now_ns() < until && !load->failed) {
        for (; load->busy < ASK_AT_ONCE && next < load->opt.streams; next++) {
            load->busy++;
            ask(load, &load->conns[next]);
        }
        if (load->busy == 0)
            return 0;
        load_loop(load, now_ns() + (load->busy < ASK_AT_ONCE ? 20000000 : 1000000), on_answer);
        load->done = false;
        ask_again(load, next);
    }
    load_note_failure(load, "an answer is missing", 0);
    return -1;
}
