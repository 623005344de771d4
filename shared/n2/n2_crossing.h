/* Where nng's threads hand over to the loop: a locked list and a wake-up.
 *
 *   nng thread:  crossing_push ──► [locked list] ──(uv_async if it was empty)──► loop: deliver, one
 *                                                                                by one, in order
 *
 * Embed it as the first member of what it serves. */
#pragma once

#include "shared/base/list.h"
#include "shared/net/loop.h"

enum queued_kind { QUEUED_PIPE, QUEUED_EXCHANGE, QUEUED_INBOUND };

/* First member of everything that crosses. */
struct queued {
    struct list node;
    enum queued_kind kind;
};

/* A connection that came or went. Unlike the others it belongs to the queue; who it is delivered to
 * frees it. */
struct pipe_note {
    struct queued queued;
    bool up;
    uint32_t pipe;
};

struct crossing {
    uv_async_t async;
    uv_mutex_t lock;
    uv_cond_t is_torn;
    struct list queue; /* struct queued; locked */
    struct list taken; /* the loop's */
    bool shut, torn;   /* locked */
    int owners;        /* locked */
    void (*deliver)(struct crossing *c, struct queued *q);
    void (*teardown)(struct crossing *c);
    void (*gone)(struct crossing *c);
};

/* 0, or a libuv error with nothing open. */
int crossing_init(struct crossing *c, struct loop *l,
                  void (*deliver)(struct crossing *c, struct queued *q));
/* Any thread. What comes after crossing_close is dropped. q is in no list. */
void crossing_push(struct crossing *c, struct queued *q);
void crossing_push_pipe(struct crossing *c, uint32_t pipe, bool up);
/* Nothing is delivered any more, and nothing is in a list. teardown is run on a thread of its own,
 * and shall see to it that nobody pushes when it returns; gone is called last, on either thread.
 *
 * The thread is awaited, but not for ever: see n2_link.c. */
void crossing_close(struct crossing *c, void (*teardown)(struct crossing *c),
                    void (*gone)(struct crossing *c));
