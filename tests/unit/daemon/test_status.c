/* The whole endpoint: a real loop, real sockets, clients that are polite, slow, silent or gone.
 * Clients live in the same thread; their sockets do not block, and the loop turns between tries. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shared/daemon/prom_process.h"
#include "shared/daemon/status.h"
#include "shared/net/sockaddr.h"

#define PATIENCE_MS 5000
#define BIG         ((size_t)8 << 20) /* more than the kernel buffers between two sockets */

struct fixture {
    uv_loop_t loop;
    struct status *status;
    struct addr tcp;
    char dir[32], path[48], spec[64];
    struct status_config config;
    uint64_t fds;
    bool ready, closed;
    size_t big; /* octets of padding in /status */
};

/* ---- the daemon that is asked ------------------------------------------------------------- */

static bool is_ready(void *ctx, char *reason, size_t cap)
{
    snprintf(reason, cap, "no relay is up");
    return ((struct fixture *)ctx)->ready;
}

static void put_metrics(void *ctx, struct prom *p)
{
    static const double bounds[] = {0.005, 0.05, 0.5};
    struct prom_histogram h = {.bounds = bounds, .n = 3};

    (void)ctx;
    prom_build_info(p, "socksd", "1.0");
    prom_process(p);
    prom_family(p, "socksd_relays", PROM_GAUGE, "Relays by state.");
    prom_u64(p, PROM_LABELS({"state", "ready \"\\\n\xff"}), 2);
    prom_family(p, "socksd_handshake_seconds", PROM_HISTOGRAM, "Time from accept to request.");
    prom_observe(&h, 0.01);
    prom_histogram(p, PROM_LABELS({"phase", "auth"}), &h);
    prom_histogram(p, PROM_LABELS({"phase", "request"}), &h);
}

static void put_status(void *ctx, struct json *j)
{
    struct fixture *f = ctx;
    char *padding = calloc(1, f->big + 1);

    memset(padding, 'x', f->big);
    json_put_str(j, "padding", padding);
    free(padding);
}

static int put_associations(void *ctx, const struct status_query *q, struct json *j, struct err *e)
{
    (void)ctx;
    (void)e;
    json_put_u64(j, "limit", q->limit);
    json_put_str(j, "user", q->filter[0]);
    return 0;
}

static void put_relays(void *ctx, struct json *j)
{
    (void)ctx;
    json_array_begin(j, "relays");
    json_array_end(j);
}

static const char *const filters[] = {"user", NULL};
static const struct status_pages pages = {.ready = is_ready,
                                          .metrics = put_metrics,
                                          .status = put_status,
                                          .associations = put_associations,
                                          .relays = put_relays,
                                          .filters = filters};

/* ---- opening and closing ------------------------------------------------------------------ */

static const char *const names[] = {"status.example.net"};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    signal(SIGPIPE, SIG_DFL); /* the endpoint must not depend on it */
    f->ready = true;
    f->config = (struct status_config){.hosts = names, .host_count = 1};
    snprintf(f->dir, sizeof(f->dir), "/tmp/test_status.XXXXXX");
    if (mkdtemp(f->dir) == NULL || uv_loop_init(&f->loop) != 0)
        return -1;
    snprintf(f->path, sizeof(f->path), "%s/s.sock", f->dir);
    snprintf(f->spec, sizeof(f->spec), "unix:%s", f->path);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    open_fds_by_poll(&f->fds);
    *state = f;
    return 0;
}

static void on_closed(void *ctx)
{
    ((struct fixture *)ctx)->closed = true;
}

static void stop(struct fixture *f)
{
    f->closed = false;
    status_close(f->status, on_closed);
    assert_false(f->closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    f->status = NULL;
}

/* Whatever a test did, no descriptor is left, and no file. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    uint64_t fds;

    if (f->status != NULL)
        stop(f);
    open_fds_by_poll(&fds);
    assert_int_equal(fds, f->fds);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    const char *listen[] = {"127.0.0.1:0", f->spec};
    struct err e = {""};

    f->config.listen = listen;
    f->config.listen_count = 2;
    f->status = status_open(&f->loop, &f->config, &pages, f, &e);
    f->config.listen = NULL; /* it has been copied */
    if (f->status == NULL)
        fail_msg("%s", e.text);
    assert_true(status_local(f->status, 0, &f->tcp));
    assert_false(status_local(f->status, 1, &f->tcp) || status_local(f->status, 2, &f->tcp));
}

/* ---- clients ------------------------------------------------------------------------------ */

struct client {
    int fd;
    char *text; /* what came and was not yet read as a reply */
    size_t len, cap;
    bool ended, reset;
};

struct reply {
    int code;
    char head[2048];
    char body[8192];
    size_t len;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void breathe(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
    poll(NULL, 0, 1);
}

static struct client client_open(struct fixture *f, bool tcp)
{
    struct sockaddr_storage ss;
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    socklen_t len = tcp ? sockaddr_from(&f->tcp, &ss) : sizeof(sun);
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (!tcp) {
        strcpy(sun.sun_path, f->path);
        memcpy(&ss, &sun, sizeof(sun));
    }
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return (struct client){.fd = fd};
}

static void client_close(struct client *c)
{
    close(c->fd);
    free(c->text);
    *c = (struct client){.fd = -1};
}

static void client_send(struct client *c, const char *text)
{
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void client_receive(struct client *c)
{
    char buf[65536];
    ssize_t n;

    while ((n = recv(c->fd, buf, sizeof(buf), 0)) > 0) {
        while (c->len + (size_t)n + 1 > c->cap)
            c->text = realloc(c->text, c->cap = c->cap ? 2 * c->cap : sizeof(buf));
        memcpy(c->text + c->len, buf, (size_t)n);
        c->len += (size_t)n;
        c->text[c->len] = '\0';
    }
    c->ended |= n == 0 || errno != EAGAIN;
    c->reset |= n < 0 && errno == ECONNRESET;
}

/* The whole length of the reply at the front, or 0 while it is not whole. */
static size_t reply_length(const struct client *c, bool head)
{
    const char *end = c->len > 0 ? strstr(c->text, "\r\n\r\n") : NULL;
    const char *length;
    size_t whole;

    if (end == NULL)
        return 0;
    length = strstr(c->text, "Content-Length: ");
    assert_true(length != NULL && length < end);
    whole = (size_t)(end + 4 - c->text) + (head ? 0 : strtoul(length + 16, NULL, 10));
    return c->len >= whole ? whole : 0;
}

/* Waits for one reply, takes it off the client's text, returns its code; 0: closed without one. */
static int client_reply(struct fixture *f, struct client *c, bool head, struct reply *ret)
{
    uint64_t until = now_ms() + PATIENCE_MS;
    size_t whole, at;

    for (;;) {
        client_receive(c);
        whole = reply_length(c, head);
        if (whole > 0)
            break;
        if (c->ended)
            return 0;
        if (now_ms() > until)
            fail_msg("no reply");
        breathe(f);
    }
    at = (size_t)(strstr(c->text, "\r\n\r\n") + 4 - c->text);
    assert_true(at < sizeof(ret->head));
    memcpy(ret->head, c->text, at);
    ret->head[at] = '\0';
    ret->len = whole - at;
    snprintf(ret->body, sizeof(ret->body), "%.*s", (int)ret->len, c->text + at);
    ret->code = atoi(ret->head + strlen("HTTP/1.1 "));
    c->len -= whole;
    memmove(c->text, c->text + whole, c->len + 1);
    return ret->code;
}

static void client_wait_end(struct fixture *f, struct client *c)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (!c->ended) {
        if (now_ms() > until)
            fail_msg("the connection does not end");
        breathe(f);
        client_receive(c);
    }
}

static int ask(struct fixture *f, bool tcp, const char *request, struct reply *ret)
{
    struct client c = client_open(f, tcp);
    int code;

    client_send(&c, request);
    code = client_reply(f, &c, strncmp(request, "HEAD ", 5) == 0, ret);
    client_close(&c);
    return code;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

static void wait_connections(struct fixture *f, uint64_t n)
{
    uint64_t until = now_ms() + PATIENCE_MS;

    while (status_counters(f->status)->connections != n) {
        if (now_ms() > until)
            fail_msg("%lu connections, not %lu",
                     (unsigned long)status_counters(f->status)->connections, (unsigned long)n);
        breathe(f);
    }
}

/* Turns of the loop while nobody has anything to do: a spinning endpoint makes thousands. */
static void count_turn(uv_prepare_t *p)
{
    ++*(unsigned *)p->data;
}

static void on_enough(uv_timer_t *t)
{
    uv_stop(t->loop);
}

static unsigned turns_in(struct fixture *f, unsigned ms)
{
    uv_prepare_t prepare;
    uv_timer_t timer;
    unsigned turns = 0;

    uv_prepare_init(&f->loop, &prepare);
    prepare.data = &turns;
    uv_prepare_start(&prepare, count_turn);
    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, on_enough, ms, 0);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&prepare, NULL);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    return turns;
}

/* ---- what is served ----------------------------------------------------------------------- */

static void each_path_is_served_on_the_unix_socket(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    start(f);
    assert_int_equal(ask(f, false, GET("/livez"), &r), 200);
    assert_string_equal(r.body, "ok\n");
    assert_non_null(strstr(r.head, "Content-Type: text/plain; charset=utf-8\r\n"));
    assert_non_null(strstr(r.head, "Cache-Control: no-store\r\n"));
    assert_int_equal(ask(f, false, GET("/readyz"), &r), 200);
    f->ready = false;
    assert_int_equal(ask(f, false, GET("/readyz"), &r), 503);
    assert_string_equal(r.body, "not ready: no relay is up\n");
    assert_int_equal(ask(f, false, GET("/metrics"), &r), 200);
    assert_non_null(strstr(r.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(r.body, "process_open_fds "));
    assert_int_equal(ask(f, false, GET("/status"), &r), 200);
    assert_non_null(strstr(r.head, "Content-Type: application/json\r\n"));
    assert_string_equal(r.body, "{\"padding\":\"\"}\n");
    assert_int_equal(ask(f, false, GET("/relays"), &r), 200);
    assert_string_equal(r.body, "{\"relays\":[]}\n");
    assert_int_equal(ask(f, false, GET("/"), &r), 200);
    assert_int_equal(ask(f, false, GET("/favicon.ico"), &r), 404);
    wait_connections(f, 0);
}

static void over_tcp_details_are_not_served_unless_wanted(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    start(f);
    assert_int_equal(ask(f, true, GET("/livez"), &r), 200);
    assert_int_equal(ask(f, true, GET("/metrics"), &r), 200);
    assert_int_equal(ask(f, true, GET("/associations"), &r), 404);
    assert_non_null(strstr(r.body, "detail"));
    stop(f);
    f->config.detail = true;
    start(f);
    assert_int_equal(ask(f, true, GET("/associations"), &r), 200);
}

static void parameters_are_decoded_and_unknown_ones_named(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    start(f);
    assert_int_equal(ask(f, false, GET("/associations?limit=7&user=a%20b%ff"), &r), 200);
    assert_string_equal(r.body, "{\"limit\":7,\"user\":\"a b\xef\xbf\xbd\"}\n");
    assert_int_equal(ask(f, false, GET("/associations?limit=0"), &r), 400);
    assert_int_equal(ask(f, false, GET("/associations?user"), &r), 400);
    assert_int_equal(ask(f, false, GET("/associations?user=%00"), &r), 400);
    assert_int_equal(ask(f, false, GET("/associations?colour=blue"), &r), 400);
    assert_string_equal(r.body, "unknown parameter: colour\n");
    assert_int_equal(status_counters(f->status)->refused, 4);
    assert_int_equal(status_counters(f->status)->requests, 5);
}

static void head_has_the_length_and_no_body(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct reply r;

    start(f);
    c = client_open(f, true);
    client_send(&c, "HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_int_equal(client_reply(f, &c, true, &r), 200);
    assert_non_null(strstr(r.head, "Content-Length: 3\r\n"));
    client_send(&c, GET("/readyz")); /* a body would stand in front of this reply */
    assert_int_equal(client_reply(f, &c, false, &r), 200);
    client_close(&c);
}

static void other_methods_are_told_which_are_allowed(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct reply r;

    start(f);
    assert_int_equal(ask(f, true, "DELETE /livez HTTP/1.1\r\nHost: [::1]\r\n\r\n", &r), 405);
    assert_non_null(strstr(r.head, "Allow: GET, HEAD\r\n"));
    c = client_open(f, true);
    client_send(&c, "POST /livez HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 4\r\n\r\nbody");
    client_send(&c, GET("/livez")); /* the body is not taken for a request */
    assert_int_equal(client_reply(f, &c, false, &r), 405);
    assert_int_equal(client_reply(f, &c, false, &r), 200);
    client_close(&c);
}

static void a_body_without_end_is_cut_off(void **state)
{
    struct fixture *f = *state;
    static char body[1 << 20];
    struct client c;
    ssize_t sent = 0;

    start(f);
    c = client_open(f, false);
    client_send(&c, "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n");
    for (uint64_t until = now_ms() + PATIENCE_MS; !c.ended && now_ms() < until; breathe(f)) {
        sent += send(c.fd, body, sizeof(body), MSG_NOSIGNAL) > 0;
        client_receive(&c);
    }
    assert_true(c.ended);
    assert_int_equal(c.len, 0);
    client_close(&c);
    wait_connections(f, 0);
}

static void a_foreign_host_is_refused_over_tcp_only(void **state)
{
    static const char foreign[] = "GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    struct fixture *f = *state;
    struct reply r;

    start(f);
    assert_int_equal(ask(f, true, foreign, &r), 403);
    assert_int_equal(ask(f, false, foreign, &r), 200);
    assert_int_equal(
        ask(f, true, "GET /livez HTTP/1.1\r\nHost: status.example.net:9080\r\n\r\n", &r), 200);
    assert_int_equal(ask(f, true, "GET /livez HTTP/1.0\r\n\r\n", &r), 200);
    assert_int_equal(ask(f, true, "GET /livez HTTP/1.1\r\n\r\n", &r), 400);
    assert_int_equal(
        ask(f, true, "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", &r),
        400);
}

/* ---- how requests arrive ------------------------------------------------------------------ */

static void pipelined_requests_are_all_answered_in_order(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct reply r;

    start(f);
    for (int tcp = 0; tcp <= 1; tcp++) {
        c = client_open(f, tcp);
        for (int i = 0; i < 50; i++)
            client_send(&c, GET("/livez") GET("/nothing"));
        for (int i = 0; i < 50; i++) {
            assert_int_equal(client_reply(f, &c, false, &r), 200);
            assert_int_equal(client_reply(f, &c, false, &r), 404);
        }
        client_close(&c);
    }
    assert_int_equal(status_counters(f->status)->accepted, 2);
}

static void a_request_may_come_in_any_pieces(void **state)
{
    static const char request[] = GET("/livez");
    struct fixture *f = *state;
    struct reply r;

    start(f);
    for (size_t cut = 1; cut < strlen(request); cut++) {
        struct client c = client_open(f, cut % 2);

        assert_int_equal(send(c.fd, request, cut, 0), cut);
        breathe(f);
        breathe(f);
        client_send(&c, request + cut);
        assert_int_equal(client_reply(f, &c, false, &r), 200);
        client_close(&c);
    }
}

static void a_client_that_shuts_its_side_still_gets_the_answer(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    start(f);
    f->big = 1 << 20;
    for (int tcp = 0; tcp <= 1; tcp++) {
        struct client c = client_open(f, tcp);

        client_send(&c, GET("/metrics"));
        shutdown(c.fd, SHUT_WR);
        assert_int_equal(client_reply(f, &c, false, &r), 200);
        wait_connections(f, 0); /* without waiting for the deadline */
        client_close(&c);
    }
}

static void what_is_not_http_ends_the_connection(void **state)
{
    static const char *const junk[] = {"\x05\x01\x00", "\r\n\r\n\r\n", "GET\r\n\r\n",
                                       "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                                       "GET / HTTP/9.9\r\n\r\n"};
    struct fixture *f = *state;

    f->config.timeout_ms = 300;
    start(f);
    for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
        struct client c = client_open(f, true);

        client_send(&c, junk[i]);
        client_wait_end(f, &c);
        client_close(&c);
    }
    wait_connections(f, 0);
}

static void a_header_without_end_is_refused(void **state)
{
    struct fixture *f = *state;
    struct reply r;
    char request[40000] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ";
    struct client c;

    start(f);
    memset(request + strlen(request), 'x', sizeof(request) - strlen(request) - 1);
    c = client_open(f, false);
    send(c.fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
    assert_int_equal(client_reply(f, &c, false, &r), 431);
    client_close(&c);
}

static void a_client_bound_to_a_long_path_is_served(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un own = {.sun_family = AF_UNIX}, sun = {.sun_family = AF_UNIX};
    struct client c = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    struct reply r;

    start(f);
    snprintf(own.sun_path, sizeof(own.sun_path), "%s/%070d", f->dir, 0);
    strcpy(sun.sun_path, f->path);
    assert_int_equal(bind(c.fd, (struct sockaddr *)&own, sizeof(own)), 0);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    client_send(&c, GET("/livez"));
    assert_int_equal(client_reply(f, &c, false, &r), 200);
    client_close(&c);
    unlink(own.sun_path);
}

/* ---- clients that misbehave --------------------------------------------------------------- */

static void silence_after_half_a_request_ends_at_the_deadline(void **state)
{
    struct fixture *f = *state;
    struct client silent, half, idle;
    struct reply r;
    uint64_t begun = now_ms();

    f->config.timeout_ms = 300;
    start(f);
    silent = client_open(f, true);
    half = client_open(f, false);
    client_send(&half, "GET /livez HT");
    idle = client_open(f, true);
    client_send(&idle, GET("/livez"));
    assert_int_equal(client_reply(f, &idle, false, &r), 200);
    assert_true(turns_in(f, 200) < 50);
    assert_int_equal(status_counters(f->status)->connections, 3);
    client_wait_end(f, &silent);
    client_wait_end(f, &half);
    client_wait_end(f, &idle);
    assert_true(now_ms() - begun >= 300 && now_ms() - begun < 1500);
    assert_true(silent.len == 0 && half.len == 0 && idle.len == 0);
    wait_connections(f, 0);
    assert_int_equal(status_counters(f->status)->expired, 3);
    client_close(&silent);
    client_close(&half);
    client_close(&idle);
}

static void one_octet_at_a_time_does_not_put_the_deadline_off(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = now_ms(), next = begun;
    struct client c;

    f->config.timeout_ms = 300;
    start(f);
    c = client_open(f, true);
    client_send(&c, "GET / HTTP/1.1\r\nX: ");
    for (; !c.ended && now_ms() - begun < PATIENCE_MS; breathe(f)) {
        if (now_ms() >= next) {
            send(c.fd, "x", 1, MSG_NOSIGNAL);
            next += 20;
        }
        client_receive(&c);
    }
    assert_true(c.ended && now_ms() - begun < 1000);
    client_close(&c);
}

static void a_reader_that_never_reads_holds_up_nobody(void **state)
{
    struct fixture *f = *state;
    struct client stuck[2];
    struct reply r;

    f->config.timeout_ms = 500;
    start(f);
    f->big = BIG;
    for (int tcp = 0; tcp <= 1; tcp++) {
        stuck[tcp] = client_open(f, tcp);
        client_send(&stuck[tcp], GET("/status"));
    }
    f->config.detail = true;
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(f, i % 2, GET("/livez"), &r), 200);
    wait_connections(f, 2);
    assert_true(turns_in(f, 200) < 50); /* it waits, it does not spin */
    wait_connections(f, 0);
    assert_int_equal(status_counters(f->status)->expired, 2);
    client_close(&stuck[0]);
    client_close(&stuck[1]);
}

static void a_slow_reader_in_time_gets_the_whole_page(void **state)
{
    struct fixture *f = *state;
    struct client c;
    struct reply r;

    start(f);
    f->big = BIG;
    c = client_open(f, false);
    client_send(&c, GET("/status"));
    for (int i = 0; i < 100; i++)
        breathe(f);
    assert_int_equal(client_reply(f, &c, false, &r), 200);
    assert_int_equal(r.len, BIG + strlen("{\"padding\":\"\"}\n"));
    client_close(&c);
}

static void a_client_that_leaves_in_the_middle_kills_nobody(void **state)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct fixture *f = *state;
    struct reply r;

    start(f);
    f->big = BIG;
    for (int i = 0; i < 40; i++) {
        struct client c = client_open(f, i % 2);

        if (i % 4 < 2)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        client_send(&c, i % 8 < 4 ? GET("/status") GET("/status") : "GET /stat");
        for (int turns = i / 8; turns > 0; turns--)
            breathe(f);
        client_close(&c);
    }
    wait_connections(f, 0);
    assert_int_equal(ask(f, true, GET("/livez"), &r), 200);
}

/* ---- limits ------------------------------------------------------------------------------- */

static void a_full_listener_lets_the_next_wait_and_the_other_listener_serve(void **state)
{
    struct fixture *f = *state;
    struct client first[2], third;
    struct reply r;

    f->config.connections = 2;
    start(f);
    for (int i = 0; i < 2; i++)
        first[i] = client_open(f, true);
    wait_connections(f, 2);
    third = client_open(f, true);
    client_send(&third, GET("/livez"));
    assert_true(turns_in(f, 200) < 50);
    client_receive(&third);
    assert_int_equal(third.len, 0);
    assert_int_equal(status_counters(f->status)->accepted, 2);
    assert_int_equal(ask(f, false, GET("/livez"), &r), 200);
    client_close(&first[0]);
    assert_int_equal(client_reply(f, &third, false, &r), 200);
    client_close(&first[1]);
    client_close(&third);
    wait_connections(f, 0);
}

static void without_descriptors_a_listener_rests_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct rlimit all, few;
    struct client c;
    struct reply r;
    uint64_t n;

    start(f);
    c = client_open(f, true);
    client_send(&c, GET("/livez"));
    getrlimit(RLIMIT_NOFILE, &all);
    few = all;
    open_fds_by_poll(&n);
    few.rlim_cur = 3; /* below every descriptor that is open */
    assert_true(n > 3);
    setrlimit(RLIMIT_NOFILE, &few);
    assert_true(turns_in(f, 300) < 50);
    setrlimit(RLIMIT_NOFILE, &all);
    assert_int_equal(status_counters(f->status)->rests, 1);
    assert_int_equal(client_reply(f, &c, false, &r), 200);
    client_close(&c);
}

static void two_hundred_scrapes_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct reply r;
    uint64_t before, after;

    start(f);
    open_fds_by_poll(&before);
    for (int i = 0; i < 200; i++)
        assert_int_equal(ask(f, i % 2, GET("/metrics"), &r), 200);
    wait_connections(f, 0);
    open_fds_by_poll(&after);
    assert_int_equal(after, before);
    assert_int_equal(status_counters(f->status)->requests, 200);
    assert_int_equal(status_counters(f->status)->accepted, 200);
}

static void a_crowd_is_served_at_once(void **state)
{
    enum { CROWD = 60 }; /* more than a listener holds, fewer than its queue */
    struct client c[CROWD];
    struct fixture *f = *state;
    struct reply r;

    start(f);
    for (int i = 0; i < CROWD; i++) {
        c[i] = client_open(f, true);
        client_send(&c[i], "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(client_reply(f, &c[i], false, &r), 200);
        client_close(&c[i]);
    }
    wait_connections(f, 0);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void closing_ends_all_connections_in_whatever_state(void **state)
{
    struct fixture *f = *state;
    struct client silent, half, stuck, done, waiting;
    struct reply r;

    f->config.connections = 4;
    start(f);
    f->big = BIG;
    silent = client_open(f, false);
    half = client_open(f, false);
    client_send(&half, "GET /livez HT");
    stuck = client_open(f, false);
    client_send(&stuck, GET("/status"));
    done = client_open(f, false);
    client_send(&done, GET("/livez"));
    assert_int_equal(client_reply(f, &done, false, &r), 200);
    wait_connections(f, 4);
    waiting = client_open(f, false);
    client_send(&waiting, GET("/livez"));
    breathe(f);
    stop(f);
    client_wait_end(f, &silent);
    client_wait_end(f, &half);
    client_wait_end(f, &stuck);
    client_wait_end(f, &done);
    client_wait_end(f, &waiting);
    assert_int_equal(access(f->path, F_OK), -1);
    client_close(&silent);
    client_close(&half);
    client_close(&stuck);
    client_close(&done);
    client_close(&waiting);
}

static void it_can_be_opened_again_at_the_same_place(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    for (int i = 0; i < 3; i++) {
        start(f);
        assert_int_equal(ask(f, false, GET("/livez"), &r), 200);
        stop(f);
    }
    start(f);
    stop(f); /* without a turn of the loop between */
}

static void opening_is_all_or_nothing(void **state)
{
    struct fixture *f = *state;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        TEST(silence_after_half_a_request_ends_at_the_deadline),
        TEST(one_octet_at_a_time_does_not_put_the_deadline_off),
        TEST(a_reader_that_never_reads_holds_up_nobody),
        TEST(a_slow_reader_in_time_gets_the_whole_page),
        TEST(a_client_that_leaves_in_the_middle_kills_nobody),
        TEST(a_full_listener_lets_the_next_wait_and_the_other_listener_serve),
        TEST(without_descriptors_a_listener_rests_and_comes_back),
        TEST(two_hundred_scrapes_leave_nothing_behind),
        TEST(a_crowd_is_served_at_once),
        TEST(closing_ends_all_connections_in_whatever_state),
        TEST(it_can_be_opened_again_at_the_same_place),
        TEST(opening_is_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
