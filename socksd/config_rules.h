/* `rules:` and `groups:` of socksd's configuration.
 *
 *   groups:
 *     staff: [alice, bob]          # may be empty: then it takes nobody
 *   rules:
 *     - allow: { groups: [staff], to: ["*.example.net", 192.0.2.0/24], ports: [443, 8000-8999] }
 *     - deny: {}
 *
 * A rule is a mapping with one key, allow or deny, and its matchers (shared/rules/rules.h); each
 * matcher is a list of at least one item. Everything else is refused with FILE:LINE:COLUMN.
 *
 * A rule refers to groups, which may stand behind it in the file, so that both keys are read
 * together when their mapping is complete:
 *
 *   static int check(void *object, const struct yaml_node *at, struct err *e)
 *   {
 *       struct config *c = object;
 *       return config_rules_load(at, e, &c->rules);
 *   }
 *   static const struct schema_key keys[] = {
 *       CONFIG_RULES_KEYS(struct config, rules),      // struct rules *rules;
 *       ...
 *
 * schema_fini frees them. Without a file (schema_load at NULL) the field stays NULL. */
#pragma once

#include "shared/base/err.h"
#include "shared/daemon/schema.h"
#include "shared/daemon/yaml.h"
#include "shared/rules/rules.h"

/* Compiles what the mapping says under `groups` and `rules`; without `rules` that denies
 * everything. On success *ret is the caller's. */
int config_rules_load(const struct yaml_node *mapping, struct err *e, struct rules **ret);

/* For the rows below. */
int config_rules_defer(const struct yaml_node *at, struct err *e, void *ret_field);
void config_rules_fini(void *field);

#define CONFIG_RULES_KEYS(T, f)                                                                    \
    SCHEMA_CUSTOM("groups", T, f, config_rules_defer, NULL, .form = "mapping of names to users",   \
                  .help = "Groups of users, for rules."),                                          \
        SCHEMA_CUSTOM(                                                                             \
            "rules", T, f, config_rules_defer, config_rules_fini, .form = "list of rules",         \
            .help = "Who may go where; the first rule that matches decides, the default "          \
                    "is to deny. `allow:` or `deny:` with any of users, groups, from, "            \
                    "commands, to, ports.")
