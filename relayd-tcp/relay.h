/* relayd-tcp as a whole: what its parts share. */
#pragma once

#include "shared/n2/n2_server.h"
#include "shared/relay/relay_config.h"
#include "shared/stream/stream.h"

/* Where an association's connection attempt stopped, or what became of a stream: counted by reason. */
struct relay_stats {
    uint64_t opened[N2_KINDS];
    uint64_t refused[N2_REFUSAL_CODES];
    uint64_t unreachable[N2_CAUSES];
    uint64_t ended[N2_END_COUNT];
    uint64_t octets_up, octets_down; /* of ended streams */
    uint64_t bind_peers_refused;     /* connected, and not the expected peer */
    uint32_t flows, attached;        /* now */
};

struct relay {
    struct loop *loop;
    struct relay_config config;
    struct n2_server *n2;
    struct stream_pump *pump;
    char id[N2_NAME_MAX + 1];
    uint64_t started;
    struct addr own[32]; /* our TCP listeners: never dialled */
    size_t own_count;
    uint32_t capacity;
    uint32_t descriptors_at_rest;
    bool draining;
    struct relay_stats stats;
};

/* flow.c: the service behind N2. */
extern const struct n2_service flow_service;
