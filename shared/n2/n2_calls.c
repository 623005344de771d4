/* A message of a server: who may speak, and each call in its turn. */
#include <string.h>

#include "shared/base/log.h"
#include "shared/n2/n2_session.h"

static const struct feature {
    const char *name;
    enum n2_kind kind; /* it is about; NONE: any */
} features[] = {
    {"bind-port", N2_BIND},
    {"octet-limit", N2_KIND_NONE},
    {"datagram-rules", N2_UDP},
};
enum { FEATURES = sizeof(features) / sizeof(features[0]) };

/* ---- replies ---- */

static void refuse_message(struct n2_server *s, struct n2_inbound *in, enum n2_refusal_code code,
                           const char *text)
{
    struct n2_refusal r = {.code = code, .text = text};

    s->stats.refusals[code]++;
    buf_reset(&s->reply);
    n2_put_reply_head(&s->reply, s->epoch, &r);
    n2_inbound_reply(in, s->reply.data, s->reply.len);
}

static void send_reply(struct n2_server *s, struct n2_inbound *in)
{
    if (s->reply.failed)
        refuse_message(s, in, N2_FULL, "the answers do not fit into a message");
    else
        n2_inbound_reply(in, s->reply.data, s->reply.len);
}

static void put_refusal(struct n2_server *s, const struct n2_call *c, enum n2_refusal_code code,
                        const char *text)
{
    struct n2_answer a = {.id = c->id, .refused = {.code = code, .text = text}};

    s->stats.refusals[code]++;
    n2_put_answer(&s->reply, &a);
}

/* ---- what we can ---- */

static bool offers(const struct n2_server *s, enum n2_kind kind)
{
    for (size_t i = 0; i < s->config.kind_count; i++) {
        if (s->config.kinds[i] == kind)
            return true;
    }
    return false;
}

static bool has_feature(const struct n2_server *s, const struct feature *f)
{
    return f->kind == N2_KIND_NONE || offers(s, f->kind);
}

/* ---- Hello ---- */

static void log_conflict(const struct n2_session *x, uint64_t epoch)
{
    log_error("n2_conflict", LOG_STR("server", x->id), LOG_U64("live_epoch", x->epoch),
              LOG_U64("refused_epoch", epoch));
}

/* The session that a Hello introduces, or NULL with the refusal set. */
static struct n2_session *introduce(struct n2_server *s, const struct n2_head *head, uint32_t pipe,
                                    struct n2_refusal *ret)
{
    struct n2_session *x = n2_session_find(s, head->server_id);

    if (x == NULL) {
        x = n2_session_new(s, head->server_id, head->server_epoch);
        if (x == NULL)
            *ret = (struct n2_refusal){.code = N2_FULL, .text = "too many servers"};
        return x;
    }
    if (x->epoch == head->server_epoch)
        return x;
    if (n2_session_is_retired(x, head->server_epoch)) {
        *ret = (struct n2_refusal){.code = N2_STALE, .text = "this epoch was retired"};
        return NULL;
    }
    if (x->pipe != 0 && x->pipe != pipe && x->leased) {
        s->stats.conflicts++;
        log_conflict(x, head->server_epoch);
        *ret = (struct n2_refusal){.code = N2_CONFLICT, .text = "another epoch is alive"};
        return NULL;
    }
    n2_session_answer_watch(x);
    n2_session_retire(x, head->server_epoch);
    return x;
}

static void answer_hello(struct n2_server *s, const struct n2_call *c)
{
    const struct n2_server_config *f = &s->config;
    uint32_t families[2];
    const char *names[FEATURES];
    size_t family_count = 0, feature_count = 0;
    struct n2_answer a = {.id = c->id, .what = N2_HELLO};

    for (size_t i = 0; i < FEATURES; i++) {
        if (has_feature(s, &features[i]))
            names[feature_count++] = features[i].name;
    }
    if (f->ipv4)
        families[family_count++] = 4;
    if (f->ipv6)
        families[family_count++] = 6;
    a.u.hello = (struct n2_hello_answer){
        .relay_id = f->relay_id,
        .software = f->software,
        .legs = s->legs_url,
        .features = names,
        .feature_count = feature_count,
        .kinds = f->kinds,
        .kind_count = f->kind_count,
        .ptcls = f->ptcls,
        .ptcl_count = f->ptcl_count,
        .engines = f->engines,
        .engine_count = f->engine_count,
        .families = families,
        .family_count = family_count,
        .advertise = f->advertise,
        .advertise_count = f->advertise_count,
        .protect = f->protect,
        .protect_count = f->protect_count,
        .capacity = f->capacity,
        .quota = f->quota,
        .lease_ms = f->lease_ms,
    };
    n2_put_answer(&s->reply, &a);
}

static void take_hello(struct n2_server *s, const struct n2_head *head, const struct n2_call *c,
                       uint32_t pipe)
{
    struct n2_refusal refused = {0};
    struct n2_session *x = introduce(s, head, pipe, &refused);

    s->stats.hellos++;
    if (x == NULL) {
        put_refusal(s, c, refused.code, refused.text);
        return;
    }
    x->pipe = pipe;
    x->protect_count = c->u.hello.protect_count;
    for (size_t i = 0; i < x->protect_count; i++)
        x->protect[i] = c->u.hello.protect[i];
    n2_session_renew_lease(x);
    log_info("n2_hello", LOG_STR("server", x->id), LOG_U64("epoch", x->epoch),
             LOG_STR("software", c->u.hello.software));
    answer_hello(s, c);
}

/* ---- Open, Update, Release ---- */

/* Nothing was tried, so the same Open may come again, mended or at a better time. */
static bool is_forgettable(const struct n2_grant *g)
{
    enum n2_refusal_code c = g->refused.code;

    return g->state == N2_GRANT_DEAD && (c == N2_BAD || c == N2_UNSUPPORTED || c == N2_FULL);
}

/* NULL: refused. */
static struct n2_owner *take_owner(struct n2_server *s, struct n2_session *x,
                                   const struct n2_call *c)
{
    const struct n2_open *o = c->u.open;
    bool no_memory;
    struct n2_owner *owner =
        n2_owners_add(&x->owners, o->owner, &o->client, s->config.owner_quota, &no_memory);

    if (owner == NULL)
        put_refusal(s, c, N2_FULL, no_memory ? "memory" : "associations of this owner");
    return owner;
}

static void take_open(struct n2_server *s, struct n2_session *x, const struct n2_call *c)
{
    const struct n2_open *o = c->u.open;
    struct n2_answer a = {.id = c->id};
    struct idmap_node *known = idmap_find(&x->grants, o->association);

    if (known != NULL) {
        n2_grant_answer(IDMAP_ENTRY(known, struct n2_grant, node), &a);
        n2_put_answer(&s->reply, &a);
        return;
    }
    if (!offers(s, o->kind)) {
        put_refusal(s, c, N2_UNSUPPORTED, "kind");
        return;
    }
    if (s->draining) {
        put_refusal(s, c, N2_DRAINING, NULL);
        return;
    }
    if (s->grants >= s->config.capacity || x->live_count >= s->config.quota ||
        x->tombstone_count >= TOMBSTONES_MAX) {
        put_refusal(s, c, N2_FULL, "associations");
        return;
    }
    struct n2_owner *owner = take_owner(s, x, c);
    if (owner == NULL)
        return;
    struct n2_grant *g = n2_grant_new(x, o->association, c->id, o->kind);
    if (g == NULL) {
        n2_owners_remove(&x->owners, owner);
        put_refusal(s, c, N2_FULL, "memory");
        return;
    }
    g->owner = owner;
    g->in_call = true;
    s->service->open(s->arg, g, o);
    g->in_call = false;
    n2_grant_answer(g, &a);
    n2_put_answer(&s->reply, &a);
    if (is_forgettable(g))
        n2_grant_free(g);
}

static void take_update(struct n2_server *s, struct n2_session *x, const struct n2_call *c)
{
    struct idmap_node *known = idmap_find(&x->grants, c->u.update.association);
    struct n2_grant *g = known != NULL ? IDMAP_ENTRY(known, struct n2_grant, node) : NULL;
    struct n2_answer a = {.id = c->id, .what = N2_UPDATE};

    if (g == NULL || g->state == N2_GRANT_DEAD) {
        put_refusal(s, c, N2_EXPIRED, NULL);
        return;
    }
    a.u.update_revision = g->revision;
    if (c->u.update.revision > g->revision) {
        struct n2_refusal refused = {0};
        uint32_t before = g->revision;
        a.u.update_revision = g->revision = c->u.update.revision;
        /* It may end the association: then g is gone. */
        if (!s->service->update(s->arg, g, &c->u.update, &refused)) {
            g->revision = before;
            put_refusal(s, c, refused.code, refused.text);
            return;
        }
    }
    n2_put_answer(&s->reply, &a);
}

static void take_release(struct n2_server *s, struct n2_session *x, const struct n2_call *c)
{
    struct idmap_node *known = idmap_find(&x->grants, c->u.release);
    struct n2_grant *g = known != NULL ? IDMAP_ENTRY(known, struct n2_grant, node) : NULL;
    struct n2_answer a = {.id = c->id, .what = N2_RELEASE};

    if (g == NULL) {
        n2_grant_bury_unknown(x, c->u.release, c->id);
    } else if (g->state != N2_GRANT_DEAD) {
        a.u.release.known = true;
        /* The tombstone must outlast a late Open with this or a lower call id. */
        g->call_id = g->call_id > c->id ? g->call_id : c->id;
        if (N2_OUT_OF_BAND(g->kind))
            a.u.release.client = g->peer;
        s->service->end(s->arg, g, N2_END_RELEASED);
        a.u.release.counters = s->final;
    }
    n2_put_answer(&s->reply, &a);
}

/* ---- dispatch ---- */

static bool knows(const struct n2_server *s, const char *name)
{
    for (size_t k = 0; k < FEATURES; k++) {
        if (has_feature(s, &features[k]) && strcmp(features[k].name, name) == 0)
            return true;
    }
    return false;
}

static bool understood(const struct n2_server *s, const struct n2_call *c)
{
    for (size_t i = 0; i < c->must_count; i++) {
        if (!knows(s, c->must_understand[i]))
            return false;
    }
    return true;
}

static void take_call(struct n2_server *s, struct n2_session *x, const struct n2_call *c)
{
    s->stats.calls[c->what]++;
    if (c->invalid != N2_REFUSAL_NONE)
        put_refusal(s, c, c->invalid, c->invalid_text);
    else if (!understood(s, c))
        put_refusal(s, c, N2_UNSUPPORTED, "must_understand");
    else if (c->id < x->acked || c->remaining_ms == 0)
        put_refusal(s, c, N2_EXPIRED, NULL);
    else if (c->what == N2_OPEN)
        take_open(s, x, c);
    else if (c->what == N2_UPDATE)
        take_update(s, x, c);
    else if (c->what == N2_RELEASE)
        take_release(s, x, c);
    else if (c->what == N2_INVENTORY)
        n2_session_inventory(x, c, &s->reply);
}

static void take_calls(struct n2_server *s, const struct n2_request *r, struct n2_inbound *in,
                       uint32_t pipe)
{
    struct n2_session *x = n2_session_find(s, r->head.server_id);
    const char *stale = NULL;

    if (x == NULL || x->pipe != pipe)
        stale = "no Hello on this connection";
    else if (x->epoch != r->head.server_epoch)
        stale = "server epoch";
    else if (r->head.relay_epoch != s->epoch)
        stale = "relay epoch";
    if (stale != NULL) {
        for (size_t i = 0; i < r->call_count; i++)
            put_refusal(s, &r->calls[i], N2_STALE, stale);
        send_reply(s, in);
        return;
    }
    n2_session_renew_lease(x);
    if (r->head.acked > x->acked) {
        x->acked = r->head.acked;
        n2_session_sweep(x);
    }
    const struct n2_call *first = &r->calls[0];
    if (first->what == N2_WATCH && first->invalid == N2_REFUSAL_NONE && understood(s, first) &&
        first->id >= x->acked && first->remaining_ms > 0) {
        s->stats.calls[N2_WATCH]++;
        n2_session_watch(x, in, first);
        return;
    }
    for (size_t i = 0; i < r->call_count; i++)
        take_call(s, x, &r->calls[i]);
    send_reply(s, in);
}

void n2_calls_take(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes,
                   size_t len, bool overloaded)
{
    struct n2_server *s = arg;
    struct n2_request r;

    s->stats.requests++;
    if (overloaded) {
        s->stats.overloaded++;
        refuse_message(s, in, N2_FULL, "too many requests");
        return;
    }
    int rc = n2_request_decode(s->arena, bytes, len, &r);
    if (rc != 0 || r.head.version != N2_VERSION) {
        s->stats.bad_messages++;
        refuse_message(s, in, rc != 0 ? N2_BAD : N2_UNSUPPORTED,
                       rc != 0 ? "not a Request" : "version");
        n2_arena_reset(s->arena);
        return;
    }
    buf_reset(&s->reply);
    n2_put_reply_head(&s->reply, s->epoch, NULL);
    const struct n2_call *first = &r.calls[0];
    if (first->what == N2_HELLO) {
        s->stats.calls[N2_HELLO]++;
        if (first->invalid != N2_REFUSAL_NONE)
            put_refusal(s, first, first->invalid, first->invalid_text);
        else if (!understood(s, first))
            put_refusal(s, first, N2_UNSUPPORTED, "must_understand");
        else if (first->remaining_ms == 0)
            put_refusal(s, first, N2_EXPIRED, NULL);
        else
            take_hello(s, &r.head, first, pipe);
        send_reply(s, in);
    } else {
        take_calls(s, &r, in, pipe);
    }
    n2_arena_reset(s->arena);
}
