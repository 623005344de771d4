/* An engine: one way to move octets from one socket to another. Every engine passes the same
 * contract suite (tests/contract/test_engine.c); copy is the reference.
 *
 * A turn (`pump`) first delivers what is held, then reads and delivers, up to a fair share, and
 * never blocks. What the writer does not take is held; while something is held nothing is read. */
#pragma once

#include "shared/stream/stream.h"

enum engine_turn {
    ENGINE_MORE,        /* did what could be done; call again when the sockets are ready */
    ENGINE_EOF,         /* the reader has ended; something may still be held */
    ENGINE_READ_ERROR,  /* the reading leg is reset */
    ENGINE_WRITE_ERROR, /* the writing leg is reset */
    ENGINE_NO_MEMORY,
};

struct engine {
    const char *name;
    /* readable: the reader is worth a read (otherwise only deliver what is held). at_most: payload
     * octets that may still be moved (the limit). */
    enum engine_turn (*pump)(struct stream_pump *p, struct stream_dir *d, int from, int to,
                             bool readable, uint64_t at_most);
    bool (*holds)(const struct stream_dir *d);
    /* Gives back whatever it has; octets held are lost. */
    void (*drop)(struct stream_pump *p, struct stream_dir *d);
};

extern const struct engine engine_copy, engine_splice;

/* True when the reader has ended and all of it was read. */
bool leg_at_eof(int fd);

/* A read that fills this much proves a direction bulky. */
#define ENGINE_COPY_BUFFER (64 * 1024)
/* Splice turns that end with the reader empty and moved less than this are better copied; so many
 * in a row and the direction goes back to copy. */
#define ENGINE_SMALL_TURN  (16 * 1024)
#define ENGINE_SMALL_TURNS 8

struct pipe_loan {
    struct list node; /* in free or lent */
    int rd, wr;
    uint32_t capacity;
    uint32_t filled; /* octets in the pipe */
    uint64_t last_used;
    struct stream_dir *dir; /* the borrower */
};

struct stream_pump {
    struct loop *loop;
    struct stream_pump_config config;
    struct stream_stats stats;
    struct list pipes_free, pipes_lent; /* lent: least recently used first */
    struct wheel_timer reclaim;
    uint8_t buffer[ENGINE_COPY_BUFFER];
};

/* ---- pipes.c: a bounded pool ---- */

/* Lends an empty pipe, or takes one from a direction that has not used its own for a while; NULL:
 * none to be had (stay with copy). */
struct pipe_loan *pipe_borrow(struct stream_pump *p, struct stream_dir *d);
/* A pipe that still holds octets is closed instead. */
void pipe_return(struct stream_pump *p, struct stream_dir *d);
void pipe_touch(struct stream_pump *p, struct pipe_loan *l);
void pipes_init(struct stream_pump *p);
void pipes_fini(struct stream_pump *p);
