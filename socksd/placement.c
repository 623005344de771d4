#include "socksd/placement.h"

/* Compared as fractions without dividing; a relay of unknown capacity counts as one of 65536. */
static bool less_loaded(const struct placement_candidate *a, const struct placement_candidate *b)
{
    uint64_t load_a = (uint64_t)a->held + a->recent, load_b = (uint64_t)b->held + b->recent;
    uint64_t cap_a = a->capacity ? a->capacity : 65536, cap_b = b->capacity ? b->capacity : 65536;

    return load_a * cap_b < load_b * cap_a;
}

static bool has_room(const struct placement_candidate *c)
{
    return c->capacity == 0 || (uint64_t)c->held + c->recent < c->capacity;
}

/* The n-th of those that can serve; full ones only when all are (they then say so themselves). */
static int nth(const struct placement_candidate *c, size_t count, bool room, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        if (c[i].serves && (!room || has_room(&c[i])) && n-- == 0)
            return (int)i;
    }
    return -1;
}

int placement_choose(const struct placement_candidate *c, size_t count, const uint32_t random[2])
{
    size_t serving = 0, roomy = 0;

    for (size_t i = 0; i < count; i++) {
        serving += c[i].serves;
        roomy += c[i].serves && has_room(&c[i]);
    }
    if (serving == 0)
        return -1;
    bool room = roomy > 0;
    size_t n = room ? roomy : serving;
    size_t first = random[0] % n, second = n > 1 ? (first + 1 + random[1] % (n - 1)) % n : first;
    int a = nth(c, count, room, first), b = nth(c, count, room, second);
    return less_loaded(&c[b], &c[a]) ? b : a;
}
