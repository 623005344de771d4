/* opt.count associations opened and closed, opt.streams at once, from opt.sources addresses of
 * 127.0.0.0/8. Most carry a datagram to the target and its answer back; how they end, and what else
 * they do, goes by their number. Prints how far it is every five seconds. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASK_AGAIN   UINT64_C(1000000000)
#define PATIENCE    UINT64_C(15000000000)
#define LOOK        UINT64_C(100000000)
#define TELL        UINT64_C(5000000000)
#define FAILED_MOST 100
#define EVENTS      256

enum kind {
    KIND_ECHO,         /* there and back, then an orderly close */
    KIND_ECHO_RESET,   /* there and back, then RST */
    KIND_SILENT,       /* no datagram */
    KIND_SILENT_RESET, /* no datagram, RST */
    KIND_TWO_SOCKETS,  /* a second socket of the client sends too, and gets no answer */
    KIND_LEAVES,       /* closes with a datagram on its way */
    KIND_QUITS,        /* RST with the request on its way */
    KINDS
};

static const char *const kind_names[KINDS] = {"echo",        "echo_reset", "silent", "silent_reset",
                                              "two_sockets", "leaves",     "quits"};

/* By number, so that each run is the same; every other one tells the port that it sends from. */
static const uint8_t kind_of[20] = {
    KIND_ECHO,        KIND_ECHO,   KIND_ECHO,       KIND_ECHO,        KIND_ECHO_RESET,
    KIND_SILENT,      KIND_ECHO,   KIND_ECHO,       KIND_ECHO_RESET,  KIND_ECHO,
    KIND_TWO_SOCKETS, KIND_LEAVES, KIND_LEAVES,     KIND_TWO_SOCKETS, KIND_ECHO,
    KIND_ECHO_RESET,  KIND_QUITS,  KIND_ECHO_RESET, KIND_SILENT,      KIND_SILENT_RESET};

struct life {
    enum kind kind;
    unsigned answers; /* so far */
    uint64_t number;
    uint64_t asked_ns; /* last */
    int second_fd;     /* -1: none */
};

struct soak {
    struct life *lives; /* beside load->conns */
    uint64_t begun, resent, stale;
    uint64_t kinds[KINDS];
};

static struct life *life_of(struct load *load, const struct conn *conn)
{
    struct soak *s = load->own;
    return &s->lives[conn - load->conns];
}

/* ---- the end of one ---- */

static void end(struct load *load, struct conn *conn, bool reset)
{
    struct soak *s = load->own;
    struct life *life = life_of(load, conn);
    struct linger now = {.l_onoff = 1};

    if (reset)
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    conn_close(conn);
    if (life->second_fd >= 0)
        close(life->second_fd);
    life->second_fd = -1;
    load->busy--;
    load->count++;
    s->kinds[life->kind]++;
}

static void fail(struct load *load, struct conn *conn, const char *what, int err)
{
    char text[80];

    snprintf(text, sizeof(text), "number %" PRIu64 " (%s%s): %s", life_of(load, conn)->number,
             kind_names[life_of(load, conn)->kind], conn->hint ? ", hint" : "", what);
    load_note_failure(load, text, err);
    end(load, conn, true);
}

/* ---- datagrams: the header, the number, how many answers there were ---- */

struct question {
    uint64_t number, answers;
};

static void ask_from(struct load *load, struct conn *conn, int fd)
{
    struct life *life = life_of(load, conn);
    struct question q = {life->number, life->answers};
    uint8_t datagram[UDP_HEADER + sizeof(q)];
    size_t header = udp_header(load, datagram);

    memcpy(datagram + header, &q, sizeof(q));
    life->asked_ns = now_ns();
    if (send(fd, datagram, header + sizeof(q), 0) < 0)
        fail(load, conn, "send of a datagram", errno);
}

static int open_second(struct load *load, struct conn *conn)
{
    struct life *life = life_of(load, conn);
    struct sockaddr_in at;
    socklen_t len = sizeof(at);

    life->second_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (life->second_fd < 0 || getsockname(conn->udp_fd, (struct sockaddr *)&at, &len))
        return -1;
    at.sin_port = 0;
    if (bind(life->second_fd, (struct sockaddr *)&at, len) ||
        getpeername(conn->udp_fd, (struct sockaddr *)&at, &len))
        return -1;
    return connect(life->second_fd, (struct sockaddr *)&at, len);
}

/* The first socket asks again behind the second's datagram: when its answer is here, the other's
 * would be. */
static void ask_from_both(struct load *load, struct conn *conn)
{
    if (open_second(load, conn)) {
        fail(load, conn, "a second socket", errno);
        return;
    }
    ask_from(load, conn, life_of(load, conn)->second_fd);
    if (conn->state == CONN_OPEN)
        ask_from(load, conn, conn->udp_fd);
}

static void on_right_answer(struct load *load, struct conn *conn)
{
    struct life *life = life_of(load, conn);
    uint8_t octet;

    life->answers++;
    if (life->kind != KIND_TWO_SOCKETS)
        end(load, conn, life->kind == KIND_ECHO_RESET);
    else if (life->answers == 1)
        ask_from_both(load, conn);
    else if (recv(life->second_fd, &octet, 1, 0) >= 0)
        fail(load, conn, "a second socket of the client got an answer", 0);
    else
        end(load, conn, false);
}

static void read_answer(struct load *load, struct conn *conn)
{
    struct life *life = life_of(load, conn);
    uint8_t datagram[128], header[UDP_HEADER];
    size_t header_len = udp_header(load, header);
    struct question q;

    ssize_t n = recv(conn->udp_fd, datagram, sizeof(datagram), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        fail(load, conn, "recv of an answer", errno);
        return;
    }
    /* By GRO several may have come at once. A port of the relay towards the target may be that of an
     * association which ended a moment ago: what is still under way to that one comes here. */
    const size_t each = header_len + sizeof(q);
    for (size_t at = 0; conn->state == CONN_OPEN && at < (size_t)n; at += each) {
        if ((size_t)n - at < each || memcmp(datagram + at, header, header_len) != 0) {
            fail(load, conn, "not an answer of the target", 0);
            return;
        }
        memcpy(&q, datagram + at + header_len, sizeof(q));
        if (q.number != life->number)
            ((struct soak *)load->own)->stale++;
        else if (q.answers == life->answers) /* else to a question that was asked again */
            on_right_answer(load, conn);
    }
}

/* ---- a life ---- */

static void begin(struct load *load, struct conn *conn)
{
    struct soak *s = load->own;
    uint64_t number = s->begun++;
    /* 127.0.1.1 and so on: nobody else's */
    uint32_t source = 0x7f000101 + (uint32_t)(number % load->opt.sources);

    *life_of(load, conn) =
        (struct life){.number = number, .kind = kind_of[number % 20], .second_fd = -1};
    conn->source.s_addr = htonl(source);
    conn->hint = number / 20 % 2 == 0;
    load->busy++;
    if (conn_start(load, conn))
        end(load, conn, false);
}

static void on_open(struct load *load, struct conn *conn)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = conn};
    enum kind kind = life_of(load, conn)->kind;

    if (kind == KIND_SILENT || kind == KIND_SILENT_RESET) {
        end(load, conn, kind == KIND_SILENT_RESET);
        return;
    }
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, conn->udp_fd, &ev)) {
        fail(load, conn, "epoll_ctl", errno);
        return;
    }
    ask_from(load, conn, conn->udp_fd);
    if (conn->state == CONN_OPEN && kind == KIND_LEAVES)
        end(load, conn, false);
}

static void on_event(struct load *load, struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_NONE) /* it ended by an event of the same batch */
        return;
    if (conn->state == CONN_OPEN) {
        if (events & EPOLLRDHUP)
            fail(load, conn, "the server closed the control connection", 0);
        else
            read_answer(load, conn);
        return;
    }
    int r = conn_step(load, conn, events);
    if (r < 0)
        end(load, conn, false);
    else if (r == 1)
        on_open(load, conn);
    else if (conn->state == CONN_REPLY && life_of(load, conn)->kind == KIND_QUITS)
        end(load, conn, true);
}

/* Asks again, and gives up in the end. */
static void look_at_all(struct load *load)
{
    struct soak *s = load->own;
    uint64_t now = now_ns();

    for (unsigned i = 0; i < load->opt.streams; i++) {
        struct conn *conn = &load->conns[i];
        if (conn->state == CONN_NONE)
            continue;
        if (now - conn->started_ns > PATIENCE) {
            fail(load, conn, conn->state == CONN_OPEN ? "no answer" : "no reply", 0);
        } else if (conn->state == CONN_OPEN && now - s->lives[i].asked_ns > ASK_AGAIN) {
            s->resent++;
            ask_from(load, conn, conn->udp_fd);
        }
    }
}

static void tell(const struct load *load)
{
    printf("{\"mode\": \"%s\", \"done\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n", load->opt.mode,
           load->count, load->failed);
    fflush(stdout);
}

static void run(struct load *load)
{
    struct soak *s = load->own;
    struct epoll_event events[EVENTS];
    uint64_t until = now_ns() + (uint64_t)(load->opt.seconds * 1e9);
    uint64_t look = now_ns() + LOOK, told = now_ns() + TELL;

    for (;;) {
        /* Not while events are gone through: one of an ended life would meet the next. */
        bool more = s->begun < load->opt.count && load->failed < FAILED_MOST;
        for (unsigned i = 0; more && i < load->opt.streams && s->begun < load->opt.count; i++)
            if (load->conns[i].state == CONN_NONE)
                begin(load, &load->conns[i]);
        if (load->busy == 0 && !(more && s->begun < load->opt.count))
            return;
        int n = epoll_wait(load->epoll_fd, events, EVENTS, (int)(LOOK / 1000000));
        for (int i = 0; i < n; i++)
            on_event(load, events[i].data.ptr, events[i].events);
        uint64_t now = now_ns();
        if (now >= look)
            look_at_all(load);
        look = now >= look ? now + LOOK : look;
        if (now >= told)
            tell(load);
        told = now >= told ? now + TELL : told;
        if (now >= until) {
            load_note_failure(load, "time is up", 0);
            return;
        }
    }
}

int load_udp_soak(struct load *load)
{
    struct soak s = {.lives = calloc(load->opt.streams, sizeof(*s.lives))};
    char extra[256];
    int at;

    if (s.lives == NULL) {
        perror("socksbench");
        return 1;
    }
    for (unsigned i = 0; i < load->opt.streams; i++)
        s.lives[i].second_fd = -1;
    load->own = &s;
    load_window_begin(load);
    run(load);
    load_window_end(load);
    at = snprintf(extra, sizeof(extra), ", \"resent\": %" PRIu64 ", \"stale\": %" PRIu64, s.resent,
                  s.stale);
    for (unsigned k = 0; k < KINDS; k++)
        at += snprintf(extra + at, sizeof(extra) - (size_t)at, ", \"%s\": %" PRIu64, kind_names[k],
                       s.kinds[k]);
    for (unsigned i = 0; i < load->opt.streams; i++)
        if (s.lives[i].second_fd >= 0)
            close(s.lives[i].second_fd);
    free(s.lives);
    return load_result(load, extra);
}
