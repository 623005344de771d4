/* A flow: one association of this relay, from Open to its record.
 *
 *                 ┌─ DIALING ──┐
 *     Open ──────►│            ├──► PARKED ──leg──► RELAYING ──► (record) ──► gone
 *                 └─ LISTENING ┘      │
 *                        └────────────┴── refused, released, lease lost, time-out ──► gone
 *
 *     Open ──► AWAITING ──client──► REACHING ──► RELAYING ──► gone, without a record
 *                 │ ▲                   │           │
 *                 │ └──── sequential ───┴───────────┘
 *                 └── released, lease lost, unused ────────────────────────────────► gone
 *
 *   DIALING    CONNECT: dial races the destinations
 *   LISTENING  BIND: waits for the peer
 *   PARKED     the outer connection stands; the client's leg has to come in time
 *   AWAITING   TRANSPARENT: has a port, and waits for its client to connect to it
 *   REACHING   the client has, and the target is dialled
 *   RELAYING   two sockets, one stream; ends by itself or is cut
 *
 * What fails: every way out goes through flow_finish (flow.c), which tells N2 once and frees once.
 * A flow that relayed leaves one access record in the log; one that never did leaves none (its
 * control server knows more about it), and a TRANSPARENT one neither: its control connection lives
 * with the control server, which writes the record. */
#pragma once

#include "relayd-tcp/tcp_relay.h"
#include "shared/base/sm.h"
#include "shared/net/dial.h"

enum flow_state {
    FLOW_NEW,
    FLOW_DIALING,
    FLOW_LISTENING,
    FLOW_PARKED,
    FLOW_AWAITING,
    FLOW_REACHING,
    FLOW_RELAYING,
    FLOW_GONE,
};

/* What only a TRANSPARENT flow has. */
struct transparent {
    struct ports_claim claim;
    struct accept_port *port; /* NULL: none yet */
    struct flow *flow;
    struct addr target;
    uint64_t opened;    /* loop_now */
    uint64_t before[2]; /* payload of connections that have ended, up and down */
    bool used;          /* its client has connected once */
};

struct flow {
    struct stream stream;
    struct loop_grave grave;
    struct sm sm;
    struct tcp_relay *relay;
    struct n2_grant *grant;
    struct wheel_timer timer; /* DIALING, REACHING: none (dial has its own); else the deadline of
                                 the state */
    union {
        struct dial *dial;      /* DIALING, REACHING */
        int target_fd;          /* PARKED */
        struct {                /* LISTENING */
            struct addr *peers; /* heap */
            size_t count;
        } expected;
    };
    struct addr client, peer, bound;
    struct transparent *transparent; /* owned; NULL: of another kind */
    struct n2_limits limits;
    bool kept_alive;  /* keepalive is on */
    uint64_t started; /* loop_now; when the leg came, once RELAYING */
    char *audit;      /* "key\0value\0" ... "\0"; owned; for the record */
};

/* The name of what a flow does now, for a status. */
const char *flow_state_name(const struct flow *f);
/* Payload so far. */
void flow_counters(const struct flow *f, struct n2_counters *ret);

/* ---- among flow*.c ---- */

/* What a new flow begins with; each may finish it before it returns. */
void flow_open_connect(struct flow *f, const struct n2_open *o);     /* flow_connect.c */
void flow_open_bind(struct flow *f, const struct n2_open *o);        /* flow_bind.c */
void flow_open_transparent(struct flow *f, const struct n2_open *o); /* flow_transparent.c */
/* What CONNECT and TRANSPARENT never connect to. */
bool flow_forbids(const struct tcp_relay *r, const struct addr *to);
/* What a dial's -errno is called. */
struct n2_refusal flow_refusal_of(int err);
/* Joins the two sockets, which are the stream's from now on: RELAYING. May finish the flow. */
void flow_relay(struct flow *f, const struct stream_start *with);
/* PARKED: the leg has so long to come. */
void flow_wait_for_leg(struct flow *f);
/* flow_transparent.c: a client has connected to the port of claim. True: fd is the flow's (and may
 * be closed already); false: it is not taken, as the flow has a connection. */
bool flow_accepted(struct ports_claim *claim, int fd, const struct addr *from);
/* Its stream has ended. True: it waits for the next one. */
bool flow_waits_again(struct flow *f, enum stream_end why);
/* AWAITING, and the timer has fired, or limits have changed: finishes it, or goes on waiting. */
void flow_check_waiting(struct flow *f);
/* Its connections that have ended have used up limits.octets. */
bool flow_used_up(const struct flow *f);
/* What its next, or present, stream may move; 0: no limit. Not for one that is used up. */
uint64_t flow_octet_limit(const struct flow *f);
/* Lets go of its port, and of a client for whom the target is dialled. */
void flow_transparent_let_go(struct flow *f);
/* The one way out: refused (before it opened), or why it ended. */
void flow_finish(struct flow *f, const struct n2_refusal *refused, enum n2_end why);
