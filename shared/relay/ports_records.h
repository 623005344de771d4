/* What ports.c remembers: which client addresses, sites and identities hold something, and which
 * keys rest. For ports.c alone.
 *
 * Each record is there as long as it counts something: `get` makes one that counts nothing yet, and
 * `put`, after any count has gone down, frees one that counts nothing any more. */
#pragma once

#include "shared/relay/ports.h"

/* A client address that has something. */
struct ports_address {
    struct ports_link link;
    struct addr addr;  /* without a port */
    uint16_t sites;    /* never more than the range has ports */
    uint16_t alone;    /* sites of which are alone */
    uint16_t unlocked; /* that have this address as identity */
};

/* A client address and one of our ports: alone or shared (ports.h). */
struct ports_site {
    struct ports_link link;
    struct ports_address *address;
    uintptr_t holders_sum; /* exclusive or of the holders' addresses: the only one, if it is */
    uint32_t holders, resting;
    uint16_t port;
    bool alone;
};

/* A named identity that has something unlocked. */
struct ports_owner {
    struct ports_link link;
    uint32_t unlocked;
    char name[];
};

/* A key that rests. All rest equally long: the oldest is always the first to go. */
struct ports_rest {
    struct ports_link link;
    struct ports_rest *newer;
    struct ports_site *site;
    uint64_t until;
    uint16_t client_port; /* 0: all of them, the site is alone */
};

struct ports {
    struct ports_config config;
    struct ports_table addresses, sites, owners, locked, resting;
    struct ports_rest *oldest, *newest;
    uint32_t claims, unlocked;
    uint32_t nameless; /* addresses that have something unlocked as an identity */
};

/* For ports_table_init. */
uint64_t ports_hash_of_address(const struct ports_table *t, const struct ports_link *entry);
uint64_t ports_hash_of_site(const struct ports_table *t, const struct ports_link *entry);
uint64_t ports_hash_of_owner(const struct ports_table *t, const struct ports_link *entry);
uint64_t ports_hash_of_claim(const struct ports_table *t, const struct ports_link *entry);
uint64_t ports_hash_of_rest(const struct ports_table *t, const struct ports_link *entry);

/* client's port is the key's client port; site_find does not look at it. */
struct ports_site *ports_site_find(const struct ports *p, const struct addr *client, uint16_t port);
struct ports_claim *ports_locked_find(const struct ports *p, const struct addr *client,
                                      uint16_t port);
bool ports_rests(const struct ports *p, const struct addr *client, uint16_t port);

/* NULL without memory. */
struct ports_address *ports_address_get(struct ports *p, const struct addr *client);
void ports_address_put(struct ports *p, struct ports_address *a);
struct ports_owner *ports_owner_get(struct ports *p, const char *name);
void ports_owner_put(struct ports *p, struct ports_owner *o);
/* fresh is zeroed memory, and becomes a site that has no holder yet. */
void ports_site_add(struct ports *p, struct ports_site *fresh, struct ports_address *a,
                    uint16_t port, bool alone);
void ports_site_put(struct ports *p, struct ports_site *s);
void ports_site_set_alone(struct ports_site *s, bool alone);

/* c (which has its site) counts for its identity: o, or its address without one. */
void ports_unlocked_begin(struct ports *p, struct ports_claim *c, struct ports_owner *o);
void ports_unlocked_end(struct ports *p, struct ports_claim *c);

/* s has a holder. Beyond the bound, or without memory, the oldest key makes room; where there is
 * none, this one is forgotten. */
void ports_rest_begin(struct ports *p, struct ports_site *s, uint16_t client_port, uint64_t now);
/* Forgets the oldest key; the caller frees what it returns. NULL: none rests. */
struct ports_rest *ports_oldest_take(struct ports *p);
