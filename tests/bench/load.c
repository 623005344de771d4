#include "tests/bench/bench.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DIALLED_AT_ONCE 64
#define GATE_SECONDS    30
#define EVENTS          256

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts))
        return 0;
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t after_seconds(double seconds)
{
    return now_ns() + (uint64_t)(seconds * 1e9);
}

static uint64_t target_cpu_ns(const struct load *load)
{
    clockid_t id;

    if (load->opt.target_pid == 0 || clock_getcpuclockid(load->opt.target_pid, &id))
        return 0;
    return clock_ns(id);
}

/* Behind all other limits: whatever goes wrong, the program ends. */
static void arm_alarm(const struct load_options *opt)
{
    alarm((unsigned)(opt->set_up + opt->warm_up + opt->seconds) + 2 * GATE_SECONDS + 10);
}

static void raise_descriptor_limit(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
}

int load_init(struct load *load, const struct load_options *opt)
{
    memset(load, 0, sizeof(*load));
    load->opt = *opt;
    raise_descriptor_limit();
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    load->conns = calloc(opt->streams, sizeof(*load->conns));
    if (load->epoll_fd < 0 || load->conns == NULL) {
        perror("socksbench");
        load_fini(load);
        return -1;
    }
    for (unsigned i = 0; i < opt->streams; i++)
        load->conns[i] = (struct conn){.fd = -1, .udp_fd = -1, .hint = true};
    arm_alarm(opt);
    return 0;
}

void load_fini(struct load *load)
{
    for (unsigned i = 0; load->conns != NULL && i < load->opt.streams; i++)
        conn_close(&load->conns[i]);
    free(load->conns);
    load->conns = NULL;
    if (load->epoll_fd >= 0)
        close(load->epoll_fd);
    load->epoll_fd = -1;
}

void load_note_failure(struct load *load, const char *what, int err)
{
    if (load->failed++ > 0)
        return;
    if (err)
        snprintf(load->first_failure, sizeof(load->first_failure), "%s: %s", what, strerror(err));
    else
        snprintf(load->first_failure, sizeof(load->first_failure), "%s", what);
}

void load_loop(struct load *load, uint64_t until_ns, load_event_fn on_event)
{
    struct epoll_event events[EVENTS];

    while (!load->done) {
        uint64_t now = now_ns();
        if (now >= until_ns)
            return;
        int wait_ms = (int)((until_ns - now + 999999) / 1000000);
        int n = epoll_wait(load->epoll_fd, events, EVENTS, wait_ms);
        for (int i = 0; i < n; i++)
            on_event(load, events[i].data.ptr, events[i].events);
    }
}

/* ---- opening ---- */

/* Dials the next connections up to the bound; load->busy counts those on their way. The connections
 * are dialled in order, so that open + busy is also the number of the next one. */
static void open_more(struct load *load)
{
    while (load->busy < DIALLED_AT_ONCE && load->open + load->busy < load->opt.streams) {
        if (conn_start(load, &load->conns[load->open + load->busy]))
            load->done = true;
        if (load->done)
            return;
        load->busy++;
    }
}

static void on_opening_event(struct load *load, struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_OPEN || conn->state == CONN_NONE)
        return;
    int r = conn_step(load, conn, events);
    if (r == 0)
        return;
    load->busy--;
    if (r < 0) {
        load->done = true;
        return;
    }
    load->open++;
    load->done = load->open == load->opt.streams;
    open_more(load);
}

int load_open_all(struct load *load)
{
    open_more(load);
    load_loop(load, after_seconds(load->opt.set_up), on_opening_event);
    load->done = false;
    load->busy = 0;
    if (load->failed)
        return -1;
    if (load->open == load->opt.streams)
        return 0;
    load_note_failure(load, "time to open all is up", 0);
    return -1;
}

/* ---- the gate and the window ---- */

static void wait_for_line(double limit)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t until = after_seconds(limit);
    char c = 0;

    while (c != '\n') {
        uint64_t now = now_ns();
        if (now >= until)
            return;
        if (poll(&in, 1, (int)((until - now) / 1000000) + 1) <= 0)
            continue;
        if (read(STDIN_FILENO, &c, 1) <= 0)
            return;
    }
}

void load_gate(struct load *load, double limit)
{
    if (!load->opt.gated)
        return;
    printf("{\"mode\": \"%s\", \"ready\": true, \"open\": %u}\n", load->opt.mode, load->open);
    fflush(stdout);
    wait_for_line(limit > 0 ? limit : GATE_SECONDS);
}

void load_window_begin(struct load *load)
{
    load->count = load->failed = 0;
    memset(&load->whole, 0, sizeof(load->whole));
    load->own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    load->target_cpu_ns = target_cpu_ns(load);
    load->began_ns = now_ns();
}

void load_window_end(struct load *load)
{
    load->ended_ns = now_ns();
    load->own_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - load->own_cpu_ns;
    load->target_cpu_ns = target_cpu_ns(load) - load->target_cpu_ns;
}

/* ---- the result ---- */

static void print_latency(const char *name, const struct hist *h)
{
    printf(", \"%s\": {\"p50\": %.1f, \"p99\": %.1f}", name, hist_us(h, 0.5), hist_us(h, 0.99));
}

int load_result(struct load *load, const char *extra)
{
    double seconds = (double)(load->ended_ns - load->began_ns) / 1e9;
    double per = seconds > 0 ? 1 / seconds : 0;

    printf("{\"mode\": \"%s\", \"streams\": %u, \"count\": %" PRIu64 ", \"seconds\": %.6f, "
           "\"per_second\": %.1f, \"failed\": %" PRIu64 ", \"first_failure\": \"%s\"",
           load->opt.mode, load->opt.streams, load->count, seconds, (double)load->count * per,
           load->failed, load->first_failure);
    print_latency("handshake_us", &load->handshake);
    print_latency("latency_us", &load->whole);
    printf(", \"cpu_own\": %.3f", (double)load->own_cpu_ns / 1e9 * per);
    if (load->opt.target_pid)
        printf(", \"cpu_target\": %.3f", (double)load->target_cpu_ns / 1e9 * per);
    printf("%s}\n", extra);
    fflush(stdout);
    if (load->opt.gated)
        wait_for_line(GATE_SECONDS);
    return load->failed || load->count == 0;
}

int load_result_failed(struct load *load)
{
    printf("{\"mode\": \"%s\", \"streams\": %u, \"open\": %u, \"count\": 0, \"failed\": %" PRIu64
           ", \"first_failure\": \"%s\"}\n",
           load->opt.mode, load->opt.streams, load->open, load->failed, load->first_failure);
    return 1;
}
