/* The answering side and out-of-band associations, over a real link: where the client was found to
 * be, and Updates that the service may refuse. */
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

enum { LEASE_MS = 60000, QUIET_MS = 60, GRANTS_MAX = 8 };

struct bench {
    struct loop loop;
    char url[64], legs[64];
    struct n2_server *server;
    struct asker asker;
    /* the service */
    struct n2_grant *grants[GRANTS_MAX]; /* in the order of their Opens */
    size_t opens, updates;
    bool lock_in_open;
    enum n2_refusal_code refuse;
    struct n2_limits limits; /* of the last update */
    int rules;               /* the same; -1: absent */
    int attached, ended;
};

static const struct addr bound = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 40001};
static const struct addr client = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 40000};
static const struct addr elsewhere = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 40002};
static const struct n2_counters counters = {1, 2, 3, 4, 5, 6};

/* ---- the service ---- */

static void open_it(void *arg, struct n2_grant *g, const struct n2_open *o)
{
    struct bench *b = arg;

    assert_true(b->opens < GRANTS_MAX);
    b->grants[b->opens++] = g;
    if (b->lock_in_open)
        n2_grant_locked(g, &client);
    if (o->kind == N2_UDP)
        n2_grant_listening(g, &bound, "plain");
    else
        n2_grant_opened(g, &bound, &o->destinations[0], "copy");
}

static bool update_it(void *arg, struct n2_grant *g, const struct n2_update *u,
                      struct n2_refusal *ret)
{
    struct bench *b = arg;
    (void)g;

    b->updates++;
    b->limits = u->limits;
    b->rules = u->rules != NULL ? (int)u->rules->count : -1;
    if (b->refuse == N2_REFUSAL_NONE)
        return true;
    *ret = (struct n2_refusal){b->refuse, N2_CAUSE_NONE, "as told"};
    return false;
}

static void attach_it(void *arg, struct n2_grant *g, const struct n2_attach *a, int fd)
{
    (void)g;
    (void)a;
    ((struct bench *)arg)->attached++;
    close(fd);
}

static void end_it(void *arg, struct n2_grant *g, enum n2_end why)
{
    ((struct bench *)arg)->ended++;
    n2_grant_ended(g, why, &counters);
}

static void count_it(void *arg, const struct n2_grant *g, struct n2_counters *ret)
{
    (void)arg;
    (void)g;
    *ret = counters;
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

static const struct n2_answer *open_one(struct bench *b, uint32_t number, enum n2_kind kind)
{
    const struct n2_open open = {.association = asker_id(number),
                                 .kind = kind,
                                 .ptcl = kind == N2_UDP ? 17 : 6,
                                 .client = client,
                                 .destinations = &elsewhere,
                                 .destination_count = 1,
                                 .owner = ""};
    struct n2_call call = {.what = N2_OPEN, .u.open = &open};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

static const struct n2_answer *release(struct bench *b, uint32_t number)
{
    struct n2_call call = {.what = N2_RELEASE, .u.release = asker_id(number)};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

static const struct n2_answer *update(struct bench *b, uint32_t number, uint32_t revision,
                                      const struct n2_rules *rules)
{
    struct n2_call call = {.what = N2_UPDATE,
                           .u.update = {asker_id(number), revision, {.idle_ms = revision}, rules}};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

static void counts_are_right(const struct n2_counters *got)
{
    assert_int_equal(got->octets_up, 1);
    assert_int_equal(got->octets_down, 2);
    assert_int_equal(got->duration_ms, 3);
    assert_int_equal(got->datagrams_up, 4);
    assert_int_equal(got->datagrams_down, 5);
    assert_int_equal(got->dropped, 6);
}

static void no_events_but(struct bench *b, uint64_t seq)
{
    asker_watch(&b->asker, seq, 0);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(b->asker.watch_replies, 1);
    assert_int_equal(b->asker.seen.event_count, 0);
    assert_int_equal(b->asker.seen.last_seq, seq);
}

/* ---- where the client is ---- */

static void a_lock_is_an_event_and_so_is_the_next(void **state)
{
    struct bench *b = *state;

    assert_true(open_one(b, 1, N2_UDP)->u.open.opened);
    n2_grant_locked(b->grants[0], &client);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->event_count, 1);
    assert_int_equal(seen->events[0].type, N2_EVENT_LOCKED);
    assert_memory_equal(seen->events[0].association, b->grants[0]->node.id, ID_LEN);
    assert_true(addr_equal(&seen->events[0].peer, &client));
    n2_grant_locked(b->grants[0], &elsewhere);
    seen = asker_events(&b->asker, 1);
    assert_int_equal(seen->event_count, 1);
    assert_int_equal(seen->events[0].type, N2_EVENT_LOCKED);
    assert_true(addr_equal(&seen->events[0].peer, &elsewhere));
}

/* The server said itself where the client is: it is not told. */
static void a_lock_within_the_open_is_no_event(void **state)
{
    struct bench *b = *state;

    b->lock_in_open = true;
    const struct n2_answer *a = open_one(b, 1, N2_UDP);
    assert_true(a->u.open.opened);
    assert_int_equal(a->u.open.peer.family, ADDR_NONE);
    no_events_but(b, 0);
    assert_true(addr_equal(&release(b, 1)->u.release.client, &client));
}

/* It may come between the first answer and its repetition; both are the same. */
static void the_answer_of_an_open_never_carries_the_client(void **state)
{
    struct bench *b = *state;

    const struct n2_answer *a = open_one(b, 1, N2_UDP);
    assert_int_equal(a->u.open.peer.family, ADDR_NONE);
    n2_grant_locked(b->grants[0], &client);
    a = open_one(b, 1, N2_UDP);
    assert_int_equal(b->opens, 1);
    assert_true(a->u.open.opened);
    assert_true(addr_equal(&a->u.open.bound, &bound));
    assert_int_equal(a->u.open.peer.family, ADDR_NONE);
}

static void the_answer_of_a_stream_carries_its_target(void **state)
{
    struct bench *b = *state;

    assert_true(addr_equal(&open_one(b, 1, N2_CONNECT)->u.open.peer, &elsewhere));
    assert_true(addr_equal(&open_one(b, 1, N2_CONNECT)->u.open.peer, &elsewhere));
}

static void the_last_word_says_where_datagrams_came_from(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    n2_grant_locked(b->grants[0], &client);
    n2_grant_ended(b->grants[0], N2_END_IDLE, &counters);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 1);
    assert_int_equal(seen->event_count, 1);
    assert_int_equal(seen->events[0].type, N2_EVENT_ENDED);
    assert_int_equal(seen->events[0].end, N2_END_IDLE);
    assert_true(addr_equal(&seen->events[0].peer, &client));
    counts_are_right(&seen->events[0].counters);
}

static void the_last_word_on_a_silent_client_has_no_address(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    n2_grant_ended(b->grants[0], N2_END_UNUSED, &counters);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->events[0].end, N2_END_UNUSED);
    assert_int_equal(seen->events[0].peer.family, ADDR_NONE);
}

static void the_last_word_on_a_stream_has_no_address(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_CONNECT);
    n2_grant_ended(b->grants[0], N2_END_CLOSED, &counters);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->events[0].end, N2_END_CLOSED);
    assert_int_equal(seen->events[0].peer.family, ADDR_NONE);
    open_one(b, 2, N2_CONNECT);
    const struct n2_answer *a = release(b, 2);
    assert_true(a->u.release.known);
    assert_int_equal(a->u.release.client.family, ADDR_NONE);
    counts_are_right(&a->u.release.counters);
}

static void a_release_is_answered_with_counters_and_the_client(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    n2_grant_locked(b->grants[0], &client);
    const struct n2_answer *a = release(b, 1);
    assert_true(a->u.release.known);
    assert_true(addr_equal(&a->u.release.client, &client));
    counts_are_right(&a->u.release.counters);
    assert_int_equal(b->ended, 1);
    no_events_but(b, 1); /* the lock; its end is no event */
    a = release(b, 1);
    assert_int_equal(a->what, N2_RELEASE);
    assert_false(a->u.release.known);
    assert_int_equal(a->u.release.client.family, ADDR_NONE);
}

/* ---- legs, and the inventory ---- */

static void leg_failed(void *arg, void *owner, int fd)
{
    (void)arg;
    (void)owner;
    (void)fd;
    fail_msg("the leg channel failed");
}

static void legs_down(void *arg)
{
    (void)arg;
}

static void a_leg_for_datagrams_is_closed_and_changes_nothing(void **state)
{
    static const struct n2_leg_sender_ops ops = {leg_failed, legs_down};
    struct bench *b = *state;
    struct n2_leg_sender *sender;
    uint8_t ticket[N2_TICKET_LEN], octet;
    int near, far;
    struct err e;

    memcpy(ticket, open_one(b, 1, N2_UDP)->u.open.ticket, N2_TICKET_LEN);
    assert_int_equal(n2_leg_sender_open(&b->loop, b->legs, &ops, b, &sender, &e), 0);
    sockpair_tcp(0, &near, &far);
    const struct n2_attach a = {
        .association = asker_id(1), .ticket = ticket, .kind = N2_LEG_PLAIN_FD};
    assert_int_equal(n2_leg_send(sender, &a, near, NULL), 0);
    loop_run_for(&b->loop, QUIET_MS);
    assert_int_equal(read(far, &octet, 1), 0);
    assert_int_equal(b->attached + b->ended, 0);
    assert_int_equal(n2_server_grants(b->server), 1);
    n2_leg_sender_close(sender);
    close(far);
}

static void the_inventory_shows_it_as_opened_with_its_counters(void **state)
{
    struct n2_call page = {.what = N2_INVENTORY, .u.inventory.limit = 10};
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    const struct n2_inventory_answer *i = &asker_ask(&b->asker, &page, 1)->answers[0].u.inventory;
    assert_int_equal(i->held_count, 1);
    assert_int_equal(i->held[0].kind, N2_UDP);
    assert_int_equal(i->held[0].state, N2_HELD_OPENED);
    counts_are_right(&i->held[0].counters);
}

/* ---- Update ---- */

static const struct n2_rule anything = {.allow = true, .any_destination = true, .any_port = true};

static void an_update_brings_limits_and_rules(void **state)
{
    const struct n2_rule list[] = {anything, anything};
    const struct n2_rules two = {list, 2}, none = {NULL, 0};
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    const struct n2_answer *a = update(b, 1, 1, &two);
    assert_int_equal(a->what, N2_UPDATE);
    assert_int_equal(a->u.update_revision, 1);
    assert_int_equal(b->rules, 2);
    assert_int_equal(b->limits.idle_ms, 1);
    update(b, 1, 2, NULL);
    assert_int_equal(b->rules, -1);
    assert_int_equal(b->limits.idle_ms, 2);
    update(b, 1, 3, &none); /* nothing is allowed any more */
    assert_int_equal(b->rules, 0);
    assert_int_equal(b->updates, 3);
}

static void an_old_revision_is_answered_and_ignored(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    update(b, 1, 7, NULL);
    for (uint32_t revision = 0; revision <= 7; revision++) {
        const struct n2_answer *a = update(b, 1, revision, NULL);
        assert_int_equal(a->what, N2_UPDATE);
        assert_int_equal(a->u.update_revision, 7);
    }
    assert_int_equal(b->updates, 1);
    assert_int_equal(update(b, 1, 8, NULL)->u.update_revision, 8);
    assert_int_equal(b->updates, 2);
}

static void a_refused_update_leaves_the_revision_as_it_was(void **state)
{
    struct n2_server_stats stats;
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    update(b, 1, 1, NULL);
    b->refuse = N2_FULL;
    const struct n2_answer *a = update(b, 1, 2, NULL);
    assert_int_equal(a->what, N2_NONE);
    assert_int_equal(a->refused.code, N2_FULL);
    assert_string_equal(a->refused.text, "as told");
    n2_server_stats(b->server, &stats);
    assert_int_equal(stats.refusals[N2_FULL], 1);
    b->refuse = N2_REFUSAL_NONE;
    assert_int_equal(update(b, 1, 1, NULL)->u.update_revision, 1);
    assert_int_equal(b->updates, 2);
    assert_int_equal(update(b, 1, 2, NULL)->u.update_revision, 2);
    assert_int_equal(b->updates, 3);
    assert_int_equal(n2_server_grants(b->server), 1);
}

static void a_refused_update_does_no_harm_to_its_neighbours(void **state)
{
    const uint8_t first[ID_LEN] = {1}, unknown[ID_LEN] = {9};
    struct bench *b = *state;
    struct n2_call calls[] = {
        {.what = N2_UPDATE, .u.update = {first, 1, {0}, NULL}},
        {.what = N2_UPDATE, .u.update = {unknown, 1, {0}, NULL}},
        {.what = N2_RELEASE, .u.release = first},
    };

    open_one(b, 1, N2_UDP);
    b->refuse = N2_BAD;
    const struct n2_reply *r = asker_ask(&b->asker, calls, 3);
    assert_int_equal(r->answers[0].refused.code, N2_BAD);
    assert_int_equal(r->answers[1].refused.code, N2_EXPIRED);
    assert_int_equal(r->answers[2].what, N2_RELEASE);
    assert_true(r->answers[2].u.release.known);
}

static void an_update_of_what_has_ended_is_refused(void **state)
{
    struct bench *b = *state;

    open_one(b, 1, N2_UDP);
    n2_grant_ended(b->grants[0], N2_END_IDLE, &counters);
    assert_int_equal(update(b, 1, 1, NULL)->refused.code, N2_EXPIRED);
    assert_int_equal(b->updates, 0);
}

static void rules_are_a_feature_that_is_understood(void **state)
{
    static const char *const known[] = {"datagram-rules"}, *const unknown[] = {"datagram-rulez"};
    const struct n2_rules rules = {&anything, 1};
    struct bench *b = *state;
    struct n2_call call = {.what = N2_UPDATE, .must_understand = known, .must_count = 1};

    open_one(b, 1, N2_UDP);
    call.u.update = (struct n2_update){asker_id(1), 1, {0}, &rules};
    assert_int_equal(asker_ask(&b->asker, &call, 1)->answers[0].what, N2_UPDATE);
    call.must_understand = unknown;
    call.u.update.revision = 2;
    assert_int_equal(asker_ask(&b->asker, &call, 1)->answers[0].refused.code, N2_UNSUPPORTED);
    assert_int_equal(b->updates, 1);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_UDP};
    struct bench *b = calloc(1, sizeof(*b));
    const char *const urls[] = {b->url};
    const struct n2_server_config c = {.urls = urls,
                                       .url_count = 1,
                                       .legs = b->legs,
                                       .relay_id = "relay",
                                       .software = "test",
                                       .kinds = kinds,
                                       .kind_count = 2,
                                       .capacity = 100,
                                       .quota = 100,
                                       .lease_ms = LEASE_MS};
    struct err e;

    *state = b;
    snprintf(b->url, sizeof(b->url), "ipc:///tmp/test_server_udp_%d.ipc", (int)getpid());
    snprintf(b->legs, sizeof(b->legs), "/tmp/test_server_udp_%d.legs", (int)getpid());
    assert_int_equal(loop_init(&b->loop), 0);
    if (n2_server_open(&b->loop, &c, &service, b, &b->server, &e) != 0)
        fail_msg("%s", e.text);
    asker_open(&b->asker, &b->loop, b->url, "server");
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    asker_close(&b->asker);
    n2_server_close(b->server);
    loop_fini(&b->loop);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lock_is_an_event_and_so_is_the_next),
        TEST(a_lock_within_the_open_is_no_event),
        TEST(the_answer_of_an_open_never_carries_the_client),
        TEST(the_answer_of_a_stream_carries_its_target),
        TEST(the_last_word_says_where_datagrams_came_from),
        TEST(the_last_word_on_a_silent_client_has_no_address),
        TEST(the_last_word_on_a_stream_has_no_address),
        TEST(a_release_is_answered_with_counters_and_the_client),
        TEST(a_leg_for_datagrams_is_closed_and_changes_nothing),
        TEST(the_inventory_shows_it_as_opened_with_its_counters),
        TEST(an_update_brings_limits_and_rules),
        TEST(an_old_revision_is_answered_and_ignored),
        TEST(a_refused_update_leaves_the_revision_as_it_was),
        TEST(a_refused_update_does_no_harm_to_its_neighbours),
        TEST(an_update_of_what_has_ended_is_refused),
        TEST(rules_are_a_feature_that_is_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
