/* How associations began and ended, counted by reason: the same for every relay. */
#pragma once

#include "shared/daemon/prom.h"
#include "shared/n2/n2.h"

struct relay_counts {
    uint64_t opened[N2_KINDS];
    uint64_t refused[N2_REFUSAL_CODES];
    uint64_t unreachable[N2_CAUSES];
    uint64_t ended[N2_END_COUNT];
    uint64_t octets_up, octets_down; /* of those that have ended */
};

void relay_counts_refused(struct relay_counts *c, const struct n2_refusal *r);
void relay_counts_ended(struct relay_counts *c, enum n2_end why, const struct n2_counters *n);
/* Their metrics. */
void relay_counts_metrics(const struct relay_counts *c, struct prom *p);
