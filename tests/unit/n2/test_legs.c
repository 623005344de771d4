#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_legs.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

enum { PATIENCE_MS = 5000, QUIET_MS = 300, MANY = 300, NOBODY = 65534 };

struct leg {
    uint32_t number;
    int fd;
    uint8_t kind;
    uint16_t to_client_len, to_target_len;
    bool intact;
};

/* A sender and a listener on one loop; either may be replaced by a hostile hand. */
struct bench {
    struct loop loop;
    char path[64];
    struct n2_leg_listener *listener;
    struct n2_leg_sender *sender;
    int client, far; /* a connection whose descriptor is handed over, again and again */
    ino_t client_inode;
    unsigned descriptors;
    bool close_when_attached;
    /* what arrived */
    struct leg legs[MANY + 100];
    size_t leg_count, expected;
    /* what came back */
    int failed, down;
    bool close_when_down;
    const void *last_failed;
};

/* ---- the listener's side ---- */

static uint32_t number_of(const uint8_t *association)
{
    uint32_t n;

    memcpy(&n, association, sizeof(n));
    return n;
}

static bool is_pattern(uint64_t seed, const uint8_t *octets, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (octets[i] != pattern_at(seed, i))
            return false;
    }
    return true;
}

static void on_attach(void *arg, const struct n2_attach *a, int fd)
{
    struct bench *b = arg;
    struct leg *leg = &b->legs[b->leg_count++];

    assert_true(b->leg_count <= MANY + 100);
    *leg = (struct leg){
        .number = number_of(a->association),
        .fd = fd,
        .kind = (uint8_t)a->kind,
        .to_client_len = (uint16_t)a->to_client_len,
        .to_target_len = (uint16_t)a->to_target_len,
    };
    leg->intact = is_pattern(leg->number, a->to_client, a->to_client_len) &&
                  is_pattern(leg->number + 1, a->to_target, a->to_target_len);
    if (b->close_when_attached && b->listener != NULL) {
        n2_leg_listener_close(b->listener);
        b->listener = NULL;
    }
}

static const struct n2_leg_listener_ops listener_ops = {on_attach};

static void listen_there(struct bench *b)
{
    struct err e;

    if (n2_leg_listener_open(&b->loop, b->path, NULL, 0, &listener_ops, b, &b->listener, &e) != 0)
        fail_msg("%s", e.text);
}

static bool all_came(void *arg)
{
    const struct bench *b = arg;

    return b->leg_count >= b->expected;
}

static void wait_for_legs(struct bench *b, size_t n)
{
    b->expected = n;
    assert_true(loop_run_until(&b->loop, all_came, b, PATIENCE_MS));
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->leg_count, n);
}

static void forget_legs(struct bench *b)
{
    for (size_t i = 0; i < b->leg_count; i++) {
        if (b->legs[i].fd >= 0)
            close(b->legs[i].fd);
    }
    b->leg_count = 0;
}

/* ---- the sender's side ---- */

static void on_failed(void *arg, void *owner, int fd)
{
    struct bench *b = arg;
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_ino == b->client_inode);
    close(fd);
    b->failed++;
    b->last_failed = owner;
}

static void on_down(void *arg)
{
    struct bench *b = arg;

    b->down++;
    if (b->close_when_down) {
        n2_leg_sender_close(b->sender);
        b->sender = NULL;
    }
}

static const struct n2_leg_sender_ops sender_ops = {on_failed, on_down};

static void connect_there(struct bench *b)
{
    struct err e;

    if (n2_leg_sender_open(&b->loop, b->path, &sender_ops, b, &b->sender, &e) != 0)
        fail_msg("%s", e.text);
}

static struct n2_attach attach_of(uint32_t number, size_t to_client, size_t to_target)
{
    static uint8_t association[ID_LEN], ticket[N2_TICKET_LEN];
    static uint8_t client[N2_TO_CLIENT_MAX + 1], target[N2_TO_TARGET_MAX + 1];

    memcpy(association, &number, sizeof(number));
    pattern_fill(number, 0, client, to_client);
    pattern_fill(number + 1, 0, target, to_target);
    return (struct n2_attach){
        .association = association,
        .ticket = ticket,
        .kind = N2_LEG_PLAIN_FD,
        .to_client = client,
        .to_client_len = to_client,
        .to_target = target,
        .to_target_len = to_target,
    };
}

static int send_leg(struct bench *b, uint32_t number, size_t to_client, size_t to_target)
{
    const struct n2_attach a = attach_of(number, to_client, to_target);
    int fd = fcntl(b->client, F_DUPFD_CLOEXEC, 0);

    int rc = n2_leg_send(b->sender, &a, fd, &b->legs[number]);
    if (rc != 0)
        close(fd); /* still ours */
    return rc;
}

/* ---- from hand to hand ---- */

static void many_legs_arrive_in_order_with_what_belongs_to_them(void **state)
{
    struct bench *b = *state;
    struct stat st;

    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(send_leg(b, i, i % 100, i % 1000), 0);
    assert_int_equal(b->leg_count, 0);
    wait_for_legs(b, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
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
    assert_int_equal(descriptors_open(), b->descriptors + MANY);
    assert_int_equal(n2_leg_listener_stats(b->listener)->messages, (MANY + 63) / 64);
    assert_int_equal(n2_leg_listener_stats(b->listener)->legs, MANY);
    assert_int_equal(b->failed, 0);
}

static void long_beginnings_fill_messages_before_descriptors_do(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(send_leg(b, i, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX), 0);
    wait_for_legs(b, 100);
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
    struct bench *b = *state;

    assert_int_equal(send_leg(b, 1, N2_TO_CLIENT_MAX + 1, 0), -1);
    assert_int_equal(send_leg(b, 2, 0, N2_TO_TARGET_MAX + 1), -1);
    assert_int_equal(send_leg(b, 3, 0, 0), 0);
    wait_for_legs(b, 1);
    assert_int_equal(b->legs[0].number, 3);
}

/* Whoever wrote the sender: splice would wait for ever, and everybody with it. */
static void a_descriptor_that_blocks_arrives_as_one_that_does_not(void **state)
{
    struct bench *b = *state;

    fcntl(b->client, F_SETFL, 0);
    assert_int_equal(send_leg(b, 1, 0, 0), 0);
    wait_for_legs(b, 1);
    assert_true(fcntl(b->legs[0].fd, F_GETFL) & O_NONBLOCK);
}

static void a_client_that_has_reset_is_handed_over_as_it_is(void **state)
{
    struct bench *b = *state;

    sock_reset(b->far);
    b->far = -1;
    b->descriptors--;
    assert_int_equal(send_leg(b, 1, 0, 0), 0);
    wait_for_legs(b, 1);
    assert_true(b->legs[0].fd >= 0);
}

static void who_is_forgotten_is_closed_and_not_called_about(void **state)
{
    struct bench *b = *state;

    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(send_leg(b, i, 0, 0), 0);
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
    struct bench *b = *state;

    assert_int_equal(send_leg(b, 1, 0, 0), 0);
    wait_for_legs(b, 1);
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
    struct bench *b = *state;

    b->close_when_attached = b->close_when_down = true;
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(send_leg(b, i, 0, 0), 0);
    loop_run_for(&b->loop, 50);
    assert_null(b->listener);
    assert_in_range(b->leg_count, 1, 64);
    assert_int_equal(b->down, 1);
}

/* ---- a listener that does not listen ---- */

static int listen_by_hand(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strcpy(un.sun_path, path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* The sender of the bench talks to a socket that nobody reads. */
static int connect_to_the_deaf(struct bench *b)
{
    n2_leg_sender_close(b->sender);
    n2_leg_listener_close(b->listener);
    b->listener = NULL;
    int listening = listen_by_hand(b->path);
    connect_there(b);
    int deaf = accept(listening, NULL, NULL);
    close(listening);
    return deaf;
}

static uint32_t fill_channel(struct bench *b)
{
    uint32_t n = 0;

    /* 11 of them fill a message: 64 messages wait at most. */
    while (n < 100 && send_leg(b, n, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX) == 0)
        n++;
    assert_int_equal(n, 100);
    loop_run_for(&b->loop, 20);
    return n;
}

static size_t read_by_hand(int deaf, struct bench *b)
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
            on_attach(b, &got[i], fd);
        }
    }
    n2_arena_free(a);
    return n;
}

static void a_full_channel_goes_on_where_it_stopped(void **state)
{
    struct bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);

    /* Waiting costs nothing. */
    assert_true(loop_run_for(&b->loop, QUIET_MS) < 20);
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
    struct bench *b = *state;
    int deaf = connect_to_the_deaf(b);
    uint32_t n = fill_channel(b);

    while (send_leg(b, 0, N2_TO_CLIENT_MAX, N2_TO_TARGET_MAX) == 0)
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
    struct bench *b = *state;
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
    forget_legs(b);
    assert_int_equal(descriptors_open(), b->descriptors - 3);
}

static void after_the_peer_died_nothing_is_taken(void **state)
{
    struct bench *b = *state;
    int deaf = connect_to_the_deaf(b);

    close(deaf);
    loop_run_for(&b->loop, 5);
    assert_int_equal(b->down, 1);
    assert_int_equal(send_leg(b, 1, 0, 0), -1);
}

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
        const struct n2_attach a = attach_of(i, 10, 10);
        n2_put_attach(&body, &a);
    }
    send_by_hand(to, body.data, body.len, fd, descriptors);
    buf_fini(&body);
}

static void descriptors_without_their_attaches_are_all_closed(void **state)
{
    struct bench *b = *state;
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
    struct bench *b = *state;
    int hand = connect_by_hand(b->path);

    send_counts(hand, b->client, 3, 2);
    send_counts(hand, b->client, 2, 0);
    wait_for_legs(b, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(b->legs[i].fd, -1);
    close(hand);
    loop_run_for(&b->loop, 20);
    assert_int_equal(descriptors_open(), b->descriptors);
}

static void a_message_that_is_too_long_is_dropped_with_its_descriptors(void **state)
{
    struct bench *b = *state;
    int hand = connect_by_hand(b->path), big = 1 << 20;
    uint8_t *body = calloc(1, N2_LEG_MESSAGE_MAX + 1);

    setsockopt(hand, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    send_by_hand(hand, body, N2_LEG_MESSAGE_MAX + 1, b->client, 3);
    send_counts(hand, b->client, 1, 1);
    wait_for_legs(b, 1);
    assert_true(b->legs[0].fd >= 0);
    assert_int_equal(n2_leg_listener_stats(b->listener)->bad_messages, 1);
    close(hand);
    free(body);
}

static void what_is_no_connected_tcp_socket_is_closed_and_told(void **state)
{
    struct bench *b = *state;
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
    wait_for_legs(b, count);
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
    struct bench *b = *state;
    struct n2_attach a = attach_of(1, 0, 0), other = a;

    a.kind = N2_LEG_KTLS_FD;
    other.role = N2_ROLE_HANDSHAKE;
    assert_int_equal(n2_leg_send(b->sender, &a, fcntl(b->client, F_DUPFD_CLOEXEC, 0), NULL), 0);
    assert_int_equal(n2_leg_send(b->sender, &other, fcntl(b->client, F_DUPFD_CLOEXEC, 0), NULL), 0);
    wait_for_legs(b, 2);
    assert_int_equal(b->legs[0].fd, -1);
    assert_int_equal(b->legs[1].fd, -1);
    assert_int_equal(descriptors_open(), b->descriptors);
}

static void an_empty_message_ends_the_channel(void **state)
{
    struct bench *b = *state;
    int hand = connect_by_hand(b->path);

    send_by_hand(hand, "", 0, -1, 0);
    loop_run_for(&b->loop, 20);
    char got;
    assert_int_equal(recv(hand, &got, 1, MSG_DONTWAIT), 0);
    close(hand);
    assert_int_equal(send_leg(b, 1, 0, 0), 0);
    wait_for_legs(b, 1);
}

static void channels_are_bounded(void **state)
{
    struct bench *b = *state;
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
    wait_for_legs(b, 1);
    close(again);
}

/* ---- who may come ---- */

/* What a process of another user gets; 0: nothing, the end at once. */
static int read_as_nobody(struct bench *b)
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
    struct bench *b = *state;
    struct err e;
    uint32_t uid = 12345;

    if (geteuid() != 0)
        skip();
    for (int named = 0; named < 2; named++) {
        n2_leg_listener_close(b->listener);
        assert_int_equal(
            n2_leg_listener_open(&b->loop, b->path, &uid, 1, &listener_ops, b, &b->listener, &e),
            0);
        assert_int_equal(read_as_nobody(b), named);
        assert_int_equal(n2_leg_listener_stats(b->listener)->refused_peers, named ? 0 : 1);
        uid = NOBODY;
    }
}

static void the_socket_file_is_for_its_owner(void **state)
{
    struct bench *b = *state;
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
    struct bench *b = *state;
    struct rlimit before;

    loop_run_for(&b->loop, 20);
    int hand = connect_by_hand(b->path);
    leave_descriptors(0, &before);
    send_counts(hand, b->client, 1, 1);
    uint64_t turns = loop_run_for(&b->loop, QUIET_MS);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(turns < 50);
    wait_for_legs(b, 1);
    assert_true(b->legs[0].fd >= 0);
    close(hand);
}

static void a_leg_for_which_there_is_no_descriptor_is_told(void **state)
{
    struct bench *b = *state;
    struct rlimit before;
    int hand = connect_by_hand(b->path);

    loop_run_for(&b->loop, 20);
    send_counts(hand, b->client, 3, 3);
    leave_descriptors(1, &before);
    b->expected = 3;
    bool came = loop_run_until(&b->loop, all_came, b, PATIENCE_MS);
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
    struct bench *b = *state;
    struct n2_leg_listener *other;
    struct err e;

    assert_int_equal(n2_leg_listener_open(&b->loop, b->path, NULL, 0, &listener_ops, b, &other, &e),
                     -1);
    assert_non_null(strstr(e.text, b->path));
    n2_leg_listener_close(b->listener);
    close(listen_by_hand(b->path)); /* its file stays */
    listen_there(b);
    loop_run_for(&b->loop, 5);
    n2_leg_sender_close(b->sender);
    connect_there(b);
    assert_int_equal(send_leg(b, 1, 0, 0), 0);
    wait_for_legs(b, 1);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct bench *b = *state;
    struct n2_leg_listener *listener;
    struct n2_leg_sender *sender;
    char longer[200];
    struct err e;

    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[199] = '\0';
    e.text[0] = '\0';
    assert_int_equal(n2_leg_sender_open(&b->loop, longer, &sender_ops, b, &sender, &e), -1);
    assert_non_null(strstr(e.text, "too long"));
    assert_int_equal(n2_leg_sender_open(&b->loop, "/nonexistent/legs", &sender_ops, b, &sender, &e),
                     -1);
    assert_string_equal(e.text, "/nonexistent/legs: No such file or directory");
    assert_int_equal(
        n2_leg_listener_open(&b->loop, longer, NULL, 0, &listener_ops, b, &listener, &e), -1);
    assert_non_null(strstr(e.text, "too long"));
    assert_int_equal(n2_leg_listener_open(&b->loop, "/nonexistent/legs", NULL, 0, &listener_ops, b,
                                          &listener, &e),
                     -1);
    assert_string_equal(e.text, "/nonexistent/legs: No such file or directory");
    assert_int_equal(descriptors_open(), b->descriptors - 1);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct stat st;

    *state = b;
    assert_int_equal(loop_init(&b->loop), 0);
    snprintf(b->path, sizeof(b->path), "/tmp/test_legs_%d.sock", (int)getpid());
    sockpair_tcp(0, &b->client, &b->far);
    assert_int_equal(fstat(b->client, &st), 0);
    b->client_inode = st.st_ino;
    listen_there(b);
    connect_there(b);
    /* With the channel's other end, which is accepted later. */
    b->descriptors = descriptors_open() + 1;
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    n2_leg_sender_close(b->sender);
    n2_leg_listener_close(b->listener);
    forget_legs(b);
    close(b->client);
    if (b->far >= 0)
        close(b->far);
    loop_fini(&b->loop);
    unlink(b->path);
    free(b);
    n2_leg_sender_close(NULL);
    n2_leg_listener_close(NULL);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

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
        TEST(after_the_peer_died_nothing_is_taken),
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
