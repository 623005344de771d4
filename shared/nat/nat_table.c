#include "shared/nat/nat_table.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/base/siphash.h"
#include "shared/nat/conntrack.h"
#include "shared/nat/nat.h"

/* Octets in a row without padding, so that equal names hash alike. */
static size_t put_addr(uint8_t *to, const struct addr *a)
{
    to[0] = a->family;
    memcpy(to + 1, a->ip, sizeof(a->ip));
    memcpy(to + 1 + sizeof(a->ip), &a->port, sizeof(a->port));
    return 1 + sizeof(a->ip) + sizeof(a->port);
}

enum { ADDR_OCTETS = 1 + 16 + 2 };

static size_t bucket_of(const struct nat_table *t, const struct addr *source,
                        const struct addr *bound, uint8_t ptcl)
{
    uint8_t octets[1 + 2 * ADDR_OCTETS] = {ptcl};
    size_t len = 1;

    len += put_addr(octets + len, source);
    len += put_addr(octets + len, bound);
    return siphash(t->key, octets, len) & t->mask;
}

int nat_table_init(struct nat_table *t, uint32_t capacity)
{
    size_t buckets = 64;

    while (buckets < capacity)
        buckets *= 2;
    *t = (struct nat_table){.buckets = calloc(buckets, sizeof(struct nat_entry *)),
                            .mask = buckets - 1};
    secret_random(t->key, sizeof(t->key));
    return t->buckets != NULL ? 0 : -1;
}

void nat_table_fini(struct nat_table *t)
{
    free(t->buckets);
    t->buckets = NULL;
}

struct nat_entry *nat_table_find(const struct nat_table *t, const struct ct_name *name)
{
    struct nat_entry *e = t->buckets[bucket_of(t, &name->source, &name->dest, name->ptcl)];

    while (e != NULL && !(e->ptcl == name->ptcl && addr_equal(&e->source, &name->source) &&
                          addr_equal(&e->bound, &name->dest)))
        e = e->next;
    return e;
}

void nat_table_insert(struct nat_table *t, struct nat_entry *e)
{
    struct nat_entry **at = &t->buckets[bucket_of(t, &e->source, &e->bound, e->ptcl)];

    e->next = *at;
    *at = e;
    t->count++;
}

void nat_table_remove(struct nat_table *t, struct nat_entry *e)
{
    struct nat_entry **at = &t->buckets[bucket_of(t, &e->source, &e->bound, e->ptcl)];

    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    t->count--;
}

void nat_table_each(struct nat_table *t, void (*fn)(struct nat_entry *e, void *arg), void *arg)
{
    for (size_t i = 0; i <= t->mask; i++) {
        for (struct nat_entry *e = t->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            fn(e, arg);
        }
    }
}

static size_t held_bucket(const struct nat_held *h, uint8_t ptcl, const struct addr *bound)
{
    uint8_t octets[1 + ADDR_OCTETS] = {ptcl};
    size_t len = 1 + put_addr(octets + 1, bound);

    return siphash(h->key, octets, len) % NAT_HELD_BUCKETS;
}

void nat_held_init(struct nat_held *h)
{
    memset(h, 0, sizeof(*h));
    secret_random(h->key, sizeof(h->key));
}

void nat_held_fini(struct nat_held *h)
{
    for (size_t i = 0; i < NAT_HELD_BUCKETS; i++) {
        while (h->buckets[i] != NULL)
            nat_held_remove(h, h->buckets[i]);
    }
}

struct nat_triple *nat_held_find(const struct nat_held *h, uint8_t ptcl, const struct addr *bound)
{
    struct nat_triple *t = h->buckets[held_bucket(h, ptcl, bound)];

    while (t != NULL && !(t->ptcl == ptcl && addr_equal(&t->bound, bound)))
        t = t->next;
    return t;
}

struct nat_triple *nat_held_insert(struct nat_held *h, uint8_t ptcl, const struct addr *bound)
{
    struct nat_triple **at = &h->buckets[held_bucket(h, ptcl, bound)];
    struct nat_triple *t = malloc(sizeof(*t));

    if (t == NULL)
        return NULL;
    *t = (struct nat_triple){.next = *at, .bound = *bound, .ptcl = ptcl};
    *at = t;
    h->count++;
    return t;
}

void nat_held_remove(struct nat_held *h, struct nat_triple *t)
{
    struct nat_triple **at = &h->buckets[held_bucket(h, t->ptcl, &t->bound)];

    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    h->count--;
    free(t);
}

void nat_held_each(struct nat_held *h, void (*fn)(struct nat_triple *t, void *arg), void *arg)
{
    for (size_t i = 0; i < NAT_HELD_BUCKETS; i++) {
        for (struct nat_triple *t = h->buckets[i], *next; t != NULL; t = next) {
            next = t->next;
            fn(t, arg);
        }
    }
}
