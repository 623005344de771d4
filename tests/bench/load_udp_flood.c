/* Datagrams of 1200 octets one way through one association, many in one UDP_SEGMENT send, as a QUIC
 * stack sends them. What arrived is what the sink says. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OCTETS  1200
#define RUN     54 /* of 1210 octets: just below what one send may hold */
#define PENDING UINT64_C(3000000)

struct flood {
    int counter_fd;
    uint8_t run[RUN * (UDP_HEADER + OCTETS)];
    size_t size; /* of one datagram, header included */
    uint64_t sent, refused;
};

/* What the sink has counted so far. 0, or -1 with a failure noted. */
static int ask_sink(struct load *load, struct sink_counts *ret)
{
    struct flood *f = load->own;

    for (int i = 0; i < 20; i++) {
        struct pollfd in = {.fd = f->counter_fd, .events = POLLIN};

        if (send(f->counter_fd, "?", 1, 0) != 1)
            break;
        if (poll(&in, 1, 100) == 1 && recv(f->counter_fd, ret, sizeof(*ret), 0) == sizeof(*ret))
            return 0;
    }
    load_note_failure(load, "the sink does not tell its counts", errno);
    return -1;
}

static int open_counter(struct load *load)
{
    const struct sockaddr_in *at = &load->opt.counter;
    struct flood *f = load->own;

    f->counter_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (f->counter_fd >= 0 && connect(f->counter_fd, (const struct sockaddr *)at, sizeof(*at)) == 0)
        return 0;
    load_note_failure(load, "a socket to the counter", errno);
    return -1;
}

static void make_run(struct load *load)
{
    struct flood *f = load->own;
    uint8_t header[UDP_HEADER];
    size_t header_len = udp_header(load, header);

    f->size = header_len + OCTETS;
    for (unsigned i = 0; i < RUN; i++)
        memcpy(f->run + i * f->size, header, header_len);
}

static void sleep_until(uint64_t ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

/* At a rate, what is due is sent in whole runs: the pauses are those of one run. */
static void flood_for(struct load *load, double seconds)
{
    struct flood *f = load->own;
    int fd = load->conns[0].udp_fd;
    uint64_t began = now_ns(), until = began + (uint64_t)(seconds * 1e9);
    double pause = load->opt.rate > 0 ? RUN * 1e9 / load->opt.rate : 0;

    for (uint64_t n = 1; now_ns() < until; n++) {
        if (send(fd, f->run, RUN * f->size, 0) >= 0)
            f->sent += RUN;
        else if (errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED)
            f->refused += RUN;
        else {
            load_note_failure(load, "send of a run", errno);
            return;
        }
        if (pause > 0)
            sleep_until(began + (uint64_t)((double)n * pause));
    }
}

/* Waits until nothing has arrived for a while; *ret is the count, load->ended_ns when it was
 * reached.
 */
static int drain(struct load *load, struct sink_counts *ret)
{
    struct sink_counts now;
    uint64_t last = now_ns();

    if (ask_sink(load, ret))
        return -1;
    for (uint64_t t = last; t - last < 10 * PENDING; t = now_ns()) {
        sleep_until(t + PENDING);
        if (ask_sink(load, &now))
            return -1;
        if (now.datagrams != ret->datagrams)
            last = now_ns();
        *ret = now;
    }
    load->ended_ns = last;
    return 0;
}

static int window(struct load *load, struct sink_counts *before, struct sink_counts *after)
{
    struct flood *f = load->own;

    f->sent = f->refused = 0;
    load_window_begin(load);
    flood_for(load, load->opt.seconds);
    load_window_end(load); /* the CPU shares are those of the flood; the time may grow a little */
    if (drain(load, after))
        return -1;
    load->count = after->datagrams - before->datagrams;
    if (after->octets - before->octets != load->count * OCTETS)
        load_note_failure(load, "what arrived is not of the size that was sent", 0);
    return 0;
}

static int measure(struct load *load)
{
    struct flood *f = load->own;
    struct sink_counts before, after;
    int segment;
    char extra[160];

    if (open_counter(load) || udp_open_all(load))
        return load_result_failed(load);
    make_run(load);
    segment = (int)f->size;
    if (setsockopt(load->conns[0].udp_fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment))) {
        load_note_failure(load, "UDP_SEGMENT", errno);
        return load_result_failed(load);
    }
    flood_for(load, load->opt.warm_up);
    if (load->failed || drain(load, &before))
        return load_result_failed(load);

    load_gate(load, 0);
    if (window(load, &before, &after))
        return load_result_failed(load);
    snprintf(extra, sizeof(extra),
             ", \"sent\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"refused\": %" PRIu64
             ", \"sink_dropped\": %" PRIu64,
             f->sent, f->sent > load->count ? f->sent - load->count : 0, f->refused,
             after.dropped - before.dropped);
    return load_result(load, extra);
}

int load_udp_flood(struct load *load)
{
    static struct flood flood; /* large for a stack */

    if (load->opt.streams != 1 || load->opt.counter.sin_port == 0) {
        fprintf(stderr, "socksbench: udp-flood has one association and needs --counter\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    flood = (struct flood){.counter_fd = -1};
    load->own = &flood;
    int status = measure(load);
    if (flood.counter_fd >= 0)
        close(flood.counter_fd);
    return status;
}
