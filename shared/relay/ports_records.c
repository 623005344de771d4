#include "shared/relay/ports_records.h"

#include <stdlib.h>
#include <string.h>

static uint64_t key_hash(const struct ports_table *t, const struct addr *client, uint16_t port,
                         uint16_t client_port)
{
    struct {
        uint8_t ip[16];
        uint16_t family, port, client_port, zero;
    } key = {.family = client->family, .port = port, .client_port = client_port};

    memcpy(key.ip, client->ip, addr_ip_len(client->family));
    return ports_table_hash(t, &key, sizeof(key));
}

uint64_t ports_hash_of_address(const struct ports_table *t, const struct ports_link *entry)
{
    const struct ports_address *a = PORTS_ENTRY(entry, struct ports_address, link);

    return key_hash(t, &a->addr, 0, 0);
}

uint64_t ports_hash_of_site(const struct ports_table *t, const struct ports_link *entry)
{
    const struct ports_site *s = PORTS_ENTRY(entry, struct ports_site, link);

    return key_hash(t, &s->address->addr, s->port, 0);
}

uint64_t ports_hash_of_owner(const struct ports_table *t, const struct ports_link *entry)
{
    const struct ports_owner *o = PORTS_ENTRY(entry, struct ports_owner, link);

    return ports_table_hash(t, o->name, strlen(o->name));
}

uint64_t ports_hash_of_claim(const struct ports_table *t, const struct ports_link *entry)
{
    const struct ports_claim *c = PORTS_ENTRY(entry, struct ports_claim, link);

    return key_hash(t, &c->client, c->port, c->client.port);
}

uint64_t ports_hash_of_rest(const struct ports_table *t, const struct ports_link *entry)
{
    const struct ports_rest *r = PORTS_ENTRY(entry, struct ports_rest, link);

    return key_hash(t, &r->site->address->addr, r->site->port, r->client_port);
}

struct ports_site *ports_site_find(const struct ports *p, const struct addr *client, uint16_t port)
{
    const struct ports_table *t = &p->sites;
    struct ports_link *e = ports_table_first(t, key_hash(t, client, port, 0));

    for (; e != NULL; e = e->next) {
        struct ports_site *s = PORTS_ENTRY(e, struct ports_site, link);
        if (s->port == port && addr_ip_equal(&s->address->addr, client))
            return s;
    }
    return NULL;
}

struct ports_claim *ports_locked_find(const struct ports *p, const struct addr *client,
                                      uint16_t port)
{
    const struct ports_table *t = &p->locked;
    struct ports_link *e = ports_table_first(t, key_hash(t, client, port, client->port));

    for (; e != NULL; e = e->next) {
        struct ports_claim *c = PORTS_ENTRY(e, struct ports_claim, link);
        if (c->port == port && addr_equal(&c->client, client))
            return c;
    }
    return NULL;
}

bool ports_rests(const struct ports *p, const struct addr *client, uint16_t port)
{
    const struct ports_table *t = &p->resting;
    struct ports_link *e = ports_table_first(t, key_hash(t, client, port, client->port));

    for (; e != NULL; e = e->next) {
        struct ports_rest *r = PORTS_ENTRY(e, struct ports_rest, link);
        if (r->client_port == client->port && r->site->port == port &&
            addr_ip_equal(&r->site->address->addr, client))
            return true;
    }
    return false;
}

struct ports_address *ports_address_get(struct ports *p, const struct addr *client)
{
    struct ports_table *t = &p->addresses;
    struct ports_link *e = ports_table_first(t, key_hash(t, client, 0, 0));
    struct ports_address *a;

    for (; e != NULL; e = e->next) {
        a = PORTS_ENTRY(e, struct ports_address, link);
        if (addr_ip_equal(&a->addr, client))
            return a;
    }
    if ((a = calloc(1, sizeof(*a))) == NULL)
        return NULL;
    a->addr = *client;
    a->addr.port = 0;
    ports_table_insert(t, &a->link);
    return a;
}

void ports_address_put(struct ports *p, struct ports_address *a)
{
    if (a->sites > 0)
        return;
    ports_table_remove(&p->addresses, &a->link);
    free(a);
}

struct ports_owner *ports_owner_get(struct ports *p, const char *name)
{
    struct ports_table *t = &p->owners;
    size_t len = strlen(name);
    struct ports_link *e = ports_table_first(t, ports_table_hash(t, name, len));
    struct ports_owner *o;

    for (; e != NULL; e = e->next) {
        o = PORTS_ENTRY(e, struct ports_owner, link);
        if (strcmp(o->name, name) == 0)
            return o;
    }
    if ((o = malloc(sizeof(*o) + len + 1)) == NULL)
        return NULL;
    o->unlocked = 0;
    memcpy(o->name, name, len + 1);
    ports_table_insert(t, &o->link);
    return o;
}

void ports_owner_put(struct ports *p, struct ports_owner *o)
{
    if (o->unlocked > 0)
        return;
    ports_table_remove(&p->owners, &o->link);
    free(o);
}

void ports_unlocked_begin(struct ports *p, struct ports_claim *c, struct ports_owner *o)
{
    struct ports_address *a = c->site->address;

    c->owner = o;
    p->unlocked++;
    if (o != NULL)
        o->unlocked++;
    else if (a->unlocked++ == 0)
        p->nameless++;
}

void ports_unlocked_end(struct ports *p, struct ports_claim *c)
{
    struct ports_address *a = c->site->address;

    p->unlocked--;
    if (c->owner != NULL) {
        c->owner->unlocked--;
        ports_owner_put(p, c->owner);
    } else if (--a->unlocked == 0) {
        p->nameless--;
    }
    c->owner = NULL;
}

void ports_site_set_alone(struct ports_site *s, bool alone)
{
    s->address->alone = (uint16_t)(s->address->alone + alone - s->alone);
    s->alone = alone;
}

void ports_site_add(struct ports *p, struct ports_site *fresh, struct ports_address *a,
                    uint16_t port, bool alone)
{
    fresh->address = a;
    fresh->port = port;
    ports_site_set_alone(fresh, alone);
    a->sites++;
    ports_table_insert(&p->sites, &fresh->link);
}

void ports_site_put(struct ports *p, struct ports_site *s)
{
    struct ports_address *a = s->address;

    if (s->holders + s->resting > 0)
        return;
    ports_table_remove(&p->sites, &s->link);
    ports_site_set_alone(s, false);
    free(s);
    a->sites--;
    ports_address_put(p, a);
}

struct ports_rest *ports_oldest_take(struct ports *p)
{
    struct ports_rest *r = p->oldest;

    if (r == NULL)
        return NULL;
    p->oldest = r->newer;
    if (p->oldest == NULL)
        p->newest = NULL;
    ports_table_remove(&p->resting, &r->link);
    r->site->resting--;
    ports_site_put(p, r->site);
    return r;
}

void ports_rest_begin(struct ports *p, struct ports_site *s, uint16_t client_port, uint64_t now)
{
    struct ports_rest *r = NULL;

    if (p->config.rest_ms == 0)
        return;
    if (p->resting.count < PORTS_RESTING_MAX)
        r = malloc(sizeof(*r));
    if (r == NULL && (r = ports_oldest_take(p)) == NULL)
        return;
    *r = (struct ports_rest){
        .site = s, .until = now + p->config.rest_ms, .client_port = client_port};
    s->resting++;
    ports_table_insert(&p->resting, &r->link);
    if (p->newest != NULL)
        p->newest->newer = r;
    else
        p->oldest = r;
    p->newest = r;
}
