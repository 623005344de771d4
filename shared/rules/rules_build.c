#include <stdlib.h>
#include <string.h>

#include "shared/rules/rules_impl.h"
#include "shared/rules/special.h"
#include "shared/socks/socks.h"

static int no_memory(struct err *e)
{
    return err_set(e, "memory is short, or the list is longer than %d items", SET_MAX);
}

struct rules *rules_new(void)
{
    return calloc(1, sizeof(struct rules));
}

static void rule_free(struct rule *r)
{
    wordset_fini(&r->users);
    wordset_fini(&r->members);
    netset_fini(&r->from);
    wordset_fini(&r->names);
    netset_fini(&r->nets);
    netset_fini(&r->special);
    portset_fini(&r->ports);
    free(r);
}

void rules_free(struct rules *rules)
{
    if (!rules)
        return;
    for (unsigned i = 0; i < rules->count; i++)
        rule_free(rules->items[i]);
    free(rules->items);
    free(rules);
}

unsigned rules_count(const struct rules *rules)
{
    return rules->count;
}

/* What malloc keeps beside each block, about. */
#define BLOCK_OCTETS 16

static size_t words_octets(const struct wordset *s)
{
    size_t octets = s->room * sizeof(*s->items);

    for (size_t i = 0; i < s->count; i++)
        octets += strlen(s->items[i]) + 1 + BLOCK_OCTETS;
    return octets;
}

size_t rules_octets(const struct rules *rules)
{
    size_t octets = sizeof(*rules) + rules->room * sizeof(struct rule *);

    for (unsigned i = 0; i < rules->count; i++) {
        const struct rule *r = rules->items[i];

        octets += sizeof(*r) + BLOCK_OCTETS;
        octets += words_octets(&r->users) + words_octets(&r->members) + words_octets(&r->names);
        octets += (r->from.room + r->nets.room + r->special.room) * sizeof(*r->nets.items);
        octets += r->ports.room * sizeof(*r->ports.items);
    }
    return octets;
}

struct rule *rules_add(struct rules *rules, enum rules_action action)
{
    struct rule *r;

    if (rules->count == RULES_MAX)
        return NULL;
    if (rules->count == rules->room) {
        unsigned room = rules->room ? rules->room * 2 : 16;
        struct rule **items = realloc(rules->items, room * sizeof(struct rule *));

        if (!items)
            return NULL;
        rules->items = items;
        rules->room = room;
    }
    r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->action = action;
    rules->items[rules->count++] = r;
    return r;
}

int rule_add_user(struct rule *r, const char *text, struct err *e)
{
    if (text[0] == '\0' || strlen(text) > RULES_USER_MAX)
        return err_set(e, "a user's name has 1 to %d octets", RULES_USER_MAX);
    if (wordset_add(&r->users, text))
        return no_memory(e);
    r->matchers |= RULE_USERS;
    return 0;
}

int rule_add_group(struct rule *r, const char *const *members, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (wordset_add(&r->members, members[i]))
            return no_memory(e);
    r->matchers |= RULE_GROUPS;
    return 0;
}

int rule_add_command(struct rule *r, const char *text, struct err *e)
{
    for (int c = SOCKS_CONNECT; c <= SOCKS_TRANSPARENT; c++)
        if (strcmp(text, socks_command_name((enum socks_command)c)) == 0) {
            r->commands |= 1u << c;
            r->matchers |= RULE_COMMANDS;
            return 0;
        }
    return err_set(e, "not a command; the commands are connect, bind, udp-associate and transparent");
}

void rule_unmap(struct prefix *p)
{
    static const struct prefix mapped = {ADDR_IPV6, 96, {[10] = 0xff, [11] = 0xff}};
    struct prefix v4 = {.family = ADDR_IPV4};

    if (!prefix_within(p, &mapped))
        return;
    v4.bits = (uint8_t)(p->bits - mapped.bits);
    memcpy(v4.ip, p->ip + mapped.bits / 8, 4);
    *p = v4;
}

static int bad_network(const char *text, struct err *e)
{
    struct addr a;
    char ip[ADDR_TEXT_MAX];
    size_t len = strcspn(text, "/");

    if (text[len] != '\0' && len < sizeof(ip)) {
        memcpy(ip, text, len);
        ip[len] = '\0';
        if (addr_parse_ip(ip, &a))
            return err_set(e, "not a network: the length is wrong, or bits behind it are set");
    }
    return err_set(e, "not an address or network; ports stand in `ports`");
}

int rule_add_from(struct rule *r, const char *text, struct err *e)
{
    struct prefix p;

    if (!prefix_parse(text, &p))
        return bad_network(text, e);
    rule_unmap(&p);
    if (netset_add(&r->from, &p))
        return no_memory(e);
    r->matchers |= RULE_FROM;
    return 0;
}

static int add_to_network(struct rule *r, struct prefix p, struct err *e)
{
    rule_unmap(&p);
    if (netset_add(&r->nets, &p))
        return no_memory(e);
    if (special_find_prefix(&p) && netset_add(&r->special, &p))
        return no_memory(e);
    r->matchers |= RULE_TO;
    return 0;
}

int rule_add_to(struct rule *r, const char *text, struct err *e)
{
    struct host_name name;
    struct prefix p;

    if (prefix_parse(text, &p))
        return add_to_network(r, p, e);
    if (strpbrk(text, "/:"))
        return bad_network(text, e);
    if (!host_name_from_pattern(text, &name))
        return err_set(e, "not a host name, a pattern such as *.example.net, or a network");
    if (wordset_add(&r->names, name.text))
        return no_memory(e);
    r->matchers |= RULE_TO;
    return 0;
}

/* A number from 1 to 65535 without sign, blanks or leading zeros. Returns what follows, or NULL. */
static const char *parse_port(const char *text, uint16_t *ret)
{
    unsigned long value = 0;
    size_t len = strspn(text, "0123456789");

    if (len == 0 || len > 5 || text[0] == '0')
        return NULL;
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (unsigned long)(text[i] - '0');
    if (value > UINT16_MAX)
        return NULL;
    *ret = (uint16_t)value;
    return text + len;
}

int rule_add_port(struct rule *r, const char *text, struct err *e)
{
    struct port_span span;
    const char *rest = parse_port(text, &span.first);

    span.last = span.first;
    if (rest && *rest == '-')
        rest = parse_port(rest + 1, &span.last);
    if (!rest || *rest != '\0' || span.last < span.first)
        return err_set(e, "not a port (1 to 65535) or a range such as 8000-8999");
    if (portset_add(&r->ports, span))
        return no_memory(e);
    r->matchers |= RULE_PORTS;
    return 0;
}

void rules_seal(struct rules *rules)
{
    for (unsigned i = 0; i < rules->count; i++) {
        struct rule *r = rules->items[i];

        wordset_seal(&r->users);
        wordset_seal(&r->members);
        netset_seal(&r->from);
        wordset_seal(&r->names);
        netset_seal(&r->nets);
        netset_seal(&r->special);
        portset_seal(&r->ports);
    }
    rules->sealed = true;
}

struct rules *rules_new_standalone(void)
{
    struct rules *rules = rules_new();
    struct rule *r = rules ? rules_add(rules, RULES_ACTION_ALLOW) : NULL;

    if (!r || rule_add_from(r, "127.0.0.0/8", NULL) || rule_add_from(r, "::1", NULL)) {
        rules_free(rules);
        return NULL;
    }
    r->opens_special = true;
    rules_seal(rules);
    return rules;
}
