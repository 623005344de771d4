/* socksd as a whole: what its parts share. */
#pragma once

#include "shared/base/secret.h"
#include "shared/n2/n2.h"
#include "shared/net/loop.h"
#include "shared/net/resolve.h"
#include "shared/socks/reply.h"
#include "socksd/config.h"
#include "socksd/verify.h"

struct front;
struct relays;
struct session;

/* Why a session ended without a relay having its client: symbol, word, is it somebody's error. */
#define SESSION_ENDS(X)                                                                            \
    X(SESSION_HANDED_OVER, "handed_over")                                                          \
    X(SESSION_FAILED, "failed")                       /* a reply said why */                       \
    X(SESSION_BAD_HANDSHAKE, "bad_handshake")         /* the dialect closed */                     \
    X(SESSION_HANDSHAKE_TIMEOUT, "handshake_timeout")                                              \
    X(SESSION_CLIENT_GONE, "client_gone")                                                          \
    X(SESSION_STOPPED, "stopped")

#define SESSION_END_ENUM(symbol, word) symbol,
enum session_end { SESSION_ENDS(SESSION_END_ENUM) SESSION_END_COUNT };
#undef SESSION_END_ENUM
const char *session_end_name(enum session_end end);

/* What came of a PROXY protocol header: symbol, word. */
#define PROXY_OUTCOMES(X)                                                                          \
    X(PROXY_OUTCOME_V1, "v1")                                                                      \
    X(PROXY_OUTCOME_V2, "v2")                                                                      \
    X(PROXY_OUTCOME_LOCAL, "local") /* either version, and nothing said of a client */             \
    X(PROXY_OUTCOME_MISSING, "missing")                                                            \
    X(PROXY_OUTCOME_BAD, "bad")                                                                    \
    X(PROXY_OUTCOME_TIMEOUT, "timeout")

#define PROXY_OUTCOME_ENUM(symbol, word) symbol,
enum proxy_outcome { PROXY_OUTCOMES(PROXY_OUTCOME_ENUM) PROXY_OUTCOME_COUNT };
#undef PROXY_OUTCOME_ENUM
const char *proxy_outcome_name(enum proxy_outcome outcome);

/* Why a control connection was closed, other than by the relay's word: symbol, word. */
#define CONTROL_ENDS(X)                                                                            \
    X(CONTROL_CLOSED, "control_closed")                                                            \
    X(CONTROL_RESET, "control_reset")                                                              \
    X(CONTROL_RULES, "rules_refused") /* the relay does not take what a reload brought */           \
    X(CONTROL_DATA, "control_data") /* the client sent where nothing is to be sent */              \
    X(CONTROL_STOPPED, "stopped")

#define CONTROL_END_ENUM(symbol, word) symbol,
enum control_end { CONTROL_ENDS(CONTROL_END_ENUM) CONTROL_END_COUNT };
#undef CONTROL_END_ENUM
const char *control_end_name(enum control_end end);

enum { COMMANDS = 5, VERSIONS = 6 };

struct server_stats {
    uint64_t accepted, accept_pauses, accept_errors;
    uint64_t ended[SESSION_END_COUNT];
    uint64_t requests[VERSIONS][COMMANDS][REPLY_COUNT]; /* by what was replied */
    uint64_t proxy_headers[PROXY_OUTCOME_COUNT];
    uint64_t auth_right, auth_wrong, auth_busy;
    uint64_t retries; /* Opens that were tried again elsewhere */
    uint32_t sessions;     /* now: descriptors of clients that we hold */
    uint32_t associations; /* now: handed over and not yet ended */
    uint64_t associations_total, relay_lost;
    uint64_t assoc_ends[N2_END_COUNT];
    uint64_t control_ends[CONTROL_END_COUNT];
    uint32_t controls; /* now: out-of-band associations, until the relay's last word; each has a
                          descriptor but for that last moment */
};

struct server {
    struct loop *loop;
    struct config config;
    char id[N2_NAME_MAX + 1];
    uint64_t epoch, started;
    struct front *front;
    struct relays *relays;
    struct resolver *resolver;
    struct verify *verify;
    struct list sessions;
    struct list associations; /* handed over */
    struct addr own[32];      /* our TCP listeners: no destination */
    size_t own_count;
    uint32_t sessions_max;
    bool draining;
    uint32_t generation; /* of rules and limits: reloads so far */
    struct server_stats stats;
    /* Sessions or control connections are fewer than they were. */
    void (*on_session_end)(struct server *s);
};
