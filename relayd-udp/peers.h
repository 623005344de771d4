/* Who may send to an association from outside: the addresses it has sent to (address-dependent
 * filtering, RFC 4787 section 5), bounded, by least recent use.
 *
 * Zeroed memory is an empty set; it costs nothing until the first peer. Up to eight peers are a
 * list that is looked through; more are a hash table with a secret of its own, so that nobody can
 * choose addresses that meet. Who is sent to again and again is found by one comparison. Addresses
 * are unmapped and have a family. Pure but for memory and randomness: it is told the time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

/* 24 octets. */
struct peer {
    uint8_t ip[16];
    uint8_t family; /* enum addr_family; 0: an empty place */
    bool by_name;   /* allowed by a rule for a name: the rules may say otherwise of the address */
    uint16_t port;  /* last sent to */
    uint32_t used;  /* seconds; last sent to */
};

/* 16 octets. */
struct peers {
    struct peers_table *table; /* NULL: none */
    uint32_t count, size;      /* peers; places in the table, a power of two */
};

void peers_fini(struct peers *s);
/* It was sent to: port, by_name and time become these. max bounds the set (0 counts as 1): beyond,
 * the least recently sent to is forgotten (exactly, to the second, among eight and fewer; otherwise
 * the oldest of some eight); below, nobody is. False without memory: nothing has changed. */
bool peers_note(struct peers *s, const struct addr *a, bool by_name, uint32_t now_s, uint32_t max);
/* The peer with a's address, whatever its port; NULL when it was not sent to within ttl_s (0:
 * ever). Good until the set changes. */
const struct peer *peers_find(const struct peers *s, const struct addr *a, uint32_t now_s,
                              uint32_t ttl_s);
/* Keeps those for which keep says so; it is asked once for each, in no order, about a copy. */
void peers_filter(struct peers *s, bool (*keep)(const struct peer *p, void *arg), void *arg);
/* What the set holds in memory, itself not counted. */
size_t peers_octets(const struct peers *s);
