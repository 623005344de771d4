/* Who may go where: ordered rules, the first that matches decides, the default is to deny.
 *
 * A rule is an action and matchers; all the matchers that it has must fit, and one that it has not
 * fits everything:
 *
 *   users     the authenticated name is one of these
 *   groups    ... is a member of one of these
 *   from      the client's address is in one of these networks
 *   commands  connect, bind, udp-associate, transparent
 *   to        the destination is one of these names ("example.net" itself, "*.example.net" for all
 *             that lies under it, at any depth), or its address is in one of these networks
 *   ports     of the destination
 *
 * A request is judged twice, so that a denied name causes no query and an allowed name leads to no
 * address that the rules forbid (no rebinding):
 *
 *   request ── rules_judge_request ──► DENY     no query, no connection
 *                                      ALLOW    an address: final. A name: resolve it, then ...
 *                                      RESOLVE  the rules depend on the address: resolve it, then
 *              rules_judge_address ──► ALLOW or DENY, for each address of the name by itself
 *
 * Special-purpose addresses (shared/rules/special.h) are denied, unless the rule that allows names
 * their network as an address: one item of its `to` holds the address and lies within
 * special-purpose ranges itself. 127.0.0.0/8 and 10.1.2.3 open what they say; 0.0.0.0/0, a name, or
 * no `to` at all opens none of them.
 *
 * IPv4-mapped IPv6 is IPv4 here, in rules as in requests. A rule that denies also takes an IPv6
 * address that carries an IPv4 address of its networks (NAT64, 6to4, Teredo); one that allows does
 * not.
 *
 * BIND (PROTOCOL C9): the destination is the peer that may connect, the port is the local port that
 * the client wants. No address and no port mean "any": an unspecified address fits a rule without
 * `to` or with a network that is its whole family (0.0.0.0/0, ::/0), and is not itself special;
 * port 0 fits a rule without `ports` or with all of 1-65535. So `deny: {to: [10.0.0.0/8]}` does not
 * stop a BIND for any peer; judge the peer when it has come.
 *
 * UDP ASSOCIATE (RFC 1928 section 6): its destination is where the client will send from, so the
 * request is allowed if some datagram might be: `to` and `ports` of a rule that allows count as
 * fitting, of one that denies as not fitting. Each datagram is then judged where it passes, its
 * destination like that of a CONNECT, only that nothing is said to the client:
 *
 *   datagram ── rules_judge_datagram ──► DENY, ALLOW or RESOLVE as above
 *               rules_judge_address ───► ALLOW or DENY, for each address of a name by itself
 *
 * The relay does that, with the rules of this subject alone: shared/rules/rules_wire.h.
 *
 * Pure but for the memory of the rules: no query, no clock, no log. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/socks/socks.h"

enum rules_verdict { RULES_DENY, RULES_ALLOW, RULES_RESOLVE };

struct rules_subject {
    struct addr source; /* the client's address */
    /* The authenticated name; NULL without authentication (a SOCKS 4 USERID is none): then no rule
     * with `users` or `groups` matches. */
    const char *user;
    enum socks_command command;
};

struct rules_result {
    enum rules_verdict verdict;
    unsigned rule; /* the rule that decided, from 1; 0 = none did */
    /* A constant for logs and metrics: "rule", "default" (no rule matched), "special_address" (rule
     * allows, but not this address), "bad_name" (cannot be a host name), "needs_address". */
    const char *why;
};

/* An immutable compiled snapshot, once sealed. */
struct rules;

/* Before anything is resolved. dest->name decides whether it is a name. */
struct rules_result rules_judge_request(const struct rules *rules,
                                        const struct rules_subject *subject,
                                        const struct dest *dest);
/* The destination of one datagram of an association (subject->command is SOCKS_UDP_ASSOCIATE),
 * before anything is resolved. */
struct rules_result rules_judge_datagram(const struct rules *rules,
                                         const struct rules_subject *subject,
                                         const struct dest *dest);
/* On an address that dest has resolved to, or is (then rules_judge_request has said the same, of a
 * datagram rules_judge_datagram); its port is not looked at, dest's is. */
struct rules_result rules_judge_address(const struct rules *rules,
                                        const struct rules_subject *subject,
                                        const struct dest *dest, const struct addr *address);

unsigned rules_count(const struct rules *rules);
/* What the rules hold in memory, about. */
size_t rules_octets(const struct rules *rules);
void rules_free(struct rules *rules); /* accepts NULL */

/* The rules of --standalone: clients on loopback may do everything, special-purpose addresses
 * included; nobody else may do anything. NULL when memory is short. */
struct rules *rules_new_standalone(void);

/* --- building --- */

#define RULES_MAX      4096
#define RULES_USER_MAX 255 /* octets of a user's name: RFC 1929 */

enum rules_action { RULES_ACTION_DENY, RULES_ACTION_ALLOW };
struct rule;

/* NULL when memory is short. */
struct rules *rules_new(void);
/* Appends a rule without matchers, owned by rules, to be filled until rules_seal; a later rules_add
 * does not move it. NULL when memory is short or there are RULES_MAX. */
struct rule *rules_add(struct rules *rules, enum rules_action action);

/* Each adds one item to one matcher, from the text of the configuration. 0, or -1 with a sentence
 * about the text. A matcher exists from its first item on. */
int rule_add_user(struct rule *r, const char *text, struct err *e);
int rule_add_from(struct rule *r, const char *text, struct err *e);
int rule_add_command(struct rule *r, const char *text, struct err *e);
int rule_add_to(struct rule *r, const char *text, struct err *e);
int rule_add_port(struct rule *r, const char *text, struct err *e); /* "443", "8000-8999" */
/* Adds a group, given as its members; without any it takes nobody. */
int rule_add_group(struct rule *r, const char *const *members, size_t count, struct err *e);

/* Ends building; nothing is judged before. */
void rules_seal(struct rules *rules);
