/* Rules on their way from the server, who knows the subject, to a relay that judges datagrams.
 *
 *   rules + subject ── rules_export ──► struct n2_rules ═ N2 ═► rules_import ──► rules
 *
 * What travels is about destinations only: rules that do not concern the subject are left out, and
 * of the others users, groups, from and commands are gone. For every destination
 * rules_judge_datagram and rules_judge_address give the same verdict with the original and its
 * subject as with the import and any subject. */
#pragma once

#include "shared/base/err.h"
#include "shared/n2/n2.h"
#include "shared/rules/rules.h"

/* The sealed rules for the datagrams of subject (its command is SOCKS_UDP_ASSOCIATE), in their
 * order; what stands behind a rule that fits everything is cut off. ret->items is one block that
 * the caller frees; what it points to is the rules' own and lives as long as they do. -1 without
 * memory. */
int rules_export(const struct rules *rules, const struct rules_subject *subject,
                 struct n2_rules *ret);

/* Compiles and seals what a server sent. -1 with a sentence and nothing allocated if there are more
 * than RULES_MAX rules or SET_MAX items in a list, if a name is not in the form of struct host_name
 * or could not stand in a configuration, if a network has host bits or ports are out of order; or
 * without memory. `special` and opens_special are taken as they are given. On success *ret is the
 * caller's. */
int rules_import(const struct n2_rules *in, struct err *e, struct rules **ret);
