/* Destinations: 127.0.0.1 is answered before connect returns; 0.0.0.0 is this host too, and is
 * not taken for loopback, so that its answer comes later; a listener whose queue is full says
 * nothing at all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/net/dial.h"
#include "shared/net/sockaddr.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

/* A busy machine is late. */
enum { PATIENCE_MS = 5000, TIMERS_LATE_MS = 400 };

struct bench {
    struct loop loop;
    int good, silent, fillers[8];
    uint16_t good_port, silent_port, closed_port;
    unsigned descriptors;
    /* what came of a dial */
    struct dial *dial;
    int calls, status, fd;
    struct addr peer;
    uint64_t started, took;
};

static struct addr loopback(uint16_t port)
{
    return addr_ipv4((const uint8_t[]){127, 0, 0, 1}, port);
}

static struct addr later(uint16_t port)
{
    return addr_any(ADDR_IPV4, port);
}

/* ---- what can be dialled ---- */

static bool connects(uint16_t port, int *ret_fd)
{
    struct addr to = loopback(port);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&to, &ss);

    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connect(*ret_fd, (struct sockaddr *)&ss, len);
    usleep(20000);
    return connect(*ret_fd, (struct sockaddr *)&ss, len) == 0;
}

/* Fills the queue until nobody is answered any more. */
static void make_silent(struct bench *b)
{
    b->silent = sock_listen(0, &b->silent_port);
    for (int i = 0; i < 8; i++) {
        if (!connects(b->silent_port, &b->fillers[i]))
            return;
    }
    fail_msg("a full queue still answers");
}

static uint16_t closed_port(void)
{
    uint16_t port;

    close(sock_listen(1, &port));
    return port;
}

/* ---- dialling ---- */

static void on_dialed(void *arg, int status, int fd, const struct addr *peer)
{
    struct bench *b = arg;

    b->calls++;
    b->status = status;
    b->fd = fd;
    b->peer = *peer;
    b->took = uv_hrtime() / 1000000 - b->started;
    b->dial = NULL;
}

static int dial(struct bench *b, const struct addr *to, size_t count, uint32_t timeout_ms)
{
    const struct dial_config c = {.to = to, .count = count, .timeout_ms = timeout_ms};

    uv_update_time(&b->loop.uv);
    b->started = uv_hrtime() / 1000000;
    int rc = dial_start(&b->loop, &c, on_dialed, b, &b->dial, &b->peer);
    assert_int_equal(b->calls, 0);
    return rc;
}

static bool called(void *arg)
{
    return ((struct bench *)arg)->calls > 0;
}

static bool two_attempts_run(void *arg)
{
    const struct bench *b = arg;

    return descriptors_open() == b->descriptors + 2;
}

/* The dial is on its way and ends with this. */
static void ends_with(struct bench *b, int rc, int status)
{
    assert_int_equal(rc, -EINPROGRESS);
    assert_true(loop_run_until(&b->loop, called, b, PATIENCE_MS));
    assert_int_equal(b->calls, 1);
    assert_int_equal(b->status, status);
    if (status != 0)
        assert_int_equal(b->fd, -1);
}

static void assert_connected(struct bench *b, int fd, const struct addr *peer)
{
    struct addr local, remote, seen;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct hot h;

    assert_true(addr_equal(&b->peer, peer));
    assert_true(sockaddr_local(fd, &local) && sockaddr_peer(fd, &remote));
    int far = accept(b->good, (struct sockaddr *)&ss, &len);
    assert_true(far >= 0);
    assert_true(sockaddr_to((struct sockaddr *)&ss, &seen));
    assert_true(addr_equal(&seen, &local));
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    /* In no epoll set: it can be added. */
    hot_init(&h, NULL);
    assert_int_equal(hot_add(&b->loop, &h, fd, 0), 0);
    close(hot_remove(&b->loop, &h));
    close(far);
}

/* ---- who wins ---- */

static void on_loopback_the_socket_is_there_before_dial_returns(void **state)
{
    struct bench *b = *state;
    const struct addr to = loopback(b->good_port);

    int fd = dial(b, &to, 1, 1000);
    assert_true(fd >= 0);
    assert_connected(b, fd, &to);
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->calls, 0);
}

static void elsewhere_it_comes_later(void **state)
{
    struct bench *b = *state;
    const struct addr to = later(b->good_port);

    ends_with(b, dial(b, &to, 1, 1000), 0);
    assert_true(b->took < DIAL_ATTEMPT_MS);
    assert_connected(b, b->fd, &to);
}

static void the_first_one_wins_and_the_others_are_not_tried(void **state)
{
    struct bench *b = *state;
    const struct addr to[] = {later(b->good_port), loopback(b->good_port), later(b->closed_port)};

    ends_with(b, dial(b, to, 3, 1000), 0);
    assert_connected(b, b->fd, &to[0]);
    fcntl(b->good, F_SETFL, O_NONBLOCK);
    assert_int_equal(accept(b->good, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
}

static void a_refusal_goes_on_to_the_next_at_once(void **state)
{
    struct bench *b = *state;
    const struct addr at_once[] = {loopback(b->closed_port), loopback(b->good_port)};
    const struct addr then[] = {later(b->closed_port), later(b->closed_port), later(b->good_port)};

    int fd = dial(b, at_once, 2, 1000);
    assert_true(fd >= 0);
    assert_connected(b, fd, &at_once[1]);

    ends_with(b, dial(b, then, 3, 1000), 0);
    assert_true(b->took < DIAL_ATTEMPT_MS);
    assert_connected(b, b->fd, &then[2]);
}

static void a_silent_address_is_given_250_ms(void **state)
{
    struct bench *b = *state;
    const struct addr to[] = {loopback(b->silent_port), later(b->good_port)};

    ends_with(b, dial(b, to, 2, 5000), 0);
    assert_in_range(b->took, DIAL_ATTEMPT_MS, DIAL_ATTEMPT_MS + TIMERS_LATE_MS);
    assert_connected(b, b->fd, &to[1]);
}

/* Also when the last attempt succeeds within its system call. */
static void the_silent_ones_are_closed_when_another_wins(void **state)
{
    struct bench *b = *state;
    const struct addr silent = loopback(b->silent_port);
    const struct addr to[] = {silent, silent, loopback(b->good_port)};

    assert_int_equal(dial(b, to, 3, 5000), -EINPROGRESS);
    assert_true(loop_run_until(&b->loop, two_attempts_run, b, PATIENCE_MS));
    ends_with(b, -EINPROGRESS, 0);
    assert_in_range(b->took, 2 * DIAL_ATTEMPT_MS, 2 * DIAL_ATTEMPT_MS + TIMERS_LATE_MS);
    assert_int_equal(descriptors_open(), b->descriptors + 1);
    assert_connected(b, b->fd, &to[2]);
}

/* The first one is slow, and faster than all the others. */
static void an_early_attempt_may_still_win_while_later_ones_run(void **state)
{
    struct bench *b = *state;
    const struct addr silent = loopback(b->silent_port);
    const struct addr to[] = {silent, silent, silent};

    assert_int_equal(dial(b, to, 3, 5000), -EINPROGRESS);
    assert_true(loop_run_until(&b->loop, two_attempts_run, b, PATIENCE_MS));
    for (int i = 0; i < 8 && b->fillers[i] >= 0; i++) {
        close(accept(b->silent, NULL, NULL)); /* room in the queue: the next SYN is answered */
        close(b->fillers[i]);
        b->fillers[i] = -1;
    }
    ends_with(b, -EINPROGRESS, 0);
    assert_true(addr_equal(&b->peer, &silent));
    assert_int_equal(descriptors_open(), b->descriptors - 2 + 1);
    close(b->fd);
}

/* ---- who loses ---- */

static void when_all_refuse_it_is_refused(void **state)
{
    struct bench *b = *state;
    const struct addr at_once[] = {loopback(b->closed_port), loopback(b->closed_port)};
    const struct addr then[] = {loopback(b->closed_port), later(b->closed_port)};

    assert_int_equal(dial(b, at_once, 2, 1000), -ECONNREFUSED);
    ends_with(b, dial(b, then, 2, 1000), -ECONNREFUSED);
    assert_true(b->took < DIAL_ATTEMPT_MS);
}

static void the_deadline_counts_for_all_attempts_together(void **state)
{
    struct bench *b = *state;
    const struct addr silent = loopback(b->silent_port);
    const struct addr to[] = {silent, silent, silent, silent};

    ends_with(b, dial(b, to, 4, 400), -ETIMEDOUT);
    assert_in_range(b->took, 400, 400 + TIMERS_LATE_MS);
}

static void a_refusal_tells_more_than_a_time_out(void **state)
{
    struct bench *b = *state;
    const struct addr to[] = {later(b->closed_port), loopback(b->silent_port)};
    const struct addr other_order[] = {loopback(b->silent_port), later(b->closed_port)};

    ends_with(b, dial(b, to, 2, 300), -ECONNREFUSED);
    b->calls = 0;
    ends_with(b, dial(b, other_order, 2, 400), -ECONNREFUSED);
    assert_in_range(b->took, 400, 400 + TIMERS_LATE_MS);
}

static void what_is_no_address_fails(void **state)
{
    struct bench *b = *state;
    const struct addr to[] = {{0}, loopback(b->good_port)};

    assert_true(dial(b, to, 1, 1000) < 0);
    int fd = dial(b, to, 2, 1000);
    assert_connected(b, fd, &to[1]);
}

/* ---- cancelling ---- */

static void who_cancels_is_not_called(void **state)
{
    struct bench *b = *state;
    const struct addr silent = loopback(b->silent_port);
    const struct addr to[] = {silent, silent, later(b->good_port)};
    const struct addr ready = later(b->good_port);

    assert_int_equal(dial(b, to, 3, 5000), -EINPROGRESS);
    assert_true(loop_run_until(&b->loop, two_attempts_run, b, PATIENCE_MS));
    dial_cancel(b->dial);
    loop_run_for(&b->loop, 400);
    assert_int_equal(b->calls, 0);
    assert_int_equal(descriptors_open(), b->descriptors);

    /* Its event is there already. */
    assert_int_equal(dial(b, &ready, 1, 5000), -EINPROGRESS);
    usleep(20000);
    dial_cancel(b->dial);
    loop_run_for(&b->loop, 20);
    assert_int_equal(b->calls, 0);
    assert_int_equal(descriptors_open(), b->descriptors);
    close(accept(b->good, NULL, NULL));
    dial_cancel(NULL);
}

/* ---- from where ---- */

static void the_local_address_can_be_chosen(void **state)
{
    struct bench *b = *state;
    const struct addr to = loopback(b->good_port);
    struct dial_config c = {.to = &to, .count = 1, .timeout_ms = 1000};
    struct addr local;

    c.from4 = addr_ipv4((const uint8_t[]){127, 0, 0, 2}, 0);
    int fd = dial_start(&b->loop, &c, on_dialed, b, &b->dial, &b->peer);
    assert_true(fd >= 0);
    assert_true(sockaddr_local(fd, &local));
    assert_true(addr_ip_equal(&local, &c.from4));
    assert_connected(b, fd, &to);

    c.from4.port = closed_port();
    fd = dial_start(&b->loop, &c, on_dialed, b, &b->dial, &b->peer);
    assert_true(fd >= 0);
    assert_true(sockaddr_local(fd, &local));
    assert_true(addr_equal(&local, &c.from4));
    assert_connected(b, fd, &to);

    c.from4 = addr_ipv4((const uint8_t[]){192, 0, 2, 1}, 0);
    assert_int_equal(dial_start(&b->loop, &c, on_dialed, b, &b->dial, &b->peer), -EADDRNOTAVAIL);
}

static int set_bench(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    *state = b;
    for (int i = 0; i < 8; i++)
        b->fillers[i] = -1;
    assert_int_equal(loop_init(&b->loop), 0);
    b->good = sock_listen(16, &b->good_port);
    b->closed_port = closed_port();
    make_silent(b);
    b->descriptors = descriptors_open();
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < 8; i++) {
        if (b->fillers[i] >= 0) {
            close(b->fillers[i]);
            b->descriptors--;
        }
    }
    close(b->good);
    close(b->silent);
    loop_fini(&b->loop);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(on_loopback_the_socket_is_there_before_dial_returns),
        TEST(elsewhere_it_comes_later),
        TEST(the_first_one_wins_and_the_others_are_not_tried),
        TEST(a_refusal_goes_on_to_the_next_at_once),
        TEST(a_silent_address_is_given_250_ms),
        TEST(the_silent_ones_are_closed_when_another_wins),
        TEST(an_early_attempt_may_still_win_while_later_ones_run),
        TEST(when_all_refuse_it_is_refused),
        TEST(the_deadline_counts_for_all_attempts_together),
        TEST(a_refusal_tells_more_than_a_time_out),
        TEST(what_is_no_address_fails),
        TEST(who_cancels_is_not_called),
        TEST(the_local_address_can_be_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
