/* DatagramRules, both ways. Private to the codec. */
#pragma once

#include "proto/n2.pb-c.h"
#include "shared/n2/n2.h"
#include "shared/n2/n2_arena.h"

/* NULL: malformed (a network of no family, with host bits or too many bits, ports out of order, too
 * many rules), or without memory. What it returns leads into m and the arena. IPv4-mapped networks
 * are given as IPv4. */
const struct n2_rules *n2_rules_get(struct n2_arena *a, const N2__V1__DatagramRules *m);
/* One block that the caller frees; it leads into r. NULL for NULL, and without memory: then *failed
 * is set. */
N2__V1__DatagramRules *n2_rules_put(const struct n2_rules *r, bool *failed);
