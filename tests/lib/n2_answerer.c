#include "tests/lib/n2_answerer.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { CONTEXTS = 64, LEASE_MS = 60000, EPOCH = 77 };

static const uint8_t ticket[N2_TICKET_LEN] = {1, 2, 3};

/* ---- what it holds ---- */

static size_t find(const struct answerer *a, const uint8_t *id)
{
    size_t i = 0;

    while (i < a->open_count && memcmp(a->open[i].association, id, ID_LEN) != 0)
        i++;
    return i;
}

static void take(struct answerer *a, const struct n2_open *o)
{
    assert_true(a->open_count < ANSWERER_HELD_MAX);
    struct n2_held *h = &a->open[a->open_count++];
    *h = (struct n2_held){.kind = o->kind, .state = N2_HELD_OPENED, .server_epoch = 1};
    memcpy(h->association, o->association, ID_LEN);
}

void answerer_forget(struct answerer *a, const uint8_t *association)
{
    size_t i = find(a, association);

    if (i < a->open_count)
        a->open[i] = a->open[--a->open_count];
}

size_t answerer_holds(const struct answerer *a)
{
    return a->open_count;
}

static int by_id(const void *x, const void *y)
{
    return memcmp(((const struct n2_held *)x)->association,
                  ((const struct n2_held *)y)->association, ID_LEN);
}

static struct n2_inventory_answer page_of(struct answerer *a, const struct n2_inventory *i)
{
    size_t first = 0, count;

    qsort(a->open, a->open_count, sizeof(a->open[0]), by_id);
    while (i->after != NULL && first < a->open_count &&
           memcmp(a->open[first].association, i->after, ID_LEN) <= 0)
        first++;
    count = a->open_count - first < i->limit ? a->open_count - first : i->limit;
    return (struct n2_inventory_answer){a->open + first, count, first + count < a->open_count,
                                        a->last_seq};
}

/* ---- answers ---- */

static struct n2_answer answer_of(struct answerer *a, const struct n2_call *c)
{
    struct n2_answer answer = {.id = c->id, .what = c->what};

    if (a->refuse[c->what] != N2_REFUSAL_NONE) {
        answer.what = N2_NONE;
        answer.refused.code = a->refuse[c->what];
        return answer;
    }
    switch (c->what) {
    case N2_OPEN:
        take(a, c->u.open);
        answer.u.open = (struct n2_open_answer){
            .opened = true, .bound = {.family = ADDR_IPV4, .port = 40001}, .ticket = ticket};
        break;
    case N2_UPDATE:
        answer.u.update_revision = c->u.update.revision;
        break;
    case N2_RELEASE:
        answer.u.release.known = a->knows;
        answer.u.release.counters = a->counters;
        answer.u.release.client = a->client;
        answerer_forget(a, c->u.release);
        break;
    case N2_INVENTORY:
        answer.u.inventory = page_of(a, &c->u.inventory);
        break;
    default:
        fail_msg("what a call");
    }
    return answer;
}

static void answer_calls(struct answerer *a, struct n2_inbound *in, const struct n2_request *r)
{
    struct buf b;

    buf_init(&b, N2_MESSAGE_MAX);
    n2_put_reply_head(&b, a->epoch, NULL);
    for (size_t i = 0; i < r->call_count; i++) {
        struct n2_answer answer = answer_of(a, &r->calls[i]);
        n2_put_answer(&b, &answer);
    }
    assert_false(b.failed);
    n2_inbound_reply(in, b.data, b.len);
    buf_fini(&b);
}

static void answer_hello(struct answerer *a, struct n2_inbound *in, const struct n2_call *c)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_UDP};
    static const uint32_t families[] = {4};
    char legs[80];
    const struct n2_answer answer = {.id = c->id,
                                     .what = N2_HELLO,
                                     .u.hello = {.relay_id = "relay",
                                                 .software = "test",
                                                 .legs = legs,
                                                 .kinds = kinds,
                                                 .kind_count = 2,
                                                 .families = families,
                                                 .family_count = 1,
                                                 .capacity = 10000,
                                                 .quota = 10000,
                                                 .lease_ms = a->lease_ms}};
    struct buf b;

    a->hellos++;
    snprintf(legs, sizeof(legs), "unix:%s", a->legs_path);
    buf_init(&b, N2_MESSAGE_MAX);
    n2_put_reply_head(&b, a->epoch, NULL);
    n2_put_answer(&b, &answer);
    n2_inbound_reply(in, b.data, b.len);
    buf_fini(&b);
}

/* ---- Watch ---- */

static void answer_watch(struct answerer *a)
{
    bool gap = a->watch_after < a->last_dropped;
    const struct n2_answer answer = {.id = a->watch_call,
                                     .what = N2_WATCH,
                                     .u.watch = {.events = a->events,
                                                 .event_count = a->event_count,
                                                 .last_seq = a->last_seq,
                                                 .gap = gap}};
    struct buf b;

    if (a->watch == NULL || (a->event_count == 0 && !gap))
        return;
    buf_init(&b, N2_MESSAGE_MAX);
    n2_put_reply_head(&b, a->epoch, NULL);
    n2_put_answer(&b, &answer);
    n2_inbound_reply(a->watch, b.data, b.len);
    a->watch = NULL;
    buf_fini(&b);
}

static void take_watch(struct answerer *a, struct n2_inbound *in, const struct n2_call *c)
{
    size_t heard = 0;

    while (heard < a->event_count && a->events[heard].seq <= c->u.watch.after_seq)
        heard++;
    a->event_count -= heard;
    memmove(a->events, a->events + heard, a->event_count * sizeof(a->events[0]));
    a->watch = in;
    a->watch_call = c->id;
    a->watch_after = c->u.watch.after_seq;
    answer_watch(a);
}

void answerer_event(struct answerer *a, const struct n2_event *e)
{
    assert_true(a->event_count < ANSWERER_EVENTS_MAX);
    a->events[a->event_count] = *e;
    a->events[a->event_count++].seq = ++a->last_seq;
    if (e->type == N2_EVENT_ENDED)
        answerer_forget(a, e->association);
    answer_watch(a);
}

void answerer_drop_events(struct answerer *a, uint64_t count)
{
    a->last_seq += count;
    a->last_dropped = a->last_seq;
    a->event_count = 0;
    answer_watch(a);
}

/* ---- what it was asked ---- */

static void keep(struct answerer *a, const struct n2_call *c)
{
    assert_true(a->asked_count < ANSWERER_ASKED_MAX);
    struct asked_call *k = &a->asked[a->asked_count++];
    const struct n2_rules *rules = NULL;

    assert_int_equal(c->invalid, N2_REFUSAL_NONE);
    *k = (struct asked_call){.what = c->what, .message = a->messages, .rules = -1};
    if (c->what == N2_OPEN) {
        memcpy(k->association, c->u.open->association, ID_LEN);
        rules = c->u.open->rules;
    } else if (c->what == N2_UPDATE) {
        memcpy(k->association, c->u.update.association, ID_LEN);
        k->revision = c->u.update.revision;
        k->idle_ms = c->u.update.limits.idle_ms;
        rules = c->u.update.rules;
    } else if (c->what == N2_RELEASE) {
        memcpy(k->association, c->u.release, ID_LEN);
    }
    if (rules != NULL)
        k->rules = (int)rules->count;
    k->must_understand = c->must_count == 1 && strcmp(c->must_understand[0], "datagram-rules") == 0;
}

size_t answerer_count(const struct answerer *a, enum n2_what what, const uint8_t *association)
{
    size_t n = 0;

    for (size_t i = 0; i < a->asked_count; i++)
        n += a->asked[i].what == what &&
             (association == NULL || memcmp(a->asked[i].association, association, ID_LEN) == 0);
    return n;
}

const struct asked_call *answerer_last(const struct answerer *a, enum n2_what what)
{
    size_t i = a->asked_count;

    while (i > 0 && a->asked[i - 1].what != what)
        i--;
    assert_true(i > 0);
    return &a->asked[i - 1];
}

/* ---- requests ---- */

static void hold(struct answerer *a, struct n2_inbound *in, const uint8_t *bytes, size_t len)
{
    assert_null(a->held);
    a->held = in;
    a->held_len = len;
    a->held_bytes = malloc(len);
    memcpy(a->held_bytes, bytes, len);
}

void answerer_answer_held(struct answerer *a)
{
    struct n2_inbound *in = a->held;
    struct n2_request r;

    a->hold = false;
    assert_non_null(in);
    assert_int_equal(n2_request_decode(a->arena, a->held_bytes, a->held_len, &r), 0);
    answer_calls(a, in, &r);
    n2_arena_reset(a->arena);
    free(a->held_bytes);
    a->held_bytes = NULL;
    a->held = NULL;
}

static void talk_nonsense(struct n2_inbound **in)
{
    if (*in != NULL)
        n2_inbound_reply(*in, "\xff", 1);
    *in = NULL;
}

void answerer_break(struct answerer *a)
{
    a->broken = true;
    talk_nonsense(&a->held);
    talk_nonsense(&a->watch);
    free(a->held_bytes);
    a->held_bytes = NULL;
}

void answerer_mend(struct answerer *a)
{
    a->broken = false;
}

static void on_request(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes,
                       size_t len, bool overloaded)
{
    struct answerer *a = arg;
    struct n2_request r;
    (void)pipe;

    assert_false(overloaded);
    assert_int_equal(n2_request_decode(a->arena, bytes, len, &r), 0);
    if (a->mute || a->broken) {
        if (!a->mute)
            talk_nonsense(&in);
        n2_arena_reset(a->arena);
        return;
    }
    if (r.calls[0].what == N2_HELLO) {
        answer_hello(a, in, &r.calls[0]);
    } else if (r.calls[0].what == N2_WATCH) {
        take_watch(a, in, &r.calls[0]);
    } else {
        a->messages++;
        a->longest = len > a->longest ? len : a->longest;
        for (size_t i = 0; i < r.call_count; i++)
            keep(a, &r.calls[i]);
        if (a->hold)
            hold(a, in, bytes, len);
        else
            answer_calls(a, in, &r);
    }
    n2_arena_reset(a->arena);
}

static void on_gone(void *arg, uint32_t pipe)
{
    (void)arg;
    (void)pipe;
}

static void on_leg(void *arg, const struct n2_attach *at, int fd)
{
    struct answerer *a = arg;
    size_t i = find(a, at->association);

    a->legs_count++;
    assert_true(i < a->open_count);
    a->open[i].state = N2_HELD_ATTACHED;
    close(fd);
}

/* ---- life ---- */

static void listen_at(struct answerer *a)
{
    static const struct n2_listener_ops ops = {on_request, on_gone};
    const char *const urls[] = {a->url};
    const struct n2_listener_config c = {.urls = urls, .url_count = 1, .contexts_max = CONTEXTS};
    struct err e;

    if (n2_listener_open(a->loop, &c, &ops, a, &a->listener, &e) != 0)
        fail_msg("%s", e.text);
}

void answerer_open(struct answerer *a, struct loop *l, const char *name)
{
    static const struct n2_leg_listener_ops ops = {on_leg};
    struct err e;

    *a = (struct answerer){.loop = l, .epoch = EPOCH, .lease_ms = LEASE_MS, .knows = true};
    snprintf(a->url, sizeof(a->url), "ipc:///tmp/%s_%d.ipc", name, (int)getpid());
    snprintf(a->legs_path, sizeof(a->legs_path), "/tmp/%s_%d.legs", name, (int)getpid());
    a->arena = n2_arena_new();
    assert_non_null(a->arena);
    if (n2_leg_listener_open(l, a->legs_path, NULL, 0, &ops, a, &a->legs, &e) != 0)
        fail_msg("%s", e.text);
    listen_at(a);
}

void answerer_close(struct answerer *a)
{
    n2_listener_close(a->listener);
    a->listener = NULL;
    free(a->held_bytes);
    a->held_bytes = NULL;
    n2_leg_listener_close(a->legs);
    a->legs = NULL;
    n2_arena_free(a->arena);
    a->arena = NULL;
}
