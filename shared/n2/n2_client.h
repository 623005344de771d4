/* The asking side of N2: one relay as a control server knows it.
 *
 *   DOWN ──up──► HELLO ──answered──► SYNC ──inventory taken──► READY
 *     ▲            │                   │                         │
 *     └────────────┴──── connection lost, no answer, STALE ──────┘
 *
 * Calls are collected and travel together, one message in flight; a Watch is always parked at the
 * relay while READY, and brings events, load and the lease.
 *
 * An association is an n2_assoc, embedded in something of the caller's:
 *
 *   n2_assoc_open ─► opened | refused | lost
 *   opened ─► n2_assoc_attach ─► ended | lost          CONNECT
 *   opened ─► peer ─► n2_assoc_attach ─► ended | lost  BIND
 *   opened ─► locked, n2_assoc_stale ─► refresh ─► ended | lost   UDP: no leg ever goes
 *   n2_assoc_release at any time; n2_assoc_finish when the final counters are wanted
 *
 * lost means that nothing is known any more: no answer came, the lease ended, the relay was
 * restarted. Before the leg was handed over nothing has moved, so it may be tried elsewhere under a
 * new id; the old id is released as soon as the relay can be reached.
 *
 * Callbacks come from the loop, never before the function that caused them returns, except
 * leg_failed and lost from n2_client_close. After refused, ended or lost the n2_assoc is free and
 * may be used again, in that very callback too. */
#pragma once

#include "shared/base/err.h"
#include "shared/n2/n2.h"
#include "shared/net/loop.h"

struct n2_client;
struct n2_assoc;

struct n2_assoc_ops {
    void (*opened)(struct n2_assoc *a, const struct n2_open_answer *o);
    void (*refused)(struct n2_assoc *a, const struct n2_refusal *r);
    void (*peer)(struct n2_assoc *a, const struct addr *peer);   /* BIND */
    void (*locked)(struct n2_assoc *a, const struct addr *client); /* out-of-band */
    /* Out-of-band, after n2_assoc_stale: call n2_assoc_update with what shall be in force. */
    void (*refresh)(struct n2_assoc *a);
    /* It refused that: a must not go on with what it had. Release or finish it. */
    void (*refresh_refused)(struct n2_assoc *a);
    void (*ended)(struct n2_assoc *a, enum n2_end why, const struct n2_counters *c);
    void (*lost)(struct n2_assoc *a);
    /* The leg could not be sent; fd is the callee's again, the association is released. */
    void (*leg_failed)(struct n2_assoc *a, int fd);
};

enum n2_assoc_state {
    N2_ASSOC_FREE,
    N2_ASSOC_OPENING,
    N2_ASSOC_PENDING,
    N2_ASSOC_OPENED,
    N2_ASSOC_ATTACHED,
    N2_ASSOC_FINISHING
};

struct n2_assoc {
    struct idmap_node node; /* node.id */
    struct list in_client;
    struct n2_client *client;
    const struct n2_assoc_ops *ops;
    struct list stale; /* in client.stale: what the relay goes by is not what it should be */
    uint64_t call_id;  /* of the Open */
    uint32_t seen;     /* the last inventory that listed it */
    uint32_t revision; /* of the last Update */
    uint8_t state;    /* enum n2_assoc_state */
    uint8_t kind;     /* enum n2_kind */
    uint8_t *ticket;  /* heap; in-band and OPENED only */
};

struct n2_client_config {
    const char *url;
    const char *server_id; /* outlives the client, as does the rest */
    uint64_t server_epoch;
    const char *software;
    const struct addr *protect; /* our listeners */
    size_t protect_count;
};

/* What the relay said of itself; valid while n2_client_known. */
struct n2_relay_info {
    char id[N2_NAME_MAX + 1];
    char software[N2_TEXT_MAX + 1];
    uint64_t epoch;
    uint32_t kinds;    /* bit 1 << enum n2_kind */
    uint32_t families; /* bit 1 << 4, 1 << 6 */
    uint8_t ptcls[32]; /* IANA's numbers, a bit each */
    uint32_t lease_ms, capacity;
    char engines[64]; /* "splice copy" */
};

struct n2_client_stats {
    uint64_t messages, calls, answered, timeouts, connections, leases_lost, inventories, gaps;
    uint64_t opens, refusals[N2_REFUSAL_CODES], lost, legs, legs_failed;
};

struct n2_client_ops {
    /* Readiness, draining or load has changed. */
    void (*changed)(void *arg);
};

int n2_client_open(struct loop *l, const struct n2_client_config *config,
                   const struct n2_client_ops *ops, void *arg, struct n2_client **ret,
                   struct err *e);
/* Every association is lost (lost is called) and c is gone. */
void n2_client_close(struct n2_client *c);

/* Calls can be made and legs be handed over. */
bool n2_client_ready(const struct n2_client *c);
bool n2_client_draining(const struct n2_client *c);
const char *n2_client_state_name(const struct n2_client *c);
/* It has said Hello at least once. */
bool n2_client_known(const struct n2_client *c);
/* It serves this kind, with this PTCL. */
bool n2_client_serves(const struct n2_client *c, enum n2_kind kind, uint32_t ptcl);
const struct n2_relay_info *n2_client_info(const struct n2_client *c);
const struct n2_load *n2_client_load(const struct n2_client *c); /* as last reported */
const struct n2_client_stats *n2_client_stats(const struct n2_client *c);
uint32_t n2_client_assocs(const struct n2_client *c);
const char *n2_client_url(const struct n2_client *c);

/* a is FREE; o.association is ignored, an id is drawn. The client is ready. deadline_ms: how long
 * the caller will wait. -ENOMEM or -EAGAIN (too many calls wait): nothing was started. */
int n2_assoc_open(struct n2_client *c, struct n2_assoc *a, const struct n2_assoc_ops *ops,
                  const struct n2_open *o, uint32_t deadline_ms);
/* a is OPENED. Takes fd; from now on the stream is the relay's, and what comes is ended, lost or
 * leg_failed. -1: it cannot be queued; fd is the caller's, a is as before. */
int n2_assoc_attach(struct n2_assoc *a, int fd, const uint8_t *to_client, size_t to_client_len,
                    const uint8_t *to_target, size_t to_target_len);
/* Ends it in any state; no callback comes any more and a is FREE. */
void n2_assoc_release(struct n2_assoc *a);
/* As n2_assoc_release, but ended (RELEASED, with the counters) or lost follows. False: that could not be
 * asked; a is FREE, as after n2_assoc_release. a is OPENED. */
bool n2_assoc_finish(struct n2_assoc *a);
/* Limits or rules have changed: refresh will ask for them, from the loop, as soon as there is room, and
 * again whenever the relay may not have got them. a is OPENED. */
void n2_assoc_stale(struct n2_assoc *a);
/* Only from refresh. */
void n2_assoc_update(struct n2_assoc *a, const struct n2_limits *limits,
                     const struct n2_rules *rules);
/* Gives it up without ending it: an attached stream goes on and nobody is told of its end. */
void n2_assoc_forget(struct n2_assoc *a);
