/* What strangers, and bad luck, do to the listener of the leg channel. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/n2/n2_codec.h"
#include "tests/lib/leg_bench.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

enum { NOBODY = 65534 };

/* ---- a sender who means harm ---- */

static int connect_by_hand(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strcpy(un.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

static void send_by_hand(int to, const void *body, size_t len, int fd, size_t copies)
{
    enum { MOST = 253 };
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * MOST)];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)body, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (copies > 0) {
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * copies);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * copies);
        for (size_t i = 0; i < copies; i++)
            memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(to, &msg, MSG_NOSIGNAL), len);
}

/* A message of so many attaches with so many descriptors. */
static void send_counts(int to, int fd, uint32_t attaches, size_t descriptors)
{
    struct buf body;

    buf_init(&body, N2_LEG_MESSAGE_MAX);
    n2_put_legs_head(&body);
    for (uint32_t i = 0; i < attaches; i++) {
        const struct n2_attach a = legs_attach(i, 10, 10);
        n2_put_attach(&body, &a);
    }
    send_by_hand(to, body.data, body.len, fd, descriptors);
    buf_fini(&body);
}

static void descriptors_without_their_attaches_are_all_closed(void **state)
{
    struct leg_bench *b = *state;
    int hand = connect_by_hand(b->path);

    loop_run_for(&b->loop, 5);
    unsigned before = descriptors_open();
    send_counts(hand, b->client, 1, 2);
    send_counts(hand, b->client, 3, 64);
    send_counts(hand, b->client, 64, 253);
    send_counts(hand, b->client, 0, 5);
    send_by_hand(hand, "nonsense", 8, b->client, 7);
    send_by_hand(hand, "", 0, b->client, 2);
    loop_run_for(&b->loop, 50);
    assert_int_equal(descriptors_open(), before);
    assert_int_equal(n2_leg_listener_stats(b->listener)->bad_messages, 6);
    for (size_t i = 0; i < b->leg_count; i++)
        assert_int_equal(b->legs[i].fd, -1);
    /* 1, 3 and 64 associations are told that they get none. */
    assert_int_equal(b->leg_count, 1 + 3 + 64);
    close(hand);
}

static void attaches_without_their_descriptors_get_none(void **state)
{
    struct leg_bench *b = *state;
    int hand = connect_by_hand(b->path);

    send_counts(hand, b->client, 3, 2);
    send_counts(hand, b->client, 2, 0);
    legs_wait(b, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(b->legs[i].fd, -1);
    close(hand);
    loop_run_for(&b->loop, 20);
    assert_int_equal(descriptors_open(), b->descriptors);
}

static void a_message_that_is_too_long_is_dropped_with_its_descriptors(void **state)
{
    struct leg_bench *b = *state;
    int hand = connect_by_hand(b->path), big = 1 << 20;
    uint8_t *body = calloc(1, N2_LEG_MESSAGE_MAX + 1);

    setsockopt(hand, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    send_by_hand(hand, body, N2_LEG_MESSAGE_MAX + 1, b->client, 3);
    send_counts(hand, b->client, 1, 1);
    legs_wait(b, 1);
    assert_true(b->legs[0].fd >= 0);
    assert_int_equal(n2_leg_listener_stats(b->listener)->bad_messages, 1);
    close(hand);
    free(body);
}

static void what_is_no_connected_tcp_socket_is_closed_and_told(void **state)
{
    struct leg_bench *b = *state;
    int hand = connect_by_hand(b->path), pipes[2], unix_pair[2];
    uint16_t port;

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair), 0);
    int others[] = {
        pipes[0],
        unix_pair[0],
        sock_listen(1, &port),
        socket(AF_INET, SOCK_DGRAM, 0),
        open("/dev/null", O_RDWR),
        hand,
    };
    size_t count = sizeof(others) / sizeof(others[0]);
    loop_run_for(&b->loop, 5);
    unsigned before = descriptors_open();

    for (size_t i = 0; i < count; i++)
        send_counts(hand, others[i], 1, 1);
    legs_wait(b, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(b->legs[i].fd, -1);
    assert_int_equal(n2_leg_listener_stats(b->listener)->bad_descriptors, count);
    assert_int_equal(descriptors_open(), before);
    for (size_t i = 0; i < count; i++)
        close(others[i]);
    close(pipes[1]);
    close(unix_pair[1]);
}

static void legs_of_kinds_that_are_not_served_are_closed_and_told(void **state)
{
    struct leg_bench *b = *state;
    struct n2_attach a = legs_attach(1, 0, 0), other = a;

    a.kind = N2_LEG_KTLS_FD;
    other.role = N2_ROLE_HANDSHAKE;
    assert_int_equal(n2_leg_send(b->sender, &a, fcntl(b->client, F_DUPFD_CLOEXEC, 0), NULL), 0);
    assert_int_equal(n2_leg_send(b->sender, &other, fcntl(b->client, F_DUPFD_CLOEXEC, 0), NULL), 0);
    legs_wait(b, 2);
    assert_int_equal(b->legs[0].fd, -1);
    assert_int_equal(b->legs[1].fd, -1);
    assert_int_equal(descriptors_open(), b->descriptors);
}

static void an_empty_message_ends_the_channel(void **state)
{
    struct leg_bench *b = *state;
    int hand = connect_by_hand(b->path);

    send_by_hand(hand, "", 0, -1, 0);
    loop_run_for(&b->loop, 20);
    char got;
    assert_int_equal(recv(hand, &got, 1, MSG_DONTWAIT), 0);
    close(hand);
    assert_int_equal(legs_send(b, 1, 0, 0), 0);
    legs_wait(b, 1);
}

static void channels_are_bounded(void **state)
{
    struct leg_bench *b = *state;
    int hands[80], refused = 0;
    char got;

    for (int i = 0; i < 80; i++) {
        hands[i] = connect_by_hand(b->path);
        loop_run_for(&b->loop, 1);
    }
    loop_run_for(&b->loop, 20);
    for (int i = 0; i < 80; i++) {
        refused += recv(hands[i], &got, 1, MSG_DONTWAIT) == 0;
        close(hands[i]);
    }
    assert_int_equal(refused, 80 - 63);
    loop_run_for(&b->loop, 20);
    int again = connect_by_hand(b->path);
    send_counts(again, b->client, 1, 1);
    legs_wait(b, 1);
    close(again);
}

/* ---- who may come ---- */

/* What a process of another user gets; 0: nothing, the end at once. */
static int read_as_nobody(struct leg_bench *b)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        char got;
        if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(100);
        int fd = connect_by_hand(b->path);
        struct timeval tv = {.tv_usec = 300000};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
        _exit(recv(fd, &got, 1, 0) == 0 ? 0 : 1);
    }
    loop_run_for(&b->loop, 600);
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static void another_user_is_refused_unless_named(void **state)
{
    struct leg_bench *b = *state;
    struct err e;
    uint32_t uid = 12345;

    if (geteuid() != 0)
        skip();
    for (int named = 0; named < 2; named++) {
        n2_leg_listener_close(b->listener);
        assert_int_equal(n2_leg_listener_open(&b->loop, b->path, &uid, 1, &legs_listener_ops, b,
                                              &b->listener, &e),
                         0);
        assert_int_equal(read_as_nobody(b), named);
        assert_int_equal(n2_leg_listener_stats(b->listener)->refused_peers, named ? 0 : 1);
        uid = NOBODY;
    }
}

static void the_socket_file_is_for_its_owner(void **state)
{
    struct leg_bench *b = *state;
    struct stat st;

    assert_int_equal(stat(b->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* ---- descriptors run out ---- */

static void leave_descriptors(unsigned n, struct rlimit *ret_before)
{
    struct rlimit less;
    int highest = fcntl(0, F_DUPFD, 0);

    close(highest);
    getrlimit(RLIMIT_NOFILE, ret_before);
    less = *ret_before;
    less.rlim_cur = (rlim_t)highest + n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
}

static void without_descriptors_the_loop_does_not_spin_and_later_all_is_well(void **state)
{
    struct leg_bench *b = *state;
    struct rlimit before;

    loop_run_for(&b->loop, 20);
    int hand = connect_by_hand(b->path);
    leave_descriptors(0, &before);
    send_counts(hand, b->client, 1, 1);
    uint64_t turns = loop_run_for(&b->loop, LEGS_QUIET_MS);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(turns < 50);
    legs_wait(b, 1);
    assert_true(b->legs[0].fd >= 0);
    close(hand);
}

static void a_leg_for_which_there_is_no_descriptor_is_told(void **state)
{
    struct leg_bench *b = *state;
    struct rlimit before;
    int hand = connect_by_hand(b->path);

    loop_run_for(&b->loop, 20);
    send_counts(hand, b->client, 3, 3);
    leave_descriptors(1, &before);
    b->expected = 3;
    bool came = loop_run_until(&b->loop, legs_all_came, b, LEGS_PATIENCE_MS);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(came);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(b->legs[i].fd, -1);
    assert_int_equal(descriptors_open(), b->descriptors + 2);
    close(hand);
}

/* ---- opening ---- */

static void a_left_over_file_is_replaced_and_a_living_one_is_not(void **state)
{
    struct leg_bench *b = *state;
    struct n2_leg_listener *other;
    struct err e;

    assert_int_equal(
        n2_leg_listener_open(&b->loop, b->path, NULL, 0, &legs_listener_ops, b, &other, &e), -1);
    assert_non_null(strstr(e.text, b->path));
    n2_leg_listener_close(b->listener);
    close(legs_listen_by_hand(b->path)); /* its file stays */
    legs_listen(b);
    loop_run_for(&b->loop, 5);
    n2_leg_sender_close(b->sender);
    legs_connect(b);
    assert_int_equal(legs_send(b, 1, 0, 0), 0);
    legs_wait(b, 1);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct leg_bench *b = *state;
    struct n2_leg_listener *listener;
    struct n2_leg_sender *sender;
    char longer[200];
    struct err e;

    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[199] = '\0';
    e.text[0] = '\0';
    assert_int_equal(n2_leg_sender_open(&b->loop, longer, &legs_sender_ops, b, &sender, &e), -1);
    assert_non_null(strstr(e.text, "too long"));
    assert_int_equal(
        n2_leg_sender_open(&b->loop, "/nonexistent/legs", &legs_sender_ops, b, &sender, &e), -1);
    assert_string_equal(e.text, "/nonexistent/legs: No such file or directory");
    assert_int_equal(
        n2_leg_listener_open(&b->loop, longer, NULL, 0, &legs_listener_ops, b, &listener, &e), -1);
    assert_non_null(strstr(e.text, "too long"));
    assert_int_equal(n2_leg_listener_open(&b->loop, "/nonexistent/legs", NULL, 0,
                                          &legs_listener_ops, b, &listener, &e),
                     -1);
    assert_string_equal(e.text, "/nonexistent/legs: No such file or directory");
    assert_int_equal(descriptors_open(), b->descriptors - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, legs_bench_set, legs_bench_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(descriptors_without_their_attaches_are_all_closed),
        TEST(attaches_without_their_descriptors_get_none),
        TEST(a_message_that_is_too_long_is_dropped_with_its_descriptors),
        TEST(what_is_no_connected_tcp_socket_is_closed_and_told),
        TEST(legs_of_kinds_that_are_not_served_are_closed_and_told),
        TEST(an_empty_message_ends_the_channel),
        TEST(channels_are_bounded),
        TEST(another_user_is_refused_unless_named),
        TEST(the_socket_file_is_for_its_owner),
        TEST(without_descriptors_the_loop_does_not_spin_and_later_all_is_well),
        TEST(a_leg_for_which_there_is_no_descriptor_is_told),
        TEST(a_left_over_file_is_replaced_and_a_living_one_is_not),
        TEST(what_cannot_be_opened_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
