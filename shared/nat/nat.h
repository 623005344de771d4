/* Associations that the kernel forwards: nftables translates addresses and ports, conntrack counts
 * and tells when connections end; this process only decides. IPv4 and IPv6, each within itself.
 *
 * Two tables of family inet per relay id. Nothing of the host that is not ours is dropped, marked
 * or masqueraded: every rule asks for our ct mark or for a triple (PTCL, BND, port) that we hold.
 *
 *   table relayd-ID (flag owner: ends with this process, whatever kills it; one process per id)
 *     map nat4, nat6    PTCL . source . port . BND . port : target . port . from . mark with tag
 *     prerouting, output    nat, -110   first packets that the map knows: mark and dnat
 *     postrouting           nat, 90     first packets of ours: snat to `from`, or masquerade, with
 *                                       a port of out_ports; element gone meanwhile: drop
 *     input                 nat, 90     first packets to a target on this host: count only
 *
 *   table relayd-ID-guard (outlives the process)
 *     set held4, held6  the triples
 *     set leases        mark with tag; each element has a time-out: the lease, in the kernel
 *     prerouting, output    filter, -90
 *         our mark, tag in leases      pass, whichever direction
 *         our mark, tag not there      drop and count (lapsed)
 *         still to a held triple       drop and count (unmatched: it was not translated)
 *
 *   ct mark:   foreign bits │ mask: who we are │ tag_mask: which server (1 ...)
 *   Foreign bits stay as they are.
 *
 * So: before nat_add nothing passes and no entry of conntrack arises that would outlive a later
 * nat_add. A process that is killed or stopped, or that does not refresh a lease, forwards nothing
 * once that lease is over. What it leaves is flushed, by mark, at the next nat_open of this id.
 *
 * Life of an entry:
 *
 *   FREE ──nat_add──► ADDING ──on_added(OK)──► LIVE ──nat_remove──► REMOVING ──► CLEARING ──► FREE
 *    ▲                  │ └─────nat_remove──────────────────────────►┘          │  on_removed
 *    └──on_added(why)───┘                                                       │
 *   REMOVING: its element is being deleted. CLEARING: no new connection can arise, the old one has
 *   been deleted from conntrack; a while later it is looked for once more, so that a packet that
 *   was in the middle of things has left nothing. Only then is the key free. Packets stop with the
 *   beginning of CLEARING.
 *
 * All work of one iteration of the loop leaves as one nftables transaction, just before it sleeps.
 * The next transaction follows `commit_gap_ms` later at the earliest: programs that list or change
 * the host's rules (nft, iptables-nft, container engines) start over whenever the ruleset changes
 * beneath them, and must get their turn.
 *
 * Memory: 230 octets here and 110 in the kernel per entry; 370 more in the kernel per connection,
 * which count for net.netfilter.nf_conntrack_max.
 *
 * What it cannot do: stop at an exact number of octets (counters are samples), learn a source port,
 * change family, serve PTCLs without ports. Names of tables and rules can be listed by `nft list
 * ruleset`; an administrator whose own forward chain has policy drop accepts ours by
 * `ct mark and MASK == MARK accept`. For the loop's thread; nothing here calls back before it
 * returns, except as said. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/base/list.h"
#include "shared/nat/probe.h"
#include "shared/net/loop.h"

struct nat;
struct nat_entry;

enum nat_result {
    NAT_OK,
    NAT_BAD,       /* the entry cannot be served at all: nat_suits would have said so */
    NAT_TAKEN,     /* another entry has this key, or its key is not free yet */
    NAT_NOT_HELD,  /* (PTCL, BND, port) is not held */
    NAT_FULL,      /* capacity entries are there */
    NAT_NO_MEMORY, /* here or in the kernel */
    NAT_REFUSED,   /* the kernel refused; nat_stats.last_errno */
};
const char *nat_result_name(enum nat_result r);

enum nat_end {
    NAT_END_FIN,   /* TCP: both directions have finished */
    NAT_END_RESET, /* TCP: one side has reset, or the target has refused */
    NAT_END_GONE,  /* conntrack has forgotten the connection: its own time-out (short for UDP), or
                      somebody deleted it. The next packet of the client makes a new one */
    NAT_END_IDLE,  /* no packet in either direction for idle_ms; said once, until one comes */
};

/* From the relay's side: out is client to target. Octets are those of whole IP packets. */
struct nat_counts {
    uint64_t packets_out, octets_out, packets_in, octets_in;
};

enum nat_state { NAT_FREE, NAT_ADDING, NAT_LIVE, NAT_REMOVING, NAT_CLEARING };

/* An association. Embed it; all zero is FREE. The first part is the caller's to fill while it is
 * FREE, and to leave alone otherwise; the object must stay where it is until it is FREE again. */
struct nat_entry {
    struct addr source; /* where its packets come from: address and port, both exact */
    struct addr bound;  /* BND: an address of this host, a port that is held */
    struct addr target;
    struct addr from; /* the address to send from (port ignored); family NONE: as routed */
    uint32_t idle_ms; /* 0: never idle */
    uint16_t tag;     /* whose lease: 1 to nat_tags() */
    uint8_t ptcl;

    /* For reading. */
    uint8_t state;            /* enum nat_state */
    bool connected;           /* conntrack knew a connection when it was last asked */
    struct nat_counts counts; /* all its connections so far, as of the last sample or end */
    uint64_t active_at;       /* loop_now of the last sample that had moved, or of on_added */

    /* Private. */
    bool told_end, told_idle;  /* of this connection, of this silence */
    uint8_t result;            /* enum nat_result, while on_added is still to be called */
    uint32_t seen;             /* the last sweep that met it */
    uint32_t id;               /* conntrack's number of the running connection; 0: none known */
    uint32_t over;             /* the sweep during which the last one ended; 0: between two */
    struct nat_counts current; /* the part of counts that the running connection has */
    struct nat_entry *next;    /* in its bucket */
    struct list node;          /* the queue of its state */
    uint64_t due;              /* CLEARING: when it is looked for once more */
};

enum nat_trouble {
    NAT_GUARD_LOST,    /* somebody deleted or flushed our guard; it has been built anew */
    NAT_GUARD_FAILED,  /* and could not be built: nothing is forwarded for long; close */
    NAT_EVENTS_LOST,   /* events overran; a full sample makes up for it (not an error) */
    NAT_PACKETS_STUCK, /* first packets were translated and never left this host: a foreign forward
                          rule drops them, a route is missing or forwarding is off */
};

struct nat_config {
    const char *relay_id; /* stable over restarts; [A-Za-z0-9_.-], 1 to NAT_ID_MAX */
    uint32_t mark, mask;  /* our ct mark; every relay id of a host has another one, and keeps
                             it: what a killed process left is found by it */
    uint32_t tag_mask;    /* consecutive bits, none of mask */
    uint8_t ptcls[NAT_PTCLS_MAX]; /* that may be asked for (of the probe) */
    uint8_t ptcl_count;
    bool loopback;              /* 127/8 can be served (of the probe) */
    struct port_span ports;     /* held ports are in here */
    struct port_span out_ports; /* source ports towards targets; first 0: the kernel's own range for
                                   outgoing sockets. A client's port is kept when it is in here.
                                   One target address and port has as many connections at most,
                                   from one address of ours */
    uint32_t capacity;          /* entries at most; also the size of the kernel's maps */
    uint32_t sample_ms;         /* how often counters are read; stretched so that no more than
                                   NAT_SAMPLES_PER_SECOND entries are read per second: idleness and
                                   volumes are known that much later */
    uint32_t commit_gap_ms;     /* 0: none; 5 leaves others their turn, and costs nobody a delay who
                                   comes after a pause */
    uint32_t events_buffer;     /* octets in the kernel for events not yet read; 0: 8 MiB */
    void *arg;

    /* How nat_add ended. Not OK: e is FREE. */
    void (*on_added)(void *arg, struct nat_entry *e, enum nat_result result);
    /* The connection has ended or is idle; the association is as it was, and goes on unless it is
     * removed (sequential connections). May come more than once. */
    void (*on_ended)(void *arg, struct nat_entry *e, enum nat_end why);
    /* e is FREE, its key too; counts are final. */
    void (*on_removed)(void *arg, struct nat_entry *e);
    /* May be NULL. The sentence is for a person, and gone after the call. */
    void (*on_trouble)(void *arg, enum nat_trouble what, const char *sentence);
};
/* Callbacks come from the loop, never from within a call of below (but on_trouble, from nat_hold,
 * nat_unhold and nat_lease, which are the ones to find the guard gone); they may call all of it but
 * nat_close. on_added and on_removed may free e. */

#define NAT_ID_MAX             64
#define NAT_SAMPLES_PER_SECOND 1500 /* 5 us each: 0.8 % of a core at most */
#define NAT_HELD_MAX           8192

/* Builds the tables in place of what an earlier process of this id has left, and flushes what it
 * left in conntrack. *ret is the caller's. Otherwise a sentence in e (may be NULL), nothing is left
 * behind, and *ret is untouched: another living process has this id, a privilege is missing and so
 * on; nat_probe tells more. The loop must outlive it. */
int nat_open(struct loop *l, const struct nat_config *c, struct nat **ret, struct err *e);
/* Deletes the tables and every connection with our mark, at once. Entries are dropped without a
 * callback: they are the caller's, and FREE. The loop has to run once more (uv_close). NULL is
 * allowed. */
void nat_close(struct nat *n);

/* Tags are 1 to this. */
uint32_t nat_tags(const struct nat *n);

/* Holds a triple: packets to it that no entry matches are dropped from now on. The caller has a
 * socket bound to it, so that no other program has (it never receives anything). bound must be in
 * `ports`. Counted: hold and unhold come in pairs. Done when it returns, and connections that
 * conntrack knew to it are forgotten. NAT_OK, NAT_BAD, NAT_FULL, NAT_NO_MEMORY or NAT_REFUSED. */
enum nat_result nat_hold(struct nat *n, uint8_t ptcl, const struct addr *bound);
/* No entry (any state but FREE) is left with it. Before the socket is closed. */
void nat_unhold(struct nat *n, uint8_t ptcl, const struct addr *bound);

/* Packets of tag pass for ms from now on, in place of what was said before; 0: none from now on.
 * Without it, none pass. Done when it returns. A tag is given to another server only when no entry
 * of the old one is left. */
enum nat_result nat_lease(struct nat *n, uint16_t tag, uint32_t ms);

/* NULL, or why this entry cannot be served by the kernel, as a sentence for a person: another
 * engine is needed. Looks at the caller's fields only; costs no system call. */
const char *nat_suits(const struct nat *n, const struct nat_entry *e);

/* Begins; on_added says how it went, after this returned. */
void nat_add(struct nat *n, struct nat_entry *e);
/* Begins; on_removed follows in any case (on_added does not, if it has not come yet). e is ADDING
 * or LIVE; in other states nothing happens. */
void nat_remove(struct nat *n, struct nat_entry *e);

struct nat_stats {
    uint32_t entries, live, adding, removing; /* removing: CLEARING ones too */
    uint32_t held;
    uint64_t added, refused, removed;
    uint64_t commits, elements;   /* nftables transactions, and elements added or deleted in them */
    uint64_t sweeps, samples;     /* of counters */
    uint64_t events, events_lost; /* of conntrack; how often they overran */
    uint64_t guard_rebuilt;
    int last_errno; /* of the last refusal of the kernel */
    /* From the kernel, as of now. Packets, since nat_open; drops, not failures. */
    uint64_t unmatched; /* to held triples, from somebody without an entry */
    uint64_t lapsed;    /* of ours, without a lease */
    uint64_t entered;   /* first packets that were translated ... */
    uint64_t left;      /* ... and left this host or reached a target on it */
};
/* Costs a system call for the kernel's part. */
struct nat_stats nat_stats(struct nat *n);
