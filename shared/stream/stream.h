/* A stream: two connected TCP sockets joined, octets both ways, until both directions are finished.
 *
 *      leg 0 (client)                                  leg 1 (target)
 *          │ ── dir 0: read leg 0, write leg 1 ──────────► │
 *          │ ◄────────────── dir 1: read leg 1, write leg 0 │
 *
 *   direction:  OPEN ──EOF read──► ENDING ──all delivered──► DONE (shutdown sent)
 *
 * The happy path: stream_start writes what was said before the sockets were joined, then each
 * direction is pumped by its engine whenever its reader has something or its writer has room.
 * Half-close is forwarded. When both directions are DONE the stream ends with STREAM_CLOSED.
 *
 * It ends earlier when a leg resets, when the owner says so, or when the octet limit is reached.
 * Then both legs are reset: a stream that was cut never looks like one that was finished.
 *
 * Level-triggered throughout. A direction that holds octets does not read, so what a stream holds
 * is bounded by one copy buffer or one pipe per direction, however fast the sender and dead the
 * reader. An idle stream holds two descriptors and no buffer.
 *
 * Who frees: on_end is called exactly once, after the sockets are closed; from then on the memory
 * is the owner's, to be freed no earlier than loop_bury allows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/net/loop.h"

#define STREAM_ENDS(X)                                                                             \
    X(STREAM_CLOSED)                                                                               \
    X(STREAM_CLIENT_GONE) /* before it was told anything */                                        \
    X(STREAM_CLIENT_RESET)                                                                         \
    X(STREAM_TARGET_RESET)                                                                         \
    X(STREAM_LIMIT)                                                                                \
    X(STREAM_NO_MEMORY)                                                                            \
    X(STREAM_CUT) /* the owner's doing */

#define STREAM_END_ENUM(symbol) symbol,
enum stream_end { STREAM_ENDS(STREAM_END_ENUM) };
#undef STREAM_END_ENUM

enum stream_dir_state { STREAM_OPEN, STREAM_ENDING, STREAM_DONE };

struct engine;
struct pipe_loan;

struct stream_dir {
    const struct engine *engine;
    uint64_t octets; /* delivered payload */
    uint8_t *held;   /* copy: what the writer did not take; heap, NULL when nothing is held */
    uint32_t held_at, held_len;
    uint32_t uncounted;     /* of the first octets held: not payload (the reply) */
    struct pipe_loan *pipe; /* splice */
    uint8_t state;          /* enum stream_dir_state */
    uint8_t small_turns;    /* splice: turns in a row that were not worth a pipe */
};

struct stream {
    struct hot leg[2];
    struct stream_dir dir[2];
    struct stream_pump *pump;
    uint64_t last_activity; /* loop_now */
    uint64_t octet_limit;   /* both directions together; 0 = none */
    void (*on_end)(struct stream *s, enum stream_end why);
    bool ended;
};

struct stream_stats {
    uint64_t octets_copy, octets_splice;
    uint64_t upgrades, downgrades, pipe_refusals;
    uint64_t held_octets; /* in copy buffers, now */
    uint32_t pipes_total, pipes_lent;
};

struct stream_pump_config {
    bool splice;          /* engine allowed */
    uint32_t pipes_max;   /* pipes of both states together */
    uint32_t pipe_octets; /* wanted capacity of a pipe */
};

/* What all streams of a loop share: the copy buffer, the pipes, the counters. NULL without memory.
 */
struct stream_pump *stream_pump_new(struct loop *l, const struct stream_pump_config *config);
/* No stream is left. */
void stream_pump_free(struct stream_pump *p);
const struct stream_stats *stream_pump_stats(const struct stream_pump *p);

struct stream_start {
    int client_fd, target_fd;
    const uint8_t *to_client, *to_target;
    size_t to_client_len, to_target_len; /* at most one copy buffer each */
    uint64_t octet_limit;
};

/* Joins the sockets (both nonblocking) and owns them from now on. s->leg must be hot_init'ed. May
 * end the stream, and so call on_end, before it returns. to_client is not counted as payload. */
void stream_start(struct stream *s, struct stream_pump *p, const struct stream_start *with,
                  void (*on_end)(struct stream *s, enum stream_end why));
/* Ends it now with STREAM_CUT; on_end is called before it returns. */
void stream_cut(struct stream *s);
/* True when one direction is finished and the other is not. */
bool stream_half_closed(const struct stream *s);
/* The engine that serves it now, for a status: "splice" if one of the directions does. */
const char *stream_engine_name(const struct stream *s);
/* Event entry points of the two legs, for hot_init. */
void stream_on_client(struct hot *h, uint32_t events);
void stream_on_target(struct hot *h, uint32_t events);
