/* relayd-tcp as a whole: what its parts share. */
#pragma once

#include "relayd-tcp/accept_port.h"
#include "relayd-tcp/config.h"
#include "shared/relay/ports.h"
#include "shared/relay/relay.h"
#include "shared/stream/stream.h"

struct tcp_stats {
    uint64_t bind_peers_refused; /* connected, and not the expected peer */
    uint32_t flows, attached;    /* now; attached: with a stream */
};

struct tcp_relay {
    struct relay base;        /* first: N2's service and the pages get it */
    struct tcp_config config; /* base.config is its beginning */
    struct stream_pump *pump;
    struct ports *ports; /* TRANSPARENT: whose is a connection */
    struct accept_ports *accept_ports;
    uint32_t listeners_max;
    struct tcp_stats stats;
};

/* flow.c: the service behind N2. */
extern const struct n2_service flow_service; /* its argument: struct tcp_relay */
