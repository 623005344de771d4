/* Which client-facing port an association gets, and whose a datagram on it is.
 *
 * Ports are shared: a datagram belongs to an association by (client address, client port, our port).
 * An association that does not know its client's port yet (unlocked) takes the first datagram of its
 * client's address on its port. So that none can take what is another's:
 *
 *   - unlocked, an association gets a port on which this client address has nothing: nothing
 *     unlocked, nothing locked, nothing that has ended lately;
 *   - locked from the start (the client said truthfully which port it uses), it gets a port on which
 *     this client address has nothing unlocked, and that pair of address and port nothing at all,
 *     lately ended included;
 *   - a datagram is first looked up by all three, then goes to the unlocked association;
 *   - what an association leaves rests for a while: datagrams that come late find nobody.
 *
 *      claim ──► UNLOCKED ──ports_lock──► LOCKED ──ports_lock (re-lock)──► LOCKED
 *        └──────────────(with a hint)──────►│
 *      ports_release from either: the key rests, then is free again
 *
 * The choice is random within the range, so that nobody guesses it. Unlocked associations are capped
 * per identity, so that silent ones take nobody's ports. Families have the range each; addresses are
 * unmapped (never ::ffff:a.b.c.d).
 *
 * Bounds: the range times the client addresses that hold something, and PORTS_RESTING_MAX keys that
 * rest (then the oldest is forgotten first). Hash keys are secret. Pure but for memory and
 * randomness: no sockets; it is told the time. */
#pragma once

#include "shared/base/addr.h"
#include "shared/base/list.h"

#define PORTS_RESTING_MAX 65536

struct ports;

struct ports_config {
    uint16_t first, last;  /* the range, both included; first >= 1 */
    uint32_t rest_ms;      /* how long what has ended keeps its key; 0: not at all */
    uint32_t unlocked_max; /* per identity; 0: no bound */
};

enum ports_result {
    PORTS_OK,
    PORTS_NONE_LEFT, /* no port for this client address */
    PORTS_CAPPED,    /* too many unlocked ones of this identity */
    PORTS_NO_MEMORY,
};

/* An association's hold on a port: embed it. What is in it is for reading only. */
struct ports_claim {
    struct addr client; /* address; port 0 while unlocked */
    uint16_t port;      /* ours */
    bool locked;
    /* Private. */
    struct ports_claim *next;  /* in its bucket, once locked */
    struct ports_site *site;   /* (client address, our port) */
    struct ports_owner *owner; /* while unlocked */
};

/* NULL without memory. */
struct ports *ports_new(const struct ports_config *config);
/* Every claim has been released. NULL is allowed. */
void ports_free(struct ports *p);

/* A port for an association of client (its address; a port other than 0: the truthful hint). owner
 * is the authenticated identity, "" without one: then the client's address is the identity. On
 * PORTS_OK c is filled and must be released; otherwise c is undefined.
 *
 * usable(arg, family, port) is asked before a port is taken: false (it cannot be bound) tries the
 * next, at most 32 times in one call. */
enum ports_result ports_claim(struct ports *p, struct ports_claim *c, const struct addr *client,
                              const char *owner, uint64_t now,
                              bool (*usable)(void *arg, enum addr_family family, uint16_t port),
                              void *arg);
/* The client's port is known now, or (c is locked) has changed; client_port is not 0. False: that key
 * is another's, or rests, and nothing has changed. */
bool ports_lock(struct ports *p, struct ports_claim *c, uint16_t client_port, uint64_t now);
void ports_release(struct ports *p, struct ports_claim *c, uint64_t now);

enum ports_found {
    PORTS_LOCKED,      /* *ret: it is this association's */
    PORTS_UNLOCKED,    /* *ret: may be locked to it */
    PORTS_OTHER_PORT,  /* this address has locked associations here, with other ports of its own; *ret is
                          the one to re-lock when it is the only one, else NULL */
    PORTS_LATE,        /* what had this key has ended lately */
    PORTS_STRANGER,    /* this address has nothing here */
};

/* Whose is a datagram from `from` on our port? from.family tells which of the two ranges. */
enum ports_found ports_find(const struct ports *p, const struct addr *from, uint16_t port,
                            struct ports_claim **ret);

/* Forgets what has rested long enough; to be called now and then (claims do it, too). */
void ports_sweep(struct ports *p, uint64_t now);

struct ports_stats {
    uint32_t claims, unlocked, resting, sites, owners;
};
struct ports_stats ports_stats(const struct ports *p);
