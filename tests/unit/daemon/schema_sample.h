/* A configuration like those of socksd and the relays, with everything that a table can say; for
 * the unit test and the fuzzer of shared/daemon/schema.h. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "shared/daemon/schema.h"

enum method { METHOD_NONE, METHOD_PASSWORD, METHOD_GSSAPI };

struct listener {
    struct addr listen;
    SCHEMA_ITEMS(enum method) methods;
    uint64_t handshake_ms;
};

struct users {
    char *file;
};

struct spawn {
    char *program;
    uint64_t count;
};

struct relay {
    bool is_spawn;
    struct spawn spawn;
    char *url;
};

struct matchers {
    SCHEMA_ITEMS(char *) users;
    SCHEMA_ITEMS(struct prefix) to;
    SCHEMA_ITEMS(struct schema_ports) ports;
};

struct rule {
    bool allow;
    struct matchers when;
};

struct rules {
    struct rule *items;
    size_t count;
};

struct data {
    SCHEMA_ITEMS(struct addr) bind;
    struct schema_ports ports;
    uint64_t buffer;
};

struct status {
    SCHEMA_ITEMS(char *) listen;
    bool detail;
};

struct config {
    SCHEMA_ITEMS(struct listener) listeners;
    struct users users;
    SCHEMA_ITEMS(struct relay) relays;
    struct rules rules;
    struct data data;
    struct status status;
};

static const struct schema_word methods[] = {
    {"none", METHOD_NONE},
    {"username-password", METHOD_PASSWORD},
    {"gssapi", METHOD_GSSAPI},
    {NULL, 0},
};

static const struct schema_key listener_keys[] = {
    SCHEMA_KEY("listen", ADDR, struct listener, listen, .required = true,
               .help = "Where clients connect."),
    SCHEMA_LIST("methods", WORD, struct listener, methods, .words = methods, .preset = "[none]",
                .filled = true, .help = "How clients may authenticate."),
    SCHEMA_KEY("handshake-timeout", DURATION, struct listener, handshake_ms, .preset = "10s",
               .min = 100, .max = 90000),
    {0},
};
static const struct schema listener = {sizeof(struct listener), listener_keys, NULL};

static const struct schema_key users_keys[] = {
    SCHEMA_KEY("file", PATH, struct users, file),
    {0},
};
static const struct schema users = {sizeof(struct users), users_keys, NULL};

static const struct schema_key spawn_keys[] = {
    SCHEMA_KEY("program", STRING, struct spawn, program, .required = true, .min = 1, .max = 16),
    SCHEMA_KEY("count", UINT, struct spawn, count, .preset = "1", .min = 1, .max = 64),
    {0},
};
static const struct schema spawn = {sizeof(struct spawn), spawn_keys, NULL};

static int check_url(const char *text, struct err *e)
{
    return strstr(text, "://") != NULL ? 0 : err_set(e, "no scheme");
}

static int check_relay(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay *r = object;

    return r->is_spawn != (r->url != NULL) ? 0 : yaml_err(at, e, "one of \"spawn\", \"url\"");
}

static const struct schema_key relay_keys[] = {
    SCHEMA_SUB("spawn", struct relay, spawn, &spawn, .given = SCHEMA_GIVEN(struct relay, is_spawn)),
    SCHEMA_KEY("url", STRING, struct relay, url, .check = check_url),
    {0},
};
static const struct schema relay = {sizeof(struct relay), relay_keys, check_relay};

static const struct schema_key matchers_keys[] = {
    SCHEMA_LIST("users", STRING, struct matchers, users, .filled = true, .max = 255),
    SCHEMA_LIST("to", PREFIX, struct matchers, to),
    SCHEMA_LIST("ports", PORTS, struct matchers, ports),
    {0},
};
static const struct schema matchers = {sizeof(struct matchers), matchers_keys, NULL};

/* `- allow: {...}`: the key is the action. */
static int rule_load(const struct yaml_node *at, struct err *e, struct rule *ret)
{
    if (schema_expect("rules", at, YAML_MAPPING, e) != 0)
        return -1;
    if (at->count != 1)
        return yaml_err(at, e, "rules: each item is one of \"allow\", \"deny\"");
    ret->allow = strcmp(at->first->key->text, "allow") == 0;
    if (!ret->allow && strcmp(at->first->key->text, "deny") != 0)
        return yaml_err(at->first->key, e, "rules: each item is one of \"allow\", \"deny\"");
    return schema_load(&matchers, at->first, e, &ret->when);
}

static int rules_load(const struct yaml_node *at, struct err *e, void *ret_field)
{
    struct rules *rules = ret_field;

    if (schema_expect("rules", at, YAML_SEQUENCE, e) != 0)
        return -1;
    rules->items = calloc(at->count + 1, sizeof(*rules->items));
    if (rules->items == NULL)
        return yaml_err(at, e, "out of memory");
    for (const struct yaml_node *n = at->first; n != NULL; n = n->next) {
        if (rule_load(n, e, &rules->items[rules->count]) != 0)
            return -1;
        rules->count++;
    }
    return 0;
}

static void rules_fini(void *field)
{
    struct rules *rules = field;

    for (size_t i = 0; i < rules->count; i++)
        schema_fini(&matchers, &rules->items[i].when);
    free(rules->items);
}

static const struct schema_key data_keys[] = {
    SCHEMA_LIST("bind", IP, struct data, bind, .preset = "[0.0.0.0, \"::\"]"),
    SCHEMA_KEY("ports", PORTS, struct data, ports, .preset = "20000-21023"),
    SCHEMA_KEY("buffer", SIZE, struct data, buffer, .preset = "64KiB", .min = 4096,
               .max = 1024 * 1024),
    {0},
};
static const struct schema data = {sizeof(struct data), data_keys, NULL};

static int check_listen(const char *text, struct err *e)
{
    struct addr a;

    if (strncmp(text, "unix:", 5) == 0 || addr_parse(text, &a))
        return 0;
    return err_set(e, "neither unix:PATH nor an address and port");
}

static const struct schema_key status_keys[] = {
    SCHEMA_LIST("listen", STRING, struct config, status.listen, .check = check_listen,
                .preset = "[\"unix:/run/status.sock\"]"),
    SCHEMA_KEY("detail", BOOL, struct config, status.detail, .preset = "false"),
    {0},
};
static const struct schema status = {sizeof(struct config), status_keys, NULL};

static const struct schema_key config_keys[] = {
    SCHEMA_SUBS("listeners", struct config, listeners, &listener,
                .preset = "[{listen: 127.0.0.1:1080}]", .help = "Where socksd listens."),
    SCHEMA_SUB("users", struct config, users, &users),
    SCHEMA_SUBS("relays", struct config, relays, &relay, .preset = "[{spawn: {program: r}}]"),
    SCHEMA_CUSTOM("rules", struct config, rules, rules_load, rules_fini, .form = "list of rules",
                  .preset = "[{deny: {}}]", .help = "Who may go where."),
    SCHEMA_SUB("relay", struct config, data, &data),
    SCHEMA_GROUP("status", struct config, &status),
    {0},
};
static const struct schema config = {sizeof(struct config), config_keys, NULL};
