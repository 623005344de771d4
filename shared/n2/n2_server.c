#include "shared/n2/n2_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/base/secret.h"
#include "shared/n2/n2_legs.h"
#include "shared/n2/n2_session.h"

enum { CONTEXTS_MAX = 512, FAREWELL_MS = 20, FAREWELLS_MAX = 50 };

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

static void on_request(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes,
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

static void on_gone(void *arg, uint32_t pipe)
{
    struct n2_server *s = arg;

    LIST_FOREACH(node, &s->sessions) {
        struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        if (x->pipe == pipe) {
            x->pipe = 0;
            n2_session_answer_watch(x); /* to nobody; frees the context */
        }
    }
}

/* ---- legs ---- */

/* The grant that waits for this leg; of several servers that know the id, the one whose ticket it
 * shows. */
static struct n2_grant *grant_of(struct n2_server *s, const struct n2_attach *a, bool *ret_right)
{
    struct n2_grant *found = NULL;

    *ret_right = false;
    if (a->association == NULL)
        return NULL;
    LIST_FOREACH(node, &s->sessions) {
        struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        struct idmap_node *known = idmap_find(&x->grants, a->association);
        struct n2_grant *g = known != NULL ? IDMAP_ENTRY(known, struct n2_grant, node) : NULL;
        if (g == NULL || g->state != N2_GRANT_OPENED || !g->attachable)
            continue;
        found = g;
        *ret_right = a->ticket != NULL && secret_equal(g->ticket, a->ticket, N2_TICKET_LEN);
        if (*ret_right)
            break;
    }
    return found;
}

static void on_attach(void *arg, const struct n2_attach *a, int fd)
{
    struct n2_server *s = arg;
    bool right;
    struct n2_grant *g = grant_of(s, a, &right);

    if (g != NULL && right) {
        g->state = N2_GRANT_ATTACHED;
        g->attachable = false;
        s->service->attach(s->arg, g, a, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (g != NULL) {
        log_warn("legs_wrong_ticket", LOG_STR("server", n2_grant_server_id(g)));
        s->service->end(s->arg, g, N2_END_RELAY_ERROR);
    }
}

/* ---- life ---- */

static bool events_wait(const struct n2_server *s)
{
    LIST_FOREACH(node, &s->sessions) {
        const struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        if (x->leased && x->events.count > 0)
            return true;
    }
    return false;
}

/* Nothing is held any more. Servers that listen hear how the last ones ended before we go: a moment
 * is enough for them to ask for what comes after. */
static void on_drained(struct loop_task *t)
{
    struct n2_server *s = LIST_ENTRY(t, struct n2_server, drained);

    if (s->grants > 0)
        return;
    if (events_wait(s) && s->farewells++ < FAREWELLS_MAX)
        loop_timer_start(s->loop, &s->farewell, FAREWELL_MS);
    else
        s->service->drained(s->arg);
}

static void on_farewell(struct wheel_timer *t)
{
    struct n2_server *s = LIST_ENTRY(t, struct n2_server, farewell);

    loop_post(s->loop, &s->drained);
}

static const struct n2_listener_ops listener_ops = {on_request, on_gone};
static const struct n2_leg_listener_ops leg_ops = {on_attach};

static void server_free(struct n2_server *s)
{
    n2_listener_close(s->listener);
    n2_leg_listener_close(s->legs);
    n2_arena_free(s->arena);
    buf_fini(&s->reply);
    buf_fini(&s->watch_reply);
    free(s->legs_url);
    free(s);
}

void n2_server_advertise(struct n2_server *s, const struct addr *list, size_t count)
{
    count = count < N2_DESTINATIONS_MAX ? count : N2_DESTINATIONS_MAX;
    for (size_t i = 0; i < count; i++)
        s->advertise[i] = list[i];
    s->config.advertise = s->advertise;
    s->config.advertise_count = count;
}

static void keep_config(struct n2_server *s, const struct n2_server_config *c)
{
    s->config = *c;
    n2_server_advertise(s, c->advertise, c->advertise_count);
    for (size_t i = 0; i < c->protect_count && i < N2_DESTINATIONS_MAX; i++)
        s->protect[i] = c->protect[i];
    for (size_t i = 0; i < c->engine_count && i < ENGINES_MAX; i++)
        s->engines[i] = c->engines[i];
    snprintf(s->software, sizeof(s->software), "%s", c->software);
    s->config.protect = s->protect;
    s->config.engines = s->engines;
    s->config.software = s->software;
}

int n2_server_open(struct loop *l, const struct n2_server_config *config,
                   const struct n2_service *service, void *arg, struct n2_server **ret,
                   struct err *e)
{
    struct n2_server *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return err_set(e, "out of memory");
    s->loop = l;
    keep_config(s, config);
    s->service = service;
    s->arg = arg;
    secret_random(&s->epoch, sizeof(s->epoch));
    s->epoch |= 1; /* never 0 */
    list_init(&s->sessions);
    loop_task_init(&s->drained, on_drained);
    wheel_timer_init(&s->farewell, on_farewell);
    buf_init(&s->reply, N2_BODY_MAX);
    buf_init(&s->watch_reply, N2_BODY_MAX);
    s->arena = n2_arena_new();
    s->legs_url = calloc(1, 8 + (config->legs ? strlen(config->legs) : 0));
    if (s->arena == NULL || s->legs_url == NULL) {
        server_free(s);
        return err_set(e, "out of memory");
    }
    if (config->legs != NULL) {
        strcat(strcpy(s->legs_url, "unix:"), config->legs);
        if (n2_leg_listener_open(l, config->legs, config->uids, config->uid_count, &leg_ops, s,
                                 &s->legs, e) != 0) {
            server_free(s);
            return err_wrap(e, "legs");
        }
    }
    const struct n2_listener_config lc = {
        .urls = config->urls,
        .url_count = config->url_count,
        .uids = config->uids,
        .uid_count = config->uid_count,
        .contexts_max = CONTEXTS_MAX,
    };
    if (n2_listener_open(l, &lc, &listener_ops, s, &s->listener, e) != 0) {
        server_free(s);
        return err_wrap(e, "n2");
    }
    *ret = s;
    return 0;
}

void n2_server_close(struct n2_server *s)
{
    if (s == NULL)
        return;
    while (!list_empty(&s->sessions))
        n2_session_free(LIST_ENTRY(s->sessions.next, struct n2_session, node));
    loop_unpost(&s->drained);
    loop_timer_stop(s->loop, &s->farewell);
    server_free(s);
}

void n2_server_drain(struct n2_server *s)
{
    s->draining = true;
    LIST_FOREACH(node, &s->sessions)
        n2_session_answer_watch(LIST_ENTRY(node, struct n2_session, node));
    if (s->grants == 0)
        loop_post(s->loop, &s->drained);
}

void n2_server_cut(struct n2_server *s)
{
    if (!s->draining)
        n2_server_drain(s);
    LIST_FOREACH(node, &s->sessions)
        n2_session_end_grants(LIST_ENTRY(node, struct n2_session, node), true,
                              N2_END_DRAIN_DEADLINE);
}

uint32_t n2_server_grants(const struct n2_server *s)
{
    return s->grants;
}

uint64_t n2_server_epoch(const struct n2_server *s)
{
    return s->epoch;
}

bool n2_server_protects(const struct n2_server *s, const struct addr *a, bool local)
{
    LIST_FOREACH(node, &s->sessions) {
        const struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        for (size_t i = 0; i < x->protect_count; i++) {
            const struct addr *p = &x->protect[i];
            if (p->port == a->port &&
                (addr_ip_equal(p, a) || ((addr_is_any(p) || addr_is_any(a)) && local)))
                return true;
        }
    }
    return false;
}

void n2_server_stats(const struct n2_server *s, struct n2_server_stats *ret)
{
    *ret = s->stats;
    LIST_FOREACH(node, &s->sessions) {
        if (LIST_ENTRY(node, struct n2_session, node)->leased)
            ret->sessions_live++;
    }
}

void n2_server_each(struct n2_server *s, void (*fn)(struct n2_grant *g, void *arg), void *arg)
{
    LIST_FOREACH(node, &s->sessions) {
        struct n2_session *x = LIST_ENTRY(node, struct n2_session, node);
        LIST_FOREACH_SAFE(it, &x->live)
            fn(LIST_ENTRY(it, struct n2_grant, in_session), arg);
    }
}
