/* relayd-udp as a whole: what its parts share. */
#pragma once

#include "relayd-udp/config.h"
#include "relayd-udp/engine.h"
#include "relayd-udp/policy.h"
#include "relayd-udp/reassembly.h"
#include "relayd-udp/routes.h"
#include "shared/net/resolve.h"
#include "shared/relay/ports.h"
#include "shared/relay/relay.h"

/* Why a datagram was not relayed: symbol, word for metrics. */
#define DROPS(X)                                                                                   \
    /* From a client's side. */                                                                    \
    X(DROP_STRANGER, "stranger")       /* this address has no association on this port */          \
    X(DROP_SOURCE_PORT, "source_port") /* it has, with another port of its own */                  \
    X(DROP_LATE, "late")               /* the association has ended lately */                      \
    X(DROP_HEADER, "header")           /* not a SOCKS UDP header */                                \
    X(DROP_FRAGMENT, "fragment")       /* FRAG, and switched off, out of order, or too late */     \
    X(DROP_FRAGMENT_MEMORY, "fragment_memory")                                                     \
    X(DROP_DENIED, "denied") /* by the rules */                                                    \
    X(DROP_PROTECTED, "protected")                                                                 \
    X(DROP_NAME, "name")             /* does not resolve */                                        \
    X(DROP_NAME_QUEUE, "name_queue") /* too much waits for names */                                \
    X(DROP_FAMILY, "family")         /* no address of ours to send it from */                      \
    X(DROP_NO_SOCKET, "no_socket")   /* no descriptor or no memory */                              \
    /* From outside. */                                                                            \
    X(DROP_PEER, "peer")         /* the sender was not sent to */                                  \
    X(DROP_TOO_LONG, "too_long") /* with the header it does not fit */

#define DROP_ENUM(symbol, word) symbol,
enum drop { DROPS(DROP_ENUM) DROP_COUNT };
#undef DROP_ENUM
const char *drop_name(enum drop why);

struct udp_stats {
    uint64_t dropped[DROP_COUNT];
    uint64_t datagrams_up, datagrams_down, octets_up, octets_down; /* handed to the engine */
    uint64_t fragments, reassembled;
    uint64_t relocks;
    uint64_t
        outer_overflows; /* datagrams from targets that found a buffer full; of closed sockets */
    uint64_t locks_learned, locks_hinted;
    uint32_t associations, used; /* now */
    uint32_t outer_sockets;      /* now */
    uint32_t names_waiting;      /* now: datagrams that wait for a name */
    size_t names_octets;         /* now: what they hold in memory */
};

struct udp_relay {
    struct relay base; /* first: N2's service and the pages get it */
    struct udp_config config;
    struct engine *engine;
    struct ports *ports, *plain_ports; /* for UDP ASSOCIATE, for TRANSPARENT */
    struct client_ports *client_ports, *plain_client_ports;
    uint32_t client_sockets, plain_client_sockets; /* at most */
    struct policies policies;
    struct routes *routes;
    struct resolver *resolver;
    struct reassembly_budget fragments;
    struct list fragmented;   /* struct fragments.node */
    struct wheel_timer sweep; /* what rests, what waits for fragments */
    struct udp_stats stats;
};

static inline uint64_t udp_now(const struct udp_relay *r)
{
    return loop_now(r->base.loop);
}
