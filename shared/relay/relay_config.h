/* relayd.yaml: what every relay reads, whatever it moves.
 *
 * A relay's configuration is a struct that begins with struct relay_config; its table is made of
 * the rows below and its own, so that a key of another relay is an unknown one:
 *
 *   struct my_config { struct relay_config base; uint64_t pace_ms; };
 *
 *   static const struct schema_key relay_keys[] = { // `relay:`
 *       RELAY_ID_KEY(struct my_config, base),
 *       RELAY_LIMIT_KEYS(struct my_config, base),
 *       SCHEMA_LIST("bind", IP, struct my_config, base.relay.bind, .help = "..."),
 *       SCHEMA_KEY("pace", DURATION, struct my_config, pace_ms, .help = "..."),
 *       {0},
 *   };
 *   static const struct schema relay_part = {sizeof(struct my_config), relay_keys, NULL};
 *   static const struct schema_key keys[] = {
 *       RELAY_SECTIONS(struct my_config, base, &relay_part, "streams"),
 *       {0},
 *   };
 *   const struct schema my_schema = {sizeof(struct my_config), keys, NULL};
 *
 * Of struct relay_keys, bind, advertise, ports and idle_ms have no rows here: what they say to a
 * reader of the help, and their presets, differ. */
#pragma once

#include "shared/daemon/daemon_config.h"

struct relay_n2_keys {
    SCHEMA_ITEMS(char *) listen;
    bool insecure;
    SCHEMA_ITEMS(uint64_t) uids;
    uint64_t lease_ms;
    uint64_t quota, owner_quota;
};

struct relay_legs_keys {
    SCHEMA_ITEMS(char *) listen;
};

struct relay_keys {
    char *id;
    SCHEMA_ITEMS(struct addr) bind;
    SCHEMA_ITEMS(struct addr) advertise;
    struct schema_ports ports;
    SCHEMA_ITEMS(struct prefix) protect;
    uint64_t associations; /* 0: from the descriptor limit */
    uint64_t idle_ms;
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

/* The address of that family in a list, or one without a family. */
struct addr relay_config_pick(const struct addr *list, size_t count, enum addr_family family);

/* ---- rows; T is the program's struct, f its struct relay_config ---- */

extern const struct schema relay_n2_schema, relay_legs_schema;
int relay_config_check_id(const char *text, struct err *e);

#define RELAY_ID_KEY(T, f)                                                                         \
    SCHEMA_KEY("id", STRING, T, f.relay.id, .check = relay_config_check_id,                        \
               .help = "Name of this relay in logs and metrics; without it, the host's.")

#define RELAY_LIMIT_KEYS(T, f)                                                                     \
    SCHEMA_LIST("protect", PREFIX, T, f.relay.protect,                                             \
                .help = "Networks that are never dialled, whatever a control server says."),       \
        SCHEMA_KEY("associations", UINT, T, f.relay.associations, .preset = "0", .max = 16000000,  \
                   .help = "Associations at most; 0: as many as descriptors allow.")

/* part: the table of `relay:`; what: the word for what runs. */
#define RELAY_SECTIONS(T, f, part, what)                                                           \
    SCHEMA_SUB("n2", T, f.n2, &relay_n2_schema, .help = "The control interface."),                 \
        SCHEMA_SUB("legs", T, f.legs, &relay_legs_schema, .help = "Clients' sockets."),            \
        SCHEMA_GROUP("relay", T, part, .help = "What is moved, and how."),                         \
        SCHEMA_SUB("status", T, f.status, &status_schema, .help = "Status endpoint."),             \
        SCHEMA_SUB("log", T, f.log, &log_schema, .help = "Records on stderr."),                    \
        SCHEMA_KEY("scheduler", WORD, T, f.scheduler, .preset = "batch", .words = scheduler_words, \
                   .help = "batch: wake-ups do not pre-empt; cheaper under load."),                \
        SCHEMA_KEY("drain-timeout", DURATION, T, f.drain_ms, .preset = "10m",                      \
                   .help =                                                                         \
                       "After SIGTERM, running " what " get so long. 0: as long as they take.")
