#include "tests/bench/bench.h"

/* 0..31 have a slot each; above, a value v with its highest bit at 5 + shift has slot
 * 32 * shift + (v >> shift), where v >> shift lies in 32..63. */
#define SUB 32U

static unsigned slot_of(uint64_t v)
{
    if (v < SUB)
        return (unsigned)v;
    unsigned shift = 63U - (unsigned)__builtin_clzll(v) - 5U;
    return SUB * shift + (unsigned)(v >> shift);
}

static double slot_middle(unsigned slot)
{
    if (slot < 2 * SUB)
        return slot;
    unsigned shift = slot / SUB - 1;
    uint64_t low = (uint64_t)(slot - SUB * shift) << shift;
    return (double)low + (double)(UINT64_C(1) << shift) / 2;
}

void hist_add(struct hist *h, uint64_t ns)
{
    h->slot[slot_of(ns)]++;
    h->count++;
}

double hist_us(const struct hist *h, double share)
{
    uint64_t wanted = (uint64_t)((double)h->count * share);
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    for (unsigned i = 0; i < HIST_SLOTS; i++) {
        seen += h->slot[i];
        if (seen > wanted)
            return slot_middle(i) / 1e3;
    }
    return 0; /* share >= 1 */
}
