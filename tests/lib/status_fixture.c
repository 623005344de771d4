#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/status_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shared/daemon/prom_process.h"
#include "shared/net/sockaddr.h"

#define PATIENCE_MS 5000

/* ---- the daemon that is asked ------------------------------------------------------------- */

static bool is_ready(void *ctx, char *reason, size_t cap)
{
    snprintf(reason, cap, "no relay is up");
    return ((struct status_fixture *)ctx)->ready;
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
    struct status_fixture *f = ctx;
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

int status_fixture_setup(void **state)
{
    struct status_fixture *f = calloc(1, sizeof(*f));

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
    ((struct status_fixture *)ctx)->closed = true;
}

void status_fixture_stop(struct status_fixture *f)
{
    f->closed = false;
    status_close(f->status, on_closed);
    assert_false(f->closed);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->closed);
    f->status = NULL;
}

/* Whatever a test did, no descriptor is left, and no file. */
int status_fixture_teardown(void **state)
{
    struct status_fixture *f = *state;
    uint64_t fds;

    if (f->status != NULL)
        status_fixture_stop(f);
    open_fds_by_poll(&fds);
    assert_int_equal(fds, f->fds);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

void status_fixture_start(struct status_fixture *f)
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

uint64_t http_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void status_fixture_breathe(struct status_fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
    poll(NULL, 0, 1);
}

struct http_client http_open(struct status_fixture *f, bool tcp)
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
    return (struct http_client){.fd = fd};
}

void http_close(struct http_client *c)
{
    close(c->fd);
    free(c->text);
    *c = (struct http_client){.fd = -1};
}

void http_send(struct http_client *c, const char *text)
{
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void http_receive(struct http_client *c)
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
static size_t reply_length(const struct http_client *c, bool head)
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
int http_read(struct status_fixture *f, struct http_client *c, bool head, struct http_reply *ret)
{
    uint64_t until = http_now_ms() + PATIENCE_MS;
    size_t whole, at;

    for (;;) {
        http_receive(c);
        whole = reply_length(c, head);
        if (whole > 0)
            break;
        if (c->ended)
            return 0;
        if (http_now_ms() > until)
            fail_msg("no reply");
        status_fixture_breathe(f);
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

void http_wait_end(struct status_fixture *f, struct http_client *c)
{
    uint64_t until = http_now_ms() + PATIENCE_MS;

    while (!c->ended) {
        if (http_now_ms() > until)
            fail_msg("the connection does not end");
        status_fixture_breathe(f);
        http_receive(c);
    }
}

int http_ask(struct status_fixture *f, bool tcp, const char *request, struct http_reply *ret)
{
    struct http_client c = http_open(f, tcp);
    int code;

    http_send(&c, request);
    code = http_read(f, &c, strncmp(request, "HEAD ", 5) == 0, ret);
    http_close(&c);
    return code;
}

void status_fixture_wait(struct status_fixture *f, uint64_t n)
{
    uint64_t until = http_now_ms() + PATIENCE_MS;

    while (status_counters(f->status)->connections != n) {
        if (http_now_ms() > until)
            fail_msg("%lu connections, not %lu",
                     (unsigned long)status_counters(f->status)->connections, (unsigned long)n);
        status_fixture_breathe(f);
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

unsigned status_fixture_turns(struct status_fixture *f, unsigned ms)
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
