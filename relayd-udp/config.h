/* relayd-udp.yaml: what every relay reads, and what datagrams need. */
#pragma once

#include "shared/daemon/resolver_keys.h"
#include "shared/relay/relay_config.h"

enum udp_engine { UDP_PLAIN, UDP_BATCH };

/* Who may send to an association from outside (RFC 4787 section 5). */
enum udp_filtering { UDP_ADDRESS_DEPENDENT, UDP_ENDPOINT_INDEPENDENT };

struct udp_config {
    struct relay_config base; /* first; its relay.ports are shared by all associations */
    /* The rest of `relay:`. */
    struct schema_ports transparent_ports;
    SCHEMA_ITEMS(unsigned) engines; /* enum udp_engine */
    uint64_t unused_ms;
    uint64_t port_rest_ms; /* 0: not at all */
    uint64_t unlocked;     /* per identity; 0: no bound */
    uint64_t relock_ms;    /* 0: never */
    enum udp_filtering filtering;
    uint64_t peers;           /* per association; at least 1 */
    uint64_t peer_timeout_ms; /* 0: ever; otherwise at least a second */
    bool fragments;
    uint64_t fragment_octets; /* of all associations together */
    uint64_t fragment_ms;
    uint64_t receive_octets, target_octets; /* of a socket towards clients, towards targets */
    uint64_t pending;                       /* datagrams, per association */
    uint64_t pending_octets;                /* of all associations together */
    struct resolver_keys resolver;
};

extern const struct schema udp_schema;

bool udp_config_engine(const struct udp_config *c, enum udp_engine engine);
/* Takes from fresh what can change at run time, and leaves in it what was there. What has been
 * copied from c, the caller copies anew. */
void udp_config_reload(struct udp_config *c, struct udp_config *fresh);
/* What stays as it was then. */
#define UDP_CONFIG_KEPT                                                                            \
    "id, scheduler, n2, legs, status, bind, ports, engines, port-rest, unlocked, associations "    \
    "and resolver need "                                                                           \
    "a restart"
