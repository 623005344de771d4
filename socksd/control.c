#include "socksd/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/n2/n2_audit.h"
#include "shared/net/sockopt.h"
#include "shared/rules/rules_wire.h"
#include "socksd/relays.h"

enum {
    /* What a client may send where nothing is to be sent. */
    SWALLOW_MAX = 4096,
    /* A client that vanished without a word holds its association no longer than this. */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_COUNT = 4,
};

#define END_WORD(symbol, word) word,
static const char *const end_words[] = {CONTROL_ENDS(END_WORD)};

const char *control_end_name(enum control_end end)
{
    return end_words[end];
}

/* One per idle client: kept small. */
struct control {
    struct hot hot; /* fd -1: closed, and the relay's last word is awaited */
    struct association *association;
    const struct n2_client *relay;
    union {
        struct {
            struct addr bound;
            uint16_t source_port; /* of the client's datagrams; 0: not known yet */
            uint16_t swallowed;   /* octets */
            uint8_t why;          /* enum control_end, once closed by us */
            bool closed;
        };
        struct loop_grave grave; /* finished */
    };
};

static struct association *association_of(struct n2_assoc *n)
{
    return (struct association *)(void *)((char *)n - offsetof(struct association, n2));
}

/* ---- the record ---- */

static void log_access(const struct association *a, const char *why, const struct n2_counters *c)
{
    const struct control *k = a->control;
    struct log_field fields[16 + N2_AUDIT_MAX];
    char id[ID_TEXT_LEN];
    struct addr source = a->client;
    size_t n = 0;

    source.port = k->source_port;
    fields[n++] = (struct log_field)LOG_STR("id", id_format(a->n2.node.id, id));
    fields[n++] = (struct log_field)LOG_STR("kind", n2_kind_name((enum n2_kind)a->n2.kind));
    fields[n++] = (struct log_field)LOG_ADDR("client", &a->client);
    if (source.port != 0)
        fields[n++] = (struct log_field)LOG_ADDR("source", &source);
    fields[n++] = (struct log_field)LOG_ADDR("bound", &k->bound);
    if (c != NULL) {
        fields[n++] = (struct log_field)LOG_U64("octets_up", c->octets_up);
        fields[n++] = (struct log_field)LOG_U64("octets_down", c->octets_down);
        fields[n++] = (struct log_field)LOG_U64("datagrams_up", c->datagrams_up);
        fields[n++] = (struct log_field)LOG_U64("datagrams_down", c->datagrams_down);
        fields[n++] = (struct log_field)LOG_U64("dropped", c->dropped);
    }
    fields[n++] = (struct log_field)LOG_U64("duration_ms", loop_now(a->server->loop) - a->started);
    fields[n++] = (struct log_field)LOG_STR("reason", why);
    fields[n++] = (struct log_field)LOG_STR("relay", relays_name(k->relay));
    n2_audit_put(a->audit, fields, n);
    log_emit(LOG_INFO, "access", fields);
}

/* ---- the end ---- */

static void free_control(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct control, grave));
}

static void close_connection(struct control *k)
{
    struct server *s = k->association->server;
    int fd = hot_remove(s->loop, &k->hot);

    if (fd < 0)
        return;
    close(fd);
}

/* The one way out; c: NULL when the relay could not say. */
static void finish(struct association *a, const char *why, const struct n2_counters *c)
{
    struct control *k = a->control;
    struct server *s = a->server;

    log_access(a, why, c);
    close_connection(k);
    a->control = NULL;
    loop_bury(s->loop, &k->grave, free_control);
    association_free(a);
    s->stats.controls--;
    s->on_session_end(s);
}

/* The client's side is over: the relay ends it and tells how much it was. */
static void close_by(struct control *k, enum control_end why)
{
    struct association *a = k->association;

    a->server->stats.control_ends[why]++;
    k->why = (uint8_t)why;
    k->closed = true;
    close_connection(k);
    if (!n2_assoc_finish(&a->n2))
        finish(a, control_end_name(why), NULL);
}

void control_stop_all(struct server *s)
{
    LIST_FOREACH_SAFE (node, &s->associations) {
        struct association *a = LIST_ENTRY(node, struct association, node);
        if (a->control != NULL && !a->control->closed)
            close_by(a->control, CONTROL_STOPPED);
    }
}

void control_abandon(struct association *a)
{
    const struct control *k = a->control;

    n2_assoc_release(&a->n2);
    finish(a, control_end_name(k->closed ? (enum control_end)k->why : CONTROL_STOPPED), NULL);
}

/* ---- the client ---- */

/* True when it was too much. */
static bool swallow(struct control *k, size_t octets)
{
    if (octets > (size_t)SWALLOW_MAX - k->swallowed)
        return true;
    k->swallowed = (uint16_t)(k->swallowed + octets);
    return false;
}

static void on_client(struct hot *h, uint32_t events)
{
    struct control *k = LIST_ENTRY(h, struct control, hot);
    uint8_t waste[1024];
    ssize_t n;
    (void)events;

    while ((n = recv(h->fd, waste, sizeof(waste), MSG_DONTWAIT)) > 0) {
        if (swallow(k, (size_t)n)) {
            close_by(k, CONTROL_DATA);
            return;
        }
    }
    if (n == 0)
        close_by(k, CONTROL_CLOSED);
    else if (errno != EAGAIN && errno != EINTR)
        close_by(k, CONTROL_RESET);
}

/* ---- the relay ---- */

static void on_locked(struct n2_assoc *n, const struct addr *client)
{
    association_of(n)->control->source_port = client->port;
}

static void on_ended(struct n2_assoc *n, enum n2_end why, const struct n2_counters *c)
{
    struct association *a = association_of(n);
    const struct control *k = a->control;

    if (!k->closed)
        a->server->stats.assoc_ends[why]++;
    finish(a, k->closed ? control_end_name((enum control_end)k->why) : n2_end_name(why), c);
}

static void on_lost(struct n2_assoc *n)
{
    struct association *a = association_of(n);
    const struct control *k = a->control;

    a->server->stats.relay_lost += !k->closed;
    finish(a, k->closed ? control_end_name((enum control_end)k->why) : "relay_lost", NULL);
}

bool control_rules(const struct server *s, const struct addr *client, const char *user,
                   struct n2_rules *ret)
{
    const struct rules_subject subject = {
        .source = *client,
        .user = user,
        .command = SOCKS_UDP_ASSOCIATE,
    };

    return rules_export(s->config.rules, &subject, ret) == 0;
}

static void on_refresh(struct n2_assoc *n)
{
    struct association *a = association_of(n);
    const struct n2_limits limits = {.idle_ms = (uint32_t)a->server->config.timeouts.idle_ms};
    struct n2_rules rules = {0};

    /* Without memory for them: nothing is allowed any more. */
    control_rules(a->server, &a->client, n2_audit_value(a->audit, "user"), &rules);
    n2_assoc_update(n, &limits, &rules);
    free((void *)(uintptr_t)rules.items);
}

static void on_refresh_refused(struct n2_assoc *n)
{
    close_by(association_of(n)->control, CONTROL_RULES);
}

static const struct n2_assoc_ops control_ops = {
    .locked = on_locked,
    .refresh = on_refresh,
    .refresh_refused = on_refresh_refused,
    .ended = on_ended,
    .lost = on_lost,
};

/* Where each packet is judged; a TRANSPARENT one was judged once, as a connection is. */
static bool has_rules(const struct association *a)
{
    return a->control != NULL && a->n2.kind == N2_UDP;
}

void control_refresh_all(struct server *s)
{
    LIST_FOREACH (node, &s->associations) {
        struct association *a = LIST_ENTRY(node, struct association, node);
        if (has_rules(a) && !a->control->closed)
            n2_assoc_stale(&a->n2);
    }
}

void control_start(struct association *a, int fd, const struct addr *bound, size_t sent_ahead)
{
    struct server *s = a->server;
    struct control *k = calloc(1, sizeof(*k));

    if (k != NULL) {
        hot_init(&k->hot, on_client);
        k->association = a;
        k->relay = a->n2.client;
        k->bound = *bound;
    }
    if (k == NULL || hot_add(s->loop, &k->hot, fd, EPOLLIN | EPOLLRDHUP) != 0) {
        free(k);
        close(fd);
        association_log_lost(a, "no_memory");
        n2_assoc_release(&a->n2);
        association_free(a);
        return;
    }
    sockopt_keep_alive(fd, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT);
    a->control = k;
    a->n2.ops = &control_ops;
    s->stats.controls++;
    if (has_rules(a) && a->generation != s->generation)
        n2_assoc_stale(&a->n2); /* a reload came while it was being opened */
    if (swallow(k, sent_ahead))
        close_by(k, CONTROL_DATA);
}
