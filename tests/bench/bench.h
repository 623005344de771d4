/* What the parts of socksbench share: options, a histogram, a SOCKS 5 client, one event loop.
 *
 * A load opens connections to a target, through a SOCKS 5 server or directly, and counts what
 * passes while its window is open:
 *
 *   [open all] → [warm up] → come to rest → "ready" ─ line on stdin ─→ window → result ─ line →
 *
 * The stops are there only when asked for (gated): the driver reads the server's CPU time at both,
 * so that opening, warming up and closing are not counted. Nothing waits for ever: each phase has
 * its limit, and load_init arms an alarm behind all of them.
 *
 * Everything a load prints is one JSON object per line on stdout. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- histogram: log-linear, 32 slots to the octave (3 % wide), any 64-bit value ---- */

#define HIST_SLOTS 1920

struct hist {
    uint64_t count;
    uint64_t slot[HIST_SLOTS];
};

void hist_add(struct hist *h, uint64_t ns);
/* The value below which the share lies, in microseconds; 0 when nothing was added. */
double hist_us(const struct hist *h, double share);

/* ---- a connection, from the dial to the reply ---- */

enum conn_state {
    CONN_NONE,       /* no descriptor */
    CONN_CONNECTING, /* waits for the handshake of TCP */
    CONN_METHOD,     /* greeting sent, waits for 2 octets */
    CONN_REPLY,      /* request sent, waits for the reply */
    CONN_OPEN,       /* the target's octets follow */
};

struct conn {
    int fd;     /* -1: none; a direct UDP load has no control connection */
    int udp_fd; /* -1: none; connected to the relay, or to the target when there is no server */
    struct in_addr source; /* to dial from; 0: the kernel's choice */
    bool hint;             /* UDP ASSOCIATE tells the socket's own address, else zeros */
    enum conn_state state;
    uint8_t got;  /* octets of the answer that is awaited, in the handshake and in a load */
    bool waiting; /* a load's request is on its way */
    uint8_t reply[22];
    uint64_t started_ns; /* the dial */
    uint64_t sent_ns;    /* the request on its way */
};

/* ---- a load ---- */

struct load_options {
    const char *mode;
    bool udp;                  /* associations, not connections */
    struct sockaddr_in server; /* port 0: none, dial the target */
    struct sockaddr_in target;
    struct sockaddr_in counter; /* udp-flood: where the sink tells what arrived */
    pid_t target_pid;           /* 0: unknown, its CPU share is not told */
    unsigned streams;
    double seconds;   /* of the window; for hold, the longest wait */
    double warm_up;   /* seconds */
    double set_up;    /* limit in seconds for opening all */
    bool upload;      /* bulk only: towards the target */
    bool silent;      /* hold of associations: they never send */
    unsigned window;  /* udp-echo: datagrams on their way, for each association */
    unsigned sources; /* udp-soak: client addresses */
    uint64_t count;   /* udp-soak: associations */
    double rate;      /* udp-flood: datagrams per second; 0: all it can */
    bool gated;
};

struct load {
    struct load_options opt;
    int epoll_fd;
    struct conn *conns; /* opt.streams of them */
    unsigned open;      /* in state CONN_OPEN, kept by the opening phase */
    unsigned busy;      /* connections with something on its way, kept by the load */
    bool resting;       /* start nothing new */
    bool done;          /* load_loop returns */
    uint64_t count;     /* units finished: connections, round trips, octets */
    uint64_t failed;
    char first_failure[96];
    void *own;             /* what the mode keeps beside this */
    struct hist handshake; /* dial to SOCKS reply */
    struct hist whole;     /* one unit */
    uint64_t began_ns, ended_ns;
    uint64_t own_cpu_ns, target_cpu_ns; /* at the beginning; after load_window_end, of the window */
};

uint64_t now_ns(void);

/* 0, or -1 with the reason on stderr. */
int load_init(struct load *load, const struct load_options *opt);
void load_fini(struct load *load);

/* Remembers the first failure's text for the result; counts all. err is an errno or 0. */
void load_note_failure(struct load *load, const char *what, int err);

/* Runs on_event for each event of a connection until the time has come or load->done is set.
 * The handshake is not done here: on_event calls conn_step while the state is below CONN_OPEN. */
typedef void (*load_event_fn)(struct load *load, struct conn *conn, uint32_t events);
void load_loop(struct load *load, uint64_t until_ns, load_event_fn on_event);

/* Opens all connections, at most 64 being dialled at a time. 0, or -1 with a failure noted when one
 * failed or the limit passed. Handshake times land in load->handshake. */
int load_open_all(struct load *load);

/* Prints the ready line and waits for a line on stdin, at most limit seconds; end of file counts as
 * one, so that nothing outlives its driver. A no-op unless gated. */
void load_gate(struct load *load, double limit);

/* The window. begin forgets what was counted before it, failures included. end fixes time and CPU.
 */
void load_window_begin(struct load *load);
void load_window_end(struct load *load);

/* Prints the result; extra is "" or more members (", \"key\": 1"). Then, when gated, waits for a
 * line, so that the driver reads the server's CPU before connections close. The exit status: 1 when
 * anything failed or nothing was counted. */
int load_result(struct load *load, const char *extra);

/* Prints the result of a load that never got to its window. Exit status 1. */
int load_result_failed(struct load *load);

/* Dials. The descriptor is in the epoll set, edge-triggered, for reading and writing. 0, or -1 with
 * a failure noted; then the state is CONN_NONE. */
int conn_start(struct load *load, struct conn *conn);
/* Goes on with the handshake: 1 open, 0 not yet, -1 failed, noted and closed. Reads nothing behind
 * the reply. */
int conn_step(struct load *load, struct conn *conn, uint32_t events);
void conn_close(struct conn *conn);

/* ---- an association's socket ---- */

/* RSV, FRAG, ATYP 1, address, port: what stands before a datagram that goes through a server. */
#define UDP_HEADER 10

/* The header of datagrams to the target, and its length: 0 without a server. */
size_t udp_header(const struct load *load, uint8_t ret[UDP_HEADER]);
/* Opens conn->udp_fd, nonblocking, on the address of the control connection, and writes the request
 * that asks for an association. 0, or -1 with errno. */
int udp_request(struct conn *conn, uint8_t ret[10]);
/* Connects conn->udp_fd to where the server's reply says; an unspecified address is the server's.
 * 0, or -1 with errno. */
int udp_connect(const struct load *load, struct conn *conn);
/* As load_open_all, and without a server too. Then the UDP sockets are in the epoll set,
 * level-triggered, for reading; a control connection that ends has EPOLLRDHUP. */
int udp_open_all(struct load *load);
/* One datagram there and back on every association, asked again a few times. 0, or -1 with a
 * failure noted. */
int udp_once_each(struct load *load, double limit);

/* ---- the modes: each returns the exit status ---- */

int load_rate(struct load *load);
int load_rr(struct load *load);
int load_bulk(struct load *load);
int load_hold(struct load *load); /* udp-hold too */
int load_udp_echo(struct load *load);
int load_udp_flood(struct load *load);
int load_udp_soak(struct load *load);

/* One 64-octet round trip on every open connection. 0, or -1 with a failure noted. */
int rr_once_each(struct load *load, double limit);

/* Serves until stdin ends: prints {"once": PORT, "echo": PORT, ...}.
 * once       answers one octet with one octet and closes
 * echo       sends back what arrives
 * sink       reads and throws away
 * source     sends without end
 * udp_echo   sends datagrams back
 * udp_sink   counts datagrams and throws them away
 * udp_count  answers any datagram with a struct sink_counts of that sink */
int target_serve(struct in_addr address);

struct sink_counts {
    uint64_t datagrams, octets;
    uint64_t dropped; /* by the kernel, in front of the full sink; runs, not datagrams */
};

/* The UDP half of the target. Each socket is nonblocking and has a large buffer; -1 with errno. */
int target_udp_open(struct in_addr address, bool counts_runs);
void target_udp_echo(int fd);
void target_udp_sink(int fd);
void target_udp_count(int fd);
