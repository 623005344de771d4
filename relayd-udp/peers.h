/* Who may send to an association from outside: the addresses it has sent to (address-dependent
 * filtering, RFC 4787 section 5), bounded, by least recent use.
 *
 * Zeroed memory is an empty set; it costs nothing until the first peer. Addresses are unmapped. Pure
 * but for memory: it is told the time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

/* 24 octets. */
struct peer {
    uint8_t ip[16];
    uint8_t family; /* enum addr_family; 0: an empty place */
    bool by_name;   /* allowed by a rule for a name: what the rules say of the address alone may differ */
    uint16_t port;  /* last sent to */
    uint32_t used;  /* seconds; last sent to */
};

struct peers {
    struct peer *slots;
    uint32_t count, size;
};

void peers_fini(struct peers *s);
/* It was sent to (a's port counts too). max bounds the set (at least 1): beyond, the least recently
 * sent to is forgotten (about: among a few). False without memory: nothing has changed. */
bool peers_note(struct peers *s, const struct addr *a, bool by_name, uint32_t now_s, uint32_t max);
/* The peer with a's address, whatever its port; NULL when it was not sent to within ttl_s (0: ever).
 * Good until the set changes. */
const struct peer *peers_find(const struct peers *s, const struct addr *a, uint32_t now_s,
                              uint32_t ttl_s);
/* Keeps those for which keep says so. */
void peers_filter(struct peers *s, bool (*keep)(const struct peer *p, void *arg), void *arg);
/* What the set holds in memory. */
size_t peers_octets(const struct peers *s);
