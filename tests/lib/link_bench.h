/* Both ends of the link on one loop, for tests of it: a listener that answers, parks or closes as
 * it is told, a dialer, and exchanges that check what comes back.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include "shared/n2/n2_link.h"

enum { LINK_PATIENCE_MS = 10000, LINK_ASKED_MAX = 64, LINK_PARKED_MAX = 128 };

/* One exchange, and what it got last. */
struct asked {
    struct link_bench *bench;
    struct n2_exchange *exchange;
    uint32_t number; /* the seed of what it says */
    size_t len;
    int answers, status;
    bool intact;
};

/* What the listener does with a request. */
enum manner { ANSWER, PARK, ANSWER_THEN_CLOSE, CLOSE };

struct link_bench {
    struct loop loop;
    char url[64];
    struct n2_dialer *dialer;
    struct n2_listener *listener;
    struct asked asked[LINK_ASKED_MAX];
    /* the asking side */
    int ups, downs;
    size_t answered;
    bool close_dialer_when_answered, close_dialer_when_up, close_dialer_when_down, ask_again;
    /* the answering side */
    enum manner manner;
    struct n2_inbound *parked[LINK_PARKED_MAX];
    uint8_t *parked_bytes[LINK_PARKED_MAX];
    size_t parked_len[LINK_PARKED_MAX], parked_count;
    size_t requests, overloaded;
    uint32_t pipes[16], gone[16];
    size_t pipe_count, gone_count;
};

/* url NULL: ipc:// in /tmp. Nothing is open yet. */
struct link_bench *link_bench_new(const char *url);
/* Closes what is open. */
void link_bench_free(struct link_bench *b);

extern const struct n2_listener_ops link_listener_ops; /* arg: struct link_bench */
extern const struct n2_dialer_ops link_dialer_ops;     /* the same */

void link_listen(struct link_bench *b, uint32_t contexts);
void link_close_listener(struct link_bench *b);
void link_reply_to_parked(struct link_bench *b);
void link_dial(struct link_bench *b);
void link_close_dialer(struct link_bench *b);
/* A new exchange, kept as b->asked[i]. */
struct asked *link_asked(struct link_bench *b, uint32_t i);
/* The same, of another dialer. */
struct asked *link_asked_by(struct link_bench *b, struct n2_dialer *d, uint32_t i);
/* Sends len octets of the pattern; the reply shall be the same. */
void link_ask(struct asked *a, size_t len, uint32_t timeout_ms);
/* Waits for the one answer, which has this status, and forgets it. */
void link_answer_of(struct asked *a, int status);
/* Listens, dials, waits until that is up and makes the first exchange. */
struct asked *link_connected(struct link_bench *b, uint32_t contexts);

void link_wait(struct link_bench *b, bool (*what)(void *arg));
/* For link_wait. */
bool link_is_up(void *arg);
bool link_is_down(void *arg);
bool link_some_parked(void *arg);
bool link_somebody_gone(void *arg);
/* For loop_run_until; arg: struct asked. */
bool link_is_answered(void *arg);
