/* Legs from hand to hand, and a listener that does not listen. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/n2/n2_codec.h"
#include "tests/lib/leg_bench.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

/* ---- from hand to hand ---- */

static void many_legs_arrive_in_order_with_what_belongs_to_them(void **state)
{
    struct leg_bench *b = *state;
    struct stat st;

    for (uint32_t i = 0; i < LEGS_MANY; i++)
        assert_int_equal(legs_send(b, i, i % 100, i % 1000), 0);
    assert_int_equal(b->leg_count, 0);
    legs_wait(b, LEGS_MANY);
    for (uint32_t i = 0; i < LEGS_MANY; i++) {
        const struct leg *leg = &b->legs[i];
        assert_int_equal(leg->number, i);
        assert_int_equal(leg->kind, N2_LEG_PLAIN_FD);
        assert_int_equal(leg->to_client_len, i % 100);
        assert_int_equal(leg->to_target_len, i % 1000);
        assert_true(leg->intact);
        assert_int_equal(fstat(leg->fd, &st), 0);
        assert_true(st.st_ino == b->client_inode);
        assert_true(fcntl(leg->fd, F_GETFD) & FD_CLOEXEC);
    }
    /* The sender keeps none of its own, and as many as possible travelled together. */
    assert_int_equal(descriptors_open(), b->descriptors + LEGS_MANY);
    assert_int_equal(n2_leg_listener_stats(b->listener)->messages, (LEGS_MANY + 63) / 64);
    assert_int_equal(n2_leg_listener_stats(b->listener)->legs, LEGS_MANY);
    assert_int_equal(b->failed, 0);
}

static void long_beginnings_fill_messages_before_descriptors_do(void **state)
{
    struct leg_bench *b = *state;

    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(legs_send(b, i, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX), 0);
    legs_wait(b, 100);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(b->legs[i].number, i);
        assert_int_equal(b->legs[i].to_client_len, N2_TO_CLIENT_MAX);
        assert_int_equal(b->legs[i].to_target_len, N2_TO_TARGET_MAX);
        assert_true(b->legs[i].intact && b->legs[i].fd >= 0);
    }
    assert_int_equal(n2_leg_listener_stats(b->listener)->bad_messages, 0);
}

static void what_is_too_long_is_not_taken(void **state)
{
    struct leg_bench *b = *state;

    assert_int_equal(legs_send(b, 1, N2_TO_CLIENT_MAX + 1, 0), -1);
    assert_int_equal(legs_send(b, 2, 0, N2_TO_TARGET_MAX + 1), -1);
    assert_int_equal(legs_send(b, 3, 0, 0), 0);
    legs_wait(b, 1);
    assert_int_equal(b->legs[0].number, 3);
}

/* Whoever wrote the sender: splice would wait for ever, and everybody with it. */
static void a_descriptor_that_blocks_arrives_as_one_that_does_not(void **state)
{
    struct leg_bench *b = *state;

    fcntl(b->client, F_SETFL, 0);
    assert_int_equal(legs_send(b, 1, 0, 0), 0);
    legs_wait(b, 1);
    assert_true(fcntl(b->legs[0].fd, F_GETFL) & O_NONBLOCK);
}

static void a_client_that_has_reset_is_handed_over_as_it_is(void **state)
{
    struct leg_bench *b = *state;

    sock_reset(b->far);
    b->far = -1;
    b->descriptors--;
    assert_int_equal(legs_send(b, 1, 0, 0), 0);
    legs_wait(b, 1);
    assert_true(b->legs[0].fd >= 0);
}

static void who_is_forgotten_is_closed_and_not_called_about(void **state)
{
    struct leg_bench *b = *state;

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(legs_send(b, i, 0, 0), 0);
    n2_leg_forget(b->sender, &b->legs[1]);
    n2_leg_sender_close(b->sender);
    b->sender = NULL;
    assert_int_equal(b->failed, 2);
    assert_ptr_equal(b->last_failed, &b->legs[2]);
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->leg_count, 0);
    assert_int_equal(descriptors_open(), b->descriptors - 2);
    assert_int_equal(b->down, 0);
}

static void when_the_listener_goes_the_sender_is_told_once(void **state)
{
    struct leg_bench *b = *state;

    assert_int_equal(legs_send(b, 1, 0, 0), 0);
    legs_wait(b, 1);
    n2_leg_listener_close(b->listener);
    b->listener = NULL;
    b->close_when_down = true;
    loop_run_for(&b->loop, 50);
    assert_int_equal(b->down, 1);
    assert_int_equal(b->failed, 0);
    assert_int_not_equal(access(b->path, F_OK), 0);
}

static void the_listener_may_be_closed_from_its_callback(void **state)
{
    struct leg_bench *b = *state;

    b->close_when_attached = b->close_when_down = true;
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(legs_send(b, i, 0, 0), 0);
    loop_run_for(&b->loop, 50);
    assert_null(b->listener);
    assert_in_range(b->leg_count, 1, 64);
    assert_int_equal(b->down, 1);
}

/* ---- a listener that does not listen ---- */

/* The sender of the bench talks to a socket that nobody reads. */
static int connect_to_the_deaf(struct leg_bench *b)
{
    n2_leg_sender_close(b->sender);
    n2_leg_listener_close(b->listener);
    b->listener = NULL;
    int listening = legs_listen_by_hand(b->path);
    legs_connect(b);
    int deaf = accept(listening, NULL, NULL);
    close(listening);
    return deaf;
}

static uint32_t fill_channel(struct leg_bench *b)
{
    uint32_t n = 0;

    /* 11 of them fill a message: 64 messages wait at most. */
    while (n < 100 && legs_send(b, n, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX) == 0)
        n++;
    assert_int_equal(n, 100);
    loop_run_for(&b->loop, 20);
    return n;
}

static size_t read_by_hand(int deaf, struct leg_bench *b)
{
    static uint8_t body[N2_LEG_MESSAGE_MAX];
    struct n2_attach got[N2_LEGS_MAX];
    struct n2_arena *a = n2_arena_new();
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * N2_LEGS_MAX)];
    } control;
    struct iovec iov = {body, sizeof(body)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    size_t n = 0;

    ssize_t len = recvmsg(deaf, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len > 0) {
        int count = n2_legs_decode(a, body, (size_t)len, got);
        assert_true(count > 0);
        for (int i = 0; i < count; i++, n++) {
            int fd;
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)) + (size_t)i * sizeof(int), sizeof(int));
            legs_on_attach(b, &got[i], fd);
        }
    }
    n2_arena_free(a);
    return n;
}

static void a_full_channel_goes_on_where_it_stopped(void **state)
{
    struct leg_bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);

    /* Waiting costs nothing. */
    assert_true(loop_run_for(&b->loop, LEGS_QUIET_MS) < 20);
    for (int i = 0; i < 200 && b->leg_count < n; i++) {
        read_by_hand(deaf, b);
        loop_run_for(&b->loop, 1);
    }
    assert_int_equal(b->leg_count, n);
    for (uint32_t i = 0; i < n; i++)
        assert_true(b->legs[i].number == i && b->legs[i].intact);
    assert_int_equal(b->failed, 0);
    close(deaf);
}

static void too_many_waiting_legs_are_refused(void **state)
{
    struct leg_bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);

    while (legs_send(b, 0, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX) == 0)
        assert_true(++n < 2000);
    assert_true(n >= 64 * 10);
    b->close_when_down = true;
    close(deaf);
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->down, 1);
    assert_int_equal(descriptors_open(), b->descriptors - 3);
}

static void when_the_peer_dies_what_waits_comes_back(void **state)
{
    struct leg_bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);
    size_t read = 0;

    read += read_by_hand(deaf, b);
    n2_leg_forget(b->sender, &b->legs[n - 1]);
    b->close_when_down = true;
    close(deaf);
    loop_run_for(&b->loop, 50);
    assert_int_equal(b->down, 1);
    assert_true(b->failed > 0);
    assert_ptr_equal(b->last_failed, &b->legs[n - 2]);
    assert_true((size_t)b->failed + read < n);
    legs_forget(b);
    assert_int_equal(descriptors_open(), b->descriptors - 3);
}

static void the_sender_may_be_closed_from_its_callback(void **state)
{
    struct leg_bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);

    b->close_when_failed = b->close_when_down = true;
    close(deaf);
    loop_run_for(&b->loop, 50);
    assert_null(b->sender);
    assert_int_equal(b->down, 0);
    assert_in_range(b->failed, 1, n);
    assert_ptr_equal(b->last_failed, &b->legs[n - 1]);
    assert_int_equal(descriptors_open(), b->descriptors - 3);
}

static void after_the_peer_died_nothing_is_taken(void **state)
{
    struct leg_bench *b = *state;
    int deaf = connect_to_the_deaf(b);

    close(deaf);
    loop_run_for(&b->loop, 5);
    assert_int_equal(b->down, 1);
    assert_int_equal(legs_send(b, 1, 0, 0), -1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, legs_bench_set, legs_bench_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_legs_arrive_in_order_with_what_belongs_to_them),
        TEST(long_beginnings_fill_messages_before_descriptors_do),
        TEST(what_is_too_long_is_not_taken),
        TEST(a_descriptor_that_blocks_arrives_as_one_that_does_not),
        TEST(a_client_that_has_reset_is_handed_over_as_it_is),
        TEST(who_is_forgotten_is_closed_and_not_called_about),
        TEST(when_the_listener_goes_the_sender_is_told_once),
        TEST(the_listener_may_be_closed_from_its_callback),
        TEST(a_full_channel_goes_on_where_it_stopped),
        TEST(too_many_waiting_legs_are_refused),
        TEST(when_the_peer_dies_what_waits_comes_back),
        TEST(the_sender_may_be_closed_from_its_callback),
        TEST(after_the_peer_died_nothing_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
