/* The rules of associations, as the relay holds them: compiled once per content, however many
 * associations have them.
 *
 *   policies_get ──► struct policy (one reference) ──► policy_unref
 *
 * Content is compared octet by octet, in the order in which it came; a table with a keyed hash
 * finds it. Pure but for memory and the key: no clock, no log. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/n2/n2.h"
#include "shared/rules/rules.h"

/* One policy's content: never more octets than its DatagramRules has in a message. */
#define POLICY_OCTETS_MAX N2_RULES_OCTETS
/* What all policies together may hold in memory. */
#define POLICIES_OCTETS_MAX (256u * 1024 * 1024)

struct policy;

/* Zeroed memory is an empty table. */
struct policies {
    uint32_t count;  /* policies held */
    uint64_t octets; /* in memory, about */
    /* Private. */
    struct policy **buckets;
    size_t size;
    uint64_t key[2];
};

/* Every policy has been given back. Harmless on zeroed memory. */
void policies_fini(struct policies *p);

/* Takes a reference to the policy with this content; NULL rules: nothing is allowed. rules may go
 * afterwards. N2_REFUSAL_NONE with *ret set, or the refusal to answer with and e set: N2_BAD (what
 * rules_import refuses, or more than POLICY_OCTETS_MAX), N2_FULL (POLICIES_OCTETS_MAX, or no
 * memory); then nothing has changed. */
enum n2_refusal_code policies_get(struct policies *p, const struct n2_rules *rules,
                                  struct policy **ret, struct err *e);
/* Gives one reference back, the last one frees it. NULL is allowed. */
void policy_unref(struct policies *p, struct policy *policy);

/* A datagram's destination before anything is resolved. An address: RULES_ALLOW or RULES_DENY,
 * final. A name: RULES_DENY: no query is made; else each of its addresses is asked for by
 * policy_allows. (A name that is an IP literal should be an address in dest by now; as a name it
 * gets no further than its address would.) */
enum rules_verdict policy_judge(const struct policy *policy, const struct dest *dest);
/* On an address that dest has resolved to, or is; its port is not looked at, dest's is. */
bool policy_allows(const struct policy *policy, const struct dest *dest,
                   const struct addr *address);
