/* relayd.yaml: what every relay reads, whatever it moves. */
#pragma once

#include "shared/daemon/daemon_config.h"

enum relay_engine { RELAY_COPY, RELAY_SPLICE };

struct relay_n2_keys {
    SCHEMA_ITEMS(char *) listen;
    bool insecure;
    SCHEMA_ITEMS(uint64_t) uids;
    uint64_t lease_ms;
    uint64_t quota;
};

struct relay_legs_keys {
    SCHEMA_ITEMS(char *) listen;
};

struct relay_keys {
    char *id;
    SCHEMA_ITEMS(struct addr) bind;
    SCHEMA_ITEMS(struct addr) advertise;
    struct schema_ports ports;
    bool ports_given;
    bool privileged_ports;
    SCHEMA_ITEMS(unsigned) engines; /* enum relay_engine */
    SCHEMA_ITEMS(struct prefix) protect;
    uint64_t associations; /* 0: from the descriptor limit */
    uint64_t connect_ms, idle_ms, half_closed_ms;
    uint64_t pipes, pipe_octets;
};

struct relay_config {
    struct log_config log;
    struct status_keys status;
    enum scheduler scheduler;
    struct relay_n2_keys n2;
    struct relay_legs_keys legs;
    struct relay_keys relay;
    uint64_t drain_ms;
};

extern const struct schema relay_schema;

/* The address of that family in a list, or one without a family. */
struct addr relay_config_pick(const struct addr *list, size_t count, enum addr_family family);
bool relay_config_engine(const struct relay_config *c, enum relay_engine engine);
