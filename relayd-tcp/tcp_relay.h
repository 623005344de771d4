/* relayd-tcp as a whole: what its parts share. */
#pragma once

#include "shared/relay/relay.h"
#include "shared/stream/stream.h"

/* Where an association's connection attempt stopped, or what became of a stream: counted by reason.
 */
struct relay_stats {
    uint64_t opened[N2_KINDS];
    uint64_t refused[N2_REFUSAL_CODES];
    uint64_t unreachable[N2_CAUSES];
    uint64_t ended[N2_END_COUNT];
    uint64_t octets_up, octets_down; /* of ended streams */
    uint64_t bind_peers_refused;     /* connected, and not the expected peer */
    uint32_t flows, attached;        /* now */
};

struct tcp_relay {
    struct relay base; /* first: N2's service and the pages get it */
    struct stream_pump *pump;
    struct relay_stats stats;
};

/* flow.c: the service behind N2. */
extern const struct n2_service flow_service; /* its argument: struct tcp_relay */
