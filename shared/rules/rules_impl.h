/* What a compiled rule is. Shared by rules.c (judges), rules_build.c and rules_wire.c (compile),
 * nobody else. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/rules/rules.h"
#include "shared/rules/rules_match.h"

enum rule_matcher {
    RULE_USERS = 1 << 0,
    RULE_GROUPS = 1 << 1,
    RULE_FROM = 1 << 2,
    RULE_COMMANDS = 1 << 3,
    RULE_TO = 1 << 4,
    RULE_PORTS = 1 << 5,
};

struct rule {
    enum rules_action action;
    unsigned matchers;  /* enum rule_matcher: those that it has */
    unsigned commands;  /* 1 << enum socks_command */
    bool opens_special; /* allows special-purpose addresses that it does not name */
    struct wordset users;
    struct wordset members; /* of all its groups */
    struct netset from;
    struct wordset names;  /* of `to`, in the form of struct host_name */
    struct netset nets;    /* of `to` */
    struct netset special; /* those of nets that lie within special-purpose ranges */
    struct portset ports;
};

struct rules {
    struct rule **items;
    unsigned count, room;
    bool sealed;
};

/* Users, groups, from, commands: what is known of every request. source is unmapped. */
bool rule_fits_subject(const struct rule *r, const struct rules_subject *s,
                       const struct addr *source);
/* Addresses are judged unmapped, so a mapped network has to become what it means. */
void rule_unmap(struct prefix *p);
