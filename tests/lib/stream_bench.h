/* A stream between two talkers, for the contract suite of the engines; on a real loop, over real
 * TCP.
 *
 *   talker[CLIENT] ◄──TCP──► leg[CLIENT] │ stream │ leg[TARGET] ◄──TCP──► talker[TARGET]
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include "shared/stream/engine.h"
#include "tests/lib/sockpairs.h"

#define KiB(n) ((uint64_t)(n)*1024)
#define MiB(n) ((uint64_t)(n)*1024 * 1024)

enum {
    BENCH_PATIENCE_MS = 10000,
    BENCH_QUIET_MS = 300,
    BENCH_PIPE_OCTETS = 256 * 1024,
    BENCH_BUFFER = 128 * 1024, /* of each socket, each way */
};
enum { CLIENT, TARGET };
enum { FROM_CLIENT = 1, FROM_TARGET = 2 }; /* seeds of what is said */

struct joint {
    struct stream stream;
    struct talker talker[2];
    int leg[2]; /* the stream's from the start on */
    int ends;
    enum stream_end why;
};

/* One per test. */
struct stream_bench {
    bool splice;
    struct loop loop;
    struct stream_pump *pump;
    struct joint joint, other;
    unsigned descriptors; /* before anything is joined */
};

/* For cmocka_unit_test_setup_teardown. Clearing checks that nothing is left behind. */
int stream_bench_set(void **state, bool splice);
int stream_bench_clear(void **state);

/* The usual beginning: b->joint, joined, and served by the engine under test. */
struct joint *bench_joined(struct stream_bench *b, struct stream_start with);
/* The same in steps. warm: octets both ways until both directions have been upgraded, if they
 * shall. */
void joint_connect(struct stream_bench *b, struct joint *j, int buffer);
void joint_start(struct stream_bench *b, struct joint *j, struct stream_start with);
void joint_warm(struct stream_bench *b, struct joint *j);
/* Harmless when repeated, and on one that is all zero. */
void joint_close(struct joint *j);

/* b->joint does what, in time. */
void bench_wait(struct stream_bench *b, bool (*what)(void *arg));
/* Until nobody gets rid of an octet any more. */
void bench_wait_for_quiet(struct stream_bench *b);
/* The target stops reading, the client speaks until the stream holds something that the kernel does
 * not find room for after all. */
void bench_fill_up(struct stream_bench *b, struct joint *j);

/* For bench_wait and loop_run_until; arg: struct joint. */
bool joint_heard_all(void *arg); /* both heard what the other said so far */
bool joint_ended(void *arg);
bool joint_target_heard_the_end(void *arg);
bool joint_client_heard_the_end(void *arg);
bool joint_both_heard_the_end(void *arg);
bool joint_client_knows_of_an_error(void *arg);
bool joint_target_knows_of_an_error(void *arg);

void joint_assert_intact(const struct joint *j);
/* Once, and because of that. */
void joint_assert_ended(const struct joint *j, enum stream_end why);
