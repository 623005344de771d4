/* The answering side of N2, whole: what a relay needs to know of servers, calls, leases and events.
 *
 * It keeps the sessions of the servers (proto/N2.md: Hello, epochs, lease), makes calls idempotent,
 * numbers events and parks Watches. What an association *is* the relay's service knows:
 *
 *   Open ─► service.open(grant) ─► n2_grant_opened | n2_grant_refused      now, or later as an event
 *   leg  ─► service.attach(grant, fd)
 *   Release, lease lost, epoch retired ─► service.end(grant, why) ─► n2_grant_ended
 *   the association's own end ─► n2_grant_ended                            an event
 *
 * Everything happens on the loop's thread. Service functions may call n2_grant_* before they
 * return. */
#pragma once

#include "shared/base/err.h"
#include "shared/n2/n2.h"
#include "shared/net/loop.h"

struct n2_server;
struct n2_session;

/*  PENDING ──opened──► OPENED ──attached──► ATTACHED
 *     │                  │                    │
 *     └─refused, ended───┴───────ended────────┴──► DEAD: a tombstone that repeats its answer */
enum n2_grant_state { N2_GRANT_PENDING, N2_GRANT_OPENED, N2_GRANT_ATTACHED, N2_GRANT_DEAD };

/* A grant as the service sees it. Read only but for impl. It lives until n2_grant_refused or
 * n2_grant_ended was called; do not touch it afterwards. */
struct n2_grant {
    struct idmap_node node; /* node.id: the association */
    struct list in_session;
    struct n2_session *session;
    struct n2_owner *owner; /* counted; NULL for what never lived, and the dead */
    union {
        void *impl;         /* the service's */
        uint64_t forget_at; /* DEAD */
    };
    uint64_t call_id, server_epoch;
    uint32_t revision;
    uint8_t kind;  /* enum n2_kind */
    uint8_t state; /* enum n2_grant_state */
    bool in_call;  /* the Open is being answered: no event needed */
    bool attachable;
    struct n2_refusal refused;
    const char *engine; /* a constant */
    struct addr bound, peer;
    uint8_t ticket[]; /* N2_TICKET_LEN, or none: then no leg ever comes */
};

struct n2_service {
    /* Carry it out. req is checked for form (n2_codec) and for kind being in config.kinds, and
     * lives until open returns. */
    void (*open)(void *arg, struct n2_grant *g, const struct n2_open *req);
    /* New limits and rules (u->rules; NULL: as they are) are in force when it returns. It may refuse,
     * and then nothing has changed: false with the refusal set. */
    bool (*update)(void *arg, struct n2_grant *g, const struct n2_update *u,
                   struct n2_refusal *ret);
    /* The ticket was right and is spent. fd is the service's now; -1: the leg was no good. a lives
     * until it returns. */
    void (*attach)(void *arg, struct n2_grant *g, const struct n2_attach *a, int fd);
    /* End it now: n2_grant_ended is called before this returns. */
    void (*end)(void *arg, struct n2_grant *g, enum n2_end why);
    void (*counters)(void *arg, const struct n2_grant *g, struct n2_counters *ret);
    void (*load)(void *arg, struct n2_load *ret);
    /* The last grant is gone while draining. */
    void (*drained)(void *arg);
};

struct n2_server_config {
    const char *const *urls; /* n2.listen */
    size_t url_count;
    const char *legs; /* path of the leg channel, or NULL */
    const uint32_t *uids;
    size_t uid_count;
    const char *relay_id;
    const char *software;
    const enum n2_kind *kinds;
    size_t kind_count;
    const uint32_t *ptcls;
    size_t ptcl_count;
    const char *const *engines;
    size_t engine_count;
    bool ipv4, ipv6; /* families served */
    const struct addr *advertise;
    size_t advertise_count;
    const struct addr *protect; /* our listeners */
    size_t protect_count;
    uint32_t capacity, quota, lease_ms;
    uint32_t owner_quota; /* associations of one owner (without one: of one client address) of a
                             server; 0: no bound */
};

/* Listens. config is copied, but for relay_id, kinds, ptcls and the names of engines, which must live
 * as long as the server. */
int n2_server_open(struct loop *l, const struct n2_server_config *config,
                   const struct n2_service *service, void *arg, struct n2_server **ret,
                   struct err *e);
/* Stops listening, ends every grant (DRAIN_DEADLINE) through the service, frees. */
void n2_server_close(struct n2_server *s);
/* Refuses new work from now on and tells the servers; service.drained follows, from the loop, when
 * nothing is held and the servers that listen have heard of every end (or a second has passed). */
void n2_server_drain(struct n2_server *s);

/* Draining takes too long: ends everything (DRAIN_DEADLINE); service.drained follows as above. */
void n2_server_cut(struct n2_server *s);

/* What Hello says from now on; copied, at most N2_DESTINATIONS_MAX. */
void n2_server_advertise(struct n2_server *s, const struct addr *list, size_t count);

uint32_t n2_server_grants(const struct n2_server *s);
uint64_t n2_server_epoch(const struct n2_server *s);
/* True when a is a listener of a server that said Hello: its port, and its address or, when either is
 * unspecified, any address that `local` says is of this host. */
bool n2_server_protects(const struct n2_server *s, const struct addr *a, bool local);

/* The Open has succeeded; engine is a constant. g->attachable is set: a leg may come. */
void n2_grant_opened(struct n2_grant *g, const struct addr *bound, const struct addr *peer,
                     const char *engine);
/* As n2_grant_opened, but no leg may come yet (BIND: until n2_grant_peer; UDP: ever). */
void n2_grant_listening(struct n2_grant *g, const struct addr *bound, const char *engine);
/* UDP: the client's address and port are known now, or others. Within open: an event is not needed. */
void n2_grant_locked(struct n2_grant *g, const struct addr *client);
/* BIND: the peer has come, a leg may come. */
void n2_grant_peer(struct n2_grant *g, const struct addr *peer);
/* It failed before a leg came. text is a constant or NULL. g is gone. */
void n2_grant_refused(struct n2_grant *g, enum n2_refusal_code code, enum n2_cause cause,
                      const char *text);
/* It is over. g is gone. */
void n2_grant_ended(struct n2_grant *g, enum n2_end why, const struct n2_counters *counters);

/* Who opened it; for records. */
const char *n2_grant_server_id(const struct n2_grant *g);

struct n2_server_stats {
    uint64_t requests, calls[N2_INVENTORY + 1], refusals[N2_REFUSAL_CODES];
    uint64_t hellos, conflicts, leases_lost, events, gaps, overloaded, bad_messages;
    uint32_t sessions_live; /* with a running lease */
};
void n2_server_stats(const struct n2_server *s, struct n2_server_stats *ret);
/* Calls fn for every grant that is not a tombstone, in no order. */
void n2_server_each(struct n2_server *s, void (*fn)(struct n2_grant *g, void *arg), void *arg);
