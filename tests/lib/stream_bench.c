#include "tests/lib/stream_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/loop_run.h"

/* ---- a joint ---- */

static void on_end(struct stream *s, enum stream_end why)
{
    struct joint *j = LIST_ENTRY(s, struct joint, stream);

    j->ends++;
    j->why = why;
}

void joint_connect(struct stream_bench *b, struct joint *j, int buffer)
{
    int far[2];

    *j = (struct joint){.leg = {-1, -1}};
    for (int i = 0; i < 2; i++) {
        sockpair_tcp(buffer, &far[i], &j->leg[i]);
        talker_init(&j->talker[i], &b->loop, far[i], i == CLIENT ? FROM_CLIENT : FROM_TARGET,
                    i == CLIENT ? FROM_TARGET : FROM_CLIENT);
    }
    hot_init(&j->stream.leg[CLIENT], stream_on_client);
    hot_init(&j->stream.leg[TARGET], stream_on_target);
}

void joint_start(struct stream_bench *b, struct joint *j, struct stream_start with)
{
    with.client_fd = j->leg[CLIENT];
    with.target_fd = j->leg[TARGET];
    stream_start(&j->stream, b->pump, &with, on_end);
}

void joint_close(struct joint *j)
{
    talker_close(&j->talker[CLIENT], false);
    talker_close(&j->talker[TARGET], false);
    if (j->stream.pump != NULL && !j->stream.ended)
        stream_cut(&j->stream);
}

bool joint_heard_all(void *arg)
{
    const struct joint *j = arg;

    return j->talker[CLIENT].heard == j->talker[TARGET].to_send &&
           j->talker[TARGET].heard == j->talker[CLIENT].to_send;
}

static bool both_splice(void *arg)
{
    const struct joint *j = arg;

    return joint_heard_all(arg) && j->stream.dir[0].engine == &engine_splice &&
           j->stream.dir[1].engine == &engine_splice;
}

bool joint_ended(void *arg)
{
    return ((struct joint *)arg)->ends > 0;
}

bool joint_target_heard_the_end(void *arg)
{
    return ((struct joint *)arg)->talker[TARGET].eof;
}

bool joint_client_heard_the_end(void *arg)
{
    return ((struct joint *)arg)->talker[CLIENT].eof;
}

bool joint_both_heard_the_end(void *arg)
{
    return joint_target_heard_the_end(arg) && joint_client_heard_the_end(arg);
}

bool joint_client_knows_of_an_error(void *arg)
{
    return ((struct joint *)arg)->talker[CLIENT].error != 0;
}

bool joint_target_knows_of_an_error(void *arg)
{
    return ((struct joint *)arg)->talker[TARGET].error != 0;
}

void bench_wait(struct stream_bench *b, bool (*what)(void *arg))
{
    assert_true(loop_run_until(&b->loop, what, &b->joint, BENCH_PATIENCE_MS));
}

/* Until nobody gets rid of an octet any more. */
void bench_wait_for_quiet(struct stream_bench *b)
{
    const struct talker *t = b->joint.talker;
    uint64_t sent;

    do {
        sent = t[CLIENT].sent + t[TARGET].sent;
        loop_run_for(&b->loop, 100);
    } while (t[CLIENT].sent + t[TARGET].sent != sent);
}

void joint_assert_intact(const struct joint *j)
{
    for (int i = 0; i < 2; i++) {
        assert_false(j->talker[i].garbled);
        assert_int_equal(j->talker[i].error, 0);
    }
}

void joint_assert_ended(const struct joint *j, enum stream_end why)
{
    assert_int_equal(j->ends, 1);
    assert_int_equal(j->why, why);
    assert_true(j->stream.ended);
}

/* Octets until both directions are served by the engine under test. A busy reader may make the
 * kernel hand out less than a buffer: try again. */
void joint_warm(struct stream_bench *b, struct joint *j)
{
    for (int i = 0; b->splice && !both_splice(j); i++) {
        assert_true(i < 20);
        for (int k = 0; k < 2; k++)
            talker_say(&j->talker[k], MiB(1));
        assert_true(loop_run_until(&b->loop, joint_heard_all, j, BENCH_PATIENCE_MS));
    }
    assert_string_equal(stream_engine_name(&j->stream), b->splice ? "splice" : "copy");
}

static uint64_t held_by(const struct stream_dir *d)
{
    return d->held_len - d->held_at + (d->pipe != NULL ? d->pipe->filled : 0);
}

/* The target stops reading, the client speaks until the stream holds something that the kernel does
 * not find room for after all. */
void bench_fill_up(struct stream_bench *b, struct joint *j)
{
    const struct stream_dir *d = &j->stream.dir[0];

    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    for (int i = 0; held_by(d) < KiB(4); i++) {
        assert_true(i < 1000);
        talker_say(&j->talker[CLIENT], 60001);
        talker_say(&j->talker[TARGET], 1);
        loop_run_for(&b->loop, 1);
        if (held_by(d) >= KiB(4))
            loop_run_for(&b->loop, 20);
    }
    assert_int_equal(j->ends, 0);
}

/* The usual beginning: bench_joined, and served by the engine under test. */
struct joint *bench_joined(struct stream_bench *b, struct stream_start with)
{
    joint_connect(b, &b->joint, BENCH_BUFFER);
    joint_start(b, &b->joint, with);
    joint_warm(b, &b->joint);
    return &b->joint;
}

/* ---- life ---- */

int stream_bench_set(void **state, bool splice)
{
    struct stream_bench *b = calloc(1, sizeof(*b));

    b->splice = splice;
    assert_int_equal(loop_init(&b->loop), 0);
    b->pump =
        stream_pump_new(&b->loop, &(struct stream_pump_config){splice, 64, BENCH_PIPE_OCTETS});
    assert_non_null(b->pump);
    b->descriptors = descriptors_open();
    *state = b;
    return 0;
}

/* Whatever the test did: nothing is left behind. */
int stream_bench_clear(void **state)
{
    struct stream_bench *b = *state;
    const struct stream_stats *s = stream_pump_stats(b->pump);

    joint_close(&b->joint);
    joint_close(&b->other);
    assert_int_equal(s->held_octets, 0);
    assert_int_equal(s->pipes_lent, 0);
    assert_int_equal(descriptors_open(), b->descriptors + 2 * s->pipes_total);
    stream_pump_free(b->pump);
    assert_int_equal(descriptors_open(), b->descriptors);
    loop_fini(&b->loop);
    free(b);
    return 0;
}
