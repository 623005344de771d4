/* What every stream engine owes, over real TCP connections on a real loop. The splice runs begin
 * with enough octets both ways that both directions have been upgraded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/stream/engine.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

#define KiB(n) ((uint64_t)(n)*1024)
#define MiB(n) ((uint64_t)(n)*1024 * 1024)

enum { PATIENCE_MS = 10000, QUIET_MS = 300, PIPE_OCTETS = 256 * 1024, BUFFER = 128 * 1024 };
enum { CLIENT, TARGET };
enum { FROM_CLIENT = 1, FROM_TARGET = 2 }; /* seeds of what is said */

/*  talker[CLIENT] ◄──TCP──► leg[CLIENT] │ stream │ leg[TARGET] ◄──TCP──► talker[TARGET] */
struct joint {
    struct stream stream;
    struct talker talker[2];
    int leg[2]; /* the stream's from the start on */
    int ends;
    enum stream_end why;
};

/* One per test. */
struct bench {
    bool splice;
    struct loop loop;
    struct stream_pump *pump;
    struct joint joint, other;
    unsigned descriptors;
};

/* ---- a joint ---- */

static void on_end(struct stream *s, enum stream_end why)
{
    struct joint *j = LIST_ENTRY(s, struct joint, stream);

    j->ends++;
    j->why = why;
}

static void joint_connect(struct bench *b, struct joint *j, int buffer)
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

static void joint_start(struct bench *b, struct joint *j, struct stream_start with)
{
    with.client_fd = j->leg[CLIENT];
    with.target_fd = j->leg[TARGET];
    stream_start(&j->stream, b->pump, &with, on_end);
}

static void joint_close(struct joint *j)
{
    talker_close(&j->talker[CLIENT], false);
    talker_close(&j->talker[TARGET], false);
    if (j->stream.pump != NULL && !j->stream.ended)
        stream_cut(&j->stream);
}

static bool heard_all(void *arg)
{
    const struct joint *j = arg;

    return j->talker[CLIENT].heard == j->talker[TARGET].to_send &&
           j->talker[TARGET].heard == j->talker[CLIENT].to_send;
}

static bool both_splice(void *arg)
{
    const struct joint *j = arg;

    return heard_all(arg) && j->stream.dir[0].engine == &engine_splice &&
           j->stream.dir[1].engine == &engine_splice;
}

static bool ended(void *arg)
{
    return ((struct joint *)arg)->ends > 0;
}

static bool target_heard_the_end(void *arg)
{
    return ((struct joint *)arg)->talker[TARGET].eof;
}

static bool client_heard_the_end(void *arg)
{
    return ((struct joint *)arg)->talker[CLIENT].eof;
}

static bool both_heard_the_end(void *arg)
{
    return target_heard_the_end(arg) && client_heard_the_end(arg);
}

static bool client_knows_of_an_error(void *arg)
{
    return ((struct joint *)arg)->talker[CLIENT].error != 0;
}

static bool target_knows_of_an_error(void *arg)
{
    return ((struct joint *)arg)->talker[TARGET].error != 0;
}

static void wait_for(struct bench *b, bool (*what)(void *arg))
{
    assert_true(loop_run_until(&b->loop, what, &b->joint, PATIENCE_MS));
}

/* Until nobody gets rid of an octet any more. */
static void wait_for_quiet(struct bench *b)
{
    const struct talker *t = b->joint.talker;
    uint64_t sent;

    do {
        sent = t[CLIENT].sent + t[TARGET].sent;
        loop_run_for(&b->loop, 100);
    } while (t[CLIENT].sent + t[TARGET].sent != sent);
}

static void assert_intact(const struct joint *j)
{
    for (int i = 0; i < 2; i++) {
        assert_false(j->talker[i].garbled);
        assert_int_equal(j->talker[i].error, 0);
    }
}

static void assert_ended(const struct joint *j, enum stream_end why)
{
    assert_int_equal(j->ends, 1);
    assert_int_equal(j->why, why);
    assert_true(j->stream.ended);
}

/* Octets until both directions are served by the engine under test. A busy reader may make the
 * kernel hand out less than a buffer: try again. */
static void joint_warm(struct bench *b, struct joint *j)
{
    for (int i = 0; b->splice && !both_splice(j); i++) {
        assert_true(i < 20);
        for (int k = 0; k < 2; k++)
            talker_say(&j->talker[k], MiB(1));
        assert_true(loop_run_until(&b->loop, heard_all, j, PATIENCE_MS));
    }
    assert_string_equal(stream_engine_name(&j->stream), b->splice ? "splice" : "copy");
}

static uint64_t held_by(const struct stream_dir *d)
{
    return d->held_len - d->held_at + (d->pipe != NULL ? d->pipe->filled : 0);
}

/* The target stops reading, the client speaks until the stream holds something that the kernel does
 * not find room for after all. */
static void fill_up_towards_the_target(struct bench *b, struct joint *j)
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

/* The usual beginning: joined, and served by the engine under test. */
static struct joint *joined(struct bench *b, struct stream_start with)
{
    joint_connect(b, &b->joint, BUFFER);
    joint_start(b, &b->joint, with);
    joint_warm(b, &b->joint);
    return &b->joint;
}

/* ---- octets ---- */

static void octets_arrive_intact_both_ways(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    srandom(1);
    for (int i = 0; i < 40; i++) {
        talker_say(&j->talker[CLIENT], (uint64_t)random() % KiB(400));
        talker_say(&j->talker[TARGET], i % 3 == 0 ? 1 : (uint64_t)random() % KiB(400));
        if (i % 4 == 0)
            loop_run_until(&b->loop, heard_all, j, 5);
    }
    wait_for(b, heard_all);
    assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent);
    const struct stream_stats *s = stream_pump_stats(b->pump);
    assert_int_equal(s->octets_copy + s->octets_splice,
                     j->talker[CLIENT].sent + j->talker[TARGET].sent);
    assert_true(b->splice ? s->octets_splice > s->octets_copy : s->octets_splice == 0);
}

static void an_octet_at_a_time_arrives(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    for (int i = 0; i < 50; i++) {
        talker_say(&j->talker[i % 2], 1);
        wait_for(b, heard_all);
    }
    assert_intact(j);
}

/* ---- the four orders of ending ---- */

static void the_client_ends_first_and_the_target_goes_on(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(300));
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    assert_true(stream_half_closed(&j->stream));
    assert_int_equal(j->ends, 0);
    assert_false(j->talker[CLIENT].eof);

    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], KiB(300));
    wait_for(b, client_heard_the_end);
    assert_true(heard_all(j));
    assert_intact(j);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
}

static void the_target_ends_first_and_the_client_goes_on(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], 1);
    wait_for(b, client_heard_the_end);
    assert_true(stream_half_closed(&j->stream));

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(700));
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    assert_intact(j);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
}

static void both_end_at_once(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    wait_for(b, both_heard_the_end);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
    assert_intact(j);
}

static void one_ends_while_the_other_is_in_the_middle(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    talker_say(&j->talker[TARGET], MiB(6));
    loop_run_until(&b->loop, heard_all, j, 1);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(1));
    wait_for(b, target_heard_the_end);
    wait_for(b, heard_all);
    assert_false(j->talker[CLIENT].eof);
    j->talker[TARGET].fin = true;
    talker_go(&j->talker[TARGET]);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
    wait_for(b, client_heard_the_end);
    assert_intact(j);
}

/* All that was said arrives, though the sender has closed long before the reader reads. */
static void an_end_behind_octets_that_are_held_arrives_after_them(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(600));
    wait_for_quiet(b);
    assert_int_equal(j->ends, 0);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    assert_intact(j);
}

/* ---- resets ---- */

static void a_reset_by_the_client_reaches_the_target(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    talker_close(&j->talker[CLIENT], true);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLIENT_RESET);
    wait_for(b, target_knows_of_an_error);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
    assert_false(j->talker[TARGET].eof);
}

static void a_reset_by_the_target_reaches_the_client(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    talker_close(&j->talker[TARGET], true);
    wait_for(b, ended);
    assert_ended(j, STREAM_TARGET_RESET);
    wait_for(b, client_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_false(j->talker[CLIENT].eof);
}

static void a_reset_while_octets_are_held_ends_it(void **state)
{
    struct bench *b = *state;

    for (int side = 0; side < 2; side++) {
        struct joint *j = joined(b, (struct stream_start){0});
        j->talker[TARGET].deaf = true;
        talker_go(&j->talker[TARGET]);
        talker_say(&j->talker[CLIENT], MiB(8));
        wait_for_quiet(b);
        talker_close(&j->talker[side], true);
        wait_for(b, ended);
        assert_ended(j, side == CLIENT ? STREAM_CLIENT_RESET : STREAM_TARGET_RESET);
        assert_int_equal(stream_pump_stats(b->pump)->held_octets, 0);
        assert_int_equal(stream_pump_stats(b->pump)->pipes_lent, 0);
        joint_close(j);
    }
}

static void a_reset_after_a_half_close_is_still_a_reset(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    wait_for(b, target_heard_the_end);
    talker_close(&j->talker[CLIENT], true);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLIENT_RESET);
    /* The end it heard before was true; now writing fails. */
    talker_say(&j->talker[TARGET], KiB(100));
    wait_for(b, target_knows_of_an_error);
}

static void who_cuts_a_stream_resets_both_sides(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    stream_cut(&j->stream);
    assert_ended(j, STREAM_CUT);
    stream_cut(&j->stream);
    assert_ended(j, STREAM_CUT);
    wait_for(b, client_knows_of_an_error);
    wait_for(b, target_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
}

/* ---- a reader that does not read ---- */

static void a_stalled_reader_bounds_what_is_held_and_loses_nothing(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});
    const struct stream_stats *s = stream_pump_stats(b->pump);

    uint64_t before = j->talker[CLIENT].sent;
    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    talker_say(&j->talker[CLIENT], MiB(64));
    wait_for_quiet(b);
    uint64_t taken = j->talker[CLIENT].sent - before;
    assert_true(taken > 0);
    /* Two sockets' buffers each way, a copy buffer, a pipe. */
    assert_true(taken < MiB(2));
    assert_true(s->held_octets <= ENGINE_COPY_BUFFER);
    if (b->splice)
        assert_true(j->stream.dir[0].pipe->filled <= j->stream.dir[0].pipe->capacity);
    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);
    assert_int_equal(j->talker[CLIENT].sent - before, taken);

    /* The other direction is not impaired. */
    talker_say(&j->talker[TARGET], KiB(500));
    for (int i = 0; i < 100 && j->talker[CLIENT].heard < j->talker[TARGET].to_send; i++)
        loop_run_for(&b->loop, 20);
    assert_int_equal(j->talker[CLIENT].heard, j->talker[TARGET].to_send);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    wait_for(b, heard_all);
    assert_intact(j);
    assert_int_equal(s->held_octets, 0);
}

/* ---- the limit ---- */

static void of_a_limit_every_octet_is_delivered_and_no_more(void **state)
{
    struct bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = joined(b, (struct stream_start){.octet_limit = limit});
    uint64_t moved = j->stream.dir[0].octets + j->stream.dir[1].octets;

    assert_true(moved < limit);
    talker_say(&j->talker[CLIENT], limit - moved - 10);
    wait_for(b, heard_all);
    talker_say(&j->talker[TARGET], 10);
    wait_for(b, heard_all);
    loop_run_for(&b->loop, 20);
    assert_int_equal(j->ends, 0);
    assert_intact(j);

    talker_say(&j->talker[TARGET], 1);
    wait_for(b, ended);
    assert_ended(j, STREAM_LIMIT);
    assert_int_equal(j->stream.dir[0].octets + j->stream.dir[1].octets, limit);
    wait_for(b, client_knows_of_an_error);
    wait_for(b, target_knows_of_an_error);
}

static void a_flood_stops_at_the_limit(void **state)
{
    struct bench *b = *state;
    uint64_t limit = MiB(9) + 12345;
    struct joint *j = joined(b, (struct stream_start){.octet_limit = limit});

    talker_say(&j->talker[CLIENT], MiB(40));
    wait_for(b, ended);
    assert_ended(j, STREAM_LIMIT);
    assert_int_equal(j->stream.dir[0].octets + j->stream.dir[1].octets, limit);
    assert_false(j->talker[TARGET].garbled);
}

/* What one direction holds will be delivered: the other one must not use it up. */
static void octets_that_are_held_count_towards_the_limit(void **state)
{
    struct bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = joined(b, (struct stream_start){.octet_limit = limit});

    fill_up_towards_the_target(b, j);
    talker_say(&j->talker[TARGET], limit - j->stream.dir[0].octets - j->stream.dir[1].octets);
    loop_run_until(&b->loop, ended, j, QUIET_MS);
    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    loop_run_until(&b->loop, ended, j, QUIET_MS);
    assert_ended(j, STREAM_LIMIT);
    assert_true(j->stream.dir[0].octets + j->stream.dir[1].octets <= limit);
}

static void an_end_just_at_the_limit_is_a_good_end(void **state)
{
    struct bench *b = *state;
    uint64_t limit = MiB(9);
    struct joint *j = joined(b, (struct stream_start){.octet_limit = limit});
    uint64_t moved = j->stream.dir[0].octets + j->stream.dir[1].octets;

    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], limit - moved);
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
}

/* ---- what is said first ---- */

static void first_octets_come_first_and_the_reply_is_not_payload(void **state)
{
    struct bench *b = *state;
    struct joint *j = &b->joint;
    uint8_t reply[300], early[5000];

    /* The talkers' sequences begin with them. */
    pattern_fill(FROM_TARGET, 0, reply, sizeof(reply));
    pattern_fill(FROM_CLIENT, 0, early, sizeof(early));
    joint_connect(b, j, BUFFER);
    j->talker[TARGET].sent = j->talker[TARGET].to_send = sizeof(reply);
    j->talker[CLIENT].sent = j->talker[CLIENT].to_send = sizeof(early);
    joint_start(b, j,
                (struct stream_start){.to_client = reply,
                                      .to_client_len = sizeof(reply),
                                      .to_target = early,
                                      .to_target_len = sizeof(early)});
    assert_int_equal(j->stream.dir[0].octets, sizeof(early));
    assert_int_equal(j->stream.dir[1].octets, 0);
    wait_for(b, heard_all);
    joint_warm(b, j);
    talker_say(&j->talker[CLIENT], KiB(100));
    talker_say(&j->talker[TARGET], KiB(100));
    wait_for(b, heard_all);
    assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent - sizeof(reply));
    const struct stream_stats *s = stream_pump_stats(b->pump);
    assert_int_equal(s->octets_copy + s->octets_splice,
                     j->stream.dir[0].octets + j->stream.dir[1].octets);
}

static void first_octets_that_no_socket_buffer_takes_are_held(void **state)
{
    struct bench *b = *state;
    struct joint *j = &b->joint;
    static uint8_t reply[ENGINE_COPY_BUFFER], early[ENGINE_COPY_BUFFER];

    pattern_fill(FROM_TARGET, 0, reply, sizeof(reply));
    pattern_fill(FROM_CLIENT, 0, early, sizeof(early));
    joint_connect(b, j, BUFFER / 16);
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
    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);
    assert_int_equal(j->stream.dir[1].octets, 0);

    for (int i = 0; i < 2; i++) {
        j->talker[i].deaf = false;
        talker_go(&j->talker[i]);
    }
    wait_for(b, heard_all);
    assert_intact(j);
    assert_int_equal(j->stream.dir[0].octets, j->talker[CLIENT].sent);
    assert_int_equal(j->stream.dir[1].octets, j->talker[TARGET].sent - sizeof(reply));
    assert_int_equal(stream_pump_stats(b->pump)->held_octets, 0);
}

static void success_is_never_announced_for_a_target_that_has_reset(void **state)
{
    struct bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BUFFER);
    talker_close(&j->talker[TARGET], true);
    joint_start(b, j,
                (struct stream_start){.to_client = (const uint8_t *)"fine", .to_client_len = 4});
    assert_ended(j, STREAM_TARGET_RESET);
    wait_for(b, client_knows_of_an_error);
    assert_int_equal(j->talker[CLIENT].error, ECONNRESET);
    assert_int_equal(j->talker[CLIENT].heard, 0);
}

/* It said something, ended, and was done: that is no reset. */
static void a_target_that_has_ended_already_is_heard_to_its_end(void **state)
{
    struct bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BUFFER);
    j->talker[TARGET].fin = true;
    talker_say(&j->talker[TARGET], 1000);
    loop_run_for(&b->loop, 20);
    joint_start(b, j, (struct stream_start){0});
    wait_for(b, client_heard_the_end);
    assert_int_equal(j->talker[CLIENT].heard, 1000);
    assert_int_equal(j->ends, 0);
    assert_intact(j);
}

static void a_client_that_has_reset_resets_the_target(void **state)
{
    struct bench *b = *state;
    struct joint *j = &b->joint;

    joint_connect(b, j, BUFFER);
    talker_close(&j->talker[CLIENT], true);
    joint_start(b, j,
                (struct stream_start){.to_client = (const uint8_t *)"fine", .to_client_len = 4});
    wait_for(b, ended);
    assert_ended(j, STREAM_CLIENT_GONE);
    wait_for(b, target_knows_of_an_error);
    assert_int_equal(j->talker[TARGET].error, ECONNRESET);
}

/* ---- urgent octets: a mark in the stream that splice cannot pass ---- */

static void nothing_behind_an_urgent_octet_is_lost(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    j->talker[TARGET].deaf = true;
    talker_go(&j->talker[TARGET]);
    talker_say(&j->talker[CLIENT], KiB(300));
    wait_for_quiet(b);
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
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    assert_intact(j);
}

/* ---- idleness ---- */

static void nothing_turns_while_nothing_happens(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);
    shutdown(j->talker[CLIENT].hot.fd, SHUT_WR);
    wait_for(b, target_heard_the_end);
    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);
    assert_true(stream_half_closed(&j->stream));
}

/* The client has ended and was told the end: its socket hangs up for ever. What it said waits for a
 * target that does not read. */
static void a_leg_that_hangs_up_does_not_spin_the_loop(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});

    fill_up_towards_the_target(b, j);
    j->talker[CLIENT].fin = true;
    talker_say(&j->talker[CLIENT], KiB(1));
    shutdown(j->talker[TARGET].hot.fd, SHUT_WR);
    wait_for(b, client_heard_the_end);
    wait_for_quiet(b);
    assert_int_equal(j->ends, 0);
    assert_true(j->talker[CLIENT].fin_sent);
    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);

    j->talker[TARGET].deaf = false;
    talker_go(&j->talker[TARGET]);
    wait_for(b, target_heard_the_end);
    assert_true(heard_all(j));
    assert_intact(j);
    wait_for(b, ended);
    assert_ended(j, STREAM_CLOSED);
}

/* ---- pipes ---- */

static void a_stream_without_a_pipe_is_copied(void **state)
{
    struct bench *b = *state;
    const struct stream_stats *s = stream_pump_stats(b->pump);

    stream_pump_free(b->pump);
    b->pump = stream_pump_new(&b->loop, &(struct stream_pump_config){true, 1, PIPE_OCTETS});
    s = stream_pump_stats(b->pump);
    joint_connect(b, &b->joint, BUFFER);
    joint_start(b, &b->joint, (struct stream_start){0});
    joint_connect(b, &b->other, BUFFER);
    joint_start(b, &b->other, (struct stream_start){0});
    for (int i = 0; i < 10; i++) {
        talker_say(&b->joint.talker[CLIENT], MiB(1));
        talker_say(&b->other.talker[CLIENT], MiB(1));
        wait_for(b, heard_all);
        assert_true(loop_run_until(&b->loop, heard_all, &b->other, PATIENCE_MS));
        assert_true(s->pipes_total <= 1);
    }
    assert_intact(&b->joint);
    assert_intact(&b->other);
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
    assert_true(loop_run_until(&b->loop, heard_all, &b->joint, PATIENCE_MS));
    assert_true(loop_run_until(&b->loop, heard_all, &b->other, PATIENCE_MS));
    assert_intact(idle);
    assert_intact(busy);
}

static void a_conversation_of_small_messages_gives_its_pipes_back(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});
    const struct stream_stats *s = stream_pump_stats(b->pump);

    for (int i = 0; i < 2 * ENGINE_SMALL_TURNS + 4; i++) {
        talker_say(&j->talker[CLIENT], 100);
        talker_say(&j->talker[TARGET], 100);
        wait_for(b, heard_all);
        loop_run_for(&b->loop, 1);
    }
    assert_string_equal(stream_engine_name(&j->stream), "copy");
    assert_int_equal(s->pipes_lent, 0);
    assert_int_equal(s->downgrades, s->upgrades);
    assert_intact(j);

    /* And it may become bulky again. */
    joint_warm(b, j);
    assert_intact(j);
}

static void pipes_that_nobody_uses_are_given_back_and_closed(void **state)
{
    struct bench *b = *state;
    struct joint *j = joined(b, (struct stream_start){0});
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
    wait_for(b, heard_all);
    assert_intact(j);
}

/* ---- setting the bench ---- */

static int set_bench(void **state, bool splice)
{
    struct bench *b = calloc(1, sizeof(*b));

    b->splice = splice;
    assert_int_equal(loop_init(&b->loop), 0);
    b->pump = stream_pump_new(&b->loop, &(struct stream_pump_config){splice, 64, PIPE_OCTETS});
    assert_non_null(b->pump);
    b->descriptors = descriptors_open();
    *state = b;
    return 0;
}

static int set_copy(void **state)
{
    return set_bench(state, false);
}

static int set_splice(void **state)
{
    return set_bench(state, true);
}

/* Whatever the test did: nothing is left behind. */
static int clear_bench(void **state)
{
    struct bench *b = *state;
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

#define TEST(f, set) cmocka_unit_test_setup_teardown(f, set, clear_bench)
/* What every engine owes. */
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
        TEST(a_stalled_reader_bounds_what_is_held_and_loses_nothing, set),                         \
        TEST(of_a_limit_every_octet_is_delivered_and_no_more, set),                                \
        TEST(a_flood_stops_at_the_limit, set),                                                     \
        TEST(octets_that_are_held_count_towards_the_limit, set),                                   \
        TEST(an_end_just_at_the_limit_is_a_good_end, set),                                         \
        TEST(first_octets_come_first_and_the_reply_is_not_payload, set),                           \
        TEST(first_octets_that_no_socket_buffer_takes_are_held, set),                              \
        TEST(success_is_never_announced_for_a_target_that_has_reset, set),                         \
        TEST(a_target_that_has_ended_already_is_heard_to_its_end, set),                            \
        TEST(a_client_that_has_reset_resets_the_target, set),                                      \
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
