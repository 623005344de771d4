/* A UDP or TRANSPARENT association, from Open to its end:
 *
 *   Open ──► UNLOCKED ──first valid datagram of the client's address──► LOCKED ──► gone
 *     │          └── unused for too long, released, lease lost ──────────────────► gone
 *     └── with a truthful hint ────────────────────────────────────────► LOCKED
 *
 *   client ◄─► client port (shared) ◄─► association ◄─► outer socket (its own, one per family)
 *
 * It ends when its control server says so (the client's control connection has ended), with the
 * lease, by itself when it was never used, has been idle or has reached its limit of octets, and
 * with the relay. Nothing of the network ends it.
 *
 * One way out: association_finish. Small while idle: what only traffic needs is allocated by it. */
#pragma once

#include "relayd-udp/client_port.h"
#include "relayd-udp/peers.h"
#include "relayd-udp/udp_relay.h"
#include "shared/base/sm.h"

enum association_state { ASSOC_NEW, ASSOC_UNLOCKED, ASSOC_LOCKED, ASSOC_GONE };

struct association {
    struct ports_claim claim;
    union {
        struct wheel_timer timer; /* unused, then idle */
        struct loop_grave grave;  /* GONE */
    };
    struct sm sm;
    struct udp_relay *relay;
    struct n2_grant *grant;
    struct client_port *port; /* NULL: none yet */
    struct hot outer[2]; /* IPv4, IPv6; without a descriptor until something is sent that way */
    struct policy *policy;
    struct peers peers;
    struct fragments *fragments; /* fragments.h; NULL: none wait */
    struct names *names;         /* names.h; NULL: none is waited for */
    uint32_t idle_ms;
    bool used;            /* its client has sent something */
    bool transparent;     /* no header: all goes to target[0], and comes from there */
    struct addr local;    /* where the client's datagrams come to */
    uint64_t octet_limit; /* 0: none */
    uint64_t started, last_activity, locked_at;
    struct {
        uint64_t octets_up, octets_down, datagrams_up, datagrams_down, dropped;
    } count;
    struct addr target[];     /* of a transparent one */
};

/* One of our own client ports, as a datagram's target or sender. */
bool association_own_port(struct udp_relay *r, const struct addr *a);
/* The service behind N2; its argument: struct udp_relay. */
extern const struct n2_service association_service;

const char *association_state_name(const struct association *a);
void association_counters(const struct association *a, struct n2_counters *ret);
static inline struct association *association_of_claim(struct ports_claim *c)
{
    return (struct association *)(void *)((char *)c - offsetof(struct association, claim));
}

/* Counts a datagram that is not relayed. */
void association_drop(struct association *a, enum drop why, unsigned datagrams);
/* The client's port is known now, or has changed. False: the key is another's. */
bool association_lock(struct association *a, uint16_t client_port);
/* A datagram of its client has come: it does not end as unused. */
void association_used(struct association *a);
/* Counts what is relayed. A limit may end the association: check its state. */
void association_count_up(struct association *a, uint64_t datagrams, uint64_t octets);
void association_count_down(struct association *a, uint64_t datagrams, uint64_t octets);
/* The socket to send from, opened if need be; -1: not to be had, and why. */
int association_outer(struct association *a, enum addr_family family, enum drop *ret_why);
/* The one way out: refused (it was not opened), or why it ended. */
void association_finish(struct association *a, const struct n2_refusal *refused, enum n2_end why);
