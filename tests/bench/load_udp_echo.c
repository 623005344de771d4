/* Datagrams of 64 octets to the target and back, opt.window of them on their way for each of
 * opt.streams associations. One that does not come back within the patience is lost, and another
 * takes its place. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define OCTETS   64
#define PATIENCE UINT64_C(250000000)
#define LOOK     UINT64_C(20000000)
#define AT_ONCE  16
#define ROOM     8192

struct place {
    uint64_t sent_ns; /* 0: empty */
    uint32_t serial;
};

/* What an echo carries; the rest of it is zeros. */
struct mark {
    uint32_t place, serial;
};

struct echo {
    struct place *places; /* opt.window for each association */
    uint8_t header[UDP_HEADER];
    size_t header_len;
    unsigned waiting;
    uint64_t lost, late;
    uint8_t in[AT_ONCE][ROOM];
    uint8_t out[AT_ONCE][UDP_HEADER + OCTETS];
};

/* Sends for the empty places of one association. No UDP_SEGMENT: each datagram is one by itself. */
static void fill(struct load *load, struct conn *conn)
{
    struct echo *e = load->own;
    unsigned first = (unsigned)(conn - load->conns) * load->opt.window, n = 0;
    struct mmsghdr msgs[AT_ONCE] = {0};
    struct iovec iov[AT_ONCE];
    uint64_t now = now_ns();

    if (load->resting)
        return;
    for (unsigned i = first; i < first + load->opt.window && n < AT_ONCE; i++) {
        struct place *p = &e->places[i];
        if (p->sent_ns)
            continue;
        struct mark mark = {i, ++p->serial};
        p->sent_ns = now;
        e->waiting++;
        memcpy(e->out[n], e->header, e->header_len);
        memcpy(e->out[n] + e->header_len, &mark, sizeof(mark));
        iov[n] = (struct iovec){e->out[n], e->header_len + OCTETS};
        msgs[n].msg_hdr = (struct msghdr){.msg_iov = &iov[n], .msg_iovlen = 1};
        n++;
    }
    /* What is not taken is lost like any other. */
    if (n > 0)
        sendmmsg(conn->udp_fd, msgs, n, 0);
}

static void take(struct load *load, const uint8_t *datagram)
{
    struct echo *e = load->own;
    struct mark mark;

    if (memcmp(datagram, e->header, e->header_len) != 0) {
        load_note_failure(load, "a reply's header is not the target's", 0);
        return;
    }
    memcpy(&mark, datagram + e->header_len, sizeof(mark));
    if (mark.place >= load->opt.streams * load->opt.window) {
        load_note_failure(load, "a reply is none of ours", 0);
        return;
    }
    struct place *p = &e->places[mark.place];
    if (p->sent_ns == 0 || p->serial != mark.serial) {
        e->late++;
        return;
    }
    hist_add(&load->whole, now_ns() - p->sent_ns);
    p->sent_ns = 0;
    e->waiting--;
    load->count++;
}

static void on_event(struct load *load, struct conn *conn, uint32_t events)
{
    struct echo *e = load->own;
    struct mmsghdr msgs[AT_ONCE] = {0};
    struct iovec iov[AT_ONCE];
    size_t size = e->header_len + OCTETS;

    if (events & EPOLLRDHUP) {
        load_note_failure(load, "the server closed a control connection", 0);
        load->done = true;
        return;
    }
    for (unsigned i = 0; i < AT_ONCE; i++) {
        iov[i] = (struct iovec){e->in[i], ROOM};
        msgs[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(conn->udp_fd, msgs, AT_ONCE, 0, NULL);
    for (int i = 0; i < n; i++) /* all are of one size, so a run needs no measure */
        for (size_t at = 0; at + size <= msgs[i].msg_len; at += size)
            take(load, e->in[i] + at);
    fill(load, conn);
    if (load->resting && e->waiting == 0)
        load->done = true;
}

static void give_up_old(struct load *load)
{
    struct echo *e = load->own;
    uint64_t now = now_ns();

    for (unsigned i = 0; i < load->opt.streams; i++) {
        bool any = false;
        for (unsigned j = 0; j < load->opt.window; j++) {
            struct place *p = &e->places[i * load->opt.window + j];
            if (p->sent_ns == 0 || now - p->sent_ns < PATIENCE)
                continue;
            p->sent_ns = 0;
            e->waiting--;
            e->lost++;
            any = true;
        }
        if (any)
            fill(load, &load->conns[i]);
    }
}

static void run_for(struct load *load, double seconds)
{
    uint64_t until = now_ns() + (uint64_t)(seconds * 1e9);

    for (unsigned i = 0; i < load->opt.streams; i++)
        fill(load, &load->conns[i]);
    for (uint64_t now = now_ns(); now < until && !load->done; now = now_ns()) {
        load_loop(load, now + LOOK < until ? now + LOOK : until, on_event);
        give_up_old(load);
    }
}

/* Lets what is on its way come home, or be lost. */
static void come_to_rest(struct load *load)
{
    struct echo *e = load->own;

    load->resting = true;
    if (e->waiting > 0)
        run_for(load, 2 * (double)PATIENCE / 1e9);
    load->resting = load->done = false;
}

static int measure(struct load *load)
{
    struct echo *e = load->own;
    char extra[96];

    if (udp_open_all(load))
        return load_result_failed(load);
    run_for(load, load->opt.warm_up);
    come_to_rest(load);
    if (load->failed)
        return load_result_failed(load);

    load_gate(load, 0);
    load_window_begin(load);
    e->lost = e->late = 0;
    run_for(load, load->opt.seconds);
    load_window_end(load);
    snprintf(extra, sizeof(extra), ", \"lost\": %" PRIu64 ", \"late\": %" PRIu64, e->lost, e->late);
    return load_result(load, extra);
}

int load_udp_echo(struct load *load)
{
    struct echo *e = calloc(1, sizeof(*e));

    if (e != NULL)
        e->places = calloc((size_t)load->opt.streams * load->opt.window, sizeof(*e->places));
    if (e == NULL || e->places == NULL) {
        free(e);
        perror("socksbench");
        return 1;
    }
    e->header_len = udp_header(load, e->header);
    load->own = e;
    int status = measure(load);
    free(e->places);
    free(e);
    return status;
}
