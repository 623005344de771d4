#include "shared/net/resolve.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "shared/net/dns.h"
#include "shared/net/resolve_cache.h"
#include "shared/net/resolve_name.h"

enum {
    TTL_MAX_S = 300,
    FILE_MS = 1000,
    QUESTION_MAX_MS = 15000,
    QUESTION_SLACK_MS = 500, /* lets c-ares come to an end first: it may have one family */
};

struct resolver {
    struct loop_grave grave;
    struct loop *loop;
    struct dns *dns;
    struct resolve_cache cache;
    struct resolver_config config; /* without the servers */
    struct resolver_stats stats;
    void *tree;            /* of the lookups in flight, by name */
    struct list in_flight; /* struct lookup */
    struct list finished;  /* struct lookup, to be delivered */
    struct loop_task deliver;
};

/* One name, with all who ask for it. In flight, then finished, then gone. */
struct lookup {
    struct list node;
    struct dns_question dns;
    struct resolver *resolver;
    struct list questions;
    struct dns_answer answer; /* once finished */
    char name[DEST_NAME_MAX + 1];
};

struct resolve {
    struct list node;
    struct resolver *resolver;
    struct wheel_timer deadline;
    resolve_cb cb;
    void *arg;
    uint16_t port;
};

#define LOOKUP(n)   LIST_ENTRY(n, struct lookup, node)
#define QUESTION(n) LIST_ENTRY(n, struct resolve, node)

/* ---- what needs no query ---- */

/* An answer at hand; addrs is own, or the cache's until it changes. */
struct known {
    const struct addr *addrs;
    size_t count; /* 0: there is no such name */
    bool cached;
    struct addr own[2];
};

/* False: it has to be asked for. normal is then the name to ask for. */
static bool name_known(struct resolver *r, const char *name, char normal[DEST_NAME_MAX + 1],
                       struct known *ret)
{
    const struct resolve_cached *e;

    *ret = (struct known){.addrs = ret->own};
    if (!resolve_name_normal(name, normal))
        return true;
    ret->count = resolve_name_known(normal, ret->own);
    if (ret->count > 0)
        return true;
    e = resolve_cache_find(&r->cache, normal, loop_now(r->loop));
    if (e == NULL)
        return false;
    *ret = (struct known){.addrs = e->addrs, .count = e->count, .cached = true};
    return true;
}

bool resolver_cached(struct resolver *r, const char *name, struct addr *ret, size_t cap,
                     size_t *ret_count)
{
    char normal[DEST_NAME_MAX + 1];
    struct known k;

    if (!name_known(r, name, normal, &k))
        return false;
    r->stats.questions++;
    r->stats.cache_hits += k.cached;
    r->stats.not_found += k.count == 0;
    *ret_count = k.count < cap ? k.count : cap;
    if (*ret_count > 0)
        memcpy(ret, k.addrs, *ret_count * sizeof(ret[0]));
    return true;
}

/* ---- lookups ---- */

static int name_to(const void *name, const void *l)
{
    return strcmp(name, ((const struct lookup *)l)->name);
}

static int by_name(const void *a, const void *b)
{
    return name_to(((const struct lookup *)a)->name, b);
}

static struct lookup *lookup_new(struct resolver *r, const char *name)
{
    struct lookup *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    list_init(&l->node);
    list_init(&l->questions);
    l->resolver = r;
    memcpy(l->name, name, strlen(name));
    return l;
}

static void lookup_finish(struct resolver *r, struct lookup *l)
{
    list_append(&r->finished, &l->node);
    loop_post(r->loop, &r->deliver);
}

/* How long an answer is remembered; 0: not at all. */
static uint64_t keep_ms(const struct resolver *r, const struct dns_answer *a)
{
    if (a->status == RESOLVE_NOT_FOUND)
        return r->config.negative_ms;
    if (a->status != RESOLVE_OK)
        return 0;
    if (a->from_file)
        return FILE_MS;
    return UINT64_C(1000) * (a->ttl < TTL_MAX_S ? a->ttl : TTL_MAX_S);
}

static void on_answer(struct dns_question *dns, const struct dns_answer *answer)
{
    struct lookup *l = LIST_ENTRY(dns, struct lookup, dns);
    struct resolver *r = l->resolver;
    uint64_t keep = keep_ms(r, answer);

    tdelete(l, &r->tree, by_name);
    list_remove(&l->node);
    r->stats.in_flight--;
    l->answer = *answer;
    if (keep > 0)
        resolve_cache_put(&r->cache, l->name, answer->addrs, answer->count,
                          loop_now(r->loop) + keep);
    lookup_finish(r, l);
}

static struct lookup *lookup_known(struct resolver *r, const char *name, const struct known *k)
{
    struct lookup *l = lookup_new(r, name);

    if (l == NULL)
        return NULL;
    l->answer.status = k->count > 0 ? RESOLVE_OK : RESOLVE_NOT_FOUND;
    l->answer.count = (uint8_t)k->count;
    memcpy(l->answer.addrs, k->addrs, k->count * sizeof(k->addrs[0]));
    lookup_finish(r, l);
    return l;
}

static struct lookup *lookup_ask(struct resolver *r, const char *name)
{
    struct lookup *l;

    if (r->stats.in_flight >= r->config.queries_max)
        return NULL;
    l = lookup_new(r, name);
    if (l == NULL)
        return NULL;
    if (tsearch(l, &r->tree, by_name) == NULL) {
        free(l);
        return NULL;
    }
    list_append(&r->in_flight, &l->node);
    r->stats.in_flight++;
    r->stats.queries++;
    l->dns.answered = on_answer;
    dns_ask(r->dns, &l->dns, l->name);
    return l;
}

/* The one to wait for; NULL: too many, or no memory. */
static struct lookup *lookup_for(struct resolver *r, const char *name)
{
    char normal[DEST_NAME_MAX + 1];
    struct lookup **asked;
    struct known k;

    if (name_known(r, name, normal, &k)) {
        r->stats.cache_hits += k.cached;
        return lookup_known(r, normal, &k);
    }
    asked = tfind(normal, &r->tree, name_to);
    return asked != NULL ? *asked : lookup_ask(r, normal);
}

/* ---- questions ---- */

static void count_end(struct resolver *r, enum resolve_status status)
{
    switch (status) {
    case RESOLVE_NOT_FOUND:
        r->stats.not_found++;
        break;
    case RESOLVE_FAILED:
        r->stats.failed++;
        break;
    case RESOLVE_TIMED_OUT:
        r->stats.timed_out++;
        break;
    case RESOLVE_NO_MEMORY:
        r->stats.no_memory++;
        break;
    default:
        break;
    }
}

void resolve_cancel(struct resolve *q)
{
    if (q == NULL)
        return;
    loop_timer_stop(q->resolver->loop, &q->deadline);
    list_remove(&q->node);
    q->resolver->stats.waiting--;
    free(q);
}

/* The last that is done with q, whose resolver may be gone afterwards. */
static void question_end(struct resolve *q, const struct dns_answer *answer)
{
    struct addr addrs[RESOLVE_MAX];
    resolve_cb cb = q->cb;
    void *arg = q->arg;
    enum resolve_status status = answer->status;
    size_t count = answer->count;

    for (size_t i = 0; i < count; i++) {
        addrs[i] = answer->addrs[i];
        addrs[i].port = q->port;
    }
    count_end(q->resolver, status);
    resolve_cancel(q);
    cb(arg, status, addrs, count);
}

/* Callbacks may do what they like, so everything is looked at anew after each. resolver_free leaves
 * the list empty, and r in its grave until this is over. */
static void on_deliver(struct loop_task *t)
{
    struct resolver *r = LIST_ENTRY(t, struct resolver, deliver);

    while (!list_empty(&r->finished)) {
        struct lookup *l = LOOKUP(r->finished.next);
        if (!list_empty(&l->questions)) {
            question_end(QUESTION(l->questions.next), &l->answer);
            continue;
        }
        list_remove(&l->node);
        free(l);
    }
}

static void on_deadline(struct wheel_timer *t)
{
    static const struct dns_answer too_late = {.status = RESOLVE_TIMED_OUT};

    question_end(LIST_ENTRY(t, struct resolve, deadline), &too_late);
}

static struct resolve *question_new(struct resolver *r, uint16_t port, resolve_cb cb, void *arg)
{
    struct resolve *q = calloc(1, sizeof(*q));

    if (q == NULL)
        return NULL;
    q->resolver = r;
    q->port = port;
    q->cb = cb;
    q->arg = arg;
    list_init(&q->node);
    wheel_timer_init(&q->deadline, on_deadline);
    return q;
}

struct resolve *resolve_start(struct resolver *r, const char *name, uint16_t port, resolve_cb cb,
                              void *arg)
{
    struct resolve *q = NULL;
    struct lookup *l = NULL;

    r->stats.questions++;
    if (r->stats.waiting < r->config.queries_max)
        q = question_new(r, port, cb, arg);
    if (q != NULL)
        l = lookup_for(r, name);
    if (l == NULL) {
        r->stats.busy++;
        free(q);
        return NULL;
    }
    list_append(&l->questions, &q->node);
    r->stats.waiting++;
    loop_timer_start(r->loop, &q->deadline, r->config.question_ms);
    return q;
}

/* ---- life ---- */

/* c-ares doubles the time of a try after each round of all servers. */
static uint32_t all_tries_ms(const struct resolver *r)
{
    uint64_t ms = QUESTION_SLACK_MS;

    for (uint32_t i = 0; i < r->config.tries && ms < QUESTION_MAX_MS; i++)
        ms += (uint64_t)r->config.timeout_ms * dns_server_count(r->dns) << i;
    return ms < QUESTION_MAX_MS ? (uint32_t)ms : QUESTION_MAX_MS;
}

static void config_fill(struct resolver_config *c)
{
    const struct resolver_config preset = RESOLVER_CONFIG_DEFAULT;

    if (c->timeout_ms == 0)
        c->timeout_ms = preset.timeout_ms;
    if (c->tries == 0)
        c->tries = preset.tries;
    if (c->queries_max == 0)
        c->queries_max = preset.queries_max;
}

int resolver_new(struct loop *l, const struct resolver_config *config, struct resolver **ret,
                 struct err *e)
{
    struct resolver *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return err_set(e, "resolver: out of memory");
    r->loop = l;
    r->config = *config;
    config_fill(&r->config);
    if (dns_new(l, &r->config, &r->dns, e) != 0) {
        free(r);
        return -1;
    }
    r->config.servers = NULL; /* the caller's */
    if (r->config.question_ms == 0)
        r->config.question_ms = all_tries_ms(r);
    resolve_cache_init(&r->cache, r->config.cache_entries);
    list_init(&r->in_flight);
    list_init(&r->finished);
    loop_task_init(&r->deliver, on_deliver);
    *ret = r;
    return 0;
}

static void lookup_drop(struct lookup *l)
{
    while (!list_empty(&l->questions))
        resolve_cancel(QUESTION(l->questions.next));
    list_remove(&l->node);
    free(l);
}

static void resolver_bury(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct resolver, grave));
}

void resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    dns_free(r->dns);
    while (!list_empty(&r->in_flight)) {
        tdelete(LOOKUP(r->in_flight.next), &r->tree, by_name);
        lookup_drop(LOOKUP(r->in_flight.next));
    }
    while (!list_empty(&r->finished))
        lookup_drop(LOOKUP(r->finished.next));
    resolve_cache_fini(&r->cache);
    loop_unpost(&r->deliver);
    loop_bury(r->loop, &r->grave, resolver_bury);
}

struct resolver_stats resolver_stats(const struct resolver *r)
{
    struct resolver_stats s = r->stats;

    s.cached = (uint32_t)r->cache.count;
    return s;
}
