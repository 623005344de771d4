#include "tests/lib/leg_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

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

void legs_on_attach(void *arg, const struct n2_attach *a, int fd)
{
    struct leg_bench *b = arg;
    struct leg *leg = &b->legs[b->leg_count++];

    assert_true(b->leg_count <= LEGS_MANY + 100);
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

const struct n2_leg_listener_ops legs_listener_ops = {legs_on_attach};

void legs_listen(struct leg_bench *b)
{
    struct err e;

    if (n2_leg_listener_open(&b->loop, b->path, NULL, 0, &legs_listener_ops, b, &b->listener, &e) !=
        0)
        fail_msg("%s", e.text);
}

bool legs_all_came(void *arg)
{
    const struct leg_bench *b = arg;

    return b->leg_count >= b->expected;
}

void legs_wait(struct leg_bench *b, size_t n)
{
    b->expected = n;
    assert_true(loop_run_until(&b->loop, legs_all_came, b, LEGS_PATIENCE_MS));
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->leg_count, n);
}

void legs_forget(struct leg_bench *b)
{
    for (size_t i = 0; i < b->leg_count; i++) {
        if (b->legs[i].fd >= 0)
            close(b->legs[i].fd);
    }
    b->leg_count = 0;
}

/* ---- the sender's side ---- */

static void close_sender(struct leg_bench *b)
{
    struct n2_leg_sender *sender = b->sender;

    b->sender = NULL;
    n2_leg_sender_close(sender);
}

static void on_failed(void *arg, void *owner, int fd)
{
    struct leg_bench *b = arg;
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_ino == b->client_inode);
    close(fd);
    b->failed++;
    b->last_failed = owner;
    if (b->close_when_failed)
        close_sender(b);
}

static void on_down(void *arg)
{
    struct leg_bench *b = arg;

    b->down++;
    if (b->close_when_down)
        close_sender(b);
}

const struct n2_leg_sender_ops legs_sender_ops = {on_failed, on_down};

void legs_connect(struct leg_bench *b)
{
    struct err e;

    if (n2_leg_sender_open(&b->loop, b->path, &legs_sender_ops, b, &b->sender, &e) != 0)
        fail_msg("%s", e.text);
}

struct n2_attach legs_attach(uint32_t number, size_t to_client, size_t to_target)
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

int legs_send(struct leg_bench *b, uint32_t number, size_t to_client, size_t to_target)
{
    const struct n2_attach a = legs_attach(number, to_client, to_target);
    int fd = fcntl(b->client, F_DUPFD_CLOEXEC, 0);

    int rc = n2_leg_send(b->sender, &a, fd, &b->legs[number]);
    if (rc != 0)
        close(fd); /* still ours */
    return rc;
}

int legs_listen_by_hand(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strcpy(un.sun_path, path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

/* ---- life ---- */

int legs_bench_set(void **state)
{
    struct leg_bench *b = calloc(1, sizeof(*b));
    struct stat st;

    *state = b;
    assert_int_equal(loop_init(&b->loop), 0);
    snprintf(b->path, sizeof(b->path), "/tmp/test_legs_%d.sock", (int)getpid());
    sockpair_tcp(0, &b->client, &b->far);
    assert_int_equal(fstat(b->client, &st), 0);
    b->client_inode = st.st_ino;
    legs_listen(b);
    legs_connect(b);
    /* With the channel's other end, which is accepted later. */
    b->descriptors = descriptors_open() + 1;
    return 0;
}

int legs_bench_clear(void **state)
{
    struct leg_bench *b = *state;

    n2_leg_sender_close(b->sender);
    n2_leg_listener_close(b->listener);
    legs_forget(b);
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
