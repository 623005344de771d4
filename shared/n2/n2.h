/* N2 in plain C: the messages of proto/n2.proto as the rest of the program sees them.
 *
 * Enum values are those of the wire; n2_codec.c asserts it. Pointers in decoded structs lead into
 * the arena they were decoded with and live until it is reset. Text is NUL-terminated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/idmap.h"

#define N2_VERSION          1
#define N2_MESSAGE_MAX      (1u << 20)
#define N2_BODY_MAX         (N2_MESSAGE_MAX - 64) /* a Request or Reply; the rest is SP's */
#define N2_CALLS_MAX        1024
#define N2_EVENTS_MAX       1024
#define N2_DESTINATIONS_MAX 32
#define N2_AUDIT_MAX        16
#define N2_AUDIT_OCTETS     2048
#define N2_NAME_MAX         64
#define N2_TEXT_MAX         200
#define N2_TICKET_LEN       32
#define N2_SESSION_MAX      32
#define N2_DEADLINE_MAX_MS  120000
#define N2_LEGS_MAX         64
#define N2_LEG_MESSAGE_MAX  (192u * 1024)
#define N2_TO_CLIENT_MAX    1024
#define N2_TO_TARGET_MAX    (16u * 1024)
#define N2_LEASE_MS         5000
#define N2_RULES_MAX        4096
#define N2_RULES_OCTETS     (512u * 1024) /* what a relay takes at least */

enum n2_what {
    N2_NONE,
    N2_HELLO,
    N2_OPEN,
    N2_UPDATE,
    N2_RELEASE,
    N2_WATCH,
    N2_INVENTORY,
};

enum n2_refusal_code {
    N2_REFUSAL_NONE,
    N2_DRAINING,
    N2_FULL,
    N2_NO_PORT,
    N2_CANNOT_BIND,
    N2_POLICY,
    N2_UNSUPPORTED,
    N2_UNREACHABLE,
    N2_EXPIRED,
    N2_STALE,
    N2_CONFLICT,
    N2_BAD,
    N2_REFUSAL_CODES,
};

enum n2_cause {
    N2_CAUSE_NONE,
    N2_CAUSE_GENERAL,
    N2_CAUSE_NETWORK_UNREACHABLE,
    N2_CAUSE_HOST_UNREACHABLE,
    N2_CAUSE_REFUSED,
    N2_CAUSE_TIMED_OUT,
    N2_CAUSE_TTL_EXPIRED,
    N2_CAUSES,
};

/* The client's packets go to the relay itself; the association lives by its control connection. */
#define N2_OUT_OF_BAND(kind) ((kind) == N2_UDP || (kind) == N2_TRANSPARENT)

enum n2_kind {
    N2_KIND_NONE,
    N2_CONNECT,
    N2_BIND,
    N2_NEXT_HOP,
    N2_UDP,
    N2_TRANSPARENT,
    N2_KINDS,
};

/* Why an association ended: symbol, word for logs and metrics. */
#define N2_ENDS(X)                                                                                 \
    X(N2_END_NONE, "none")                                                                         \
    X(N2_END_CLOSED, "closed")                                                                     \
    X(N2_END_CLIENT_RESET, "client_reset")                                                         \
    X(N2_END_TARGET_RESET, "target_reset")                                                         \
    X(N2_END_IDLE, "idle_timeout")                                                                 \
    X(N2_END_LIMIT, "octet_limit")                                                                 \
    X(N2_END_RELEASED, "released")                                                                 \
    X(N2_END_LEASE_LOST, "lease_lost")                                                             \
    X(N2_END_ATTACH_TIMEOUT, "attach_timeout")                                                     \
    X(N2_END_DRAIN_DEADLINE, "drain_deadline")                                                     \
    X(N2_END_RELAY_ERROR, "relay_error")                                                           \
    X(N2_END_CLIENT_GONE, "client_gone")                                                           \
    X(N2_END_HALF_CLOSED_IDLE, "half_closed_timeout")                                              \
    X(N2_END_UNUSED, "unused")

#define N2_END_ENUM(symbol, word) symbol,
enum n2_end { N2_ENDS(N2_END_ENUM) N2_END_COUNT };
#undef N2_END_ENUM

enum n2_event_type {
    N2_EVENT_NONE,
    N2_EVENT_OPENED,
    N2_EVENT_FAILED,
    N2_EVENT_PEER,
    N2_EVENT_LOCKED,
    N2_EVENT_ENDED,
    N2_EVENT_TYPES,
};

enum n2_held_state { N2_HELD_PENDING, N2_HELD_OPENED, N2_HELD_ATTACHED, N2_HELD_STATES };
enum n2_leg_kind { N2_LEG_NONE, N2_LEG_PLAIN_FD, N2_LEG_KTLS_FD, N2_LEG_GSS_FD, N2_LEG_PUMP_FD, N2_LEG_TICKET };
enum n2_leg_role { N2_ROLE_CLIENT, N2_ROLE_HANDSHAKE };

const char *n2_refusal_name(enum n2_refusal_code code); /* "draining" */
const char *n2_cause_name(enum n2_cause cause);         /* "timed_out" */
const char *n2_end_name(enum n2_end end);               /* "closed" */
const char *n2_kind_name(enum n2_kind kind);            /* "connect" */

struct n2_refusal {
    enum n2_refusal_code code;
    enum n2_cause cause;
    const char *text; /* may be NULL */
};

struct n2_limits {
    uint32_t connect_ms, idle_ms, half_closed_ms;
    uint64_t octets;
};

struct n2_counters {
    uint64_t octets_up, octets_down, duration_ms;
    uint64_t datagrams_up, datagrams_down, dropped;
};

/* DatagramRule; names are those of struct DatagramRule too (".example.net" for all that lies under
 * it). */
struct n2_rule {
    bool allow, any_destination, opens_special, any_port;
    const char *const *names;
    size_t name_count;
    const struct prefix *networks, *special;
    size_t network_count, special_count;
    const struct port_span *ports;
    size_t port_count;
};

struct n2_rules {
    const struct n2_rule *items;
    size_t count;
};

struct n2_audit {
    const char *key, *value;
};

struct n2_hello {
    const char *software;
    const char *const *features;
    size_t feature_count;
    const struct addr *protect;
    size_t protect_count;
};

struct n2_hello_answer {
    const char *relay_id, *software, *legs;
    const char *const *features;
    size_t feature_count;
    const enum n2_kind *kinds;
    size_t kind_count;
    const uint32_t *ptcls;
    size_t ptcl_count;
    const char *const *engines;
    size_t engine_count;
    const uint32_t *families;
    size_t family_count;
    const struct addr *advertise;
    size_t advertise_count;
    const struct addr *protect;
    size_t protect_count;
    uint32_t capacity, quota, lease_ms;
};

struct n2_open {
    const uint8_t *association; /* ID_LEN */
    enum n2_kind kind;
    uint32_t ptcl;
    struct addr client, client_local, bind;
    const struct addr *destinations;
    size_t destination_count;
    struct n2_limits limits;
    const struct n2_audit *audit;
    size_t audit_count;
    const char *owner; /* "" when not authenticated */
    const struct n2_rules *rules; /* UDP; NULL: absent */
};

struct n2_open_answer {
    bool opened; /* false: pending, the rest is empty */
    struct addr bound, peer;
    const char *engine;
    const uint8_t *ticket; /* N2_TICKET_LEN */
};

struct n2_update {
    const uint8_t *association;
    uint32_t revision;
    struct n2_limits limits;
    const struct n2_rules *rules; /* NULL: absent */
};

struct n2_watch {
    uint64_t after_seq;
    uint32_t wait_ms;
};

struct n2_event {
    uint64_t seq;
    enum n2_event_type type;
    uint8_t association[ID_LEN];
    struct n2_open_answer opened; /* OPENED */
    struct n2_refusal failed;     /* FAILED */
    struct addr peer;             /* PEER, LOCKED, ENDED of UDP */
    enum n2_end end;              /* ENDED */
    struct n2_counters counters;
};

struct n2_load {
    uint32_t associations, capacity, descriptors_free, ports_free;
};

struct n2_watch_answer {
    const struct n2_event *events;
    size_t event_count;
    bool gap, draining;
    struct n2_load load;
    uint64_t last_seq;
};

struct n2_inventory {
    const uint8_t *after; /* ID_LEN, or NULL */
    uint32_t limit;
};

struct n2_held {
    uint8_t association[ID_LEN];
    enum n2_kind kind;
    enum n2_held_state state;
    uint64_t server_epoch;
    struct n2_counters counters;
};

struct n2_inventory_answer {
    const struct n2_held *held;
    size_t held_count;
    bool more;
    uint64_t as_of_seq;
};

struct n2_call {
    uint64_t id;
    uint32_t remaining_ms;
    enum n2_what what;
    const char *const *must_understand;
    size_t must_count;
    /* Set by the decoder: what is wrong with this call (NONE = nothing). The rest of it is then
     * not to be used; `what` and `id` are. */
    enum n2_refusal_code invalid;
    const char *invalid_text;
    union {
        struct n2_hello hello;
        const struct n2_open *open;
        struct n2_update update;
        const uint8_t *release; /* ID_LEN */
        struct n2_watch watch;
        struct n2_inventory inventory;
    } u;
};

struct n2_head {
    uint32_t version;
    const char *server_id;
    uint64_t server_epoch, relay_epoch, acked;
};

struct n2_request {
    struct n2_head head;
    const struct n2_call *calls;
    size_t call_count;
};

struct n2_answer {
    uint64_t id;
    enum n2_what what; /* NONE: refused */
    struct n2_refusal refused;
    union {
        struct n2_hello_answer hello;
        struct n2_open_answer open;
        uint32_t update_revision;
        struct {
            bool known;
            struct n2_counters counters;
            struct addr client; /* UDP */
        } release;
        struct n2_watch_answer watch;
        struct n2_inventory_answer inventory;
    } u;
};

struct n2_reply {
    uint32_t version;
    uint64_t relay_epoch;
    struct n2_refusal refused; /* code NONE: not refused as a whole */
    const struct n2_answer *answers;
    size_t answer_count;
};

struct n2_attach {
    const uint8_t *association; /* ID_LEN; decoded: NULL when it is no id */
    const uint8_t *ticket;      /* N2_TICKET_LEN; decoded: NULL when it can be none */
    enum n2_leg_kind kind;
    enum n2_leg_role role;
    const uint8_t *to_client, *to_target;
    size_t to_client_len, to_target_len;
};
