#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/rules/rules.h"

/* "allow users=alice,bob to=*.example.net,10.0.0.0/8 ports=443; deny" as rules. A group is written
 * as its members: groups=alice,bob; `groups=` alone is a group without members. */
static int add_item(struct rule *r, const char *key, char *item)
{
    static const struct {
        const char *key;
        int (*add)(struct rule *r, const char *text, struct err *e);
    } matchers[] = {
        {"users", rule_add_user},       {"from", rule_add_from},  {"to", rule_add_to},
        {"commands", rule_add_command}, {"ports", rule_add_port},
    };
    struct err e;

    if (strcmp(key, "groups") == 0)
        return rule_add_group(r, (const char *const *)&item, item[0] != '\0', &e);
    for (size_t i = 0; i < sizeof(matchers) / sizeof(matchers[0]); i++)
        if (strcmp(key, matchers[i].key) == 0)
            return matchers[i].add(r, item, &e);
    fail_msg("%s is no matcher", key);
    return -1;
}

static void add_rule(struct rules *rules, char *text)
{
    char *next = NULL;
    char *word = strtok_r(text, " ", &next);
    struct rule *r =
        rules_add(rules, strcmp(word, "allow") == 0 ? RULES_ACTION_ALLOW : RULES_ACTION_DENY);

    assert_non_null(r);
    while ((word = strtok_r(NULL, " ", &next))) {
        char *items = strchr(word, '='), *item;

        *items++ = '\0';
        while ((item = strsep(&items, ",")))
            if (add_item(r, word, item))
                fail_msg("%s is refused in %s", item, word);
    }
}

static struct rules *rules_of(const char *text)
{
    struct rules *rules = rules_new();
    char *copy = strdup(text), *rest = copy, *rule;

    assert_non_null(rules);
    while ((rule = strsep(&rest, ";")))
        if (rule[strspn(rule, " ")] != '\0')
            add_rule(rules, rule);
    free(copy);
    rules_seal(rules);
    return rules;
}

/* "name:port", "1.2.3.4:port" or "[v6]:port" */
static struct dest dest_of(const char *text)
{
    struct dest d = {0};
    const char *colon = strrchr(text, ':');

    if (addr_parse(text, &d.addr))
        return d;
    memcpy(d.name, text, (size_t)(colon - text));
    d.addr.port = (uint16_t)atoi(colon + 1);
    return d;
}

/* Who asks: "user@source command", each part but the source may be missing. */
struct who {
    char user[32];
    struct rules_subject subject;
};

static void who_is(const char *text, struct who *ret)
{
    char source[ADDR_TEXT_MAX], command[16] = "connect";
    const char *at = strchr(text, '@');

    memset(ret, 0, sizeof(*ret));
    if (at) {
        memcpy(ret->user, text, (size_t)(at - text));
        ret->subject.user = ret->user;
        text = at + 1;
    }
    assert_true(sscanf(text, "%63s %15s", source, command) >= 1);
    assert_true(addr_parse_ip(source, &ret->subject.source));
    ret->subject.command = strcmp(command, "bind") == 0            ? SOCKS_BIND
                           : strcmp(command, "udp-associate") == 0 ? SOCKS_UDP_ASSOCIATE
                                                                   : SOCKS_CONNECT;
}

/* "allow 1 rule", in the order of struct rules_result */
static const char *text_of(struct rules_result r, char buf[64])
{
    static const char *const verdicts[] = {"deny", "allow", "resolve"};

    snprintf(buf, 64, "%s %u %s", verdicts[r.verdict], r.rule, r.why);
    return buf;
}

struct request_row {
    const char *rules, *who, *dest, *expected;
};

/* What is an address already is judged alike by both. */
static void check_again(const struct rules *rules, const struct rules_subject *subject,
                        const struct dest *dest, const char *expected)
{
    char got[64];

    if (dest->name[0] != '\0' || subject->command == SOCKS_UDP_ASSOCIATE)
        return;
    text_of(rules_judge_address(rules, subject, dest, &dest->addr), got);
    assert_string_equal(got, expected);
}

static void check_requests(const struct request_row *rows)
{
    for (const struct request_row *row = rows; row->rules; row++) {
        struct rules *rules = rules_of(row->rules);
        struct dest dest = dest_of(row->dest);
        struct who who;
        char got[64];

        who_is(row->who, &who);
        text_of(rules_judge_request(rules, &who.subject, &dest), got);
        check_again(rules, &who.subject, &dest, got);
        rules_free(rules);
        if (strcmp(got, row->expected) != 0)
            fail_msg("{%s} %s -> %s: %s, expected %s", row->rules, row->who, row->dest, got,
                     row->expected);
    }
}

struct address_row {
    const char *rules, *dest, *address, *expected;
};

static void check_addresses(const struct address_row *rows)
{
    for (const struct address_row *row = rows; row->rules; row++) {
        struct rules *rules = rules_of(row->rules);
        struct dest dest = dest_of(row->dest);
        struct addr address;
        struct who who;
        char got[64];

        who_is("198.51.100.1", &who);
        assert_true(addr_parse_ip(row->address, &address));
        text_of(rules_judge_address(rules, &who.subject, &dest, &address), got);
        rules_free(rules);
        if (strcmp(got, row->expected) != 0)
            fail_msg("{%s} %s = %s: %s, expected %s", row->rules, row->dest, row->address, got,
                     row->expected);
    }
}

static void the_first_rule_that_matches_decides_and_the_default_is_to_deny(void **state)
{
    static const struct request_row rows[] = {
        {"", "198.51.100.1", "8.8.8.8:443", "deny 0 default"},
        {"", "198.51.100.1", "example.net:443", "deny 0 default"},
        {"allow", "198.51.100.1", "8.8.8.8:443", "allow 1 rule"},
        {"allow", "198.51.100.1", "example.net:443", "allow 1 rule"},
        {"deny; allow", "198.51.100.1", "8.8.8.8:443", "deny 1 rule"},
        {"deny ports=25; allow; deny", "198.51.100.1", "8.8.8.8:25", "deny 1 rule"},
        {"deny ports=25; allow; deny", "198.51.100.1", "8.8.8.8:26", "allow 2 rule"},
        {"allow ports=443", "198.51.100.1", "8.8.8.8:80", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void users_and_groups_match_authenticated_names_only(void **state)
{
    static const struct request_row rows[] = {
        {"allow users=alice,bob", "alice@198.51.100.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow users=alice,bob", "bob@198.51.100.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow users=alice,bob", "Alice@198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow users=alice,bob", "bo@198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow users=alice,bob", "198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow groups=carol,dave", "dave@198.51.100.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow groups=carol,dave", "alice@198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow groups=carol,dave", "198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow groups=", "carol@198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"deny users=eve; allow", "198.51.100.1", "8.8.8.8:1", "allow 2 rule"},
        /* Both: both must fit. */
        {"allow users=alice groups=bob", "alice@198.51.100.1", "8.8.8.8:1", "deny 0 default"},
        {"allow users=alice groups=alice", "alice@198.51.100.1", "8.8.8.8:1", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void from_matches_the_clients_address_mapped_or_not(void **state)
{
    static const struct request_row rows[] = {
        {"allow from=10.0.0.0/8", "10.1.2.3", "8.8.8.8:1", "allow 1 rule"},
        {"allow from=10.0.0.0/8", "::ffff:10.1.2.3", "8.8.8.8:1", "allow 1 rule"},
        {"allow from=10.0.0.0/8", "11.1.2.3", "8.8.8.8:1", "deny 0 default"},
        {"allow from=::ffff:10.0.0.0/104", "10.1.2.3", "8.8.8.8:1", "allow 1 rule"},
        {"allow from=2001:db8::/32,10.0.0.1", "2001:db8::9", "8.8.8.8:1", "allow 1 rule"},
        {"allow from=2001:db8::/32,10.0.0.1", "10.0.0.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow from=2001:db8::/32,10.0.0.1", "10.0.0.2", "8.8.8.8:1", "deny 0 default"},
        {"allow from=0.0.0.0/0", "::1", "8.8.8.8:1", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void commands_and_ports_match(void **state)
{
    static const struct request_row rows[] = {
        {"allow commands=connect", "10.0.0.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow commands=bind", "10.0.0.1", "8.8.8.8:1", "deny 0 default"},
        {"allow commands=bind", "10.0.0.1 bind", "8.8.8.8:1", "allow 1 rule"},
        {"allow commands=bind,connect", "10.0.0.1", "8.8.8.8:1", "allow 1 rule"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:443", "allow 1 rule"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:442", "deny 0 default"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:7999", "deny 0 default"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:8000", "allow 1 rule"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:8999", "allow 1 rule"},
        {"allow ports=443,8000-8999", "10.0.0.1", "8.8.8.8:9000", "deny 0 default"},
        {"allow ports=1-65535", "10.0.0.1", "8.8.8.8:65535", "allow 1 rule"},
        {"allow ports=1-65535", "10.0.0.1", "8.8.8.8:0", "deny 0 default"},
        {"allow ports=5-9,1-6,10", "10.0.0.1", "8.8.8.8:10", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void names_match_whole_labels_without_case_or_trailing_dot(void **state)
{
    static const char rules[] = "allow to=*.example.net,www.example.org";
    static const struct request_row rows[] = {
        {rules, "10.0.0.1", "a.example.net:1", "allow 1 rule"},
        {rules, "10.0.0.1", "b.a.example.net:1", "allow 1 rule"},
        {rules, "10.0.0.1", "A.eXample.NET:1", "allow 1 rule"},
        {rules, "10.0.0.1", "a.example.net.:1", "allow 1 rule"},
        {rules, "10.0.0.1", "example.net:1", "deny 0 default"},
        {rules, "10.0.0.1", "badexample.net:1", "deny 0 default"},
        {rules, "10.0.0.1", "a.example.net.evil.org:1", "deny 0 default"},
        {rules, "10.0.0.1", "net:1", "deny 0 default"},
        {rules, "10.0.0.1", "www.example.org:1", "allow 1 rule"},
        {rules, "10.0.0.1", "a.www.example.org:1", "deny 0 default"},
        {rules, "10.0.0.1", "8.8.8.8:1", "deny 0 default"},
        {"deny to=EVIL.net.; allow", "10.0.0.1", "evil.NET:1", "deny 1 rule"},
        {"allow to=*.net", "10.0.0.1", "x.net:1", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void what_cannot_be_a_host_name_is_denied(void **state)
{
    static const struct request_row rows[] = {
        {"allow", "10.0.0.1", "e\\vil.net:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "fe80::1%eth0:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "a b:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "a\r\nb:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "a..b:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", ".b:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "b..:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", ".:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "*.b:1", "deny 0 bad_name"},
        {"allow", "10.0.0.1", "under_score.b-c:1", "allow 1 rule"},
        {"allow", "10.0.0.1",
         "b\xc3\xbc"
         "cher.example:1",
         "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };
    static const struct address_row addresses[] = {
        {"allow", "e\\vil.net:1", "8.8.8.8", "deny 0 bad_name"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
    check_addresses(addresses);
}

static void a_name_is_resolved_only_when_the_address_can_change_the_answer(void **state)
{
    static const struct request_row rows[] = {
        /* Decided by the name, before any rule that needs the address. */
        {"deny to=evil.net; allow to=192.0.2.0/24", "10.0.0.1", "evil.net:1", "deny 1 rule"},
        {"allow to=good.net; deny to=192.0.2.0/24", "10.0.0.1", "good.net:1", "allow 1 rule"},
        {"allow users=alice to=8.8.8.0/24", "10.0.0.1", "x.net:1", "deny 0 default"},
        {"allow to=8.8.8.0/24 ports=53", "10.0.0.1", "x.net:80", "deny 0 default"},
        {"allow to=8.8.8.0/24 commands=bind; deny", "10.0.0.1", "x.net:80", "deny 2 rule"},
        /* The address decides. */
        {"allow to=8.8.8.0/24", "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"deny to=8.8.8.0/24; allow", "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"deny to=8.8.8.0/24; allow to=*.net", "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"allow to=10.1.0.0/16", "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"deny to=0.0.0.0/0; allow", "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"deny to=10.0.0.0/8; allow to=10.0.0.0/7", "10.0.0.1", "x.net:1",
         "resolve 0 needs_address"},
        /* Whatever it resolves to, it is denied. */
        {"deny to=8.8.8.0/24; deny", "10.0.0.1", "x.net:1", "deny 2 rule"},
        {"deny to=8.8.8.0/24", "10.0.0.1", "x.net:1", "deny 0 default"},
        {"deny to=0.0.0.0/0,::/0; allow", "10.0.0.1", "x.net:1", "deny 1 rule"},
        {"deny to=0.0.0.0/0; deny to=::/0; allow", "10.0.0.1", "x.net:1", "deny 1 rule"},
        {"deny to=0.0.0.0/1,128.0.0.0/1,::/0; allow", "10.0.0.1", "x.net:1", "deny 1 rule"},
        {"deny to=10.0.0.0/8; allow to=10.1.0.0/16", "10.0.0.1", "x.net:1", "deny 0 default"},
        {"deny to=10.0.0.0/9; deny to=10.128.0.0/9; allow to=10.0.0.0/8; deny", "10.0.0.1",
         "x.net:1", "deny 4 rule"},
        {"deny to=10.0.0.0/9; deny to=10.128.0.0/10; allow to=10.0.0.0/8", "10.0.0.1", "x.net:1",
         "resolve 0 needs_address"},
        /* Only 10.0.0.0/8 is left, and is not opened ... or is. */
        {"deny to=0.0.0.0/5,8.0.0.0/7,11.0.0.0/8,12.0.0.0/6,16.0.0.0/4,32.0.0.0/3,64.0.0.0/2,"
         "128.0.0.0/1,::/0; allow",
         "10.0.0.1", "x.net:1", "deny 1 rule"},
        {"deny to=0.0.0.0/5,8.0.0.0/7,11.0.0.0/8,12.0.0.0/6,16.0.0.0/4,32.0.0.0/3,64.0.0.0/2,"
         "128.0.0.0/1,::/0; allow to=0.0.0.0/0,10.9.0.0/16",
         "10.0.0.1", "x.net:1", "resolve 0 needs_address"},
        {"deny from=172.16.0.0/12 to=10.0.0.0/8; allow to=10.1.0.0/16", "10.0.0.1", "x.net:1",
         "resolve 0 needs_address"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static unsigned draw(unsigned below)
{
    static uint32_t x = 2463534242u; /* xorshift: the same rules in each run */

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % below;
}

static struct rules *draw_rules(char *text, size_t size)
{
    static const char *const items[] = {
        "0.0.0.0/0",   "::/0",        "0.0.0.0/1",   "128.0.0.0/1",   "20.0.0.0/30",
        "20.0.0.0/31", "20.0.0.2/31", "20.0.0.0/32", "20.0.0.1/32",   "20.0.0.2/32",
        "20.0.0.3/32", "10.0.0.0/8",  "*.net",       "2606:4700::/32"};
    size_t len = 0;

    text[0] = '\0';
    for (unsigned i = 1 + draw(5); i > 0; i--) {
        len += (size_t)snprintf(text + len, size - len, "%s", draw(2) ? "allow" : "deny");
        for (unsigned j = draw(4), first = j; j > 0; j--)
            len += (size_t)snprintf(text + len, size - len, "%s%s", j == first ? " to=" : ",",
                                    items[draw(sizeof(items) / sizeof(items[0]))]);
        len += (size_t)snprintf(text + len, size - len, ";");
    }
    return rules_of(text);
}

static void a_name_is_denied_unresolved_exactly_when_each_address_would_be(void **state)
{
    /* One of each part into which the items above cut the addresses. */
    static const char *const addresses[] = {"20.0.0.0", "20.0.0.1",     "20.0.0.2",
                                            "20.0.0.3", "20.0.0.4",     "200.0.0.1",
                                            "10.0.0.1", "2606:4700::1", "2a00::1"};
    struct dest dest = dest_of("x.org:80");
    struct who who;
    char text[512];

    (void)state;
    who_is("198.51.100.1", &who);
    for (unsigned n = 0; n < 5000; n++) {
        struct rules *rules = draw_rules(text, sizeof(text));
        bool denied = rules_judge_request(rules, &who.subject, &dest).verdict == RULES_DENY;
        bool passes = false;

        for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
            struct addr a;

            assert_true(addr_parse_ip(addresses[i], &a));
            passes |= rules_judge_address(rules, &who.subject, &dest, &a).verdict == RULES_ALLOW;
        }
        rules_free(rules);
        if (denied == passes)
            fail_msg("{%s} %s, but %s address passes", text, denied ? "deny" : "resolve",
                     passes ? "an" : "no");
    }
}

static void an_allowed_name_does_not_lead_to_a_special_address(void **state)
{
    static const struct address_row rows[] = {
        {"allow to=evil.net", "evil.net:80", "127.0.0.1", "deny 1 special_address"},
        {"allow to=*.net", "evil.net:80", "10.0.0.1", "deny 1 special_address"},
        {"allow", "evil.net:80", "169.254.169.254", "deny 1 special_address"},
        {"allow", "evil.net:80", "100.100.100.200", "deny 1 special_address"},
        {"allow", "evil.net:80", "64:ff9b::7f00:1", "deny 1 special_address"},
        {"allow", "evil.net:80", "64:ff9b:1::7f00:1", "deny 1 special_address"},
        {"allow", "evil.net:80", "2002:7f00:1::", "deny 1 special_address"},
        {"allow", "evil.net:80", "2001:0:808:808::80ff:fffe", "deny 1 special_address"},
        {"allow", "evil.net:80", "::1", "deny 1 special_address"},
        {"allow", "evil.net:80", "::", "deny 1 special_address"},
        {"allow", "evil.net:80", "0.0.0.0", "deny 1 special_address"},
        {"allow", "evil.net:80", "fd00::1", "deny 1 special_address"},
        {"allow", "evil.net:80", "fe80::1", "deny 1 special_address"},
        {"allow", "evil.net:80", "::ffff:127.0.0.1", "deny 1 special_address"},
        {"allow", "evil.net:80", "::127.0.0.1", "deny 1 special_address"},
        {"allow", "good.net:80", "8.8.8.8", "allow 1 rule"},
        {"allow", "good.net:80", "::ffff:8.8.8.8", "allow 1 rule"},
        {"allow", "good.net:80", "64:ff9b::808:808", "allow 1 rule"},
        {"allow", "good.net:80", "2606:4700::1111", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void only_a_network_that_is_special_itself_opens_special_addresses(void **state)
{
    static const struct address_row rows[] = {
        {"allow to=0.0.0.0/0,::/0", "x.net:80", "127.0.0.1", "deny 1 special_address"},
        {"allow to=0.0.0.0/0,::/0", "x.net:80", "::1", "deny 1 special_address"},
        {"allow to=::/3", "x.net:80", "::1", "deny 1 special_address"},
        {"allow to=64:ff9b::/96", "x.net:80", "64:ff9b::7f00:1", "deny 1 special_address"},
        {"allow to=64:ff9b::/96", "x.net:80", "64:ff9b::808:808", "allow 1 rule"},
        {"allow to=127.0.0.0/8", "x.net:80", "127.0.0.1", "allow 1 rule"},
        {"allow to=127.0.0.1", "x.net:80", "127.0.0.1", "allow 1 rule"},
        {"allow to=127.0.0.1", "x.net:80", "127.0.0.2", "deny 0 default"},
        {"allow to=10.1.2.3", "x.net:80", "::ffff:10.1.2.3", "allow 1 rule"},
        {"allow to=::ffff:10.0.0.0/104", "x.net:80", "10.1.2.3", "allow 1 rule"},
        {"allow to=::1", "x.net:80", "::1", "allow 1 rule"},
        {"allow to=0.0.0.0/0,10.0.0.0/8", "x.net:80", "10.1.2.3", "allow 1 rule"},
        {"allow to=0.0.0.0/0,10.0.0.0/8", "x.net:80", "127.0.0.1", "deny 1 special_address"},
        {"allow to=10.0.0.0/7", "x.net:80", "10.1.2.3", "deny 1 special_address"},
        {"allow to=10.0.0.0/8,11.0.0.0/8", "x.net:80", "10.1.2.3", "allow 1 rule"},
        {"allow to=10.0.0.0/8,10.1.0.0/16", "x.net:80", "10.1.2.3", "allow 1 rule"},
        /* A name and a network in one rule: the network is named. */
        {"allow to=*.net,10.0.0.0/8", "x.net:80", "10.1.2.3", "allow 1 rule"},
        {"allow to=*.net,10.0.0.0/8", "x.net:80", "127.0.0.1", "deny 1 special_address"},
        /* In two rules: the first that matches decides, and that is the name's. */
        {"allow to=*.net; allow to=10.0.0.0/8", "x.net:80", "10.1.2.3", "deny 1 special_address"},
        {"allow to=10.0.0.0/8; allow to=*.net", "x.net:80", "10.1.2.3", "allow 1 rule"},
        {"allow to=127.0.0.0/8", "x.net:80", "64:ff9b::7f00:1", "deny 0 default"},
        {"allow to=64:ff9b::7f00:0/104", "x.net:80", "64:ff9b::7f00:1", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void a_denied_network_is_denied_in_every_form_that_reaches_it(void **state)
{
    static const char rules[] = "deny to=8.8.8.0/24; allow";
    static const struct address_row rows[] = {
        {rules, "x.net:80", "8.8.8.8", "deny 1 rule"},
        {rules, "x.net:80", "::ffff:8.8.8.8", "deny 1 rule"},
        {rules, "x.net:80", "64:ff9b::808:808", "deny 1 rule"},
        {rules, "x.net:80", "2002:808:808::1", "deny 1 rule"},
        {rules, "x.net:80", "2001:0:101:101::f7f7:f7f7", "deny 1 rule"},
        {rules, "x.net:80", "2001:0:808:808::", "deny 1 rule"},
        {rules, "x.net:80", "8.8.9.8", "allow 2 rule"},
        {"deny to=::ffff:8.8.8.0/120; allow", "x.net:80", "8.8.8.8", "deny 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void each_address_of_a_name_is_judged_with_its_name(void **state)
{
    static const struct address_row rows[] = {
        {"deny to=8.8.8.0/24; allow to=*.net", "x.net:80", "8.8.8.8", "deny 1 rule"},
        {"deny to=8.8.8.0/24; allow to=*.net", "x.net:80", "9.9.9.9", "allow 2 rule"},
        {"deny to=8.8.8.0/24; allow to=*.net", "x.org:80", "9.9.9.9", "deny 0 default"},
        {"allow to=8.8.8.0/24; deny to=*.net; allow", "x.net:80", "8.8.8.8", "allow 1 rule"},
        {"allow to=8.8.8.0/24; deny to=*.net; allow", "x.net:80", "9.9.9.9", "deny 2 rule"},
        {"allow to=8.8.8.0/24; deny to=*.net; allow", "x.org:80", "9.9.9.9", "allow 3 rule"},
        {"allow ports=443", "x.net:80", "9.9.9.9", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void an_address_request_is_judged_at_once(void **state)
{
    static const struct request_row rows[] = {
        {"allow to=192.0.2.0/24", "10.0.0.1", "192.0.2.7:443", "allow 1 rule"},
        {"allow to=9.9.9.0/24", "10.0.0.1", "9.9.8.7:443", "deny 0 default"},
        {"allow", "10.0.0.1", "127.0.0.1:80", "deny 1 special_address"},
        {"allow", "10.0.0.1", "[::ffff:127.0.0.1]:80", "deny 1 special_address"},
        {"allow", "10.0.0.1", "0.0.0.0:80", "deny 1 special_address"},
        {"allow", "10.0.0.1", "[::]:80", "deny 1 special_address"},
        {"allow to=*.net", "10.0.0.1", "9.9.9.9:443", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void bind_for_any_peer_needs_a_rule_for_every_peer(void **state)
{
    static const struct request_row rows[] = {
        {"allow", "10.0.0.1 bind", "0.0.0.0:0", "allow 1 rule"},
        {"allow", "10.0.0.1 bind", "[::]:0", "allow 1 rule"},
        {"allow to=0.0.0.0/0", "10.0.0.1 bind", "0.0.0.0:0", "allow 1 rule"},
        {"allow to=0.0.0.0/0", "10.0.0.1 bind", "[::]:0", "deny 0 default"},
        {"allow to=::/0", "10.0.0.1 bind", "[::]:0", "allow 1 rule"},
        {"allow to=0.0.0.0/0", "10.0.0.1 bind", "[::ffff:0.0.0.0]:0", "allow 1 rule"},
        {"allow to=0.0.0.0/1,128.0.0.0/2", "10.0.0.1 bind", "0.0.0.0:0", "deny 0 default"},
        {"allow to=*.net", "10.0.0.1 bind", "0.0.0.0:0", "deny 0 default"},
        {"deny to=10.0.0.0/8; allow", "10.0.0.1 bind", "0.0.0.0:0", "allow 2 rule"},
        {"deny commands=bind; allow", "10.0.0.1 bind", "0.0.0.0:0", "deny 1 rule"},
        /* The wanted port. */
        {"allow ports=1024-65535", "10.0.0.1 bind", "0.0.0.0:2000", "allow 1 rule"},
        {"allow ports=1024-65535", "10.0.0.1 bind", "0.0.0.0:20", "deny 0 default"},
        {"allow ports=1024-65535", "10.0.0.1 bind", "0.0.0.0:0", "deny 0 default"},
        {"allow ports=1-1023,1024-65535", "10.0.0.1 bind", "0.0.0.0:0", "allow 1 rule"},
        /* A peer that is given is a destination like others. */
        {"allow", "10.0.0.1 bind", "127.0.0.1:0", "deny 1 special_address"},
        {"allow to=8.8.8.8", "10.0.0.1 bind", "8.8.8.8:0", "allow 1 rule"},
        {"allow to=ftp.example.net", "10.0.0.1 bind", "ftp.example.net:0", "allow 1 rule"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void a_name_that_resolves_to_no_address_in_particular_is_not_any_peer(void **state)
{
    struct rules *rules = rules_of("allow");
    struct dest dest = dest_of("x.net:0");
    struct addr any = addr_any(ADDR_IPV4, 0);
    struct who who;
    char got[64];

    (void)state;
    who_is("198.51.100.1 bind", &who);
    text_of(rules_judge_address(rules, &who.subject, &dest, &any), got);
    assert_string_equal(got, "deny 1 special_address");
    rules_free(rules);
}

static void an_association_is_allowed_if_some_datagram_may_be(void **state)
{
    static const struct request_row rows[] = {
        {"allow", "10.0.0.1 udp-associate", "0.0.0.0:0", "allow 1 rule"},
        {"allow", "10.0.0.1 udp-associate", "10.0.0.1:5000", "allow 1 rule"},
        {"allow to=8.8.8.8 ports=53", "10.0.0.1 udp-associate", "0.0.0.0:0", "allow 1 rule"},
        {"deny to=8.8.8.8; allow", "10.0.0.1 udp-associate", "0.0.0.0:0", "allow 2 rule"},
        {"deny ports=53; allow", "10.0.0.1 udp-associate", "0.0.0.0:0", "allow 2 rule"},
        {"deny commands=udp-associate; allow", "10.0.0.1 udp-associate", "0.0.0.0:0",
         "deny 1 rule"},
        {"allow commands=connect", "10.0.0.1 udp-associate", "0.0.0.0:0", "deny 0 default"},
        {"allow users=alice", "10.0.0.1 udp-associate", "0.0.0.0:0", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    check_requests(rows);
}

static void a_datagram_is_judged_by_its_own_destination(void **state)
{
    static const char rules_text[] = "deny commands=connect; deny to=8.8.8.0/24 ports=53;"
                                     "allow to=*.net,9.9.9.0/24,10.0.0.1 ports=53;"
                                     "allow users=alice to=9.9.0.0/16";
    static const struct request_row rows[] = {
        {rules_text, "10.0.0.1 udp-associate", "9.9.9.9:53", "allow 3 rule"},
        {rules_text, "10.0.0.1 udp-associate", "9.9.9.9:54", "deny 0 default"},
        {rules_text, "alice@10.0.0.1 udp-associate", "9.9.9.9:54", "allow 4 rule"},
        {rules_text, "10.0.0.1 udp-associate", "8.8.8.8:53", "deny 2 rule"},
        {rules_text, "10.0.0.1 udp-associate", "[64:ff9b::808:808]:53", "deny 2 rule"},
        {rules_text, "10.0.0.1 udp-associate", "10.0.0.1:53", "allow 3 rule"},
        {rules_text, "10.0.0.1 udp-associate", "10.0.0.2:53", "deny 0 default"},
        {rules_text, "10.0.0.1 udp-associate", "x.net:53", "resolve 0 needs_address"},
        {rules_text, "10.0.0.1 udp-associate", "x.net:54", "deny 0 default"},
        {rules_text, "10.0.0.1 udp-associate", "x..net:53", "deny 0 bad_name"},
        {"allow", "10.0.0.1 udp-associate", "x.net:53", "allow 1 rule"},
        {"allow", "10.0.0.1 udp-associate", "0.0.0.0:53", "deny 1 special_address"},
        {"allow", "10.0.0.1 udp-associate", "8.8.8.8:0", "allow 1 rule"},
        {"", "10.0.0.1 udp-associate", "8.8.8.8:53", "deny 0 default"},
        {NULL, NULL, NULL, NULL},
    };

    (void)state;
    for (const struct request_row *row = rows; row->rules; row++) {
        struct rules *rules = rules_of(row->rules);
        struct dest dest = dest_of(row->dest);
        struct who who;
        char got[64], again[64];

        who_is(row->who, &who);
        text_of(rules_judge_datagram(rules, &who.subject, &dest), got);
        assert_string_equal(got, row->expected);
        if (dest.name[0] == '\0')
            assert_string_equal(
                text_of(rules_judge_address(rules, &who.subject, &dest, &dest.addr), again), got);
        rules_free(rules);
    }
}

static void standalone_serves_loopback_clients_and_opens_everything(void **state)
{
    static const struct {
        const char *who, *dest, *expected;
    } rows[] = {
        {"127.0.0.1", "127.0.0.1:80", "allow 1 rule"},
        {"127.9.9.9", "[::1]:80", "allow 1 rule"},
        {"::1", "10.0.0.1:80", "allow 1 rule"},
        {"::ffff:127.0.0.1", "169.254.169.254:80", "allow 1 rule"},
        {"::1", "localhost:80", "allow 1 rule"},
        {"::1 bind", "0.0.0.0:0", "allow 1 rule"},
        {"10.0.0.1", "8.8.8.8:80", "deny 0 default"},
        {"8.8.8.8", "localhost:80", "deny 0 default"},
        {"2606:4700::1111", "8.8.8.8:80", "deny 0 default"},
    };
    struct rules *rules = rules_new_standalone();
    struct dest localhost = dest_of("localhost:80");
    struct addr loopback;
    struct who who;
    char got[64];

    (void)state;
    assert_non_null(rules);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dest dest = dest_of(rows[i].dest);

        who_is(rows[i].who, &who);
        text_of(rules_judge_request(rules, &who.subject, &dest), got);
        assert_string_equal(got, rows[i].expected);
    }
    who_is("127.0.0.1", &who);
    assert_true(addr_parse_ip("127.0.0.1", &loopback));
    text_of(rules_judge_address(rules, &who.subject, &localhost, &loopback), got);
    assert_string_equal(got, "allow 1 rule");
    rules_free(rules);
}

static void a_bad_item_is_refused_with_a_sentence(void **state)
{
    static const struct {
        int (*add)(struct rule *r, const char *text, struct err *e);
        const char *text;
    } rows[] = {
        {rule_add_to, ""},
        {rule_add_to, "*"},
        {rule_add_to, "*."},
        {rule_add_to, "."},
        {rule_add_to, "a.*.b"},
        {rule_add_to, "*a.b"},
        {rule_add_to, ".example.net"},
        {rule_add_to, "a..b"},
        {rule_add_to, "a.."},
        {rule_add_to, "a b"},
        {rule_add_to, "10.0.0"},
        {rule_add_to, "10.0.0.256"},
        {rule_add_to, "010.0.0.1"},
        {rule_add_to, "10.0.0.1/8"},
        {rule_add_to, "10.0.0.0/33"},
        {rule_add_to, "example.net/24"},
        {rule_add_to, "example.net:80"},
        {rule_add_to, "2001:db8::/129"},
        {rule_add_to, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.net"},
        {rule_add_from, "example.net"},
        {rule_add_from, "10.0.0.1/8"},
        {rule_add_from, ""},
        {rule_add_command, "CONNECT"},
        {rule_add_command, "unknown"},
        {rule_add_command, ""},
        {rule_add_port, "0"},
        {rule_add_port, "65536"},
        {rule_add_port, "99999999999"},
        {rule_add_port, "-1"},
        {rule_add_port, "80-"},
        {rule_add_port, "-80"},
        {rule_add_port, "90-80"},
        {rule_add_port, "80-90-100"},
        {rule_add_port, "080"},
        {rule_add_port, " 80"},
        {rule_add_port, "80x"},
        {rule_add_port, "http"},
        {rule_add_port, ""},
        {rule_add_user, ""},
    };
    struct rules *rules = rules_new();
    struct rule *r = rules_add(rules, RULES_ACTION_ALLOW);
    char long_name[RULES_USER_MAX + 2];
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        e.text[0] = '\0';
        if (rows[i].add(r, rows[i].text, &e) != -1 || e.text[0] == '\0')
            fail_msg("\"%s\" is taken, or refused without a sentence", rows[i].text);
    }
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(rule_add_user(r, long_name, &e), -1);
    assert_int_equal(rule_add_user(r, long_name + 1, &e), 0);
    rules_free(rules);
}

static void a_long_list_decides_like_a_short_one(void **state)
{
    struct rules *rules = rules_new();
    struct rule *deny = rules_add(rules, RULES_ACTION_DENY);
    struct dest dest = {.addr = {.family = ADDR_IPV4, .port = 80}};
    struct rules_subject subject = {.command = SOCKS_CONNECT};
    char text[64];

    (void)state;
    assert_non_null(rules_add(rules, RULES_ACTION_ALLOW));
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(text, sizeof(text), "20.%u.%u.0/25", i % 256, i / 256);
        assert_int_equal(rule_add_to(deny, text, NULL), 0);
        snprintf(text, sizeof(text), "*.n%u.example", i);
        assert_int_equal(rule_add_to(deny, text, NULL), 0);
    }
    rules_seal(rules);
    memcpy(dest.addr.ip, (uint8_t[]){20, 255, 77, 127}, 4);
    assert_int_equal(rules_judge_request(rules, &subject, &dest).rule, 1);
    dest.addr.ip[3] = 128;
    assert_int_equal(rules_judge_request(rules, &subject, &dest).rule, 2);
    strcpy(dest.name, "a.n19999.example");
    assert_int_equal(rules_judge_request(rules, &subject, &dest).verdict, RULES_DENY);
    strcpy(dest.name, "a.n20000.example");
    assert_int_equal(rules_judge_request(rules, &subject, &dest).verdict, RULES_RESOLVE);
    rules_free(rules);
}

static void the_search_for_an_allowed_address_is_bounded(void **state)
{
    struct rules *rules = rules_new();
    struct rules_subject subject = {.command = SOCKS_CONNECT};
    struct dest dest = {.name = "x.example", .addr.port = 80};
    struct rule *deny = rules_add(rules, RULES_ACTION_DENY);
    struct rule *allow = rules_add(rules, RULES_ACTION_ALLOW);
    struct addr shadowed;
    char text[64];

    (void)state;
    /* Every network that is allowed is denied before: only a search through all of them can tell.
     */
    for (unsigned i = 0; i < 60000; i++) {
        snprintf(text, sizeof(text), "20.%u.%u.8/31", i / 256, i % 256);
        assert_int_equal(rule_add_to(deny, text, NULL), 0);
        assert_int_equal(rule_add_to(allow, text, NULL), 0);
    }
    rules_seal(rules);
    assert_int_equal(rules_judge_request(rules, &subject, &dest).verdict, RULES_RESOLVE);
    assert_true(addr_parse_ip("20.0.1.9", &shadowed));
    assert_int_equal(rules_judge_address(rules, &subject, &dest, &shadowed).verdict, RULES_DENY);
    rules_free(rules);
}

static void there_is_a_highest_number_of_rules(void **state)
{
    struct rules *rules = rules_new();

    (void)state;
    for (unsigned i = 0; i < RULES_MAX; i++)
        assert_non_null(rules_add(rules, RULES_ACTION_DENY));
    assert_null(rules_add(rules, RULES_ACTION_ALLOW));
    assert_int_equal(rules_count(rules), RULES_MAX);
    rules_free(rules);
    rules_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_matches_decides_and_the_default_is_to_deny),
        cmocka_unit_test(users_and_groups_match_authenticated_names_only),
        cmocka_unit_test(from_matches_the_clients_address_mapped_or_not),
        cmocka_unit_test(commands_and_ports_match),
        cmocka_unit_test(names_match_whole_labels_without_case_or_trailing_dot),
        cmocka_unit_test(what_cannot_be_a_host_name_is_denied),
        cmocka_unit_test(a_name_is_resolved_only_when_the_address_can_change_the_answer),
        cmocka_unit_test(a_name_is_denied_unresolved_exactly_when_each_address_would_be),
        cmocka_unit_test(an_allowed_name_does_not_lead_to_a_special_address),
        cmocka_unit_test(only_a_network_that_is_special_itself_opens_special_addresses),
        cmocka_unit_test(a_denied_network_is_denied_in_every_form_that_reaches_it),
        cmocka_unit_test(each_address_of_a_name_is_judged_with_its_name),
        cmocka_unit_test(an_address_request_is_judged_at_once),
        cmocka_unit_test(bind_for_any_peer_needs_a_rule_for_every_peer),
        cmocka_unit_test(a_name_that_resolves_to_no_address_in_particular_is_not_any_peer),
        cmocka_unit_test(an_association_is_allowed_if_some_datagram_may_be),
        cmocka_unit_test(a_datagram_is_judged_by_its_own_destination),
        cmocka_unit_test(standalone_serves_loopback_clients_and_opens_everything),
        cmocka_unit_test(a_bad_item_is_refused_with_a_sentence),
        cmocka_unit_test(a_long_list_decides_like_a_short_one),
        cmocka_unit_test(the_search_for_an_allowed_address_is_bounded),
        cmocka_unit_test(there_is_a_highest_number_of_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
