/* Octets through opt.streams connections, all of them one way. Upload counts what the kernel took,
 * download what it gave: with full buffers at both ends of the window, that is what passed. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CHUNK (256 * 1024)

static void on_event(struct load *load, struct conn *conn, uint32_t events)
{
    static uint8_t chunk[CHUNK];
    ssize_t n;

    (void)events;
    if (conn->state != CONN_OPEN)
        return;
    if (load->opt.upload)
        n = send(conn->fd, chunk, CHUNK, MSG_NOSIGNAL);
    else /* MSG_TRUNC: thrown away without a copy, so that the load is not what bounds the figure */
        n = recv(conn->fd, NULL, 4 * CHUNK, MSG_TRUNC);
    if (n > 0) {
        load->count += (uint64_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        load_note_failure(load, n ? "a stream broke" : "a stream ended", n ? errno : 0);
        conn_close(conn);
        load->done = --load->open == 0;
    }
}

/* From the handshake's edge-triggered registration to level-triggered in the one direction: streams
 * go on by themselves after each stop, and take turns. */
static int register_all(struct load *load)
{
    struct epoll_event ev = {.events = load->opt.upload ? EPOLLOUT : EPOLLIN};

    for (unsigned i = 0; i < load->opt.streams; i++) {
        ev.data.ptr = &load->conns[i];
        if (epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, load->conns[i].fd, &ev)) {
            load_note_failure(load, "epoll_ctl", errno);
            return -1;
        }
    }
    return 0;
}

int load_bulk(struct load *load)
{
    if (load_open_all(load) || register_all(load))
        return load_result_failed(load);
    load_loop(load, now_ns() + (uint64_t)(load->opt.warm_up * 1e9), on_event);
    if (load->failed)
        return load_result_failed(load);

    load_gate(load, 0);
    load_window_begin(load);
    load_loop(load, load->began_ns + (uint64_t)(load->opt.seconds * 1e9), on_event);
    load_window_end(load);
    return load_result(load,
                       load->opt.upload ? ", \"direction\": \"up\"" : ", \"direction\": \"down\"");
}
