/* One control server as a relay knows it: epochs, lease, grants, events. Private to n2_server.c,
 * n2_calls.c, n2_session.c and n2_grant.c. */
#pragma once

#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_link.h"
#include "shared/n2/n2_owners.h"
#include "shared/n2/n2_server.h"

enum {
    SESSIONS_MAX = 256,
    RETIRED_MAX = 32,
    TOMBSTONES_MAX = 16384,
    EVENTS_KEPT_MAX = 16384,
    TOMBSTONE_MS = 2 * N2_DEADLINE_MAX_MS,
    PROTECT_MAX = N2_DESTINATIONS_MAX,
    ENGINES_MAX = 8,
};

struct event_slot {
    struct n2_event event;
    uint8_t ticket[N2_TICKET_LEN];
};

/* Events in a ring that grows to its bound and then loses the oldest. */
struct event_ring {
    struct event_slot *slots;
    size_t cap, first, count;
    uint64_t last_seq; /* given out */
    uint64_t lost_seq; /* the newest that was dropped unseen; 0 = none */
};

struct n2_session {
    struct list node; /* in n2_server.sessions */
    struct n2_server *server;
    char id[N2_NAME_MAX + 1];
    uint64_t epoch;
    uint64_t retired[RETIRED_MAX]; /* the newest of them, a ring */
    uint32_t retired_count;
    uint32_t pipe; /* 0: the connection that said Hello is gone */
    uint64_t acked;
    bool leased;
    struct wheel_timer lease;
    struct n2_owners owners;
    struct idmap grants;    /* tombstones included */
    struct list live;       /* struct n2_grant.in_session */
    struct list tombstones; /* oldest first */
    uint32_t live_count, tombstone_count;
    struct event_ring events;
    struct n2_inbound *parked; /* the Watch that waits */
    uint64_t parked_call, parked_after;
    struct wheel_timer parked_until;
    struct loop_task answer_watch;
    struct addr protect[PROTECT_MAX];
    size_t protect_count;
};

struct n2_server {
    struct loop *loop;
    struct n2_server_config config; /* its lists are those below */
    struct addr advertise[N2_DESTINATIONS_MAX], protect[N2_DESTINATIONS_MAX];
    const char *engines[ENGINES_MAX];
    char software[N2_TEXT_MAX + 1];
    const struct n2_service *service;
    void *arg;
    uint64_t epoch;
    struct n2_listener *listener;
    struct n2_leg_listener *legs;
    char *legs_url;
    struct n2_arena *arena;
    struct buf reply;
    struct buf watch_reply; /* a parked Watch may have to be answered within another request */
    struct list sessions;
    size_t session_count;
    uint32_t grants;
    struct n2_counters final; /* of the grant that ended last */
    bool draining;
    struct loop_task drained;
    struct wheel_timer farewell;
    unsigned farewells;
    struct n2_server_stats stats;
};

/* ---- n2_session.c ---- */

struct n2_session *n2_session_find(struct n2_server *s, const char *id);
/* NULL: too many, or no memory. */
struct n2_session *n2_session_new(struct n2_server *s, const char *id, uint64_t epoch);
void n2_session_free(struct n2_session *x);
/* The epoch becomes the past; what it did not attach is ended. */
void n2_session_retire(struct n2_session *x, uint64_t new_epoch);
bool n2_session_is_retired(const struct n2_session *x, uint64_t epoch);
void n2_session_renew_lease(struct n2_session *x);
/* Ends everything that does not own its connections (all = false), or everything. */
void n2_session_end_grants(struct n2_session *x, bool all, enum n2_end why);
/* Forgets tombstones that can no longer be asked for. */
void n2_session_sweep(struct n2_session *x);
/* Appends an event (seq is given here) and sees to it that a parked Watch is answered. */
void n2_session_event(struct n2_session *x, const struct n2_event *e, const uint8_t *ticket);
/* Takes over `in`; an older parked Watch is answered. */
void n2_session_watch(struct n2_session *x, struct n2_inbound *in, const struct n2_call *call);
/* Answers the parked Watch with what there is. */
void n2_session_answer_watch(struct n2_session *x);
void n2_session_inventory(struct n2_session *x, const struct n2_call *call, struct buf *out);

/* ---- n2_calls.c ---- */

/* For the listener; arg: struct n2_server. */
void n2_calls_take(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes, size_t len,
                   bool overloaded);

/* ---- n2_grant.c ---- */

/* NULL without memory. */
struct n2_grant *n2_grant_new(struct n2_session *x, const uint8_t *id, uint64_t call_id,
                              enum n2_kind kind);
/* A tombstone for an id that never lived here. */
void n2_grant_bury_unknown(struct n2_session *x, const uint8_t *id, uint64_t call_id);
void n2_grant_free(struct n2_grant *g);
/* Fills the answer that the Open of g gets, first or again. */
void n2_grant_answer(const struct n2_grant *g, struct n2_answer *ret);
