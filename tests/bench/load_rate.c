/* New connections per second, opt.streams at once: dial, handshake, one octet there, one octet
 * back, end of stream, close. The target closes first, so that what waits in TIME_WAIT holds no
 * port that the load needs again. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void start(struct load *load, struct conn *conn)
{
    /* A dial that cannot even start would be tried again in a tight loop: the place stays empty,
     * and the failure is told. */
    if (load->resting || conn_start(load, conn))
        load->busy--;
    if (load->busy == 0)
        load->done = true;
}

static void finish(struct load *load, struct conn *conn)
{
    load->count++;
    hist_add(&load->whole, now_ns() - conn->started_ns);
    conn_close(conn);
    start(load, conn);
}

static void give_up(struct load *load, struct conn *conn, const char *what, int err)
{
    load_note_failure(load, what, err);
    conn_close(conn);
    start(load, conn);
}

/* The answer is one octet and the end of the stream, together or one after the other. */
static void read_answer(struct load *load, struct conn *conn, uint32_t events)
{
    uint8_t octets[8];
    ssize_t n = 0;

    if (!conn->got) {
        n = recv(conn->fd, octets, sizeof(octets), 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n != 1) {
            give_up(load, conn, n ? "recv of the octet" : "closed before the octet",
                    n < 0 ? errno : 0);
            return;
        }
        conn->got = 1;
    }
    /* An end that comes after the events were read raises an event of its own. */
    if (events & (EPOLLRDHUP | EPOLLHUP))
        finish(load, conn);
}

static void on_event(struct load *load, struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_NONE)
        return;
    if (conn->state == CONN_OPEN) {
        read_answer(load, conn, events);
        return;
    }
    int r = conn_step(load, conn, events);
    if (r < 0)
        start(load, conn);
    else if (r == 1 && send(conn->fd, "x", 1, MSG_NOSIGNAL) != 1)
        give_up(load, conn, "send of the octet", errno);
}

static void start_all(struct load *load)
{
    load->done = load->resting = false;
    load->busy = load->opt.streams;
    for (unsigned i = 0; i < load->opt.streams; i++)
        start(load, &load->conns[i]);
}

/* Connections older than a second while others take milliseconds: lost or left hanging. */
static unsigned count_stuck(const struct load *load)
{
    uint64_t now = now_ns();
    unsigned stuck = 0;

    for (unsigned i = 0; i < load->opt.streams; i++) {
        const struct conn *c = &load->conns[i];
        stuck += c->state != CONN_NONE && now - c->started_ns > UINT64_C(1000000000);
    }
    return stuck;
}

int load_rate(struct load *load)
{
    char extra[32];

    start_all(load);
    load_loop(load, now_ns() + (uint64_t)(load->opt.warm_up * 1e9), on_event);
    load->resting = true;
    load_loop(load, now_ns() + (uint64_t)(load->opt.set_up * 1e9), on_event);
    if (load->busy) {
        load_note_failure(load, "connections of the warm-up hang", 0);
        return load_result_failed(load);
    }
    if (load->failed)
        return load_result_failed(load);

    load->handshake = (struct hist){0};
    load_gate(load, 0);
    load_window_begin(load);
    start_all(load);
    load_loop(load, load->began_ns + (uint64_t)(load->opt.seconds * 1e9), on_event);
    load_window_end(load);
    snprintf(extra, sizeof(extra), ", \"stuck\": %u", count_stuck(load));
    return load_result(load, extra);
}
