/* Which client-facing port an association gets, and whose a datagram on it is.
 *
 * Ports are shared: a datagram belongs to an association by (client address, client port, our
 * port). An association that does not know its client's port yet (unlocked) takes the first
 * datagram of its client's address on its port. So that none can take what is another's:
 *
 *   - unlocked, an association gets a port on which this client address has nothing: nothing
 *     unlocked, nothing locked, nothing that has ended lately;
 *   - locked from the start (the client said truthfully which port it uses), it gets a port on
 *     which this client address has nothing unlocked, and that pair of address and port nothing
 *     at all, lately ended included;
 *   - a datagram is first looked up by all three, then goes to the unlocked association;
 *   - what an association leaves rests for a while: datagrams that come late find nobody. That is
 *     its last key, each key it had before a re-lock, and the whole port for this client address
 *     when it ended unlocked (nobody can tell then which client port its datagrams come from).
 *
 *      claim ──► UNLOCKED ──ports_lock──► LOCKED ──ports_lock (re-lock)──► LOCKED
 *        └──────────────(with a hint)──────►│
 *      ports_release from either: the key rests, then is free again
 *
 * So a pair of client address and our port is at any time one of these; a port that holds nothing
 * for an address costs nothing:
 *
 *      alone    one unlocked association, or what it left: nobody else comes here
 *      shared   any number of locked ones and of keys that rest, each with another client port
 *
 * The choice is random within the range, so that nobody guesses it. Unlocked associations are
 * capped per identity, so that silent ones take nobody's ports. Families have the range each;
 * addresses are unmapped (never ::ffff:a.b.c.d).
 *
 * Bounds: the range times the client addresses that hold something, and PORTS_RESTING_MAX keys that
 * rest (then the oldest is forgotten first; so it is, too, when memory is short). Hash keys are
 * secret. Everything but a claim costs the same whatever the number of claims; a claim looks at
 * each port at most once. Pure but for memory and randomness: no sockets; it is told the time
 * (milliseconds, monotonic). */
#pragma once

#include "shared/relay/ports_table.h"
#include "shared/base/addr.h"

#define PORTS_RESTING_MAX 65536
/* How often one claim asks whether a port can be used. */
#define PORTS_TRIES_MAX 4096

struct ports;

struct ports_config {
    uint16_t first, last;  /* the range, both included; first >= 1 */
    uint32_t rest_ms;      /* how long what has ended keeps its key; 0: not at all */
    uint32_t unlocked_max; /* per identity; 0: no bound */
};

enum ports_result {
    PORTS_OK,
    PORTS_NONE_LEFT, /* no port for this client address (or none of them was usable) */
    PORTS_CAPPED,    /* too many unlocked ones of this identity */
    PORTS_NO_MEMORY,
};

/* An association's hold on a port: embed it (48 octets), and leave it where it is until it is
 * released. What is in it is for reading only. */
struct ports_claim {
    struct addr client; /* address; port 0 while unlocked */
    uint16_t port;      /* ours */
    bool locked;
    /* Private. */
    struct ports_link link;    /* among the locked ones, once locked */
    struct ports_site *site;   /* (client address, our port) */
    struct ports_owner *owner; /* while unlocked; NULL: the address is the identity */
};

/* NULL without memory. */
struct ports *ports_new(const struct ports_config *config);
/* Every claim has been released. NULL is allowed. */
void ports_free(struct ports *p);

/* A port for an association of client (its address; a port other than 0: the truthful hint). owner
 * is the authenticated identity, "" without one: then the client's address is the identity. The cap
 * is for unlocked ones: with a hint it is not asked. On PORTS_OK c is filled and must be released;
 * otherwise c is undefined.
 *
 * usable(arg, family, port) is asked before a port is taken, for different ports at most
 * PORTS_TRIES_MAX times in one call: false (it cannot be bound) tries the next. After true, this
 * port is taken, and nothing can fail any more. It must not call back into p. */
enum ports_result ports_claim(struct ports *p, struct ports_claim *c, const struct addr *client,
                              const char *owner, uint64_t now,
                              bool (*usable)(void *arg, enum addr_family family, uint16_t port),
                              void *arg);
/* The client's port is known now, or (c is locked) has changed; then the key that c had rests.
 * True, too, when c is locked to that port already. False: that key is another's, or rests (even if
 * it was c's own before), or client_port is 0, and nothing has changed. An unlocked one can be
 * locked to any port. */
bool ports_lock(struct ports *p, struct ports_claim *c, uint16_t client_port, uint64_t now);
/* The client, port and locked of c stay readable. */
void ports_release(struct ports *p, struct ports_claim *c, uint64_t now);

enum ports_found {
    PORTS_LOCKED,     /* *ret: it is this association's */
    PORTS_UNLOCKED,   /* *ret: may be locked to it */
    PORTS_OTHER_PORT, /* this address has locked associations here, with other ports of its own;
                       *ret is the one to re-lock when it is the only one, else NULL */
    PORTS_LATE,       /* what had this key has ended lately */
    PORTS_STRANGER, /* this address has nothing here (but keys that rest, with other ports, perhaps)
                     */
};

/* Whose is a datagram from `from` on our port? from->family tells which of the two ranges; a
 * datagram from port 0 is a stranger's. *ret is NULL where nothing is said of it. What rests is as
 * the last claim, lock or sweep left it. */
enum ports_found ports_find(const struct ports *p, const struct addr *from, uint16_t port,
                            struct ports_claim **ret);

/* Forgets what has rested long enough; to be called now and then (claims and locks do it, too). It
 * looks at nothing else. */
void ports_sweep(struct ports *p, uint64_t now);

struct ports_stats {
    uint32_t claims, unlocked; /* unlocked ones are among the claims */
    uint32_t resting;          /* keys */
    uint32_t sites;            /* pairs of client address and our port that hold a claim or a key */
    uint32_t owners;           /* identities that have something unlocked */
};
struct ports_stats ports_stats(const struct ports *p);
