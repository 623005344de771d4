#include "shared/rules/rules_wire.h"

#include <stdlib.h>
#include <string.h>

#include "shared/rules/rules_impl.h"

_Static_assert(N2_RULES_MAX == RULES_MAX, "a list that can be configured can be sent");

/* --- export --- */

static void export_rule(const struct rule *r, struct n2_rule *ret)
{
    bool allow = r->action == RULES_ACTION_ALLOW;

    *ret = (struct n2_rule){
        .allow = allow,
        .any_destination = !(r->matchers & RULE_TO),
        .opens_special = allow && r->opens_special,
        .any_port = !(r->matchers & RULE_PORTS),
        .names = (const char *const *)r->names.items,
        .name_count = r->names.count,
        .networks = r->nets.items,
        .network_count = r->nets.count,
        .special = r->special.items,
        .special_count = allow ? r->special.count : 0,
        .ports = r->ports.items,
        .port_count = r->ports.count,
    };
}

int rules_export(const struct rules *rules, const struct rules_subject *subject,
                 struct n2_rules *ret)
{
    struct addr source = addr_unmap(&subject->source);
    struct n2_rule *items = malloc((rules->count + 1) * sizeof(*items));
    bool fits_everything = false;
    size_t count = 0;

    if (items == NULL)
        return -1;
    for (unsigned i = 0; i < rules->count && !fits_everything; i++) {
        const struct rule *r = rules->items[i];

        if (!rule_fits_subject(r, subject, &source))
            continue;
        export_rule(r, &items[count++]);
        fits_everything = !(r->matchers & (RULE_TO | RULE_PORTS));
    }
    *ret = (struct n2_rules){items, count};
    return 0;
}

/* --- import --- */

static int no_memory(struct err *e)
{
    return err_set(e, "memory is short, or the list is longer than %d items", SET_MAX);
}

/* In the form of struct host_name, and what a pattern of the configuration would become. */
static bool is_host_name(const char *name)
{
    char pattern[DEST_NAME_MAX + 2] = "*";
    size_t len = strlen(name);
    bool wildcard = name[0] == '.';
    struct host_name again;

    if (len > DEST_NAME_MAX)
        return false;
    memcpy(pattern + wildcard, name, len + 1);
    return host_name_from_pattern(pattern, &again) && strcmp(again.text, name) == 0;
}

static int import_names(const struct n2_rule *in, struct wordset *ret, struct err *e)
{
    for (size_t i = 0; i < in->name_count; i++) {
        if (!is_host_name(in->names[i]))
            return err_set(e, "a name that is not in the form of a host name or .domain");
        if (wordset_add(ret, in->names[i]))
            return no_memory(e);
    }
    return 0;
}

static bool is_network(const struct prefix *p)
{
    size_t bits = addr_ip_len((enum addr_family)p->family) * 8;

    if (bits == 0 || p->bits > bits)
        return false;
    for (size_t i = p->bits; i < bits; i++)
        if (p->ip[i / 8] & 0x80u >> i % 8)
            return false;
    return true;
}

static int import_networks(const struct prefix *items, size_t count, struct netset *ret,
                           struct err *e)
{
    for (size_t i = 0; i < count; i++) {
        struct prefix p = {.family = items[i].family, .bits = items[i].bits};

        if (!is_network(&items[i]))
            return err_set(e, "not a network: no family, or bits behind its length are set");
        memcpy(p.ip, items[i].ip, addr_ip_len((enum addr_family)p.family));
        rule_unmap(&p);
        if (netset_add(ret, &p))
            return no_memory(e);
    }
    return 0;
}

static int import_ports(const struct n2_rule *in, struct portset *ret, struct err *e)
{
    for (size_t i = 0; i < in->port_count; i++) {
        if (in->ports[i].first > in->ports[i].last)
            return err_set(e, "ports are out of order");
        if (portset_add(ret, in->ports[i]))
            return no_memory(e);
    }
    return 0;
}

static int import_rule(const struct n2_rule *in, struct rule *r, struct err *e)
{
    r->opens_special = in->allow && in->opens_special;
    if (!in->any_destination)
        r->matchers |= RULE_TO;
    if (!in->any_port)
        r->matchers |= RULE_PORTS;
    if (import_names(in, &r->names, e) ||
        import_networks(in->networks, in->network_count, &r->nets, e) ||
        import_networks(in->special, in->special_count, &r->special, e) ||
        import_ports(in, &r->ports, e))
        return -1;
    return 0;
}

int rules_import(const struct n2_rules *in, struct err *e, struct rules **ret)
{
    struct rules *rules;

    if (in->count > RULES_MAX)
        return err_set(e, "more than %d rules", RULES_MAX);
    rules = rules_new();
    if (rules == NULL)
        return no_memory(e);
    for (size_t i = 0; i < in->count; i++) {
        struct rule *r =
            rules_add(rules, in->items[i].allow ? RULES_ACTION_ALLOW : RULES_ACTION_DENY);

        if (r == NULL || import_rule(&in->items[i], r, e)) {
            if (r == NULL)
                no_memory(e);
            else
                err_wrap(e, "rule %zu", i + 1);
            rules_free(rules);
            return -1;
        }
    }
    rules_seal(rules);
    *ret = rules;
    return 0;
}
