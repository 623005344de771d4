/* What every stream engine owes: octets, ends, resets, and what is said first. The splice runs
 * begin with enough octets both ways that both directions have been upgraded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/lib/loop_run.h"
#include "tests/lib/stream_bench.h"

/* ---- octets ---- */

static void octets_arrive_intact_both_ways(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    srandom(1);
    for (int i = 0; i < 40; i++) {
        talker_say(&j->talker[CLIENT], (uint64_t)random() % KiB(400));
        talker_say(&j->talker[TARGET], i % 3 == 0 ? 1 : (uint64_t)random() % KiB(400));
        if (i % 4 == 0)
            loop_run_until(&b->loop, joint_heard_all, j, 5);
    }
    bench_wait(b, joint_heard_all);
    joint_assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent);
    const struct stream_stats *s = stream_pump_stats(b->pump);
    assert_int_equal(s->octets_copy + s->octets_splice,
                     j->talker[CLIENT].sent + j->talker[TARGET].sent);
    assert_true(b->splice ? s->octets_splice > s->octets_copy : s->octets_splice == 0);
}

static void an_octet_at_a_time_arrives(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    for (int i = 0; i < 50; i++) {
        talker_say(&j->talker[i % 2], 1);
        bench_wait(b, joint_heard_all);
    }
    joint_assert_intact(j);
}

/* ---- the four orders of ending ---- */

static void the_client_ends_first_and_the_target_goes_on(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(300));
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    assert_true(stream_half_closed(&j->stream));
    assert_int_equal(j->ends, 0);
    assert_false(j->talker[CLIENT].eof);

    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], KiB(300));
    bench_wait(b, joint_client_heard_the_end);
    assert_true(joint_heard_all(j));
    joint_assert_intact(j);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
}

static void the_target_ends_first_and_the_client_goes_on(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], 1);
    bench_wait(b, joint_client_heard_the_end);
    assert_true(stream_half_closed(&j->stream));

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(700));
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    joint_assert_intact(j);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
}

static void both_end_at_once(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    bench_wait(b, joint_both_heard_the_end);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
    joint_assert_intact(j);
}

static void one_ends_while_the_other_is_in_the_middle(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    talker_say(&j->talker[TARGET], MiB(6));
    loop_run_until(&b->loop, joint_heard_all, j, 1);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(1));
    bench_wait(b, joint_target_heard_the_end);
    bench_wait(b, joint_heard_all);
    assert_false(j->talker[CLIENT].eof);
    j->talker[TARGET].fin = true;
    talker_go(&j->talker[TARGET]);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLOSED);
    bench_wait(b, joint_client_heard_the_end);
    joint_assert_intact(j);
}

/* All that was said arrives, though the sender has closed long before the reader reads. */
static void an_end_behind_octets_that_are_held_arrives_after_them(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(600));
    bench_wait_for_quiet(b);
    assert_int_equal(j->ends, 0);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    bench_wait(b, joint_target_heard_the_end);
    assert_true(joint_heard_all(j));
    joint_assert_intact(j);
}

/* ---- resets ---- */

static void a_reset_by_the_client_reaches_the_target(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    talker_close(&j->talker[CLIENT], true);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLIENT_RESET);
    bench_wait(b, joint_target_knows_of_an_error);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
    assert_false(j->talker[TARGET].eof);
}

static void a_reset_by_the_target_reaches_the_client(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    talker_close(&j->talker[TARGET], true);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_TARGET_RESET);
    bench_wait(b, joint_client_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_false(j->talker[CLIENT].eof);
}

static void a_reset_while_octets_are_held_ends_it(void **state)
{
    struct stream_bench *b = *state;

    for (int side = 0; side < 2; side++) {
        struct joint *j = bench_joined(b, (struct stream_start){0});
        j->talker[TARGET].deaf = true;
        talker_go(&j->talker[TARGET]);
        talker_say(&j->talker[CLIENT], MiB(8));
        bench_wait_for_quiet(b);
        talker_close(&j->talker[side], true);
        bench_wait(b, joint_ended);
        joint_assert_ended(j, side == CLIENT ? STREAM_CLIENT_RESET : STREAM_TARGET_RESET);
        assert_int_equal(stream_pump_stats(b->pump)->held_octets, 0);
        assert_int_equal(stream_pump_stats(b->pump)->pipes_lent, 0);
        joint_close(j);
    }
}

static void a_reset_after_a_half_close_is_still_a_reset(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    bench_wait(b, joint_target_heard_the_end);
    talker_close(&j->talker[CLIENT], true);
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLIENT_RESET);
    /* The end it heard before was true; now writing fails. */
    talker_say(&j->talker[TARGET], KiB(100));
    bench_wait(b, joint_target_knows_of_an_error);
}

static void who_cuts_a_stream_resets_both_sides(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = bench_joined(b, (struct stream_start){0});

    stream_cut(&j->stream);
    joint_assert_ended(j, STREAM_CUT);
    stream_cut(&j->stream);
    joint_assert_ended(j, STREAM_CUT);
    bench_wait(b, joint_client_knows_of_an_error);
    bench_wait(b, joint_target_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
}

/* ---- what is said first ---- */

static void first_octets_come_first_and_the_reply_is_not_payload(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = &b->joint;
    uint8_t reply[300], early[5000];

    /* The talkers' sequences begin with them. */
    pattern_fill(FROM_TARGET, 0, reply, sizeof(reply));
    pattern_fill(FROM_CLIENT, 0, early, sizeof(early));
    joint_connect(b, j, BENCH_BUFFER);
    j->talker[TARGET].sent = j->talker[TARGET].to_send = sizeof(reply);
    j->talker[CLIENT].sent = j->talker[CLIENT].to_send = sizeof(early);
    joint_start(b, j,
                (struct stream_start){.to_client = reply,
                                      .to_client_len = sizeof(reply),
                                      .to_target = early,
                                      .to_target_len = sizeof(early)});
    assert_int_equal(j->stream.dir[0].octets, sizeof(early));
    assert_int_equal(j->stream.dir[1].octets, 0);
    bench_wait(b, joint_heard_all);
    joint_warm(b, j);
    talker_say(&j->talker[CLIENT], KiB(100));
    talker_say(&j->talker[TARGET], KiB(100));
    bench_wait(b, joint_heard_all);
    joint_assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent - sizeof(reply));
    const struct stream_stats *s = stream_pump_stats(b->pump);
    assert_int_equal(s->octets_copy + s->octets_splice,
                     j->stream.dir[0].octets + j->stream.dir[1].octets);
}

static void first_octets_that_no_socket_buffer_takes_are_held(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = &b->joint;
    static uint8_t reply[ENGINE_COPY_BUFFER], early[ENGINE_COPY_BUFFER];

    pattern_fill(FROM_TARGET, 0, reply, sizeof(reply));
    pattern_fill(FROM_CLIENT, 0, early, sizeof(early));
    joint_connect(b, j, BENCH_BUFFER / 16);
    for (int i = 0; i < 2; i++) {
        j->talker[i].deaf = true;
        talker_go(&j->talker[i]);
    }
    j->talker[TARGET].sent = sizeof(reply);
    j->talker[TARGET].to_send = sizeof(reply) + KiB(500);
    j->talker[CLIENT].sent = sizeof(early);
    j->talker[CLIENT].to_send = sizeof(early) + KiB(500);
    joint_start(b, j,
                (struct stream_start){.to_client = reply,
                                      .to_client_len = sizeof(reply),
                                      .to_target = early,
                                      .to_target_len = sizeof(early)});
    memset(reply, 0, sizeof(reply)); /* was only lent */
    talker_go(&j->talker[CLIENT]);
    talker_go(&j->talker[TARGET]);
    loop_run_for(&b->loop, 50);
    assert_true(stream_pump_stats(b->pump)->held_octets > 0);
    assert_true(loop_run_for(&b->loop, BENCH_QUIET_MS) < 20);
    assert_int_equal(j->stream.dir[1].octets, 0);

    for (int i = 0; i < 2; i++) {
        j->talker[i].deaf = false;
        talker_go(&j->talker[i]);
    }
    bench_wait(b, joint_heard_all);
    joint_assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent - sizeof(reply));
    assert_int_equal(stream_pump_stats(b->pump)->held_octets, 0);
}

static void success_is_never_announced_for_a_target_that_has_reset(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BENCH_BUFFER);
    talker_close(&j->talker[TARGET], true);
    joint_start(b, j,
                (struct stream_start){.to_client = (const uint8_t *)"fine", .to_client_len = 4});
    joint_assert_ended(j, STREAM_TARGET_RESET);
    bench_wait(b, joint_client_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_int_equal(j->talker[CLIENT].heard, 0);
}

/* It said something, joint_ended, and was done: that is no reset. */
static void a_target_that_has_ended_already_is_heard_to_its_end(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BENCH_BUFFER);
    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], 1000);
    loop_run_for(&b->loop, 20);
    joint_start(b, j, (struct stream_start){0});
    bench_wait(b, joint_client_heard_the_end);
    assert_int_equal(j->talker[CLIENT].heard, 1000);
    assert_int_equal(j->ends, 0);
    joint_assert_intact(j);
}

static void a_client_that_has_reset_resets_the_target(void **state)
{
    struct stream_bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BENCH_BUFFER);
    talker_close(&j->talker[CLIENT], true);
    joint_start(b, j,
                (struct stream_start){.to_client = (const uint8_t *)"fine", .to_client_len = 4});
    bench_wait(b, joint_ended);
    joint_assert_ended(j, STREAM_CLIENT_GONE);
    bench_wait(b, joint_target_knows_of_an_error);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
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
    TEST(octets_arrive_intact_both_ways, set), TEST(an_octet_at_a_time_arrives, set),              \
        TEST(the_client_ends_first_and_the_target_goes_on, set),                                   \
        TEST(the_target_ends_first_and_the_client_goes_on, set), TEST(both_end_at_once, set),      \
        TEST(one_ends_while_the_other_is_in_the_middle, set),                                      \
        TEST(an_end_behind_octets_that_are_held_arrives_after_them, set),                          \
        TEST(a_reset_by_the_client_reaches_the_target, set),                                       \
        TEST(a_reset_by_the_target_reaches_the_client, set),                                       \
        TEST(a_reset_while_octets_are_held_ends_it, set),                                          \
        TEST(a_reset_after_a_half_close_is_still_a_reset, set),                                    \
        TEST(who_cuts_a_stream_resets_both_sides, set),                                            \
        TEST(first_octets_come_first_and_the_reply_is_not_payload, set),                           \
        TEST(first_octets_that_no_socket_buffer_takes_are_held, set),                              \
        TEST(success_is_never_announced_for_a_target_that_has_reset, set),                         \
        TEST(a_target_that_has_ended_already_is_heard_to_its_end, set),                            \
        TEST(a_client_that_has_reset_resets_the_target, set)

int main(void)
{
    const struct CMUnitTest copy[] = {SUITE(set_copy)};
    const struct CMUnitTest splice[] = {SUITE(set_splice)};

    signal(SIGPIPE, SIG_IGN); /* splice has no MSG_NOSIGNAL */
    int failed = cmocka_run_group_tests_name("copy", copy, NULL, NULL);
    return failed + cmocka_run_group_tests_name("splice", splice, NULL, NULL);
}
