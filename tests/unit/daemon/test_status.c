/* The whole endpoint: a real loop, real sockets, clients that behave. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/status_fixture.h"

#define PATIENCE_MS 5000
#define BIG         ((size_t)8 << 20) /* more than the kernel buffers between two sockets */

/* ---- what is served ----------------------------------------------------------------------- */

static void each_path_is_served_on_the_unix_socket(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    assert_int_equal(http_ask(f, false, GET("/livez"), &r), 200);
    assert_string_equal(r.body, "ok\n");
    assert_non_null(strstr(r.head, "Content-Type: text/plain; charset=utf-8\r\n"));
    assert_non_null(strstr(r.head, "Cache-Control: no-store\r\n"));
    assert_int_equal(http_ask(f, false, GET("/readyz"), &r), 200);
    f->ready = false;
    assert_int_equal(http_ask(f, false, GET("/readyz"), &r), 503);
    assert_string_equal(r.body, "not ready: no relay is up\n");
    assert_int_equal(http_ask(f, false, GET("/metrics"), &r), 200);
    assert_non_null(strstr(r.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(r.body, "process_open_fds "));
    assert_int_equal(http_ask(f, false, GET("/status"), &r), 200);
    assert_non_null(strstr(r.head, "Content-Type: application/json\r\n"));
    assert_string_equal(r.body, "{\"padding\":\"\"}\n");
    assert_int_equal(http_ask(f, false, GET("/relays"), &r), 200);
    assert_string_equal(r.body, "{\"relays\":[]}\n");
    assert_int_equal(http_ask(f, false, GET("/"), &r), 200);
    assert_int_equal(http_ask(f, false, GET("/favicon.ico"), &r), 404);
    status_fixture_wait(f, 0);
}

static void over_tcp_details_are_not_served_unless_wanted(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    assert_int_equal(http_ask(f, true, GET("/livez"), &r), 200);
    assert_int_equal(http_ask(f, true, GET("/metrics"), &r), 200);
    assert_int_equal(http_ask(f, true, GET("/associations"), &r), 404);
    assert_non_null(strstr(r.body, "detail"));
    status_fixture_stop(f);
    f->config.detail = true;
    status_fixture_start(f);
    assert_int_equal(http_ask(f, true, GET("/associations"), &r), 200);
}

static void parameters_are_decoded_and_unknown_ones_named(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    assert_int_equal(http_ask(f, false, GET("/associations?limit=7&user=a%20b%ff"), &r), 200);
    assert_string_equal(r.body, "{\"limit\":7,\"user\":\"a b\xef\xbf\xbd\"}\n");
    assert_int_equal(http_ask(f, false, GET("/associations?limit=0"), &r), 400);
    assert_int_equal(http_ask(f, false, GET("/associations?user"), &r), 400);
    assert_int_equal(http_ask(f, false, GET("/associations?user=%00"), &r), 400);
    assert_int_equal(http_ask(f, false, GET("/associations?colour=blue"), &r), 400);
    assert_string_equal(r.body, "unknown parameter: colour\n");
    assert_int_equal(status_counters(f->status)->refused, 4);
    assert_int_equal(status_counters(f->status)->requests, 5);
}

static void head_has_the_length_and_no_body(void **state)
{
    struct status_fixture *f = *state;
    struct http_client c;
    struct http_reply r;

    status_fixture_start(f);
    c = http_open(f, true);
    http_send(&c, "HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(http_read(f, &c, true, &r), 200);
    assert_non_null(strstr(r.head, "Content-Length: 3\r\n"));
    http_send(&c, GET("/readyz")); /* a body would stand in front of this reply */
    assert_int_equal(http_read(f, &c, false, &r), 200);
    http_close(&c);
}

static void other_methods_are_told_which_are_allowed(void **state)
{
    struct status_fixture *f = *state;
    struct http_client c;
    struct http_reply r;

    status_fixture_start(f);
    assert_int_equal(http_ask(f, true, "DELETE /livez HTTP/1.1\r\nHost: [::1]\r\n\r\n", &r), 405);
    assert_non_null(strstr(r.head, "Allow: GET, HEAD\r\n"));
    c = http_open(f, true);
    http_send(&c, "POST /livez HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 4\r\n\r\nbody");
    http_send(&c, GET("/livez")); /* the body is not taken for a request */
    assert_int_equal(http_read(f, &c, false, &r), 405);
    assert_int_equal(http_read(f, &c, false, &r), 200);
    http_close(&c);
}

static void a_body_without_end_is_cut_off(void **state)
{
    struct status_fixture *f = *state;
    static char body[1 << 20];
    struct http_client c;

    status_fixture_start(f);
    c = http_open(f, false);
    http_send(&c, "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n");
    for (uint64_t until = http_now_ms() + PATIENCE_MS; !c.ended && http_now_ms() < until;
         status_fixture_breathe(f)) {
        send(c.fd, body, sizeof(body), MSG_NOSIGNAL);
        http_receive(&c);
    }
    assert_true(c.ended);
    assert_int_equal(c.len, 0);
    http_close(&c);
    status_fixture_wait(f, 0);
}

static void a_foreign_host_is_refused_over_tcp_only(void **state)
{
    static const char foreign[] = "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    assert_int_equal(http_ask(f, true, foreign, &r), 403);
    assert_int_equal(http_ask(f, false, foreign, &r), 200);
    assert_int_equal(
        http_ask(f, true, "GET /livez HTTP/1.1\r\nHost: status.example.net:9080\r\n\r\n", &r), 200);
    assert_int_equal(http_ask(f, true, "GET /livez HTTP/1.0\r\n\r\n", &r), 200);
    assert_int_equal(http_ask(f, true, "GET /livez HTTP/1.1\r\n\r\n", &r), 400);
    assert_int_equal(
        http_ask(f, true, "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
                 &r),
        400);
}

/* ---- how requests arrive ------------------------------------------------------------------ */

static void pipelined_requests_are_all_answered_in_order(void **state)
{
    struct status_fixture *f = *state;
    struct http_client c;
    struct http_reply r;

    status_fixture_start(f);
    for (int tcp = 0; tcp <= 1; tcp++) {
        c = http_open(f, tcp);
        for (int i = 0; i < 50; i++)
            http_send(&c, GET("/livez") GET("/nothing"));
        for (int i = 0; i < 50; i++) {
            assert_int_equal(http_read(f, &c, false, &r), 200);
            assert_int_equal(http_read(f, &c, false, &r), 404);
        }
        http_close(&c);
    }
    assert_int_equal(status_counters(f->status)->accepted, 2);
}

static void a_request_may_come_in_any_pieces(void **state)
{
    static const char request[] = GET("/livez");
    struct status_fixture *f = *state;
    struct http_reply r;

    status_fixture_start(f);
    for (size_t cut = 1; cut < strlen(request); cut++) {
        struct http_client c = http_open(f, cut % 2);

        assert_int_equal(send(c.fd, request, cut, 0), cut);
        status_fixture_breathe(f);
        status_fixture_breathe(f);
        http_send(&c, request + cut);
        assert_int_equal(http_read(f, &c, false, &r), 200);
        http_close(&c);
    }
}

static void a_client_that_shuts_its_side_still_gets_the_answer(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;

    f->config.detail = true;
    status_fixture_start(f);
    f->big = BIG;
    for (int tcp = 0; tcp <= 1; tcp++) {
        struct http_client c = http_open(f, tcp);

        http_send(&c, GET("/metrics") GET("/status"));
        shutdown(c.fd, SHUT_WR);
        assert_int_equal(http_read(f, &c, false, &r), 200);
        status_fixture_turns(f, 100);
        assert_int_equal(http_read(f, &c, false, &r), 200);
        assert_int_equal(r.len, BIG + strlen("{\"padding\":\"\"}\n"));
        status_fixture_wait(f, 0); /* without waiting for the deadline */
        http_close(&c);
    }
}

static void what_is_not_http_ends_the_connection(void **state)
{
    static const char *const junk[] = {"\x05\x01\x00", "\r\n\r\n\r\n", "GET\r\n\r\n",
                                       "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                                       "GET / HTTP/9.9\r\n\r\n"};
    struct status_fixture *f = *state;

    f->config.timeout_ms = 300;
    status_fixture_start(f);
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        struct http_client c = http_open(f, true);

        http_send(&c, junk[i]);
        http_wait_end(f, &c);
        http_close(&c);
    }
    status_fixture_wait(f, 0);
}

static void a_header_without_end_is_refused(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;
    char request[40000] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ";
    struct http_client c;

    status_fixture_start(f);
    memset(request + strlen(request), 'x', sizeof(request) - strlen(request) - 1);
    c = http_open(f, false);
    send(c.fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    assert_int_equal(http_read(f, &c, false, &r), 431);
    http_close(&c);
}

static void a_client_bound_to_a_long_path_is_served(void **state)
{
    struct status_fixture *f = *state;
    struct sockaddr_un own = {.sun_family = AF_UNIX}, sun = {.sun_family = AF_UNIX};
    struct http_client c = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    struct http_reply r;

    status_fixture_start(f);
    snprintf(own.sun_path, sizeof(own.sun_path), "%s/%070d", f->dir, 0);
    strcpy(sun.sun_path, f->path);
    assert_int_equal(bind(c.fd, (struct sockaddr *)&own, sizeof(own)), 0);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    http_send(&c, GET("/livez"));
    assert_int_equal(http_read(f, &c, false, &r), 200);
    http_close(&c);
    unlink(own.sun_path);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void closing_ends_all_connections_in_whatever_state(void **state)
{
    struct status_fixture *f = *state;
    struct http_client silent, half, stuck, done, waiting;
    struct http_reply r;

    f->config.connections = 4;
    status_fixture_start(f);
    f->big = BIG;
    silent = http_open(f, false);
    half = http_open(f, false);
    http_send(&half, "GET /livez HT");
    stuck = http_open(f, false);
    http_send(&stuck, GET("/status"));
    done = http_open(f, false);
    http_send(&done, GET("/livez"));
    assert_int_equal(http_read(f, &done, false, &r), 200);
    status_fixture_wait(f, 4);
    waiting = http_open(f, false);
    http_send(&waiting, GET("/livez"));
    status_fixture_breathe(f);
    status_fixture_stop(f);
    http_wait_end(f, &silent);
    http_wait_end(f, &half);
    http_wait_end(f, &stuck);
    http_wait_end(f, &done);
    http_wait_end(f, &waiting);
    assert_int_equal(access(f->path, F_OK), -1);
    http_close(&silent);
    http_close(&half);
    http_close(&stuck);
    http_close(&done);
    http_close(&waiting);
}

static void it_can_be_opened_again_at_the_same_place(void **state)
{
    struct status_fixture *f = *state;
    struct http_reply r;

    for (int i = 0; i < 3; i++) {
        status_fixture_start(f);
        assert_int_equal(http_ask(f, false, GET("/livez"), &r), 200);
        status_fixture_stop(f);
    }
    status_fixture_start(f);
    status_fixture_stop(f); /* without a turn of the loop between */
}

static void opening_is_all_or_nothing(void **state)
{
    struct status_fixture *f = *state;
    static const struct status_pages pages;
    const char *listen[] = {f->spec, "127.0.0.1:0", f->spec};
    struct err e;

    f->config.listen = listen;
    f->config.listen_count = 3;
    assert_null(status_open(&f->loop, &f->config, &pages, f, &e));
    assert_non_null(strstr(e.text, "another process listens there"));
    assert_int_equal(access(f->path, F_OK), -1);
    assert_int_equal(status_check(&f->config, &e), 0); /* well-formed all the same */
    listen[1] = "nonsense";
    assert_int_equal(status_check(&f->config, &e), -1);
    assert_null(status_open(&f->loop, &f->config, &pages, f, &e));
    f->config.listen_count = 0;
    f->status = status_open(&f->loop, &f->config, &pages, f, &e);
    assert_non_null(f->status);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, status_fixture_setup, status_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_path_is_served_on_the_unix_socket),
        TEST(over_tcp_details_are_not_served_unless_wanted),
        TEST(parameters_are_decoded_and_unknown_ones_named),
        TEST(head_has_the_length_and_no_body),
        TEST(other_methods_are_told_which_are_allowed),
        TEST(a_body_without_end_is_cut_off),
        TEST(a_foreign_host_is_refused_over_tcp_only),
        TEST(pipelined_requests_are_all_answered_in_order),
        TEST(a_request_may_come_in_any_pieces),
        TEST(a_client_that_shuts_its_side_still_gets_the_answer),
        TEST(what_is_not_http_ends_the_connection),
        TEST(a_header_without_end_is_refused),
        TEST(a_client_bound_to_a_long_path_is_served),
        TEST(closing_ends_all_connections_in_whatever_state),
        TEST(it_can_be_opened_again_at_the_same_place),
        TEST(opening_is_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
