/* relayd-tcp.yaml: what every relay reads, and what moving TCP needs. */
#pragma once

#include "shared/relay/relay_config.h"

enum tcp_engine { TCP_COPY, TCP_SPLICE };

struct tcp_config {
    struct relay_config base; /* first */
    /* The rest of `relay:`. */
    bool ports_given;
    bool privileged_ports;
    struct schema_ports transparent_ports; /* towards clients of TRANSPARENT; none of relay.ports */
    SCHEMA_ITEMS(unsigned) engines;        /* enum tcp_engine */
    uint64_t connect_ms, half_closed_ms;
    uint64_t unused_ms;    /* TRANSPARENT: for the first connection */
    uint64_t port_rest_ms; /* 0: not at all */
    uint64_t unlocked;     /* per identity; 0: no bound */
    bool sequential;       /* one connection after another */
    uint64_t pipes, pipe_octets;
};

extern const struct schema tcp_schema;

bool tcp_config_engine(const struct tcp_config *c, enum tcp_engine engine);
/* Takes from fresh what can change at run time, and leaves in it what was there. */
void tcp_config_reload(struct tcp_config *c, struct tcp_config *fresh);
/* What stays as it was then. */
#define TCP_CONFIG_KEPT                                                                            \
    "n2, legs, status, engines, pipes, transparent-ports, port-rest, unlocked and associations "   \
    "need a restart"
