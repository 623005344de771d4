/* Round trips of 64 octets on opt.streams connections held open; each has one request on its way.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define OCTETS 64

static void lose(struct load *load, struct conn *conn, const char *what, int err)
{
    load_note_failure(load, what, err);
    conn_close(conn);
    load->open--;
}

/* load->busy counts the connections that wait for an answer. */
static void ask(struct load *load, struct conn *conn)
{
    static const uint8_t request[OCTETS];

    conn->got = 0;
    conn->sent_ns = now_ns();
    conn->waiting = send(conn->fd, request, OCTETS, MSG_NOSIGNAL) == OCTETS;
    if (conn->waiting)
        load->busy++;
    else
        lose(load, conn, "send of a request", errno);
}

static void on_answer(struct load *load, struct conn *conn, uint32_t events)
{
    uint8_t answer[OCTETS];

    (void)events;
    if (conn->state != CONN_OPEN || !conn->waiting)
        return;
    ssize_t n = recv(conn->fd, answer, (size_t)(OCTETS - conn->got), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        load->busy--;
        lose(load, conn, n ? "recv of an answer" : "closed before an answer", n ? errno : 0);
    } else {
        conn->got = (uint8_t)(conn->got + n);
        if (conn->got < OCTETS)
            return;
        load->busy--;
        load->count++;
        conn->waiting = false;
        hist_add(&load->whole, now_ns() - conn->sent_ns);
        if (!load->resting)
            ask(load, conn);
    }
    load->done = load->busy == 0;
}

static void ask_all(struct load *load)
{
    load->done = false;
    for (unsigned i = 0; i < load->opt.streams; i++)
        if (load->conns[i].state == CONN_OPEN && !load->conns[i].waiting)
            ask(load, &load->conns[i]);
}

/* Lets what is on its way come home. */
static int come_to_rest(struct load *load, double limit)
{
    load->resting = true;
    if (load->busy)
        load_loop(load, now_ns() + (uint64_t)(limit * 1e9), on_answer);
    load->resting = load->done = false;
    if (load->busy)
        load_note_failure(load, "an answer is missing", 0);
    return load->failed ? -1 : 0;
}

int rr_once_each(struct load *load, double limit)
{
    ask_all(load);
    return come_to_rest(load, limit);
}

static void run_for(struct load *load, double seconds)
{
    ask_all(load);
    load_loop(load, now_ns() + (uint64_t)(seconds * 1e9), on_answer);
}

int load_rr(struct load *load)
{
    if (load_open_all(load))
        return load_result_failed(load);
    run_for(load, load->opt.warm_up);
    if (come_to_rest(load, load->opt.set_up))
        return load_result_failed(load);

    load_gate(load, 0);
    load_window_begin(load);
    run_for(load, load->opt.seconds);
    load_window_end(load);
    return load_result(load, "");
}
