#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/n2/n2_session.h"

/* Datagrams need no leg; whoever has many associations has many of these. */
static size_t ticket_len(enum n2_kind kind)
{
    return N2_OUT_OF_BAND(kind) || kind == N2_KIND_NONE ? 0 : N2_TICKET_LEN;
}

/* What is told where there is none. */
static const uint8_t *ticket_of(const struct n2_grant *g)
{
    static const uint8_t none[N2_TICKET_LEN];

    return ticket_len((enum n2_kind)g->kind) > 0 ? g->ticket : none;
}

struct n2_grant *n2_grant_new(struct n2_session *x, const uint8_t *id, uint64_t call_id,
                              enum n2_kind kind)
{
    struct n2_grant *g = calloc(1, sizeof(*g) + ticket_len(kind));

    if (g == NULL)
        return NULL;
    memcpy(g->node.id, id, ID_LEN);
    if (idmap_insert(&x->grants, &g->node) != 0) {
        free(g);
        return NULL;
    }
    g->session = x;
    g->call_id = call_id;
    g->server_epoch = x->epoch;
    g->kind = (uint8_t)kind;
    list_init(&g->in_session);
    list_append(&x->live, &g->in_session);
    x->live_count++;
    x->server->grants++;
    return g;
}

void n2_grant_free(struct n2_grant *g)
{
    struct n2_session *x = g->session;

    idmap_remove(&x->grants, &g->node);
    list_remove(&g->in_session);
    if (g->state == N2_GRANT_DEAD)
        x->tombstone_count--;
    secret_wipe(g->ticket, ticket_len((enum n2_kind)g->kind));
    free(g);
}

/* A dead grant stays as long as its Open could be asked again: never for one whose answer the
 * server has acknowledged, which is nearly always. */
static void bury(struct n2_grant *g)
{
    struct n2_session *x = g->session;
    struct n2_server *s = x->server;

    if (g->state != N2_GRANT_DEAD) {
        g->state = N2_GRANT_DEAD;
        if (g->owner != NULL)
            n2_owners_remove(&x->owners, g->owner);
        g->owner = NULL;
        x->live_count--;
        s->grants--;
        list_remove(&g->in_session);
        list_append(&x->tombstones, &g->in_session);
        x->tombstone_count++;
        g->forget_at = loop_now(s->loop) + TOMBSTONE_MS;
    }
    if (!g->in_call && g->call_id < x->acked)
        n2_grant_free(g);
    if (s->draining && s->grants == 0)
        loop_post(s->loop, &s->drained);
}

void n2_grant_bury_unknown(struct n2_session *x, const uint8_t *id, uint64_t call_id)
{
    if (x->tombstone_count >= TOMBSTONES_MAX || call_id < x->acked)
        return;
    struct n2_grant *g = n2_grant_new(x, id, call_id, N2_KIND_NONE);
    if (g == NULL)
        return;
    g->refused = (struct n2_refusal){.code = N2_EXPIRED, .text = "released"};
    bury(g);
}

static void event(struct n2_grant *g, struct n2_event *e)
{
    memcpy(e->association, g->node.id, ID_LEN);
    n2_session_event(g->session, e, ticket_of(g));
}

void n2_grant_opened(struct n2_grant *g, const struct addr *bound, const struct addr *peer,
                     const char *engine)
{
    struct n2_event e = {.type = N2_EVENT_OPENED};

    g->state = N2_GRANT_OPENED;
    g->attachable = true;
    g->bound = *bound;
    if (peer != NULL)
        g->peer = *peer;
    g->engine = engine;
    secret_random(g->ticket, ticket_len((enum n2_kind)g->kind));
    if (g->in_call)
        return;
    e.opened = (struct n2_open_answer){true, g->bound, g->peer, engine, ticket_of(g)};
    event(g, &e);
}

void n2_grant_listening(struct n2_grant *g, const struct addr *bound, const char *engine)
{
    n2_grant_opened(g, bound, NULL, engine);
    g->attachable = false;
}

void n2_grant_peer(struct n2_grant *g, const struct addr *peer)
{
    struct n2_event e = {.type = N2_EVENT_PEER, .peer = *peer};

    g->attachable = true;
    g->peer = *peer;
    event(g, &e);
}

void n2_grant_locked(struct n2_grant *g, const struct addr *client)
{
    struct n2_event e = {.type = N2_EVENT_LOCKED, .peer = *client};

    g->peer = *client;
    if (!g->in_call)
        event(g, &e);
}

void n2_grant_refused(struct n2_grant *g, enum n2_refusal_code code, enum n2_cause cause,
                      const char *text)
{
    struct n2_event e = {.type = N2_EVENT_FAILED, .failed = {code, cause, text}};

    g->refused = e.failed;
    g->session->server->stats.refusals[code]++;
    if (!g->in_call)
        event(g, &e);
    bury(g);
}

void n2_grant_ended(struct n2_grant *g, enum n2_end why, const struct n2_counters *counters)
{
    struct n2_event e = {.type = N2_EVENT_ENDED, .end = why, .counters = *counters};

    if (N2_OUT_OF_BAND(g->kind))
        e.peer = g->peer;
    g->session->server->final = *counters;
    g->refused = (struct n2_refusal){.code = N2_EXPIRED, .text = "ended"};
    /* Who releases has the answer of its Release. */
    if (why != N2_END_RELEASED)
        event(g, &e);
    bury(g);
}

const char *n2_grant_server_id(const struct n2_grant *g)
{
    return g->session->id;
}

void n2_grant_answer(const struct n2_grant *g, struct n2_answer *ret)
{
    if (g->refused.code != N2_REFUSAL_NONE) {
        ret->what = N2_NONE;
        ret->refused = g->refused;
        return;
    }
    ret->what = N2_OPEN;
    ret->u.open = (struct n2_open_answer){0};
    if (g->state != N2_GRANT_PENDING)
        ret->u.open = (struct n2_open_answer){true, g->bound, g->peer, g->engine, ticket_of(g)};
    if (N2_OUT_OF_BAND(g->kind)) /* the client's: it may come between the first answer and this one */
        ret->u.open.peer = (struct addr){0};
}
