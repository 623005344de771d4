#include "tests/lib/client_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { OPEN_MS = 5000 };

/* ---- what associations are told ---- */

static struct told *told_of(struct n2_assoc *n)
{
    return (struct told *)(void *)n;
}

static void on_opened(struct n2_assoc *n, const struct n2_open_answer *o)
{
    (void)o;
    told_of(n)->opened++;
    told_of(n)->bench->opened++;
}

static void on_refused(struct n2_assoc *n, const struct n2_refusal *r)
{
    (void)r;
    told_of(n)->refused++;
}

static void on_peer(struct n2_assoc *n, const struct addr *peer)
{
    (void)n;
    (void)peer;
    fail_msg("no BIND was asked for");
}

static void on_locked(struct n2_assoc *n, const struct addr *client)
{
    told_of(n)->locked++;
    told_of(n)->client = *client;
}

static void on_refresh(struct n2_assoc *n)
{
    struct told *t = told_of(n);

    t->refreshed++;
    t->bench->refreshed++;
    n2_assoc_update(n, &t->limits, t->rules);
}

static void on_refresh_refused(struct n2_assoc *n)
{
    told_of(n)->refresh_refused++;
    assert_true(n2_assoc_finish(n));
}

static void on_ended(struct n2_assoc *n, enum n2_end why, const struct n2_counters *c)
{
    struct told *t = told_of(n);

    assert_int_equal(n->state, N2_ASSOC_FREE);
    t->ended++;
    t->bench->ended++;
    t->why = why;
    t->counters = *c;
}

static void on_lost(struct n2_assoc *n)
{
    assert_int_equal(n->state, N2_ASSOC_FREE);
    told_of(n)->lost++;
    told_of(n)->bench->lost++;
}

static void on_leg_failed(struct n2_assoc *n, int fd)
{
    (void)fd;
    told_of(n)->leg_failed++;
}

static const struct n2_assoc_ops ops = {
    .opened = on_opened,
    .refused = on_refused,
    .peer = on_peer,
    .locked = on_locked,
    .refresh = on_refresh,
    .refresh_refused = on_refresh_refused,
    .ended = on_ended,
    .lost = on_lost,
    .leg_failed = on_leg_failed,
};

/* ---- what is done with them ---- */

struct told *told_new(struct client_bench *b)
{
    struct told *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->bench = b;
    t->next = b->told;
    b->told = t;
    return t;
}

int told_ask(struct told *t, enum n2_kind kind)
{
    static const struct addr to = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 80};
    const struct n2_open o = {.kind = kind,
                              .ptcl = kind == N2_UDP ? 17 : 6,
                              .client = to,
                              .destinations = &to,
                              .destination_count = 1,
                              .owner = "",
                              .rules = kind == N2_UDP ? t->rules : NULL};

    return n2_assoc_open(t->bench->client, &t->n2, &ops, &o, OPEN_MS);
}

void told_open(struct client_bench *b, struct told *t, enum n2_kind kind)
{
    int before = t->opened;

    assert_int_equal(told_ask(t, kind), 0);
    CLIENT_WAIT(b, t->opened > before);
    assert_int_equal(t->n2.state, N2_ASSOC_OPENED);
}

void told_event(struct told *t, struct n2_event e)
{
    memcpy(e.association, t->n2.node.id, ID_LEN);
    answerer_event(&t->bench->relay, &e);
}

/* ---- life ---- */

static void on_changed(void *arg)
{
    (void)arg;
}

struct client_bench *client_bench_new(const char *name, uint32_t lease_ms)
{
    static const struct n2_client_ops client_ops = {on_changed};
    struct client_bench *b = calloc(1, sizeof(*b));
    struct n2_client_config c = {.server_id = "server", .server_epoch = 1, .software = "test"};
    struct err e;

    assert_non_null(b);
    assert_int_equal(loop_init(&b->loop), 0);
    answerer_open(&b->relay, &b->loop, name);
    b->relay.lease_ms = lease_ms;
    c.url = b->relay.url;
    if (n2_client_open(&b->loop, &c, &client_ops, b, &b->client, &e) != 0)
        fail_msg("%s", e.text);
    CLIENT_WAIT(b, n2_client_ready(b->client));
    return b;
}

void client_bench_free(struct client_bench *b)
{
    n2_client_close(b->client);
    answerer_close(&b->relay);
    loop_fini(&b->loop);
    while (b->told != NULL) {
        struct told *next = b->told->next;
        free(b->told);
        b->told = next;
    }
    free(b);
}
