/* A relay for tests, over a real link on the test's loop: it answers a control server's calls as it
 * is told, and keeps what it was asked. It moves nothing.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_legs.h"
#include "shared/n2/n2_link.h"

enum { ANSWERER_ASKED_MAX = 8192, ANSWERER_HELD_MAX = 2048, ANSWERER_EVENTS_MAX = 16 };

/* A call that came; Hello and Watch are not kept. */
struct asked_call {
    enum n2_what what;
    uint8_t association[ID_LEN];
    unsigned message; /* the how manieth */
    uint32_t revision, idle_ms;
    int rules;            /* Update and Open: how many; -1: absent */
    bool must_understand; /* exactly "datagram-rules" */
};

struct answerer {
    struct loop *loop;
    char url[64], legs_path[64];
    struct n2_listener *listener;
    struct n2_leg_listener *legs;
    struct n2_arena *arena;
    /* How it answers. */
    uint64_t epoch;
    uint32_t lease_ms;
    bool hold;   /* calls wait for answerer_answer_held; a Watch does not */
    bool mute;   /* nothing is answered at all */
    bool broken; /* see answerer_break */
    bool knows;  /* Release finds the association */
    enum n2_refusal_code refuse[N2_INVENTORY + 1]; /* calls of this kind */
    struct n2_counters counters;                   /* Release's */
    struct addr client;                            /* the same */
    /* What it was asked. */
    struct asked_call asked[ANSWERER_ASKED_MAX];
    size_t asked_count;
    unsigned hellos, messages, legs_count;
    size_t longest; /* octets of a message with calls */
    /* Private. */
    struct n2_inbound *held, *watch;
    uint8_t *held_bytes;
    size_t held_len;
    uint64_t watch_call, watch_after, last_seq, last_dropped;
    struct n2_event events[ANSWERER_EVENTS_MAX];
    size_t event_count;
    struct n2_held open[ANSWERER_HELD_MAX];
    size_t open_count;
};

/* Listens at paths of that name in /tmp. */
void answerer_open(struct answerer *a, struct loop *l, const char *name);
/* All that it says is nonsense from now on, as what waits is told at once: that conversation is
 * over for the client, and what was asked in it has no answer. And it makes sense again. (Not by
 * closing the connection: nng may hang then, and dial nobody any more; shared/n2/n2_link.c.) */
void answerer_break(struct answerer *a);
void answerer_mend(struct answerer *a);
/* Harmless when repeated. */
void answerer_close(struct answerer *a);
/* What waits because of `hold`, which it clears, is answered, by what is told now. */
void answerer_answer_held(struct answerer *a);
/* Told at once, or with the next Watch; its number is given here. */
void answerer_event(struct answerer *a, const struct n2_event *e);
/* So many events have happened that it cannot tell any more. */
void answerer_drop_events(struct answerer *a, uint64_t count);
/* The calls of a kind, all or of one association (NULL: all). */
size_t answerer_count(const struct answerer *a, enum n2_what what, const uint8_t *association);
/* The last one of a kind. There is one. */
const struct asked_call *answerer_last(const struct answerer *a, enum n2_what what);
/* It does not know it any more. */
void answerer_forget(struct answerer *a, const uint8_t *association);
/* How many associations it holds. */
size_t answerer_holds(const struct answerer *a);
