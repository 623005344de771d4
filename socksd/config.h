/* socksd.yaml, and what follows from it. */
#pragma once

#include "shared/daemon/daemon_config.h"
#include "shared/daemon/resolver_keys.h"
#include "socksd/dialect.h"
#include "shared/rules/rules.h"
#include "socksd/users.h"

enum config_method { METHOD_NONE, METHOD_USERPASS };
/* Whom UDP ASSOCIATE believes: the first datagram of the client's address, or the request only. */
enum udp_source { UDP_SOURCE_LEARN, UDP_SOURCE_STRICT };
enum config_dialect { DIALECT_SOCKS4, DIALECT_SOCKS5 };

struct proxy_keys {
    SCHEMA_ITEMS(struct prefix) from; /* none: no header is wanted from anybody */
    uint64_t timeout_ms;
};

struct listener_keys {
    struct addr listen;
    SCHEMA_ITEMS(unsigned) methods;  /* enum config_method */
    SCHEMA_ITEMS(unsigned) dialects; /* enum config_dialect */
    bool insecure;
    bool defer_accept;
    enum udp_source udp_source;
    struct proxy_keys proxy;
    struct dialect_policy policy; /* not a key: what methods and dialects come to */
};

struct users_keys {
    char *file;
    uint64_t cache_ms;
    uint64_t concurrent;
};

struct spawn_keys {
    char *program;
    uint64_t count;
    char *config;
};

struct relay_source {
    struct spawn_keys spawn;
    bool spawn_given;
    char *url;
    bool insecure;
};

struct timeout_keys {
    uint64_t handshake_ms, connect_ms, bind_ms, idle_ms, drain_ms;
};

struct config {
    char *id;
    SCHEMA_ITEMS(struct listener_keys) listeners;
    struct users_keys users;
    SCHEMA_ITEMS(struct relay_source) relays;
    struct rules *rules;
    struct resolver_keys resolver;
    struct timeout_keys timeouts;
    uint64_t sessions; /* 0: from the descriptor limit */
    char *run_dir;
    struct status_keys status;
    struct log_config log;
    enum scheduler scheduler;
    bool standalone;
    struct users *user_list; /* users.file, loaded; NULL without one */
};

extern const struct schema config_schema;

/* The whole of a file: keys, rules, users. */
int config_load(const char *file, struct err *e, struct config *ret);
/* No file: one listener for loopback clients, one relay of each kind as a child. listen may be NULL
 * (127.0.0.1:1080) and must be a loopback address. */
int config_standalone(const char *listen, struct err *e, struct config *ret);
void config_fini(struct config *c);
