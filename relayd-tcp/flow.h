/* A flow: one association of this relay, from Open to its record.
 *
 *                 ┌─ DIALING ──┐
 *     Open ──────►│            ├──► PARKED ──leg──► RELAYING ──► (record) ──► gone
 *                 └─ LISTENING ┘      │
 *                        └────────────┴── refused, released, lease lost, time-out ──► gone
 *
 *   DIALING    CONNECT: dial races the destinations
 *   LISTENING  BIND: waits for the peer
 *   PARKED     the outer connection stands; the client's leg has to come in time
 *   RELAYING   two sockets, one stream; ends by itself or is cut
 *
 * What fails: every way out goes through flow_finish (flow.c), which tells N2 once and frees once.
 * A flow that relayed leaves one access record in the log; one that never did leaves none (its
 * control server knows more about it). */
#pragma once

#include "relayd-tcp/tcp_relay.h"
#include "shared/base/sm.h"
#include "shared/net/dial.h"

enum flow_state { FLOW_NEW, FLOW_DIALING, FLOW_LISTENING, FLOW_PARKED, FLOW_RELAYING, FLOW_GONE };

struct flow {
    struct stream stream;
    struct loop_grave grave;
    struct sm sm;
    struct tcp_relay *relay;
    struct n2_grant *grant;
    struct wheel_timer timer; /* DIALING: none (dial has its own); else the deadline of the state */
    union {
        struct dial *dial;      /* DIALING */
        int target_fd;          /* PARKED */
        struct {                /* LISTENING */
            struct addr *peers; /* heap */
            size_t count;
        } expected;
    };
    struct addr client, peer, bound;
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
void flow_open_connect(struct flow *f, const struct n2_open *o); /* flow_connect.c */
void flow_open_bind(struct flow *f, const struct n2_open *o);    /* flow_bind.c */
/* PARKED: the leg has so long to come. */
void flow_wait_for_leg(struct flow *f);
/* The one way out: refused (before it opened), or why it ended. */
void flow_finish(struct flow *f, const struct n2_refusal *refused, enum n2_end why);
