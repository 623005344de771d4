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

static const struct n2_listener_ops listener_ops = {n2_calls_take, on_gone};
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
