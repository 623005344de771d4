#include "tests/lib/link_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

/* ---- answering ---- */

static void note_pipe(struct link_bench *b, uint32_t pipe)
{
    for (size_t i = 0; i < b->pipe_count; i++) {
        if (b->pipes[i] == pipe)
            return;
    }
    if (b->pipe_count < 16)
        b->pipes[b->pipe_count++] = pipe;
}

void link_close_listener(struct link_bench *b)
{
    for (size_t i = 0; i < b->parked_count; i++)
        free(b->parked_bytes[i]);
    b->parked_count = 0;
    n2_listener_close(b->listener);
    b->listener = NULL;
}

static void on_request(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes,
                       size_t len, bool overloaded)
{
    struct link_bench *b = arg;

    b->requests++;
    note_pipe(b, pipe);
    if (overloaded) {
        b->overloaded++;
        n2_inbound_reply(in, bytes, len);
        return;
    }
    if (b->manner == PARK) {
        assert_true(b->parked_count < LINK_PARKED_MAX);
        b->parked_bytes[b->parked_count] = malloc(len + 1);
        memcpy(b->parked_bytes[b->parked_count], bytes, len);
        b->parked_len[b->parked_count] = len;
        b->parked[b->parked_count++] = in;
        return;
    }
    if (b->manner != CLOSE)
        n2_inbound_reply(in, bytes, len);
    if (b->manner != ANSWER)
        link_close_listener(b);
}

static void on_gone(void *arg, uint32_t pipe)
{
    struct link_bench *b = arg;

    if (b->gone_count < 16)
        b->gone[b->gone_count++] = pipe;
}

const struct n2_listener_ops link_listener_ops = {on_request, on_gone};

void link_reply_to_parked(struct link_bench *b)
{
    for (size_t i = 0; i < b->parked_count; i++) {
        n2_inbound_reply(b->parked[i], b->parked_bytes[i], b->parked_len[i]);
        free(b->parked_bytes[i]);
    }
    b->parked_count = 0;
}

void link_listen(struct link_bench *b, uint32_t contexts)
{
    const char *const urls[] = {b->url};
    const struct n2_listener_config c = {.urls = urls, .url_count = 1, .contexts_max = contexts};
    struct err e;

    if (n2_listener_open(&b->loop, &c, &link_listener_ops, b, &b->listener, &e) != 0)
        fail_msg("%s", e.text);
}

/* ---- asking ---- */

void link_close_dialer(struct link_bench *b)
{
    n2_dialer_close(b->dialer);
    b->dialer = NULL;
}

static void on_up(void *arg)
{
    struct link_bench *b = arg;

    b->ups++;
    if (b->close_dialer_when_up)
        link_close_dialer(b);
}

static void on_down(void *arg)
{
    struct link_bench *b = arg;

    b->downs++;
    if (b->close_dialer_when_down)
        link_close_dialer(b);
}

const struct n2_dialer_ops link_dialer_ops = {on_up, on_down};

void link_dial(struct link_bench *b)
{
    struct err e;

    if (n2_dialer_open(&b->loop, b->url, &link_dialer_ops, b, &b->dialer, &e) != 0)
        fail_msg("%s", e.text);
}

static void on_answer(void *arg, int status, const uint8_t *bytes, size_t len)
{
    struct asked *a = arg;
    struct link_bench *b = a->bench;

    a->answers++;
    a->status = status;
    a->intact = status == 0 && len == a->len;
    for (size_t i = 0; a->intact && i < len; i++)
        a->intact = bytes[i] == pattern_at(a->number, i);
    b->answered++;
    if (b->close_dialer_when_answered)
        link_close_dialer(b);
    else if (b->ask_again)
        link_ask(a, a->len + 1, LINK_PATIENCE_MS);
}

void link_ask(struct asked *a, size_t len, uint32_t timeout_ms)
{
    uint8_t *bytes = malloc(len + 1);
    int answers = a->answers;

    a->len = len;
    pattern_fill(a->number, 0, bytes, len);
    assert_false(n2_exchange_busy(a->exchange));
    assert_int_equal(n2_exchange_send(a->exchange, bytes, len, timeout_ms), 0);
    memset(bytes, 0, len); /* it was copied */
    free(bytes);
    assert_true(n2_exchange_busy(a->exchange));
    assert_int_equal(a->answers, answers);
}

struct asked *link_asked_by(struct link_bench *b, struct n2_dialer *d, uint32_t i)
{
    struct asked *a = &b->asked[i];

    *a = (struct asked){.bench = b, .number = i + 1};
    a->exchange = n2_exchange_new(d, on_answer, a);
    assert_non_null(a->exchange);
    return a;
}

struct asked *link_asked(struct link_bench *b, uint32_t i)
{
    return link_asked_by(b, b->dialer, i);
}

/* ---- waiting ---- */

bool link_is_up(void *arg)
{
    const struct link_bench *b = arg;

    return b->ups > b->downs;
}

bool link_is_down(void *arg)
{
    const struct link_bench *b = arg;

    return b->downs >= b->ups;
}

bool link_some_parked(void *arg)
{
    return ((struct link_bench *)arg)->parked_count > 0;
}

bool link_somebody_gone(void *arg)
{
    return ((struct link_bench *)arg)->gone_count > 0;
}

bool link_is_answered(void *arg)
{
    return ((struct asked *)arg)->answers > 0;
}

void link_answer_of(struct asked *a, int status)
{
    assert_true(loop_run_until(&a->bench->loop, link_is_answered, a, LINK_PATIENCE_MS));
    assert_int_equal(a->answers, 1);
    assert_int_equal(a->status, status);
    assert_true(a->intact == (status == 0));
    a->answers = 0;
}

void link_wait(struct link_bench *b, bool (*what)(void *arg))
{
    assert_true(loop_run_until(&b->loop, what, b, LINK_PATIENCE_MS));
}

/* The usual beginning. */
struct asked *link_connected(struct link_bench *b, uint32_t contexts)
{
    link_listen(b, contexts);
    link_dial(b);
    link_wait(b, link_is_up);
    return link_asked(b, 0);
}

/* ---- life ---- */

struct link_bench *link_bench_new(const char *url)
{
    struct link_bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    if (url != NULL)
        snprintf(b->url, sizeof(b->url), "%s", url);
    else
        snprintf(b->url, sizeof(b->url), "ipc:///tmp/test_link_%d.ipc", (int)getpid());
    assert_int_equal(loop_init(&b->loop), 0);
    return b;
}

void link_bench_free(struct link_bench *b)
{
    if (b->dialer != NULL)
        link_close_dialer(b);
    if (b->listener != NULL)
        link_close_listener(b);
    loop_fini(&b->loop);
    if (strncmp(b->url, "ipc://", 6) == 0)
        unlink(b->url + strlen("ipc://"));
    free(b);
}
