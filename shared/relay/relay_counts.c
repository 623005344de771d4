#include "shared/relay/relay_counts.h"

void relay_counts_refused(struct relay_counts *c, const struct n2_refusal *r)
{
    c->refused[r->code]++;
    c->unreachable[r->cause]++;
}

void relay_counts_ended(struct relay_counts *c, enum n2_end why, const struct n2_counters *n)
{
    c->ended[why]++;
    c->octets_up += n->octets_up;
    c->octets_down += n->octets_down;
}

/* The first word of each means "none". */
static void put(struct prom *p, const char *label, const uint64_t *counts, size_t n,
                const char *(*name)(int))
{
    for (size_t i = 1; i < n; i++)
        prom_u64(p, PROM_LABELS({label, name((int)i)}), counts[i]);
}

static const char *kind_word(int i)
{
    return n2_kind_name((enum n2_kind)i);
}

static const char *refusal_word(int i)
{
    return n2_refusal_name((enum n2_refusal_code)i);
}

static const char *cause_word(int i)
{
    return n2_cause_name((enum n2_cause)i);
}

static const char *end_word(int i)
{
    return n2_end_name((enum n2_end)i);
}

void relay_counts_metrics(const struct relay_counts *c, struct prom *p)
{
    prom_family(p, "relayd_associations_opened_total", PROM_COUNTER,
                "Associations opened, by kind.");
    put(p, "kind", c->opened, N2_KINDS, kind_word);
    prom_family(p, "relayd_associations_ended_total", PROM_COUNTER,
                "Associations that were opened and have ended, by reason.");
    put(p, "reason", c->ended, N2_END_COUNT, end_word);
    prom_family(p, "relayd_refusals_total", PROM_COUNTER,
                "Associations that could not be opened, by reason.");
    put(p, "reason", c->refused, N2_REFUSAL_CODES, refusal_word);
    prom_family(p, "relayd_unreachable_total", PROM_COUNTER,
                "Destinations that could not be reached, by cause.");
    put(p, "cause", c->unreachable, N2_CAUSES, cause_word);
    prom_family(p, "relayd_ended_octets_total", PROM_COUNTER,
                "Payload of associations that have ended, by direction.");
    prom_u64(p, PROM_LABELS({"direction", "up"}), c->octets_up);
    prom_u64(p, PROM_LABELS({"direction", "down"}), c->octets_down);
}
