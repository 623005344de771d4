/* The ports that clients of TRANSPARENT associations connect to: one listening socket per family
 * and port of the range, opened when the first association needs it, shared by all that use it,
 * closed when nobody has used it for a while.
 *
 *   accept ──► whose connection is it (shared/relay/ports.h) ──► flow_accepted
 *                └── nobody's: reset, counted by reason
 *
 * The handshake of a stranger's connection is over before he is known: it is reset right behind.
 * Without a descriptor or memory to accept with, a port is left alone for a moment; those who wait
 * in its queue are taken then. */
#pragma once

#include "shared/base/addr.h"
#include "shared/net/loop.h"

struct tcp_relay;
struct accept_ports;

/* Why a connection was reset: symbol, word for metrics. */
#define ACCEPT_REFUSALS(X)                                                                         \
    X(ACCEPT_STRANGER, "stranger")       /* this address has no association on this port */        \
    X(ACCEPT_SOURCE_PORT, "source_port") /* it has, with another port of its own */                \
    X(ACCEPT_LATE, "late")               /* the association has ended lately */                    \
    X(ACCEPT_BUSY, "busy")               /* the association has a connection already */

#define ACCEPT_REFUSAL_ENUM(symbol, word) symbol,
enum accept_refusal { ACCEPT_REFUSALS(ACCEPT_REFUSAL_ENUM) ACCEPT_REFUSAL_COUNT };
#undef ACCEPT_REFUSAL_ENUM
const char *accept_refusal_name(enum accept_refusal why);

struct accept_port {
    struct hot hot;
    struct accept_ports *ports;
    struct list node; /* among the open ones */
    uint8_t family;
    uint16_t port;
    uint32_t users;
    uint64_t unused_since; /* loop_now, while users is 0 */
};

struct accept_stats {
    uint64_t accepted; /* that became somebody's */
    uint64_t refused[ACCEPT_REFUSAL_COUNT];
    uint64_t errors; /* no descriptor or memory to accept with */
};

/* NULL without memory. max: sockets at once. */
struct accept_ports *accept_ports_new(struct tcp_relay *r, uint32_t max);
/* Closes them all; whoever waits in a queue is reset. NULL is allowed. */
void accept_ports_free(struct accept_ports *p);

/* Sees to it that there is a socket; false: not to be had, and accept_ports_error tells why. Costs
 * nothing where there is one, and where none can be opened any more until forgiven. */
bool accept_ports_open(struct accept_ports *p, enum addr_family family, uint16_t port);
/* Of the last accept_ports_open that failed since accept_ports_forgive: an errno; 0: none did. One
 * that would fail for every port makes all further ones fail until forgiven. */
int accept_ports_error(const struct accept_ports *p);
void accept_ports_forgive(struct accept_ports *p);
/* What sockets of that family are bound to; unspecified: every address of this host. */
struct addr accept_ports_local(const struct accept_ports *p, enum addr_family family);

/* The socket of a port that accept_ports_open has opened, with one user more. */
struct accept_port *accept_port_use(struct accept_ports *p, enum addr_family family, uint16_t port);
void accept_port_leave(struct accept_port *p);

/* True when a is a listener of ours, as a target: a connection to it would be taken for a client's.
 */
bool accept_ports_own(const struct accept_ports *p, const struct addr *a);
/* Resets a connection that is not relayed. Who counts it says why. */
void accept_reset(int fd);

const struct accept_stats *accept_ports_stats(const struct accept_ports *p);
/* How many are open, and how many there may be. */
uint32_t accept_ports_count(const struct accept_ports *p);
uint32_t accept_ports_max(const struct accept_ports *p);
