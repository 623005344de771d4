/* What the tests of control.c share: a real connection to the client, a scripted relay behind a
 * real link, and the record that is written. */
#pragma once

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

static inline struct bench *of_session(struct n2_assoc *n)
{
    const struct association *a = (struct association *)(void *)n;

    return (struct bench *)(void *)((char *)a->server - offsetof(struct bench, server));
}

static inline void on_opened(struct n2_assoc *n, const struct n2_open_answer *o)
{
    (void)o;
    of_session(n)->opened = true;
}

static inline void on_refused(struct n2_assoc *n, const struct n2_refusal *r)
{
    (void)n;
    fail_msg("refused: %s", n2_refusal_name(r->code));
}

static const struct n2_assoc_ops session_ops = {.opened = on_opened, .refused = on_refused};

/* An association that the relay has opened. */
static inline void open_one(struct bench *b)
{
    const struct n2_audit audit[] = {{"user", "alice"}, {"rule", "7"}};
    const struct n2_open o = {.kind = N2_UDP, .ptcl = 17, .client = client, .owner = "alice"};

    b->association = association_new(&b->session, audit, 2);
    assert_int_equal(n2_assoc_open(b->n2->client, &b->association->n2, &session_ops, &o, 1000), 0);
    CLIENT_WAIT(b->n2, b->opened);
}

/* Its control connection begins; the client has sent so much ahead. */
static inline void go_on(struct bench *b, size_t sent_ahead)
{
    association_handed_over(b->association);
    assert_int_equal(b->server.stats.associations, 1);
    control_start(b->association, b->fd, &bound, sent_ahead);
    b->fd = -1;
}

static inline void begin(struct bench *b, size_t sent_ahead)
{
    open_one(b);
    go_on(b, sent_ahead);
}

static inline void event(struct bench *b, struct n2_event e)
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

static inline void says(const char *line, const char *words)
{
    if (strstr(line, words) == NULL)
        fail_msg("no \"%s\" in: %s", words, line);
}

static inline void says_nothing_of(const char *line, const char *words)
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

static inline bool is_closed(int fd)
{
    char octet;

    return recv(fd, &octet, 1, MSG_DONTWAIT) == 0;
}

/* ---- rules ---- */

static inline struct rules *rules_for_alice(const char *network)
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

/* ---- setting the bench ---- */

static inline void on_session_end(struct server *s)
{
    ((struct bench *)(void *)((char *)s - offsetof(struct bench, server)))->session_ends++;
}

/* Records go to a file. */
static inline void catch_log(struct bench *b)
{
    b->log = tmpfile();
    assert_non_null(b->log);
    log_flush();
    fflush(stderr);
    b->stderr_before = dup(STDERR_FILENO);
    dup2(fileno(b->log), STDERR_FILENO);
}

/* What is no record says why a test has failed. */
static inline void release_log(struct bench *b)
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

static inline int set_bench(void **state)
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

static inline int clear_bench(void **state)
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
