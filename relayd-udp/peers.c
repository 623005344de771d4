#include "relayd-udp/peers.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"

#define FIRST_SIZE 1 /* most associations have one */
#define LIST_MAX   8 /* places without a hash: all of them begin at the first, and may be taken */
#define LOOK_AT    8 /* peers compared to find one to forget */

/* Open addressing: a peer stands in the first free place from its home on, around the end. Beyond
 * LIST_MAX a quarter of the places is always free. */
struct peers_table {
    uint64_t last; /* the place last noted; what stands there may have changed */
    struct peer places[];
    /* Behind them, but for a list: uint64_t key[4]. */
};

enum { KEY_OCTETS = 4 * sizeof(uint64_t) };
_Static_assert(sizeof(struct peer) % sizeof(uint64_t) == 0, "the key is aligned");

static uint64_t *key_of(const struct peers *s)
{
    return (uint64_t *)(void *)&s->table->places[s->size];
}

static size_t octets_of(uint32_t size)
{
    return sizeof(struct peers_table) + size * sizeof(struct peer) +
           (size > LIST_MAX ? KEY_OCTETS : 0);
}

/* Pair-multiply-shift (Thorup, "High speed hashing for integers and strings") is strongly
 * universal: two addresses meet by chance alone, whoever chose them without the key. But it keeps
 * rows of addresses in rows, which open addressing does not like: so its 64 bits are mixed as
 * MurmurHash3 ends. */
static uint32_t ip_hash(const uint64_t key[4], const uint8_t ip[16])
{
    uint32_t w[4];
    uint64_t h;

    memcpy(w, ip, sizeof(w));
    h = (key[0] + w[0]) * (key[1] + w[1]) + (key[2] + w[2]) * (key[3] + w[3]);
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return (uint32_t)(h ^ h >> 33);
}

static uint32_t home_of(const struct peers *s, const uint8_t ip[16])
{
    return s->size <= LIST_MAX ? 0 : ip_hash(key_of(s), ip) & (s->size - 1);
}

static uint32_t next_place(const struct peers *s, uint32_t i)
{
    return (i + 1) & (s->size - 1);
}

static bool is_taken(const struct peer *p)
{
    return p->family != ADDR_NONE;
}

static bool is_at(const struct peer *p, const struct addr *a)
{
    return is_taken(p) && p->family == a->family && memcmp(p->ip, a->ip, sizeof(p->ip)) == 0;
}

static struct peer *lookup(const struct peers *s, const struct addr *a)
{
    uint32_t i;

    if (s->count == 0)
        return NULL;
    if (is_at(&s->table->places[s->table->last], a))
        return &s->table->places[s->table->last];
    i = home_of(s, a->ip);
    for (uint32_t n = 0; n < s->size && is_taken(&s->table->places[i]); n++) {
        if (is_at(&s->table->places[i], a))
            return &s->table->places[i];
        i = next_place(s, i);
    }
    return NULL;
}

/* There is a free place. */
static struct peer *place(const struct peers *s, const struct peer *p)
{
    uint32_t i = home_of(s, p->ip);

    while (is_taken(&s->table->places[i]))
        i = next_place(s, i);
    s->table->places[i] = *p;
    return &s->table->places[i];
}

static bool grow(struct peers *s)
{
    struct peers to = {.count = s->count, .size = s->size == 0 ? FIRST_SIZE : 2 * s->size};

    to.table = calloc(1, octets_of(to.size));
    if (to.table == NULL)
        return false;
    if (to.size > LIST_MAX)
        secret_random(key_of(&to), KEY_OCTETS);
    for (uint32_t i = 0; i < s->size; i++)
        if (is_taken(&s->table->places[i]))
            place(&to, &s->table->places[i]);
    free(s->table);
    *s = to;
    return true;
}

/* Those behind may stand where they do only because of this one: they are placed again. */
static void forget(struct peers *s, struct peer *p)
{
    struct peer *places = s->table->places;

    p->family = ADDR_NONE;
    s->count--;
    for (uint32_t i = next_place(s, (uint32_t)(p - places)); is_taken(&places[i]);
         i = next_place(s, i)) {
        struct peer moved = places[i];

        places[i].family = ADDR_NONE;
        place(s, &moved);
    }
}

/* Within a second, the one noted last is the younger one. */
static bool is_older(const struct peers *s, const struct peer *p, const struct peer *than,
                     uint32_t now_s)
{
    uint32_t age = now_s - p->used, than_age = now_s - than->used;

    return age > than_age || (age == than_age && than == &s->table->places[s->table->last]);
}

/* The oldest of the next few from a's home on. */
static struct peer *oldest_near(const struct peers *s, const struct addr *a, uint32_t now_s)
{
    uint32_t left = s->count < LOOK_AT ? s->count : LOOK_AT;
    struct peer *oldest = NULL;

    for (uint32_t i = home_of(s, a->ip); left > 0; i = next_place(s, i)) {
        struct peer *p = &s->table->places[i];

        if (!is_taken(p))
            continue;
        left--;
        if (oldest == NULL || is_older(s, p, oldest, now_s))
            oldest = p;
    }
    return oldest;
}

static bool is_full(const struct peers *s)
{
    return s->count >= (s->size <= LIST_MAX ? s->size : s->size - s->size / 4);
}

bool peers_note(struct peers *s, const struct addr *a, bool by_name, uint32_t now_s, uint32_t max)
{
    struct peer *p = lookup(s, a);

    if (p == NULL) {
        struct peer new = {.family = a->family};

        if (max < 1)
            max = 1;
        if (s->count < max && is_full(s) && !grow(s))
            return false;
        while (s->count >= max)
            forget(s, oldest_near(s, a, now_s));
        memcpy(new.ip, a->ip, sizeof(new.ip));
        p = place(s, &new);
        s->count++;
    }
    p->by_name = by_name;
    p->port = a->port;
    p->used = now_s;
    s->table->last = (uint64_t)(p - s->table->places);
    return true;
}

const struct peer *peers_find(const struct peers *s, const struct addr *a, uint32_t now_s,
                              uint32_t ttl_s)
{
    const struct peer *p = lookup(s, a);

    return p == NULL || (ttl_s > 0 && now_s - p->used > ttl_s) ? NULL : p;
}

/* A place behind which no peer stands whose home is before it. */
static uint32_t a_boundary(const struct peers *s)
{
    uint32_t i = s->size - 1;

    while (s->size > LIST_MAX && is_taken(&s->table->places[i]))
        i--;
    return i;
}

void peers_filter(struct peers *s, bool (*keep)(const struct peer *p, void *arg), void *arg)
{
    uint32_t i;

    if (s->count == 0)
        return;
    /* From a boundary on, each one that is kept is placed again: never behind where it stood, as
     * all who stood before it have been placed already. */
    i = a_boundary(s);
    for (uint32_t left = s->size; left > 0; left--) {
        struct peer p;

        i = next_place(s, i);
        p = s->table->places[i];
        s->table->places[i].family = ADDR_NONE;
        if (!is_taken(&p))
            continue;
        if (keep(&p, arg))
            place(s, &p);
        else
            s->count--;
    }
    if (s->count == 0)
        peers_fini(s);
}

size_t peers_octets(const struct peers *s)
{
    return s->table == NULL ? 0 : octets_of(s->size);
}

void peers_fini(struct peers *s)
{
    free(s->table);
    *s = (struct peers){0};
}
