/* Holds opt.streams connections or associations open and idle, so that somebody can look at the
 * server meanwhile. Each carried one round trip (but silent associations): the server has had
 * reason to set up all it needs for a stream. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static bool alive(const struct conn *conn)
{
    uint8_t octet;

    return recv(conn->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static int open_and_use(struct load *load)
{
    if (!load->opt.udp)
        return load_open_all(load) || rr_once_each(load, load->opt.set_up);
    if (udp_open_all(load))
        return -1;
    return load->opt.silent ? 0 : udp_once_each(load, load->opt.set_up);
}

int load_hold(struct load *load)
{
    uint64_t left = 0;

    load_window_begin(load);
    if (open_and_use(load))
        return load_result_failed(load);
    load_window_end(load);

    load->opt.gated = true;
    load_gate(load, load->opt.seconds);
    for (unsigned i = 0; i < load->opt.streams; i++)
        left += alive(&load->conns[i]);
    load->count = left;
    if (left < load->opt.streams)
        load_note_failure(load, "connections ended while they were held", 0);
    load->opt.gated = false;
    return load_result(load, "");
}
