#include "relayd-udp/gso_refusals.h"

static size_t place_of(const struct addr *peer)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < sizeof(peer->ip); i++)
        hash = (hash ^ peer->ip[i]) * 16777619u;
    return (hash ^ hash >> 16) % GSO_REFUSALS_MAX;
}

static void last_until_raise(struct gso_refusals *g, uint64_t until)
{
    if (g->last_until < until)
        g->last_until = until;
}

void gso_refusals_note(struct gso_refusals *g, const struct addr *peer, uint32_t segment,
                       uint64_t now)
{
    struct gso_refusal *r = &g->places[place_of(peer)];

    if (now >= r->until || !addr_ip_equal(&r->peer, peer) || segment < r->segment)
        r->segment = segment;
    r->peer = *peer;
    r->until = now + GSO_REFUSAL_MS;
    last_until_raise(g, r->until);
}

void gso_refusals_note_absent(struct gso_refusals *g, uint64_t now)
{
    g->absent_until = now + GSO_ABSENT_MS;
    last_until_raise(g, g->absent_until);
}

bool gso_refusals_find(const struct gso_refusals *g, const struct addr *peer, uint32_t segment,
                       uint64_t now)
{
    const struct gso_refusal *r = &g->places[place_of(peer)];

    return now < g->absent_until ||
           (now < r->until && segment >= r->segment && addr_ip_equal(&r->peer, peer));
}
