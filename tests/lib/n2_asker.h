/* A control server for tests, over a real link on the test's loop: asks and waits for the answers.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_link.h"

struct asker {
    struct loop *loop;
    struct n2_dialer *dialer;
    struct n2_exchange *calls, *watch;
    struct n2_head head;
    uint64_t next_id; /* the last call id used */
    bool up;
    struct n2_arena *arena, *watch_arena;
    struct n2_reply reply;       /* the last one to calls */
    struct n2_watch_answer seen; /* the last one to a Watch */
    int replies, watch_replies;
};

/* Connects and says Hello with epoch 1. id must live as long as a. */
void asker_open(struct asker *a, struct loop *l, const char *url, const char *id);
/* Harmless when repeated, and on one that is all zero. */
void asker_close(struct asker *a);
/* With another epoch, the server has restarted. */
void asker_hello(struct asker *a, uint64_t epoch);
/* Gives the calls ids and a deadline, sends them in one request and waits; the reply has one answer
 * per call, or is refused. It lives until the next one. */
const struct n2_reply *asker_ask(struct asker *a, struct n2_call *calls, size_t n);
/* All calls so far are acknowledged with the next one. */
void asker_acknowledge(struct asker *a);
/* Sends a Watch; its answer raises watch_replies. */
void asker_watch(struct asker *a, uint64_t after_seq, uint32_t wait_ms);
/* Watches and waits for events behind after_seq. */
const struct n2_watch_answer *asker_events(struct asker *a, uint64_t after_seq);
/* An id made of a number; valid until the next call. */
const uint8_t *asker_id(uint32_t number);
