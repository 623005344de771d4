/* Control connections of UDP associations, without a daemon: a real connection to the client, a
 * scripted relay behind a real link, and the record that is written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/rules/rules.h"
#include "socksd/control.h"
#include "tests/lib/client_bench.h"
#include "tests/lib/sockpairs.h"

enum { LEASE_MS = 60000, QUIET_MS = 40, SWALLOWED = 4096, RECORD_MAX = 8192 };

struct bench {
    struct client_bench *n2;
    struct server server;
    struct session session;
    struct association *association;
    bool opened;
    int fd, far; /* ours, the client's */
    int session_ends;
    int stderr_before;
    FILE *log;
};

static const struct n2_counters counters = {100, 200, 300, 4, 5, 6};
static const struct addr client = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 50000};
static const struct addr bound = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 40001};
static const struct addr source = {.family = ADDR_IPV4, .ip = {127, 0, 0, 1}, .port = 6000};

/* ---- what a session does before ---- */

static struct bench *of_session(struct n2_assoc *n)
{
    const struct association *a = (struct association *)(void *)n;

    return (struct bench *)(void *)((char *)a->server - offsetof(struct bench, server));
}

static void on_opened(struct n2_assoc *n, const struct n2_open_answer *o)
{
    (void)o;
    of_session(n)->opened = true;
}

static void on_refused(struct n2_assoc *n, const struct n2_refusal *r)
{
    (void)n;
    fail_msg("refused: %s", n2_refusal_name(r->code));
}

static const struct n2_assoc_ops session_ops = {.opened = on_opened, .refused = on_refused};

/* An association whose control connection begins; the client has sent so much ahead. */
static void begin(struct bench *b, size_t sent_ahead)
{
    const struct n2_audit audit[] = {{"user", "alice"}, {"rule", "7"}};
    const struct n2_open o = {.kind = N2_UDP, .ptcl = 17, .client = client, .owner = "alice"};

    b->association = association_new(&b->session, audit, 2);
    assert_int_equal(n2_assoc_open(b->n2->client, &b->association->n2, &session_ops, &o, 1000), 0);
    CLIENT_WAIT(b->n2, b->opened);
    association_handed_over(b->association);
    assert_int_equal(b->server.stats.associations, 1);
    control_start(b->association, b->fd, &bound, sent_ahead);
    b->fd = -1;
}

static void event(struct bench *b, struct n2_event e)
{
    memcpy(e.association, b->association->n2.node.id, ID_LEN);
    answerer_event(&b->n2->relay, &e);
}

/* ---- what is left behind ---- */

/* The one access record. */
static const char *record(struct bench *b)
{
    static char text[RECORD_MAX];
    char *line, *end;

    log_flush();
    rewind(b->log);
    text[fread(text, 1, sizeof(text) - 1, b->log)] = '\0';
    line = strstr(text, "event=access");
    assert_non_null(line);
    end = strchr(line, '\n');
    assert_non_null(end);
    *end = '\0';
    assert_null(strstr(end + 1, "event=access"));
    return line;
}

static void says(const char *line, const char *words)
{
    if (strstr(line, words) == NULL)
        fail_msg("no \"%s\" in: %s", words, line);
}

static void says_nothing_of(const char *line, const char *words)
{
    if (strstr(line, words) != NULL)
        fail_msg("\"%s\" in: %s", words, line);
}

/* The client's connection is closed, everything freed, the record written. */
static const char *is_over(struct bench *b, const char *reason)
{
    char text[64];
    const char *line;

    CLIENT_WAIT(b->n2, b->server.stats.associations == 0);
    assert_int_equal(b->server.stats.controls, 0);
    assert_int_equal(b->session_ends, 1);
    assert_true(list_empty(&b->server.associations));
    assert_int_equal(n2_client_assocs(b->n2->client), 0);
    line = record(b);
    snprintf(text, sizeof(text), "reason=%s", reason);
    says(line, text);
    says(line, "kind=udp");
    says(line, "client=127.0.0.1:50000");
    says(line, "bound=127.0.0.1:40001");
    says(line, "user=alice");
    says(line, "rule=7");
    says(line, "relay=relay");
    return line;
}

static bool is_closed(int fd)
{
    char octet;

    return recv(fd, &octet, 1, MSG_DONTWAIT) == 0;
}

/* ---- the client's side ends ---- */

static void a_client_that_closes_ends_its_association(void **state)
{
    struct bench *b = *state;

    b->n2->relay.counters = counters;
    b->n2->relay.client = source;
    begin(b, 0);
    assert_int_equal(b->server.stats.controls, 1);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    close(b->far);
    b->far = -1;
    const char *line = is_over(b, "control_closed");
    says(line, "source=127.0.0.1:6000");
    says(line, "octets_up=100 octets_down=200 datagrams_up=4 datagrams_down=5 dropped=6");
    assert_int_equal(b->server.stats.control_ends[CONTROL_CLOSED], 1);
    assert_int_equal(b->server.stats.assoc_ends[N2_END_RELEASED], 0);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

/* Half a close is a close: nothing is ever sent to it. */
static void a_client_that_only_shuts_down_ends_it_too(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    shutdown(b->far, SHUT_WR);
    is_over(b, "control_closed");
    assert_true(is_closed(b->far));
}

static void a_client_that_resets_ends_its_association(void **state)
{
    const struct linger now = {.l_onoff = 1};
    struct bench *b = *state;

    begin(b, 0);
    assert_int_equal(setsockopt(b->far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(b->far);
    b->far = -1;
    is_over(b, "control_reset");
    assert_int_equal(b->server.stats.control_ends[CONTROL_RESET], 1);
}

static void a_little_is_swallowed_and_more_is_the_end(void **state)
{
    static const char octets[SWALLOWED];
    struct bench *b = *state;

    begin(b, 0);
    assert_int_equal(send(b->far, octets, SWALLOWED, 0), SWALLOWED);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    assert_int_equal(send(b->far, octets, 1, 0), 1);
    is_over(b, "control_data");
    assert_int_equal(b->server.stats.control_ends[CONTROL_DATA], 1);
}

static void what_was_sent_ahead_counts(void **state)
{
    struct bench *b = *state;

    begin(b, SWALLOWED);
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(b->server.stats.associations, 1);
    assert_int_equal(send(b->far, "x", 1, 0), 1);
    is_over(b, "control_data");
}

static void too_much_sent_ahead_ends_it_at_once(void **state)
{
    struct bench *b = *state;

    begin(b, SWALLOWED + 1);
    assert_true(is_closed(b->far));
    is_over(b, "control_data");
}

/* The record waits for the last word of the relay; the connection does not. */
static void a_relay_that_is_gone_costs_the_record_its_counters(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    assert_true(is_closed(b->far));
    assert_int_equal(b->session_ends, 0);
    assert_int_equal(b->server.stats.controls, 1);
    assert_int_equal(b->server.stats.associations, 1);
    answerer_break(&b->n2->relay);
    const char *line = is_over(b, "control_closed"); /* that is why, whoever was lost since */
    says_nothing_of(line, "octets_up");
    assert_int_equal(b->server.stats.relay_lost, 1);
}

/* ---- the relay's side ends ---- */

static void what_the_relay_ends_closes_the_connection(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_LOCKED, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE, .counters = counters});
    const char *line = is_over(b, "idle_timeout");
    says(line, "source=127.0.0.1:6000");
    says(line, "datagrams_up=4 datagrams_down=5 dropped=6");
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.assoc_ends[N2_END_IDLE], 1);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 0);
}

static void an_unused_one_has_no_source(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_UNUSED});
    says_nothing_of(is_over(b, "unused"), "source=");
}

static void a_lost_relay_closes_the_connection(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.epoch++; /* it has restarted */
    answerer_break(&b->n2->relay);
    answerer_mend(&b->n2->relay);
    says_nothing_of(is_over(b, "relay_lost"), "octets_up");
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.relay_lost, 1);
}

/* What it was opened for has failed after all, says the relay: as if it were lost. */
static void a_relay_that_says_failed_of_what_is_opened_loses_it(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_FAILED, .failed = {.code = N2_FULL}});
    is_over(b, "relay_lost");
    assert_true(is_closed(b->far));
}

/* A relay with a fault of its own: nobody has asked for a peer. */
static void a_relay_that_speaks_of_a_peer_is_ignored(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    event(b, (struct n2_event){.type = N2_EVENT_PEER, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_LOCKED, .peer = source});
    event(b, (struct n2_event){.type = N2_EVENT_ENDED, .end = N2_END_IDLE});
    says(is_over(b, "idle_timeout"), "source=127.0.0.1:6000");
}

/* ---- rules, and the stop ---- */

static struct rules *rules_for_alice(const char *network)
{
    struct rules *rules = rules_new();
    struct err e;

    struct rule *r = rules_add(rules, RULES_ACTION_ALLOW);
    assert_int_equal(rule_add_user(r, "alice", &e), 0);
    assert_int_equal(rule_add_to(r, network, &e), 0);
    r = rules_add(rules, RULES_ACTION_ALLOW);
    assert_int_equal(rule_add_user(r, "bob", &e), 0);
    rules_seal(rules);
    return rules;
}

static void a_reload_tells_the_relay_what_is_in_force(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    rules_free(b->server.config.rules);
    b->server.config.rules = rules_for_alice("192.0.2.0/24");
    b->server.config.timeouts.idle_ms = 4321;
    control_refresh_all(&b->server);
    CLIENT_WAIT(b->n2, answerer_count(&b->n2->relay, N2_UPDATE, NULL) == 1);
    const struct asked_call *u = answerer_last(&b->n2->relay, N2_UPDATE);
    assert_int_equal(u->rules, 1); /* hers only */
    assert_int_equal(u->idle_ms, 4321);
    assert_true(u->must_understand);
    assert_int_equal(b->server.stats.associations, 1);
}

static void a_relay_that_refuses_the_rules_loses_the_association(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.refuse[N2_UPDATE] = N2_FULL;
    control_refresh_all(&b->server);
    is_over(b, "relay_lost");
    assert_true(is_closed(b->far));
    CLIENT_WAIT(b->n2, answerer_holds(&b->n2->relay) == 0);
}

/* In the same turn, before its Release has left. */
static void a_reload_leaves_alone_what_is_ending(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    control_stop_all(&b->server);
    control_refresh_all(&b->server);
    is_over(b, "stopped");
    loop_run_for(&b->n2->loop, QUIET_MS);
    assert_int_equal(answerer_count(&b->n2->relay, N2_UPDATE, NULL), 0);
}

static void a_stop_hears_the_last_word_of_each(void **state)
{
    struct bench *b = *state;

    b->n2->relay.counters = counters;
    begin(b, 0);
    control_stop_all(&b->server);
    assert_true(is_closed(b->far));
    assert_int_equal(b->server.stats.controls, 1);
    assert_int_equal(b->session_ends, 0);
    control_stop_all(&b->server); /* once is enough */
    says(is_over(b, "stopped"), "octets_up=100");
    assert_int_equal(b->server.stats.control_ends[CONTROL_STOPPED], 1);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

static void a_stop_leaves_alone_what_is_ending(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    control_stop_all(&b->server);
    answerer_answer_held(&b->n2->relay);
    is_over(b, "control_closed");
    assert_int_equal(b->server.stats.control_ends[CONTROL_STOPPED], 0);
    assert_int_equal(answerer_count(&b->n2->relay, N2_RELEASE, NULL), 1);
}

static void who_abandons_it_waits_for_nobody(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    control_abandon(b->association);
    assert_int_equal(b->server.stats.associations, 0);
    is_over(b, "stopped");
    assert_true(is_closed(b->far));
    CLIENT_WAIT(b->n2, answerer_holds(&b->n2->relay) == 0);
}

static void what_is_abandoned_while_it_ends_keeps_its_reason(void **state)
{
    struct bench *b = *state;

    begin(b, 0);
    b->n2->relay.hold = true;
    shutdown(b->far, SHUT_WR);
    CLIENT_WAIT(b->n2, b->n2->relay.held != NULL);
    control_abandon(b->association);
    is_over(b, "control_closed");
    answerer_answer_held(&b->n2->relay);
    CLIENT_WAIT(b->n2, answerer_holds(&b->n2->relay) == 0);
}

/* ---- setting the bench ---- */

static void on_session_end(struct server *s)
{
    ((struct bench *)(void *)((char *)s - offsetof(struct bench, server)))->session_ends++;
}

/* Records go to a file. */
static void catch_log(struct bench *b)
{
    b->log = tmpfile();
    assert_non_null(b->log);
    log_flush();
    fflush(stderr);
    b->stderr_before = dup(STDERR_FILENO);
    dup2(fileno(b->log), STDERR_FILENO);
}

/* What is no record says why a test has failed. */
static void release_log(struct bench *b)
{
    char line[RECORD_MAX];

    log_flush();
    fflush(stderr);
    dup2(b->stderr_before, STDERR_FILENO);
    close(b->stderr_before);
    rewind(b->log);
    while (fgets(line, sizeof(line), b->log) != NULL)
        if (strncmp(line, "ts=", 3) != 0)
            fputs(line, stderr);
    fclose(b->log);
}

static int set_bench(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));

    *state = b;
    catch_log(b);
    b->n2 = client_bench_new("test_control", LEASE_MS);
    b->server.loop = &b->n2->loop;
    b->server.on_session_end = on_session_end;
    b->server.config.rules = rules_for_alice("198.51.100.0/24");
    b->server.config.timeouts.idle_ms = 60000;
    list_init(&b->server.associations);
    b->session.server = &b->server;
    b->session.client = client;
    sockpair_tcp(0, &b->fd, &b->far);
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    if (!list_empty(&b->server.associations))
        control_abandon(b->association);
    client_bench_free(b->n2);
    rules_free(b->server.config.rules);
    if (b->fd >= 0)
        close(b->fd);
    if (b->far >= 0)
        close(b->far);
    release_log(b);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_that_closes_ends_its_association),
        TEST(a_client_that_only_shuts_down_ends_it_too),
        TEST(a_client_that_resets_ends_its_association),
        TEST(a_little_is_swallowed_and_more_is_the_end),
        TEST(what_was_sent_ahead_counts),
        TEST(too_much_sent_ahead_ends_it_at_once),
        TEST(a_relay_that_is_gone_costs_the_record_its_counters),
        TEST(what_the_relay_ends_closes_the_connection),
        TEST(an_unused_one_has_no_source),
        TEST(a_lost_relay_closes_the_connection),
        TEST(a_relay_that_says_failed_of_what_is_opened_loses_it),
        TEST(a_relay_that_speaks_of_a_peer_is_ignored),
        TEST(a_reload_tells_the_relay_what_is_in_force),
        TEST(a_relay_that_refuses_the_rules_loses_the_association),
        TEST(a_reload_leaves_alone_what_is_ending),
        TEST(a_stop_hears_the_last_word_of_each),
        TEST(a_stop_leaves_alone_what_is_ending),
        TEST(who_abandons_it_waits_for_nobody),
        TEST(what_is_abandoned_while_it_ends_keeps_its_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
