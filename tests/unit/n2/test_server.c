/* The answering side over a real link, with a service that does as it is told. What a relay owes a
 * control server is in tests/contract/n2; here is what only shows from inside. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/n2/n2_legs.h"
#include "shared/n2/n2_server.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/n2_asker.h"
#include "tests/lib/sockpairs.h"

enum { LEASE_MS = 60000 };

struct bench {
    struct loop loop;
    char url[64], legs[64];
    struct n2_server *server;
    struct asker one, two;
    /* the service */
    bool end_when_updated;
    int attached, ended;
    struct n2_grant *last_attached;
};

/* ---- the service ---- */

static void open_it(void *arg, struct n2_grant *g, const struct n2_open *o)
{
    (void)arg;
    n2_grant_opened(g, &o->destinations[0], &o->destinations[0], "copy");
}

static bool update_it(void *arg, struct n2_grant *g, const struct n2_update *u,
                      struct n2_refusal *ret)
{
    const struct n2_counters none = {0};
    struct bench *b = arg;
    (void)u;
    (void)ret;

    if (b->end_when_updated)
        n2_grant_ended(g, N2_END_IDLE, &none);
    return true;
}

static void attach_it(void *arg, struct n2_grant *g, const struct n2_attach *a, int fd)
{
    struct bench *b = arg;
    (void)a;

    b->attached++;
    b->last_attached = g;
    close(fd);
}

static void end_it(void *arg, struct n2_grant *g, enum n2_end why)
{
    const struct n2_counters none = {0};
    struct bench *b = arg;

    b->ended++;
    n2_grant_ended(g, why, &none);
}

static void count_it(void *arg, const struct n2_grant *g, struct n2_counters *ret)
{
    (void)arg;
    (void)g;
    *ret = (struct n2_counters){.octets_up = 1, .octets_down = 2, .duration_ms = 3};
}

static void load_it(void *arg, struct n2_load *ret)
{
    (void)arg;
    *ret = (struct n2_load){0};
}

static void drained(void *arg)
{
    (void)arg;
}

static const struct n2_service service = {open_it,  update_it, attach_it, end_it,
                                          count_it, load_it,   drained};

/* ---- asking ---- */

/* Opens associations first to first + n - 1 and returns the answers. */
static const struct n2_reply *open_many(struct asker *a, uint32_t first, uint32_t n)
{
    static uint8_t ids[N2_CALLS_MAX][ID_LEN];
    const struct addr to = addr_ipv4((const uint8_t[]){127, 0, 0, 1}, 80);
    struct n2_open *opens = calloc(n, sizeof(*opens));
    struct n2_call *calls = calloc(n, sizeof(*calls));

    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = first + i;
        memcpy(ids[i], &number, sizeof(number));
        opens[i] = (struct n2_open){.association = ids[i],
                                    .kind = N2_CONNECT,
                                    .ptcl = 6,
                                    .destinations = &to,
                                    .destination_count = 1,
                                    .owner = ""};
        calls[i] = (struct n2_call){.what = N2_OPEN, .u.open = &opens[i]};
    }
    const struct n2_reply *r = asker_ask(a, calls, n);
    free(opens);
    free(calls);
    return r;
}

/* ---- tests ---- */

/* Its new limit may have passed already. The Open is acknowledged: nothing keeps the grant then. */
static void an_update_may_end_its_association(void **state)
{
    struct bench *b = *state;
    struct n2_call update = {.what = N2_UPDATE, .u.update = {asker_id(1), 1, {.idle_ms = 1}}};

    assert_int_equal(open_many(&b->one, 1, 1)->answers[0].what, N2_OPEN);
    asker_acknowledge(&b->one);
    b->end_when_updated = true;
    const struct n2_reply *r = asker_ask(&b->one, &update, 1);
    assert_int_equal(r->answers[0].what, N2_UPDATE);
    assert_int_equal(r->answers[0].u.update_revision, 1);
    assert_int_equal(n2_server_grants(b->server), 0);
}

/* A restarted server on a connection that the old one left with a parked Watch. */
static void a_hello_that_retires_an_epoch_is_answered_alone(void **state)
{
    struct bench *b = *state;

    asker_watch(&b->one, 0, 5000);
    loop_run_for(&b->loop, 50);
    assert_int_equal(b->one.watch_replies, 0);
    asker_hello(&b->one, 2);
    loop_run_for(&b->loop, 50);
    assert_int_equal(b->one.watch_replies, 1);
}

static void answers_that_do_not_fit_into_a_message_are_refused_together(void **state)
{
    struct bench *b = *state;
    struct n2_call pages[40];

    for (uint32_t i = 0; i < 4; i++)
        open_many(&b->one, 1 + 250 * i, 250);
    for (size_t i = 0; i < 40; i++)
        pages[i] = (struct n2_call){.what = N2_INVENTORY, .u.inventory.limit = 1024};
    const struct n2_reply *r = asker_ask(&b->one, pages, 40);
    assert_int_equal(r->refused.code, N2_FULL);
    assert_int_equal(r->answer_count, 0);

    r = asker_ask(&b->one, pages, 10);
    assert_int_equal(r->refused.code, N2_REFUSAL_NONE);
    assert_int_equal(r->answers[9].u.inventory.held_count, 1000);
}

static void leg_failed(void *arg, void *owner, int fd)
{
    (void)arg;
    (void)owner;
    close(fd);
}

static void legs_down(void *arg)
{
    (void)arg;
}

/* Ids are scoped by the server: a server that knows another one's id does not harm it. */
static void a_leg_belongs_to_the_server_whose_ticket_it_shows(void **state)
{
    static const struct n2_leg_sender_ops leg_ops = {leg_failed, legs_down};
    struct bench *b = *state;
    struct n2_leg_sender *sender;
    uint8_t ticket[N2_TICKET_LEN];
    int near, far;
    struct err e;

    asker_open(&b->two, &b->loop, b->url, "two");
    open_many(&b->one, 1, 1);
    memcpy(ticket, open_many(&b->two, 1, 1)->answers[0].u.open.ticket, N2_TICKET_LEN);
    assert_int_equal(n2_server_grants(b->server), 2);

    assert_int_equal(n2_leg_sender_open(&b->loop, b->legs, &leg_ops, b, &sender, &e), 0);
    sockpair_tcp(0, &near, &far);
    const struct n2_attach a = {
        .association = asker_id(1), .ticket = ticket, .kind = N2_LEG_PLAIN_FD};
    assert_int_equal(n2_leg_send(sender, &a, near, NULL), 0);
    loop_run_for(&b->loop, 50);
    assert_int_equal(b->attached, 1);
    assert_string_equal(n2_grant_server_id(b->last_attached), "two");
    assert_int_equal(b->ended, 0);
    assert_int_equal(n2_server_grants(b->server), 2);
    n2_leg_sender_close(sender);
    close(far);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    static const enum n2_kind kinds[] = {N2_CONNECT};
    struct bench *b = calloc(1, sizeof(*b));
    const char *const urls[] = {b->url};
    const struct n2_server_config c = {.urls = urls,
                                       .url_count = 1,
                                       .legs = b->legs,
                                       .relay_id = "relay",
                                       .software = "test",
                                       .kinds = kinds,
                                       .kind_count = 1,
                                       .capacity = 5000,
                                       .quota = 5000,
                                       .lease_ms = LEASE_MS};
    struct err e;

    *state = b;
    snprintf(b->url, sizeof(b->url), "ipc:///tmp/test_server_%d.ipc", (int)getpid());
    snprintf(b->legs, sizeof(b->legs), "/tmp/test_server_%d.legs", (int)getpid());
    assert_int_equal(loop_init(&b->loop), 0);
    if (n2_server_open(&b->loop, &c, &service, b, &b->server, &e) != 0)
        fail_msg("%s", e.text);
    asker_open(&b->one, &b->loop, b->url, "one");
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    asker_close(&b->one);
    asker_close(&b->two);
    n2_server_close(b->server);
    loop_fini(&b->loop);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_update_may_end_its_association),
        TEST(a_hello_that_retires_an_epoch_is_answered_alone),
        TEST(answers_that_do_not_fit_into_a_message_are_refused_together),
        TEST(a_leg_belongs_to_the_server_whose_ticket_it_shows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
