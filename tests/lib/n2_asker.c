#include "tests/lib/n2_asker.h"

#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/loop_run.h"

enum { PATIENCE_MS = 10000, REMAINING_MS = 5000 };

static void on_up(void *arg)
{
    ((struct asker *)arg)->up = true;
}

static void on_down(void *arg)
{
    ((struct asker *)arg)->up = false;
}

static const struct n2_dialer_ops dialer_ops = {on_up, on_down};

static void on_reply(void *arg, int status, const uint8_t *bytes, size_t len)
{
    struct asker *a = arg;

    a->replies++;
    n2_arena_reset(a->arena);
    assert_int_equal(status, 0);
    assert_int_equal(n2_reply_decode(a->arena, bytes, len, &a->reply), 0);
}

static void on_watched(void *arg, int status, const uint8_t *bytes, size_t len)
{
    struct asker *a = arg;
    struct n2_reply r;

    a->watch_replies++;
    n2_arena_reset(a->watch_arena);
    assert_int_equal(status, 0);
    assert_int_equal(n2_reply_decode(a->watch_arena, bytes, len, &r), 0);
    assert_int_equal(r.answer_count, 1);
    assert_int_equal(r.answers[0].what, N2_WATCH);
    a->seen = r.answers[0].u.watch;
}

static bool is_up(void *arg)
{
    return ((struct asker *)arg)->up;
}

static bool has_reply(void *arg)
{
    return ((struct asker *)arg)->replies > 0;
}

static bool has_watch_reply(void *arg)
{
    return ((struct asker *)arg)->watch_replies > 0;
}

static void wait_for(struct asker *a, bool (*what)(void *arg))
{
    assert_true(loop_run_until(a->loop, what, a, PATIENCE_MS));
}

static void send_calls(struct asker *a, struct n2_exchange *x, struct n2_call *calls, size_t n)
{
    struct buf b;

    buf_init(&b, N2_BODY_MAX);
    n2_put_request_head(&b, &a->head);
    for (size_t i = 0; i < n; i++) {
        calls[i].id = ++a->next_id;
        calls[i].remaining_ms = REMAINING_MS;
        n2_put_call(&b, &calls[i]);
    }
    assert_false(b.failed);
    assert_int_equal(n2_exchange_send(x, b.data, b.len, PATIENCE_MS), 0);
    buf_fini(&b);
}

const struct n2_reply *asker_ask(struct asker *a, struct n2_call *calls, size_t n)
{
    a->replies = 0;
    send_calls(a, a->calls, calls, n);
    wait_for(a, has_reply);
    if (a->reply.refused.code == N2_REFUSAL_NONE) {
        assert_int_equal(a->reply.answer_count, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(a->reply.answers[i].id, calls[i].id);
    }
    return &a->reply;
}

void asker_acknowledge(struct asker *a)
{
    a->head.acked = a->next_id + 1;
}

void asker_watch(struct asker *a, uint64_t after_seq, uint32_t wait_ms)
{
    struct n2_call watch = {.what = N2_WATCH, .u.watch = {after_seq, wait_ms}};

    a->watch_replies = 0;
    send_calls(a, a->watch, &watch, 1);
}

const struct n2_watch_answer *asker_events(struct asker *a, uint64_t after_seq)
{
    do {
        asker_watch(a, after_seq, 1000);
        wait_for(a, has_watch_reply);
    } while (a->seen.event_count == 0);
    return &a->seen;
}

void asker_hello(struct asker *a, uint64_t epoch)
{
    struct n2_call hello = {.what = N2_HELLO, .u.hello.software = "test"};

    a->head.server_epoch = epoch;
    a->head.relay_epoch = 0;
    const struct n2_reply *r = asker_ask(a, &hello, 1);
    assert_int_equal(r->answers[0].what, N2_HELLO);
    a->head.relay_epoch = r->relay_epoch;
}

void asker_open(struct asker *a, struct loop *l, const char *url, const char *id)
{
    struct err e;

    *a = (struct asker){.loop = l, .head = {.version = N2_VERSION, .server_id = id}};
    a->arena = n2_arena_new();
    a->watch_arena = n2_arena_new();
    if (n2_dialer_open(l, url, &dialer_ops, a, &a->dialer, &e) != 0)
        fail_msg("%s", e.text);
    a->calls = n2_exchange_new(a->dialer, on_reply, a);
    a->watch = n2_exchange_new(a->dialer, on_watched, a);
    wait_for(a, is_up);
    asker_hello(a, 1);
}

void asker_close(struct asker *a)
{
    n2_dialer_close(a->dialer);
    n2_arena_free(a->arena);
    n2_arena_free(a->watch_arena);
    *a = (struct asker){0};
}

const uint8_t *asker_id(uint32_t number)
{
    static uint8_t id[ID_LEN];

    memcpy(id, &number, sizeof(number));
    return id;
}
