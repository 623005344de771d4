#include "socksd/config_rules.h"

#include <stdlib.h>
#include <string.h>

/* The groups are looked up in the tree itself: a few, and at load only. */
struct loader {
    struct rules *rules;
    const struct yaml_node *groups; /* a mapping of lists of users, or NULL */
    struct err *e;
};

static int check_list(const struct yaml_node *at, const char *what, struct err *e)
{
    if (at->kind != YAML_SEQUENCE)
        return yaml_err(at, e, "%s: a list is expected here", what);
    for (const struct yaml_node *item = at->first; item; item = item->next)
        if (item->kind != YAML_SCALAR || yaml_is_missing(item))
            return yaml_err(item, e, "%s: a single value is expected here", what);
    return 0;
}

static int check_group(const struct yaml_node *group, struct err *e)
{
    if (check_list(group, "group", e))
        return -1;
    for (const struct yaml_node *user = group->first; user; user = user->next) {
        size_t len = strlen(user->text);

        if (len == 0 || len > RULES_USER_MAX)
            return yaml_err(user, e, "group: a user's name has 1 to %d octets", RULES_USER_MAX);
    }
    return 0;
}

static int check_groups(const struct yaml_node *groups, struct err *e)
{
    if (groups->kind != YAML_MAPPING)
        return yaml_err(groups, e, "groups: a mapping is expected here");
    for (const struct yaml_node *group = groups->first; group; group = group->next)
        if (check_group(group, e))
            return -1;
    return 0;
}

static int add_group(const struct loader *l, struct rule *r, const struct yaml_node *item)
{
    const struct yaml_node *group = l->groups ? yaml_find(l->groups, item->text) : NULL;
    const char **members;
    size_t count = 0;
    int status;

    if (!group)
        return yaml_err(item, l->e, "groups: there is no group \"%.64s\"", item->text);
    members = calloc(group->count + 1, sizeof(*members));
    if (!members)
        return yaml_err(item, l->e, "out of memory");
    for (const struct yaml_node *user = group->first; user; user = user->next)
        members[count++] = user->text;
    status = rule_add_group(r, members, count, l->e);
    free(members);
    return status ? err_wrap(l->e, "%s:%u:%u: groups", item->file, item->line, item->column) : 0;
}

static const struct {
    const char *key;
    int (*add)(struct rule *r, const char *text, struct err *e); /* NULL: a group */
} matchers[] = {
    {"users", rule_add_user},       {"groups", NULL},    {"from", rule_add_from},
    {"commands", rule_add_command}, {"to", rule_add_to}, {"ports", rule_add_port},
};

static int load_matcher(const struct loader *l, struct rule *r, const struct yaml_node *list)
{
    const char *key = list->key->text;
    size_t i = 0;

    while (i < sizeof(matchers) / sizeof(matchers[0]) && strcmp(key, matchers[i].key) != 0)
        i++;
    if (i == sizeof(matchers) / sizeof(matchers[0]))
        return yaml_err(
            list->key, l->e,
            "unknown key \"%.64s\"; a rule has users, groups, from, commands, to, ports", key);
    if (check_list(list, key, l->e))
        return -1;
    if (list->count == 0)
        return yaml_err(list, l->e,
                        "%s: an empty list would match nothing; leave it out to match "
                        "everything",
                        key);
    for (const struct yaml_node *item = list->first; item; item = item->next) {
        if (!matchers[i].add) {
            if (add_group(l, r, item))
                return -1;
        } else if (matchers[i].add(r, item->text, l->e)) {
            return err_wrap(l->e, "%s:%u:%u: %s: \"%.64s\"", item->file, item->line, item->column,
                            key, item->text);
        }
    }
    return 0;
}

static int load_rule(const struct loader *l, const struct yaml_node *at)
{
    const struct yaml_node *body = at->first;
    bool allow, deny;
    struct rule *r;

    if (at->kind != YAML_MAPPING || at->count != 1)
        return yaml_err(at, l->e, "rules: a rule is `allow: {...}` or `deny: {...}`");
    allow = strcmp(body->key->text, "allow") == 0;
    deny = strcmp(body->key->text, "deny") == 0;
    if (!allow && !deny)
        return yaml_err(body->key, l->e, "rules: \"%.64s\" is neither allow nor deny",
                        body->key->text);
    if (body->kind != YAML_MAPPING)
        return yaml_err(body, l->e, "%s: a mapping is expected here; {} matches everything",
                        body->key->text);
    r = rules_add(l->rules, allow ? RULES_ACTION_ALLOW : RULES_ACTION_DENY);
    if (!r)
        return yaml_err(at, l->e, "rules: more than %d rules, or out of memory", RULES_MAX);
    for (const struct yaml_node *list = body->first; list; list = list->next)
        if (load_matcher(l, r, list))
            return -1;
    return 0;
}

static int load_rules(const struct loader *l, const struct yaml_node *rules)
{
    if (rules->kind != YAML_SEQUENCE)
        return yaml_err(rules, l->e, "rules: a list is expected here");
    for (const struct yaml_node *at = rules->first; at; at = at->next)
        if (load_rule(l, at))
            return -1;
    return 0;
}

int config_rules_load(const struct yaml_node *mapping, struct err *e, struct rules **ret)
{
    const struct yaml_node *rules = yaml_find(mapping, "rules");
    struct loader l = {rules_new(), yaml_find(mapping, "groups"), e};

    if (!l.rules)
        return yaml_err(mapping, e, "out of memory");
    if ((l.groups && check_groups(l.groups, e)) || (rules && load_rules(&l, rules))) {
        rules_free(l.rules);
        return -1;
    }
    rules_seal(l.rules);
    *ret = l.rules;
    return 0;
}

int config_rules_defer(const struct yaml_node *at, struct err *e, void *ret_field)
{
    (void)at;
    (void)e;
    (void)ret_field;
    return 0;
}

void config_rules_fini(void *field)
{
    rules_free(*(struct rules **)field);
}
