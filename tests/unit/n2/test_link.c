/* Two ends of the link on one loop; nng's threads between them. Also run under ThreadSanitizer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/n2/n2.h"
#include "tests/lib/link_bench.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- requests and replies ---- */

static void a_request_gets_its_reply(void **state)
{
    static const size_t lengths[] = {0, 1, 100, 65536, 1000000, N2_BODY_MAX};
    struct link_bench *b = *state;
    struct asked *a = link_connected(b, 16);

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        link_ask(a, lengths[i], LINK_PATIENCE_MS);
        link_answer_of(a, 0);
    }
    assert_int_equal(b->ups, 1);
    assert_int_equal(b->downs, 0);
}

static void tcp_carries_it_too(void **state)
{
    struct link_bench *b = *state;
    uint16_t port;

    close(sock_listen(1, &port));
    snprintf(b->url, sizeof(b->url), "tcp://127.0.0.1:%u", port);
    struct asked *a = link_connected(b, 16);
    link_ask(a, 5000, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
}

static void many_requests_at_once_get_their_own_replies(void **state)
{
    struct link_bench *b = *state;

    link_connected(b, 16);
    for (uint32_t i = 0; i < LINK_ASKED_MAX; i++) {
        if (i > 0)
            link_asked(b, i);
        link_ask(&b->asked[i], 1 + 997 * i, LINK_PATIENCE_MS);
    }
    for (uint32_t i = 0; i < LINK_ASKED_MAX; i++)
        link_answer_of(&b->asked[i], 0);
    assert_int_equal(b->requests, LINK_ASKED_MAX);
}

static void the_next_request_may_be_sent_from_the_answer(void **state)
{
    struct link_bench *b = *state;
    struct asked *a = link_connected(b, 16);

    b->ask_again = true;
    link_ask(a, 10, LINK_PATIENCE_MS);
    for (int i = 0; i < 1000 && b->answered < 200; i++)
        loop_run_for(&b->loop, 5);
    assert_true(b->answered >= 200);
    b->ask_again = false;
    a->answers = 0;
    link_answer_of(a, 0);
}

static void a_parked_reply_delays_nobody_else(void **state)
{
    struct link_bench *b = *state;
    struct asked *parked = link_connected(b, 16), *other = link_asked(b, 1);

    b->manner = PARK;
    link_ask(parked, 100, LINK_PATIENCE_MS);
    link_wait(b, link_some_parked);
    b->manner = ANSWER;
    for (int i = 0; i < 20; i++) {
        link_ask(other, 50, LINK_PATIENCE_MS);
        link_answer_of(other, 0);
    }
    assert_int_equal(parked->answers, 0);
    link_reply_to_parked(b);
    link_answer_of(parked, 0);
}

/* ---- too much ---- */

static void the_last_context_is_never_parked(void **state)
{
    struct link_bench *b = *state;
    uint32_t most = 8;

    link_connected(b, most);
    b->manner = PARK;
    for (uint32_t i = 0; i < most - 1; i++) {
        if (i > 0)
            link_asked(b, i);
        link_ask(&b->asked[i], i, LINK_PATIENCE_MS);
        while (b->parked_count <= i)
            loop_run_for(&b->loop, 2);
    }
    assert_int_equal(b->overloaded, 0);
    struct asked *more = link_asked(b, most);
    for (size_t i = 1; i <= 10; i++) {
        link_ask(more, i, LINK_PATIENCE_MS);
        link_answer_of(more, 0);
        assert_int_equal(b->overloaded, i);
    }
    link_reply_to_parked(b);
    for (uint32_t i = 0; i < most - 1; i++)
        link_answer_of(&b->asked[i], 0);
    /* There is room again. */
    loop_run_for(&b->loop, 20);
    link_ask(more, 1, LINK_PATIENCE_MS);
    link_wait(b, link_some_parked);
    assert_int_equal(b->overloaded, 10);
}

static void with_two_contexts_one_request_is_held(void **state)
{
    struct link_bench *b = *state;
    struct asked *first = link_connected(b, 2), *second = link_asked(b, 1);

    b->manner = PARK;
    link_ask(first, 1, LINK_PATIENCE_MS);
    link_wait(b, link_some_parked);
    link_ask(second, 2, LINK_PATIENCE_MS);
    link_answer_of(second, 0);
    assert_int_equal(b->overloaded, 1);
}

/* ---- time-outs ---- */

static void without_a_reply_it_times_out_and_may_be_used_again(void **state)
{
    struct link_bench *b = *state;
    struct asked *a = link_connected(b, 16);

    b->manner = PARK;
    uint64_t start = now_ms();
    link_ask(a, 100, 200);
    link_answer_of(a, -ETIMEDOUT);
    assert_in_range(now_ms() - start, 190, 1500);
    b->manner = ANSWER;
    link_ask(a, 50, LINK_PATIENCE_MS);
    link_reply_to_parked(b); /* too late: it is nobody's */
    link_answer_of(a, 0);
    loop_run_for(&b->loop, 50);
    assert_int_equal(a->answers, 0);
}

static void without_a_connection_it_times_out_too(void **state)
{
    struct link_bench *b = *state;

    link_dial(b);
    struct asked *a = link_asked(b, 0);
    for (int i = 0; i < 3; i++) {
        link_ask(a, 1000, 150);
        link_answer_of(a, -ETIMEDOUT);
    }
    assert_int_equal(b->ups, 0);
    link_listen(b, 16);
    link_wait(b, link_is_up);
    link_ask(a, 1000, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
    assert_int_equal(b->requests, 1);
}

static void a_request_waits_for_the_connection(void **state)
{
    struct link_bench *b = *state;

    link_dial(b);
    struct asked *a = link_asked(b, 0);
    link_ask(a, 1000, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 100);
    link_listen(b, 16);
    link_answer_of(a, 0);
}

/* ---- connections come and go ---- */

static void a_lost_connection_is_told_and_dialled_again(void **state)
{
    struct link_bench *b = *state;
    struct asked *a = link_connected(b, 16);

    for (int i = 0; i < 3; i++) {
        b->manner = PARK;
        link_ask(a, 100, LINK_PATIENCE_MS);
        link_wait(b, link_some_parked);
        link_close_listener(b);
        link_answer_of(a, -ECONNRESET);
        link_wait(b, link_is_down);
        b->manner = ANSWER;
        link_listen(b, 16);
        link_wait(b, link_is_up);
        link_ask(a, 100, LINK_PATIENCE_MS);
        link_answer_of(a, 0);
    }
    assert_int_equal(b->ups, 4);
    assert_int_equal(b->downs, 3);
}

static void who_is_gone_is_told_by_his_pipe(void **state)
{
    struct link_bench *b = *state;
    struct n2_dialer *other;
    struct asked *a = link_connected(b, 16);
    struct err e;

    link_ask(a, 1, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
    assert_int_equal(n2_dialer_open(&b->loop, b->url, &link_dialer_ops, b, &other, &e), 0);
    struct asked *second = link_asked_by(b, other, 1);
    link_ask(second, 1, LINK_PATIENCE_MS);
    link_answer_of(second, 0);
    assert_int_equal(b->pipe_count, 2);
    assert_int_equal(b->gone_count, 0);
    n2_dialer_close(other);
    link_wait(b, link_somebody_gone);
    assert_int_equal(b->gone_count, 1);
    assert_int_equal(b->gone[0], b->pipes[1]);
    link_ask(a, 1, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
}

static void a_reply_to_somebody_who_is_gone_goes_nowhere(void **state)
{
    struct link_bench *b = *state;
    struct asked *a = link_connected(b, 16);

    b->manner = PARK;
    link_ask(a, 10, LINK_PATIENCE_MS);
    link_wait(b, link_some_parked);
    link_close_dialer(b);
    link_wait(b, link_somebody_gone);
    link_reply_to_parked(b);
    loop_run_for(&b->loop, 50);
    b->manner = ANSWER;
    b->ups = b->downs = 0;
    link_dial(b);
    link_wait(b, link_is_up);
    a = link_asked(b, 0);
    link_ask(a, 10, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
}

/* ---- opening ---- */

static void the_socket_file_is_for_its_owner(void **state)
{
    struct link_bench *b = *state;
    struct stat st;

    link_listen(b, 16);
    assert_int_equal(stat(b->url + strlen("ipc://"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void urls_that_are_none_of_ours_are_refused_with_a_sentence(void **state)
{
    static const char *const wrong[] = {"", "ipc://relative", "http://127.0.0.1:1", "inproc://x",
                                        "/tmp/x"};
    struct link_bench *b = *state;
    struct err e;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct n2_listener_config c = {.urls = &wrong[i], .url_count = 1, .contexts_max = 16};
        e.text[0] = '\0';
        assert_int_equal(n2_dialer_open(&b->loop, wrong[i], &link_dialer_ops, b, &b->dialer, &e),
                         -1);
        assert_true(strlen(e.text) > strlen(wrong[i]));
        e.text[0] = '\0';
        assert_int_equal(n2_listener_open(&b->loop, &c, &link_listener_ops, b, &b->listener, &e),
                         -1);
        assert_true(strlen(e.text) > strlen(wrong[i]));
    }
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = link_bench_new(NULL);
    return 0;
}

static int clear_bench(void **state)
{
    link_bench_free(*state);
    n2_dialer_close(NULL);
    n2_listener_close(NULL);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_gets_its_reply),
        TEST(tcp_carries_it_too),
        TEST(many_requests_at_once_get_their_own_replies),
        TEST(the_next_request_may_be_sent_from_the_answer),
        TEST(a_parked_reply_delays_nobody_else),
        TEST(the_last_context_is_never_parked),
        TEST(with_two_contexts_one_request_is_held),
        TEST(without_a_reply_it_times_out_and_may_be_used_again),
        TEST(without_a_connection_it_times_out_too),
        TEST(a_request_waits_for_the_connection),
        TEST(a_lost_connection_is_told_and_dialled_again),
        TEST(who_is_gone_is_told_by_his_pipe),
        TEST(a_reply_to_somebody_who_is_gone_goes_nowhere),
        TEST(the_socket_file_is_for_its_owner),
        TEST(urls_that_are_none_of_ours_are_refused_with_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
