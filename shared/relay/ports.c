#include "shared/relay/ports.h"

#include <stdlib.h>

#include "shared/relay/ports_records.h"
#include "shared/base/secret.h"

static uint32_t range_size(const struct ports *p)
{
    return (uint32_t)p->config.last - p->config.first + 1;
}

static uint32_t random_below(uint32_t n)
{
    uint32_t x;

    secret_random(&x, sizeof(x));
    return (uint32_t)((uint64_t)x * n >> 32);
}

/* A step that reaches all n places: one with no divisor in common with n. */
static uint32_t random_step(uint32_t n)
{
    for (;;) {
        uint32_t step = 1 + random_below(n), a = step, b = n;

        while (b != 0) {
            uint32_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return step;
    }
}

/* May a claim of client (its port: the hint, or 0) have this port? *ret: its site, or NULL. */
static bool port_is_free(const struct ports *p, const struct addr *client, uint16_t port,
                         struct ports_site **ret)
{
    *ret = ports_site_find(p, client, port);
    if (*ret == NULL)
        return true;
    return client->port != 0 && !(*ret)->alone && ports_locked_find(p, client, port) == NULL &&
           !ports_rests(p, client, port);
}

struct ask {
    bool (*usable)(void *arg, enum addr_family family, uint16_t port);
    void *arg;
};

/* Walks the range from a random place in random steps, so that no port comes twice, and that few
 * are looked at unless most are taken. 0: none. */
static uint16_t port_choose(const struct ports *p, const struct addr *client, const struct ask *ask,
                            struct ports_site **ret_site)
{
    uint32_t n = range_size(p), at = random_below(n), step = random_step(n), tries = 0;

    for (uint32_t i = 0; i < n && tries < PORTS_TRIES_MAX; i++, at = (at + step) % n) {
        uint16_t port = (uint16_t)(p->config.first + at);

        if (!port_is_free(p, client, port, ret_site))
            continue;
        if (ask->usable(ask->arg, client->family, port))
            return port;
        tries++;
    }
    return 0;
}

static enum ports_result claim_at(struct ports *p, struct ports_claim *c, struct ports_address *a,
                                  const struct ask *ask)
{
    bool alone = c->client.port == 0;
    struct ports_site *site, *fresh;

    if ((alone ? a->sites : a->alone) == range_size(p))
        return PORTS_NONE_LEFT;
    /* Before the choice, as nothing may fail behind it. */
    if ((fresh = calloc(1, sizeof(*fresh))) == NULL)
        return PORTS_NO_MEMORY;
    if ((c->port = port_choose(p, &c->client, ask, &site)) == 0) {
        free(fresh);
        return PORTS_NONE_LEFT;
    }
    if (site != NULL) {
        free(fresh);
    } else {
        site = fresh;
        ports_site_add(p, site, a, c->port, alone);
    }
    site->holders++;
    site->holders_sum ^= (uintptr_t)c;
    c->site = site;
    return PORTS_OK;
}

static enum ports_result claim_unlocked(struct ports *p, struct ports_claim *c,
                                        struct ports_address *a, const char *name,
                                        const struct ask *ask)
{
    struct ports_owner *o = NULL;
    enum ports_result result = PORTS_CAPPED;
    uint32_t held = a->unlocked;

    if (name[0] != '\0') {
        if ((o = ports_owner_get(p, name)) == NULL)
            return PORTS_NO_MEMORY;
        held = o->unlocked;
    }
    if (p->config.unlocked_max == 0 || held < p->config.unlocked_max)
        result = claim_at(p, c, a, ask);
    if (result == PORTS_OK)
        ports_unlocked_begin(p, c, o);
    else if (o != NULL)
        ports_owner_put(p, o);
    return result;
}

static enum ports_result claim_locked(struct ports *p, struct ports_claim *c,
                                      struct ports_address *a, const struct ask *ask)
{
    enum ports_result result = claim_at(p, c, a, ask);

    if (result == PORTS_OK) {
        c->locked = true;
        ports_table_insert(&p->locked, &c->link);
    }
    return result;
}

/* Room for one claim more: only a claim makes the tables grow. */
static void reserve(struct ports *p)
{
    ports_table_reserve(&p->addresses, (size_t)p->addresses.count + 1);
    ports_table_reserve(&p->sites, (size_t)p->sites.count + 1);
    ports_table_reserve(&p->owners, (size_t)p->owners.count + 1);
    ports_table_reserve(&p->locked, (size_t)p->claims + 1);
}

enum ports_result ports_claim(struct ports *p, struct ports_claim *c, const struct addr *client,
                              const char *owner, uint64_t now,
                              bool (*usable)(void *arg, enum addr_family family, uint16_t port),
                              void *arg)
{
    struct ask ask = {.usable = usable, .arg = arg};
    struct ports_address *a;
    enum ports_result result;

    *c = (struct ports_claim){.client = *client};
    ports_sweep(p, now);
    reserve(p);
    if ((a = ports_address_get(p, client)) == NULL)
        return PORTS_NO_MEMORY;
    if (client->port != 0)
        result = claim_locked(p, c, a, &ask);
    else
        result = claim_unlocked(p, c, a, owner, &ask);
    if (result == PORTS_OK)
        p->claims++;
    else
        ports_address_put(p, a);
    return result;
}

bool ports_lock(struct ports *p, struct ports_claim *c, uint16_t client_port, uint64_t now)
{
    struct addr wanted = c->client;

    wanted.port = client_port;
    if (client_port == 0)
        return false;
    if (c->locked && c->client.port == client_port)
        return true;
    ports_sweep(p, now);
    if (ports_locked_find(p, &wanted, c->port) != NULL || ports_rests(p, &wanted, c->port))
        return false;
    if (c->locked) {
        ports_table_remove(&p->locked, &c->link);
        ports_rest_begin(p, c->site, c->client.port, now);
    } else {
        ports_unlocked_end(p, c);
        ports_site_set_alone(c->site, false);
    }
    c->client = wanted;
    c->locked = true;
    ports_table_insert(&p->locked, &c->link);
    return true;
}

void ports_release(struct ports *p, struct ports_claim *c, uint64_t now)
{
    struct ports_site *s = c->site;

    if (c->locked)
        ports_table_remove(&p->locked, &c->link);
    else
        ports_unlocked_end(p, c);
    p->claims--;
    ports_rest_begin(p, s, c->client.port, now);
    s->holders--;
    s->holders_sum ^= (uintptr_t)c;
    c->site = NULL;
    ports_site_put(p, s);
}

void ports_sweep(struct ports *p, uint64_t now)
{
    while (p->oldest != NULL && p->oldest->until <= now)
        free(ports_oldest_take(p));
}

enum ports_found ports_find(const struct ports *p, const struct addr *from, uint16_t port,
                            struct ports_claim **ret)
{
    struct ports_site *s;

    *ret = NULL;
    if (from->port == 0)
        return PORTS_STRANGER;
    if ((*ret = ports_locked_find(p, from, port)) != NULL)
        return PORTS_LOCKED;
    if ((s = ports_site_find(p, from, port)) == NULL)
        return PORTS_STRANGER;
    if (s->holders == 1)
        *ret = (struct ports_claim *)s->holders_sum;
    if (s->alone)
        return s->holders == 1 ? PORTS_UNLOCKED : PORTS_LATE;
    if (s->resting > 0 && ports_rests(p, from, port)) {
        *ret = NULL;
        return PORTS_LATE;
    }
    return s->holders > 0 ? PORTS_OTHER_PORT : PORTS_STRANGER;
}

struct ports *ports_new(const struct ports_config *config)
{
    struct ports *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->config = *config;
    if (ports_table_init(&p->addresses, ports_hash_of_address) &&
        ports_table_init(&p->sites, ports_hash_of_site) &&
        ports_table_init(&p->owners, ports_hash_of_owner) &&
        ports_table_init(&p->locked, ports_hash_of_claim) &&
        ports_table_init(&p->resting, ports_hash_of_rest)) {
        /* Re-locks add to what rests without a claim: so this table never grows. What is not used
         * of it is not resident. */
        if (config->rest_ms > 0)
            ports_table_reserve(&p->resting, PORTS_RESTING_MAX);
        return p;
    }
    ports_free(p);
    return NULL;
}

void ports_free(struct ports *p)
{
    if (p == NULL)
        return;
    while (p->oldest != NULL)
        free(ports_oldest_take(p));
    ports_table_fini(&p->addresses);
    ports_table_fini(&p->sites);
    ports_table_fini(&p->owners);
    ports_table_fini(&p->locked);
    ports_table_fini(&p->resting);
    free(p);
}

struct ports_stats ports_stats(const struct ports *p)
{
    return (struct ports_stats){
        .claims = p->claims,
        .unlocked = p->unlocked,
        .resting = p->resting.count,
        .sites = p->sites.count,
        .owners = p->owners.count + p->nameless,
    };
}
