/* What every stream engine owes: bounds, limits, idleness, and pipes that come back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/lib/loop_run.h"
#include "tests/lib/stream_bench.h"

/* ---- a reader that does not read ---- */

static void a_stalled_reader_bounds_what_is_held_and_loses_nothing(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});
    const struct stream_stats *s = stream_pump_stats(b->pump);

    uint64_t before = j->talker[CLIENT].sent;
    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    talker_say(&j->talker[CLIENT], MiB(64));
    bench_wait_for_quiet(b);
    uint64_t taken = j->talker[CLIENT].sent - before;
    assert_true(taken > 0);
    /* Two sockets' buffers each way, a copy buffer, a pipe. */
    assert_true(taken < MiB(2));
    assert_true(s->held_octets <= ENGINE_COPY_BUFFER);
    if (b->splice)
        assert_true(j->stream.dir[0].pipe->filled <= j->stream.dir[0].pipe->capacity);
    assert_true(loop_run_for(&b->loop, BENCH_QUIET_MS) < 20);
    assert_int_equal(j->talker[CLIENT].sent - before, taken);

    /* The other direction is not impaired. */
    talker_say(&j->talker[TARGET], KiB(500));
    for (int i = 0; i < 100 && j->talker[CLIENT].heard < j->talker[TARGET].to_send; i++)
        loop_run_for(&b->loop, 20);
    assert_int_equal(j->talker[CLIENT].heard, j->talker[TARGET].to_send);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    bench_wait(b, joint_heard_all);
    joint_assert_intact(j);
    assert_int_equal(s->held_octets, 0);
}

/* ---- the limit ---- */

static void of_a_limit_every_octet_is_delivered_and_no_more(void **state)
{
    struct stream_bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = bench_joined(b, (struct stream_start){.octet_limit = limit});
    uint64_t moved = j->stream.dir[0].octets + j->stream.dir[1].octets;

    assert_true(moved < limit);
    talker_say(&j->talker[CLIENT], limit - moved - 10);
    bench_wait(b, joint_heard_all);
    talker_say(&j->talker[TARGET], 10);
    bench_wait(b, joint_heard_all);
    loop_run_for(&b->loop, 20);
    assert_int_equal(j->ends, 0);
    joint_assert_intact(j);

    talker_say(&j->talker[TARGET], 1);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_LIMIT);
    assert_int_equal(j->stream.dir[0].octets + j->stream.dir[1].octets, limit);
    bench_wait(b, joint_client_knows_of_an_error);
    bench_wait(b, joint_target_knows_of_an_error);
}

static void a_flood_stops_at_the_limit(void **state)
{
    struct stream_bench *b = *state;
    uint64_t limit = MiB(9) + 12345;
    struct joint *j = bench_joined(b, (struct stream_start){.octet_limit = limit});

    talker_say(&j->talker[CLIENT], MiB(40));
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_LIMIT);
    assert_int_equal(j->stream.dir[0].octets + j->stream.dir[1].octets, limit);
    assert_false(j->talker[TARGET].garbled);
}

/* What one direction holds will be delivered: the other one must not use it up. */
static void octets_that_are_held_count_towards_the_limit(void **state)
{
    struct stream_bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = bench_joined(b, (struct stream_start){.octet_limit = limit});

    bench_fill_up(b, j);
    talker_say(&j->talker[TARGET], limit - j->stream.dir[0].octets - j->stream.dir[1].octets);
    loop_run_until(&b->loop, joint_ended, j, BENCH_QUIET_MS);
    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    loop_run_until(&b->loop, joint_ended, j, BENCH_QUIET_MS);
    joint_assert_ended(j, STREAM_LIMIT);
    assert_true(j->stream.dir[0].octets + j->stream.dir[1].octets <= limit);
}

static void an_end_just_at_the_limit_is_a_good_end(void **state)
{
    struct stream_bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = bench_joined(b, (struct stream_start){.octet_limit = limit});
    uint64_t moved = j->stream.dir[0].octets + j->stream.dir[1].octets;

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], limit - moved);
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
}

/* ---- urgent octets: a mark in the stream that splice cannot pass ---- */

static void nothing_behind_an_urgent_octet_is_lost(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    talker_say(&j->talker[CLIENT], KiB(300));
    bench_wait_for_quiet(b);
    while (j->talker[CLIENT].sent < j->talker[CLIENT].to_send) {
        /* The rest of it waits for the reader. */
        j->talker[TARGET].deaf = false;
        talker_go(&j->talker[TARGET]);
        loop_run_for(&b->loop, 1);
        j->talker[TARGET].deaf = true;
        talker_go(&j->talker[TARGET]);
    }
    assert_int_equal(send(j->talker[CLIENT].hot.fd, "!", 1, MSG_OOB | MSG_DONTWAIT), 1);
    uint8_t last[1000];
    pattern_fill(FROM_CLIENT, j->talker[CLIENT].sent, last, sizeof(last));
    assert_int_equal(send(j->talker[CLIENT].hot.fd, last, sizeof(last), MSG_DONTWAIT),
                     sizeof(last));
    j->talker[CLIENT].sent = j->talker[CLIENT].to_send += sizeof(last);
    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    loop_run_for(&b->loop, 50);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    joint_assert_intact(j);
}

/* ---- idleness ---- */

static void nothing_turns_while_nothing_happens(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    assert_true(loop_run_for(&b->loop, BENCH_QUIET_MS) < 20);
    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    bench_wait(b, joint_target_heard_the_end);
    assert_true(loop_run_for(&b->loop, BENCH_QUIET_MS) < 20);
    assert_true(stream_half_closed(&j->stream));
}

/* The client has ended and was told the end: its socket hangs up for ever. What it said waits for a
 * target that does not read. */
static void a_leg_that_hangs_up_does_not_spin_the_loop(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    bench_fill_up(b, j);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(1));
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    bench_wait(b, joint_client_heard_the_end);
    bench_wait_for_quiet(b);
    assert_int_equal(j->ends, 0);
    assert_true(j->talker[CLIENT].fin_sent);
    assert_true(loop_run_for(&b->loop, BENCH_QUIET_MS) < 20);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    joint_assert_intact(j);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
}

/* ---- pipes ---- */

static void a_stream_without_a_pipe_is_copied(void **state)
{
    struct stream_bench *b = *state;
    const struct stream_stats *s = stream_pump_stats(b->pump);

    stream_pump_free(b->pump);
    b->pump = stream_pump_new(&b->loop, &(struct stream_pump_config){true, 1, BENCH_PIPE_OCTETS});
    s = stream_pump_stats(b->pump);
    joint_connect(b, &b->joint, BENCH_BUFFER);
    joint_start(b, &b->joint, (struct stream_start){0});
    joint_connect(b, &b->other, BENCH_BUFFER);
    joint_start(b, &b->other, (struct stream_start){0});
    for (int i = 0; i < 10; i++) {
        talker_say(&b->joint.talker[CLIENT], MiB(1));
        talker_say(&b->other.talker[CLIENT], MiB(1));
        bench_wait(b, joint_heard_all);
        assert_true(loop_run_until(&b->loop, joint_heard_all, &b->other, BENCH_PATIENCE_MS));
        assert_true(s->pipes_total <= 1);
    }
    joint_assert_intact(&b->joint);
    joint_assert_intact(&b->other);
    assert_int_equal(s->pipes_lent, 1);
    assert_true(s->pipe_refusals > 0);
    assert_true((b->joint.stream.dir[0].pipe != NULL) != (b->other.stream.dir[0].pipe != NULL));

    /* The pipe of an idle stream goes to the busy one. */
    struct joint *idle = b->joint.stream.dir[0].pipe != NULL ? &b->joint : &b->other;
    struct joint *busy = idle == &b->joint ? &b->other : &b->joint;
    for (int i = 0; i < 200 && busy->stream.dir[0].engine != &engine_splice; i++) {
        talker_say(&busy->talker[CLIENT], KiB(512));
        loop_run_for(&b->loop, 20);
    }
    assert_ptr_equal(busy->stream.dir[0].engine, &engine_splice);
    assert_null(idle->stream.dir[0].pipe);
    assert_true(s->pipes_total <= 1);
    talker_say(&idle->talker[CLIENT], KiB(50));
    assert_true(loop_run_until(&b->loop, joint_heard_all, &b->joint, BENCH_PATIENCE_MS));
    assert_true(loop_run_until(&b->loop, joint_heard_all, &b->other, BENCH_PATIENCE_MS));
    joint_assert_intact(idle);
    joint_assert_intact(busy);
}

static void a_conversation_of_small_messages_gives_its_pipes_back(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});
    const struct stream_stats *s = stream_pump_stats(b->pump);

    for (int i = 0; i < 2 * ENGINE_SMALL_TURNS + 4; i++) {
        talker_say(&j->talker[CLIENT], 100);
        talker_say(&j->talker[TARGET], 100);
        bench_wait(b, joint_heard_all);
        loop_run_for(&b->loop, 1);
    }
    assert_string_equal(stream_engine_name(&j->stream), "copy");
    assert_int_equal(s->pipes_lent, 0);
    assert_int_equal(s->downgrades, s->upgrades);
    joint_assert_intact(j);

    /* And it may become bulky again. */
    joint_warm(b, j);
    joint_assert_intact(j);
}

static void pipes_that_nobody_uses_are_given_back_and_closed(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});
    const struct stream_stats *s = stream_pump_stats(b->pump);

    assert_int_equal(s->pipes_lent, 2);
    for (int i = 0; i < 40 && s->pipes_total > 0; i++)
        loop_run_for(&b->loop, 100);
    assert_int_equal(s->pipes_lent, 0);
    assert_int_equal(s->pipes_total, 0);
    assert_int_equal(j->ends, 0);
    /* Two sockets with their talkers, and no more. */
    assert_int_equal(descriptors_open(), b->descriptors + 4);
    talker_say(&j->talker[CLIENT], KiB(500));
    bench_wait(b, joint_heard_all);
    joint_assert_intact(j);
}

/* ---- the suite, once per engine ---- */

static int set_copy(void **state)
{
    return stream_bench_set(state, false);
}

static int set_splice(void **state)
{
    return stream_bench_set(state, true);
}

#define TEST(f, set) cmocka_unit_test_setup_teardown(f, set, stream_bench_clear)
#define SUITE(set)                                                                                 \
    TEST(a_stalled_reader_bounds_what_is_held_and_loses_nothing, set),                             \
        TEST(of_a_limit_every_octet_is_delivered_and_no_more, set),                                \
        TEST(a_flood_stops_at_the_limit, set),                                                     \
        TEST(octets_that_are_held_count_towards_the_limit, set),                                   \
        TEST(an_end_just_at_the_limit_is_a_good_end, set),                                         \
        TEST(nothing_behind_an_urgent_octet_is_lost, set),                                         \
        TEST(nothing_turns_while_nothing_happens, set),                                            \
        TEST(a_leg_that_hangs_up_does_not_spin_the_loop, set),                                     \
        TEST(a_conversation_of_small_messages_gives_its_pipes_back, set)

int main(void)
{
    const struct CMUnitTest copy[] = {SUITE(set_copy)};
    const struct CMUnitTest splice[] = {
        SUITE(set_splice),
        TEST(a_stream_without_a_pipe_is_copied, set_splice),
        TEST(pipes_that_nobody_uses_are_given_back_and_closed, set_splice),
    };

    signal(SIGPIPE, SIG_IGN); /* splice has no MSG_NOSIGNAL */
    int failed = cmocka_run_group_tests_name("copy", copy, NULL, NULL);
    return failed + cmocka_run_group_tests_name("splice", splice, NULL, NULL);
}
