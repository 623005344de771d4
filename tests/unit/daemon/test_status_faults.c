/* The whole endpoint under clients that are slow, silent, stuck, many or gone, and without
 * descriptors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "shared/daemon/prom_process.h"
#include "tests/lib/status_fixture.h"

#define BIG         ((size_t)8 << 20) /* more than the kernel buffers between two sockets */
#define PATIENCE_MS 5000

/* ---- clients that misbehave --------------------------------------------------------------- */

static void silence_after_half_a_request_ends_at_the_deadline(void **state)
{
    struct status_fixture *f = *state;
    struct http_client silent, half, idle;
    struct http_reply r;
    uint64_t begun = http_now_ms();

    f->config.timeout_ms = 1000;
    status_fixture_start(f);
    silent = http_open(f, true);
    half = http_open(f, false);
    http_send(&half, "GET /livez HT");
    idle = http_open(f, true);
    http_send(&idle, GET("/livez"));
    assert_int_equal(http_read(f, &idle, false, &r), 200);
    assert_true(status_fixture_turns(f, 200) < 50);
    assert_int_equal(status_counters(f->status)->connections, 3);
    http_wait_end(f, &silent);
    http_wait_end(f, &half);
    http_wait_end(f, &idle);
    assert_true(http_now_ms() - begun >= 1000 && http_now_ms() - begun < 4000);
    assert_true(silent.len == 0 && half.len == 0 && idle.len == 0);
    status_fixture_wait(f, 0);
    assert_int_equal(status_counters(f->status)->expired, 3);
    http_close(&silent);
    http_close(&half);
    http_close(&idle);
}

static void one_octet_at_a_time_does_not_put_the_deadline_off(void **state)
{
    struct status_fixture *f = *state;
    uint64_t begun = http_now_ms(), next = begun;
    struct http_client c;

    f->config.timeout_ms = 500;
    status_fixture_start(f);
    c = http_open(f, true);
    http_send(&c, "GET / HTTP/1.1\r\nX: ");
    for (; !c.ended && http_now_ms() - begun < PATIENCE_MS; status_fixture_breathe(f)) {
        if (http_now_ms() >= next) {
            send(c.fd, "x", 1, MSG_NOSIGNAL);
            next += 20;
        }
        http_receive(&c);
    }
    assert_true(c.ended && http_now_ms() - begun < 3000);
    http_close(&c);
}

static void a_reader_that_never_reads_holds_up_nobody(void **state)
{
    struct status_fixture *f = *state;
    struct http_client stuck[2];
    struct http_reply r;

    f->config.timeout_ms = 2000;
    f->config.detail = true;
    status_fixture_start(f);
    f->big = BIG;
    for (int tcp = 0; tcp <= 1; tcp++) {
        stuck[tcp] = http_open(f, tcp);
        http_send(&stuck[tcp], GET("/status"));
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(http_ask(f, i % 2, GET("/livez"), &r), 200);
    status_fixture_wait(f, 2);
    assert_true(status_fixture_turns(f, 200) < 50); /* it waits, it does not spin */
    status_fixture_wait(f, 0);
    assert_int_equal(status_counters(f->status)->expired, 2);
    http_wait_end(f, &stuck[0]);
    http_wait_end(f, &stuck[1]);
    assert_true(stuck[0].len < BIG && stuck[1].len < BIG);
    assert_true(stuck[1].reset); /* the kernel keeps nothing for it either */
    http_close(&stuck[0]);
    http_close(&stuck[1]);
}

static void asking_and_reading_have_their_time_each(void **state)
{
    struct status_fixture *f = *state;
    struct http_client c;
    struct http_reply r;

    f->config.timeout_ms = 1500;
    status_fixture_start(f);
    f->big = BIG;
    c = http_open(f, false);
    status_fixture_turns(f, 900);
    http_send(&c, GET("/status"));
    status_fixture_turns(f, 900);
    assert_int_equal(http_read(f, &c, false, &r), 200);
    assert_int_equal(r.len, BIG + strlen("{\"padding\":\"\"}\n"));
    http_close(&c);
}

/* In a process of its own: it asks and reads as fast as it can, and asks before it has read. */
static pid_t flood(struct status_fixture *f)
{
    struct http_client c = http_open(f, false);
    static char in[1 << 16], out[1 << 16];
    size_t n = strlen(GET("/livez"));
    pid_t pid = fork();

    if (pid != 0) {
        http_close(&c);
        return pid;
    }
    for (size_t i = 0; i < sizeof(out) / n; i++)
        memcpy(out + i * n, GET("/livez"), n);
    n *= sizeof(out) / n;
    for (size_t at = 0;;) {
        ssize_t sent = send(c.fd, out + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        at = sent > 0 ? (at + (size_t)sent) % n : at;
        recv(c.fd, in, sizeof(in), MSG_DONTWAIT);
    }
}

static void a_client_that_floods_leaves_the_loop_its_turns(void **state)
{
    struct status_fixture *f = *state;
    uint64_t begun = http_now_ms();
    pid_t pid;

    status_fixture_start(f);
    pid = flood(f);
    status_fixture_wait(f, 1);
    status_fixture_turns(f, 500);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_true(http_now_ms() - begun < 3000);
    assert_true(status_counters(f->status)->requests > 100);
    status_fixture_wait(f, 0);
}

static void a_client_that_leaves_in_the_middle_kills_nobody(void **state)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    f->big = BIG;
    for (int i = 0; i < 40; i++) {
        struct http_client c = http_open(f, i % 2);

        if (i % 4 < 2)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        http_send(&c, i % 8 < 4 ? GET("/status") GET("/status") : "GET /stat");
        for (int turns = i / 8; turns > 0; turns--)
            status_fixture_breathe(f);
        http_close(&c);
    }
    status_fixture_wait(f, 0);
    assert_int_equal(http_ask(f, true, GET("/livez"), &r), 200);
}

/* ---- limits ------------------------------------------------------------------------------- */

static void a_full_listener_lets_the_next_wait_and_the_other_listener_serve(void **state)
{
    struct status_fixture *f = *state;
    struct http_client first[2], third;
    struct http_reply r;

    f->config.connections = 2;
    status_fixture_start(f);
    for (int i = 0; i < 2; i++)
        first[i] = http_open(f, true);
    status_fixture_wait(f, 2);
    third = http_open(f, true);
    http_send(&third, GET("/livez"));
    assert_true(status_fixture_turns(f, 200) < 50);
    http_receive(&third);
    assert_int_equal(third.len, 0);
    assert_int_equal(status_counters(f->status)->accepted, 2);
    assert_int_equal(http_ask(f, false, GET("/livez"), &r), 200);
    http_close(&first[0]);
    assert_int_equal(http_read(f, &third, false, &r), 200);
    http_close(&first[1]);
    http_close(&third);
    status_fixture_wait(f, 0);
}

static void without_descriptors_a_listener_rests_and_comes_back(void **state)
{
    struct status_fixture *f = *state;
    struct rlimit all, few;
    struct http_client c;
    struct http_reply r;
    uint64_t n;

    status_fixture_start(f);
    c = http_open(f, true);
    http_send(&c, GET("/livez"));
    getrlimit(RLIMIT_NOFILE, &all);
    few = all;
    open_fds_by_poll(&n);
    few.rlim_cur = 3; /* below every descriptor that is open */
    assert_true(n > 3);
    setrlimit(RLIMIT_NOFILE, &few);
    assert_true(status_fixture_turns(f, 300) < 50);
    setrlimit(RLIMIT_NOFILE, &all);
    assert_int_equal(status_counters(f->status)->rests, 1);
    assert_int_equal(http_read(f, &c, false, &r), 200);
    http_close(&c);
}

static void two_hundred_scrapes_leave_nothing_behind(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;
    uint64_t before, after;

    status_fixture_start(f);
    open_fds_by_poll(&before);
    for (int i = 0; i < 200; i++)
        assert_int_equal(http_ask(f, i % 2, GET("/metrics"), &r), 200);
    status_fixture_wait(f, 0);
    open_fds_by_poll(&after);
    assert_int_equal(after, before);
    assert_int_equal(status_counters(f->status)->requests, 200);
    assert_int_equal(status_counters(f->status)->accepted, 200);
}

static void a_crowd_is_served_at_once(void **state)
{
    enum { CROWD = 60 }; /* more than a listener holds, fewer than its queue */
    struct http_client c[CROWD];
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    for (int i = 0; i < CROWD; i++) {
        c[i] = http_open(f, true);
        http_send(&c[i], "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(http_read(f, &c[i], false, &r), 200);
        http_close(&c[i]);
    }
    status_fixture_wait(f, 0);
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, status_fixture_setup, status_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(silence_after_half_a_request_ends_at_the_deadline),
        TEST(one_octet_at_a_time_does_not_put_the_deadline_off),
        TEST(a_reader_that_never_reads_holds_up_nobody),
        TEST(asking_and_reading_have_their_time_each),
        TEST(a_client_that_floods_leaves_the_loop_its_turns),
        TEST(a_client_that_leaves_in_the_middle_kills_nobody),
        TEST(a_full_listener_lets_the_next_wait_and_the_other_listener_serve),
        TEST(without_descriptors_a_listener_rests_and_comes_back),
        TEST(two_hundred_scrapes_leave_nothing_behind),
        TEST(a_crowd_is_served_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
