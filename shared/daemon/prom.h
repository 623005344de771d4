/* The text that Prometheus scrapes (exposition format 0.0.4), built into a buffer with a limit.
 *
 *   prom_family(p, "relayd_bytes_total", PROM_COUNTER, "Payload octets relayed.");
 *   prom_u64(p, PROM_LABELS({"proto", "tcp"}, {"direction", "out"}), n);
 *
 *   # HELP relayd_bytes_total Payload octets relayed.
 *   # TYPE relayd_bytes_total counter
 *   relayd_bytes_total{proto="tcp",direction="out"} 4096
 *
 * A sample belongs to the family opened last, so that a family can neither be scattered nor lack
 * its help. What `promtool check metrics` complains about is asserted where it can be seen here:
 * names, empty help, the suffix _total. Opening one family twice, or writing one sample twice, is
 * the caller's mistake. Values of labels may hold any octets: they are escaped, and what is not
 * UTF-8 becomes U+FFFD. Pure but for prom_process; no function here fails on the spot: what did not
 * fit is told once, by prom_take. */
#pragma once

#include <stdint.h>

#include "shared/base/buf.h"

#define PROM_NAME_MAX 127

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

struct prom {
    struct buf text;
    enum prom_type type; /* of the family that is open */
    char family[PROM_NAME_MAX + 1];
};

struct prom_label {
    const char *name;  /* a constant of ours: [a-zA-Z_][a-zA-Z0-9_]*, not "le" */
    const char *value; /* any octets; NULL is "" */
};

#define PROM_LABELS(...) ((const struct prom_label[]){__VA_ARGS__ __VA_OPT__(, ){NULL, NULL}})

/* limit: octets of text; no memory is taken before the first family. */
void prom_init(struct prom *p, size_t limit);
void prom_fini(struct prom *p);
/* The whole text, for free(), and p is empty again. NULL when it did not fit into the limit or
 * memory ran out: half a text is never handed out. */
char *prom_take(struct prom *p, size_t *ret_len);

/* name ends in "_total" exactly when it counts. Both are copied. */
void prom_family(struct prom *p, const char *name, enum prom_type type, const char *help);
/* One sample of a counter or a gauge; labels may be NULL. */
void prom_u64(struct prom *p, const struct prom_label *labels, uint64_t value);
void prom_f64(struct prom *p, const struct prom_label *labels, double value);

/* Counts by size, plain data that its owner keeps: 0, ..., n-1 for values up to and including
 * bounds[i], counts[n] for those above. Set bounds and n, leave the rest zero. */
#define PROM_BOUNDS_MAX 23
struct prom_histogram {
    const double *bounds; /* rising; the owner's, usually a static table */
    uint8_t n;            /* of bounds, at most PROM_BOUNDS_MAX */
    uint64_t counts[PROM_BOUNDS_MAX + 1];
    double sum;
};

/* In the unit of the bounds. A time that came out negative, or not as a number, counts as 0. */
void prom_observe(struct prom_histogram *h, double value);
/* All samples of one histogram: cumulative buckets, sum and count. */
void prom_histogram(struct prom *p, const struct prom_label *labels,
                    const struct prom_histogram *h);

/* PREFIX_build_info{version="..."} 1 */
void prom_build_info(struct prom *p, const char *prefix, const char *version);
/* process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, process_max_fds and
 * process_start_time_seconds of this process. A figure that /proc does not give is left out. Cheap
 * however many descriptors are open: one stat (Linux 6.2), before that one poll over the table. */
void prom_process(struct prom *p);
