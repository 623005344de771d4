#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/base/secret.h"
#include "shared/n2/n2_client_impl.h"

/* ---- joining and leaving ---- */

static void drop_ticket(struct n2_assoc *a)
{
    if (a->ticket != NULL)
        secret_wipe(a->ticket, N2_TICKET_LEN);
    free(a->ticket);
    a->ticket = NULL;
}

static void leave(struct n2_assoc *a)
{
    struct n2_client *c = a->client;

    idmap_remove(&c->assocs, &a->node);
    list_remove(&a->in_client);
    list_remove(&a->stale);
    c->assoc_count--;
    if (a->state == N2_ASSOC_ATTACHED && c->legs != NULL)
        n2_leg_forget(c->legs, a);
    drop_ticket(a);
    a->client = NULL;
    a->state = N2_ASSOC_FREE;
}

static void send_release(struct n2_client *c, const uint8_t *id)
{
    struct n2_call call = {.what = N2_RELEASE, .remaining_ms = N2_DEADLINE_MAX_MS};

    call.u.release = id;
    if (!n2_client_call(c, &call, id))
        c->unreleased = true;
}

static void lose(struct n2_assoc *a)
{
    const struct n2_assoc_ops *ops = a->ops;

    a->client->stats.lost++;
    leave(a);
    ops->lost(a);
}

static void lose_and_release(struct n2_assoc *a)
{
    struct n2_client *c = a->client;
    uint8_t id[ID_LEN];

    memcpy(id, a->node.id, ID_LEN);
    lose(a);
    send_release(c, id);
}

static void must_understand_rules(struct n2_call *call)
{
    static const char *const must[] = {"datagram-rules"};

    call->must_understand = must;
    call->must_count = 1;
}

int n2_assoc_open(struct n2_client *c, struct n2_assoc *a, const struct n2_assoc_ops *ops,
                  const struct n2_open *o, uint32_t deadline_ms)
{
    struct n2_open open = *o;
    struct n2_call call = {.what = N2_OPEN, .remaining_ms = deadline_ms};

    secret_random(a->node.id, ID_LEN);
    if (idmap_insert(&c->assocs, &a->node) != 0)
        return -ENOMEM;
    open.association = a->node.id;
    call.u.open = &open;
    if (o->rules != NULL)
        must_understand_rules(&call);
    if (!n2_client_call(c, &call, a->node.id)) {
        idmap_remove(&c->assocs, &a->node);
        return -EAGAIN;
    }
    a->client = c;
    a->ops = ops;
    a->call_id = call.id;
    a->state = N2_ASSOC_OPENING;
    a->kind = (uint8_t)o->kind;
    a->seen = c->inventory;
    a->ticket = NULL;
    a->revision = 0;
    list_init(&a->in_client);
    list_init(&a->stale);
    list_append(&c->all, &a->in_client);
    c->assoc_count++;
    c->stats.opens++;
    return 0;
}

int n2_assoc_attach(struct n2_assoc *a, int fd, const uint8_t *to_client, size_t to_client_len,
                    const uint8_t *to_target, size_t to_target_len)
{
    struct n2_client *c = a->client;
    const struct n2_attach attach = {
        .association = a->node.id,
        .ticket = a->ticket,
        .kind = N2_LEG_PLAIN_FD,
        .role = N2_ROLE_CLIENT,
        .to_client = to_client,
        .to_client_len = to_client_len,
        .to_target = to_target,
        .to_target_len = to_target_len,
    };

    if (c->legs == NULL || a->state != N2_ASSOC_OPENED || n2_leg_send(c->legs, &attach, fd, a) != 0)
        return -1;
    c->stats.legs++;
    a->state = N2_ASSOC_ATTACHED;
    drop_ticket(a);
    return 0;
}

void n2_assoc_release(struct n2_assoc *a)
{
    struct n2_client *c = a->client;
    uint8_t id[ID_LEN];

    if (a->state == N2_ASSOC_FREE)
        return;
    memcpy(id, a->node.id, ID_LEN);
    leave(a);
    send_release(c, id);
}

bool n2_assoc_finish(struct n2_assoc *a)
{
    struct n2_client *c = a->client;
    struct n2_call call = {.what = N2_RELEASE, .remaining_ms = N2_DEADLINE_MAX_MS};

    call.u.release = a->node.id;
    list_remove(&a->stale);
    if (n2_client_call(c, &call, a->node.id)) {
        a->state = N2_ASSOC_FINISHING;
        return true;
    }
    c->unreleased = true;
    leave(a);
    return false;
}

void n2_assoc_forget(struct n2_assoc *a)
{
    if (a->state != N2_ASSOC_FREE)
        leave(a);
}

/* ---- Updates ---- */

void n2_assoc_stale(struct n2_assoc *a)
{
    list_remove(&a->stale);
    list_append(&a->client->stale, &a->stale);
    loop_post(a->client->loop, &a->client->flush);
}

void n2_assoc_update(struct n2_assoc *a, const struct n2_limits *limits,
                     const struct n2_rules *rules)
{
    struct n2_call call = {.what = N2_UPDATE, .remaining_ms = N2_DEADLINE_MAX_MS};

    if (rules != NULL)
        must_understand_rules(&call);
    call.u.update = (struct n2_update){a->node.id, a->revision + 1, *limits, rules};
    if (n2_client_call(a->client, &call, a->node.id)) {
        a->revision++;
        list_remove(&a->stale);
    }
}

/* Half of the room at most: Opens and Releases shall not wait behind a reload. */
void n2_assoc_refresh(struct n2_client *c)
{
    while (c->sm.state == CLIENT_READY && !list_empty(&c->stale) &&
           c->waiting_count < N2_CALLS_MAX / 2 && c->batch.len < N2_MESSAGE_MAX / 2) {
        struct n2_assoc *a = LIST_ENTRY(c->stale.next, struct n2_assoc, stale);
        a->ops->refresh(a);
        if (!list_empty(&c->stale) && c->stale.next == &a->stale) {
            /* It did not fit, and will not fit into an emptier message either. */
            if (c->waiting_count == 0)
                lose_and_release(a);
            break;
        }
    }
}

/* ---- answers and events ---- */

static struct n2_assoc *find(struct n2_client *c, const uint8_t *id)
{
    struct idmap_node *n = idmap_find(&c->assocs, id);

    return n != NULL ? IDMAP_ENTRY(n, struct n2_assoc, node) : NULL;
}

static bool in_band(const struct n2_assoc *a)
{
    return !N2_OUT_OF_BAND(a->kind);
}

static void opened(struct n2_assoc *a, const struct n2_open_answer *o)
{
    if (in_band(a)) {
        a->ticket = malloc(N2_TICKET_LEN);
        if (a->ticket == NULL) {
            lose_and_release(a);
            return;
        }
        memcpy(a->ticket, o->ticket, N2_TICKET_LEN);
    }
    a->state = N2_ASSOC_OPENED;
    a->ops->opened(a, o);
}

static void refused(struct n2_assoc *a, const struct n2_refusal *r)
{
    const struct n2_assoc_ops *ops = a->ops;
    bool held = !in_band(a) && (a->state == N2_ASSOC_OPENED || a->state == N2_ASSOC_FINISHING);

    a->client->stats.refusals[r->code]++;
    leave(a);
    /* The relay does not know us any more, or held it already: no verdict on the destination. */
    if (held || r->code == N2_STALE || r->code == N2_CONFLICT)
        ops->lost(a);
    else
        ops->refused(a, r);
}

static void locked(struct n2_assoc *a, const struct addr *client)
{
    bool opened = a->state == N2_ASSOC_OPENED || a->state == N2_ASSOC_FINISHING;

    if (!in_band(a) && opened && client->family != ADDR_NONE && a->ops->locked != NULL)
        a->ops->locked(a, client);
}

static void finished(struct n2_assoc *a, const struct n2_answer *answer)
{
    static const struct n2_counters none;
    const struct n2_assoc_ops *ops = a->ops;
    bool known = answer->what == N2_RELEASE && answer->u.release.known;

    if (answer->what != N2_RELEASE)
        send_release(a->client, a->node.id); /* it may still be there */
    else
        locked(a, &answer->u.release.client);
    leave(a);
    ops->ended(a, N2_END_RELEASED, known ? &answer->u.release.counters : &none);
}

/* One that has ended is known by its event; anything else must not go on with what it had. */
static void updated(struct n2_assoc *a, const struct n2_answer *answer)
{
    if (answer->what == N2_UPDATE || answer->refused.code == N2_EXPIRED)
        return;
    if (answer->refused.code == N2_STALE || answer->refused.code == N2_CONFLICT) {
        n2_assoc_stale(a);
        return;
    }
    log_warn("update_refused", LOG_STR("relay", a->client->info.id),
             LOG_STR("reason", n2_refusal_name(answer->refused.code)),
             LOG_STR("text", answer->refused.text));
    a->ops->refresh_refused(a);
}

void n2_assoc_take_answer(struct n2_client *c, const struct flight *f, const struct n2_answer *answer)
{
    struct n2_assoc *a = find(c, f->association);

    if (a != NULL && f->what == N2_RELEASE && a->state == N2_ASSOC_FINISHING)
        finished(a, answer);
    else if (a != NULL && f->what == N2_UPDATE && a->state == N2_ASSOC_OPENED)
        updated(a, answer);
    if (a == NULL || f->what != N2_OPEN || a->state != N2_ASSOC_OPENING)
        return;
    if (answer->what == N2_NONE)
        refused(a, &answer->refused);
    else if (answer->what == N2_OPEN && answer->u.open.opened)
        opened(a, &answer->u.open);
    else
        a->state = N2_ASSOC_PENDING;
}

void n2_assoc_unanswered(struct n2_client *c, const struct flight *f, bool left)
{
    struct n2_assoc *a = find(c, f->association);

    if (f->what == N2_RELEASE || (f->what == N2_OPEN && left))
        send_release(c, f->association);
    if (a == NULL)
        return;
    if ((f->what == N2_OPEN && a->state == N2_ASSOC_OPENING) ||
        (f->what == N2_RELEASE && a->state == N2_ASSOC_FINISHING))
        lose(a);
    else if (f->what == N2_UPDATE && a->state == N2_ASSOC_OPENED)
        n2_assoc_stale(a);
}

void n2_assoc_take_event(struct n2_client *c, const struct n2_event *e)
{
    struct n2_assoc *a = find(c, e->association);

    if (a == NULL)
        return;
    const struct n2_assoc_ops *ops = a->ops;
    bool waiting = a->state == N2_ASSOC_OPENING || a->state == N2_ASSOC_PENDING;
    switch (e->type) {
    case N2_EVENT_OPENED:
        if (waiting && e->opened.opened)
            opened(a, &e->opened);
        break;
    case N2_EVENT_LOCKED:
        locked(a, &e->peer);
        break;
    case N2_EVENT_FAILED:
        if (a->state != N2_ASSOC_ATTACHED)
            refused(a, &e->failed);
        break;
    case N2_EVENT_PEER:
        if (a->state == N2_ASSOC_OPENED && a->kind == N2_BIND)
            ops->peer(a, &e->peer);
        break;
    case N2_EVENT_ENDED:
        locked(a, &e->peer);
        leave(a);
        ops->ended(a, e->end, &e->counters);
        break;
    default:
        break;
    }
}

/* ---- losing many ---- */

static bool is_lost(const struct n2_assoc *a, enum n2_loss how)
{
    switch (how) {
    case N2_LOSS_CONNECTION:
        return a->state == N2_ASSOC_OPENING || a->state == N2_ASSOC_PENDING;
    case N2_LOSS_LEASE:
        return a->state != N2_ASSOC_ATTACHED || !in_band(a);
    case N2_LOSS_EPOCH:
        break;
    }
    return true;
}

/* Losing one may release, open or free others: begin anew after each. */
static struct n2_assoc *next_lost(struct n2_client *c, enum n2_loss how)
{
    LIST_FOREACH(node, &c->all) {
        struct n2_assoc *a = LIST_ENTRY(node, struct n2_assoc, in_client);
        if (is_lost(a, how))
            return a;
    }
    return NULL;
}

void n2_assoc_lose(struct n2_client *c, enum n2_loss how)
{
    struct n2_assoc *a;

    while ((a = next_lost(c, how)) != NULL) {
        uint8_t id[ID_LEN];
        memcpy(id, a->node.id, ID_LEN);
        lose(a);
        if (how == N2_LOSS_CONNECTION)
            send_release(c, id);
    }
}

void n2_assoc_missing(struct n2_client *c)
{
    bool found = true;

    while (found) {
        found = false;
        LIST_FOREACH(node, &c->all) {
            struct n2_assoc *a = LIST_ENTRY(node, struct n2_assoc, in_client);
            if (a->seen == c->inventory || a->call_id >= c->inventory_before)
                continue;
            lose(a);
            found = true;
            break;
        }
    }
}

/* ---- legs that did not go out ---- */

static void on_leg_failed(void *arg, void *owner, int fd)
{
    struct n2_client *c = arg;
    struct n2_assoc *a = owner;
    const struct n2_assoc_ops *ops = a->ops;
    uint8_t id[ID_LEN];

    c->stats.legs_failed++;
    memcpy(id, a->node.id, ID_LEN);
    a->state = N2_ASSOC_OPENED; /* nothing waits in the channel any more */
    leave(a);
    send_release(c, id);
    ops->leg_failed(a, fd);
}

static void on_legs_down(void *arg)
{
    struct n2_client *c = arg;

    n2_leg_sender_close(c->legs);
    c->legs = NULL;
    loop_timer_start(c->loop, &c->retry, 100);
    c->ops->changed(c->arg);
}

const struct n2_leg_sender_ops n2_assoc_leg_ops = {on_leg_failed, on_legs_down};
