#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/config_rules.h"

struct config {
    struct rules *rules;
    bool other;
};

static int config_check(void *object, const struct yaml_node *at, struct err *e)
{
    struct config *c = object;

    return config_rules_load(at, e, &c->rules);
}

static const struct schema_key keys[] = {
    CONFIG_RULES_KEYS(struct config, rules),
    SCHEMA_KEY("other", BOOL, struct config, other, .help = "Not ours."),
    {0},
};
static const struct schema schema = {sizeof(struct config), keys, config_check};

static int load(const char *text, struct config *ret, struct err *e)
{
    struct yaml_tree tree;
    int status;

    if (yaml_load_text("socksd.yaml", text, strlen(text), e, &tree))
        return -1;
    status = schema_load(&schema, tree.root, e, ret);
    yaml_fini(&tree);
    return status;
}

static struct config loaded(const char *text)
{
    struct config c;
    struct err e;

    if (load(text, &c, &e))
        fail_msg("%s", e.text);
    return c;
}

static struct rules_result judge(const struct config *c, const char *user, const char *source,
                                 const char *name, uint16_t port)
{
    struct rules_subject subject = {.user = user, .command = SOCKS_CONNECT};
    struct dest dest = {.addr.port = port};

    assert_true(addr_parse_ip(source, &subject.source));
    if (!addr_parse_ip(name, &dest.addr))
        strcpy(dest.name, name);
    dest.addr.port = port;
    return rules_judge_request(c->rules, &subject, &dest);
}

static void the_rules_of_the_architecture_read_as_they_say(void **state)
{
    struct config c = loaded("rules:\n"
                             "  - allow: { users: [alice], commands: [connect, udp-associate],\n"
                             "             to: [\"*.example.net\", 192.0.2.0/24],\n"
                             "             ports: [443, 8000-8999] }\n"
                             "  - deny: {}\n");

    (void)state;
    assert_int_equal(rules_count(c.rules), 2);
    assert_int_equal(judge(&c, "alice", "8.8.8.8", "a.example.net", 443).verdict, RULES_ALLOW);
    assert_int_equal(judge(&c, "alice", "8.8.8.8", "a.example.net", 8500).verdict, RULES_ALLOW);
    assert_int_equal(judge(&c, "alice", "8.8.8.8", "192.0.2.9", 443).verdict, RULES_ALLOW);
    assert_int_equal(judge(&c, "alice", "8.8.8.8", "a.example.net", 80).rule, 2);
    assert_int_equal(judge(&c, "bob", "8.8.8.8", "a.example.net", 443).rule, 2);
    assert_int_equal(judge(&c, NULL, "8.8.8.8", "a.example.net", 443).rule, 2);
    schema_fini(&schema, &c);
    assert_null(c.rules);
}

static void a_rule_may_name_groups_from_anywhere_in_the_file(void **state)
{
    struct config c = loaded("rules:\n"
                             "  - allow: { groups: [staff, guests], from: [10.0.0.0/8] }\n"
                             "  - allow: { groups: [nobody] }\n"
                             "other: true\n"
                             "groups:\n"
                             "  staff: [alice, bob]\n"
                             "  guests: [carol]\n"
                             "  nobody: []\n");

    (void)state;
    assert_true(c.other);
    assert_int_equal(judge(&c, "alice", "10.0.0.1", "8.8.8.8", 1).verdict, RULES_ALLOW);
    assert_int_equal(judge(&c, "carol", "10.0.0.1", "8.8.8.8", 1).verdict, RULES_ALLOW);
    assert_int_equal(judge(&c, "carol", "11.0.0.1", "8.8.8.8", 1).verdict, RULES_DENY);
    assert_int_equal(judge(&c, "dave", "10.0.0.1", "8.8.8.8", 1).verdict, RULES_DENY);
    assert_int_equal(judge(&c, NULL, "10.0.0.1", "8.8.8.8", 1).verdict, RULES_DENY);
    schema_fini(&schema, &c);
}

static void without_rules_everything_is_denied(void **state)
{
    static const char *const texts[] = {"", "other: false\n", "rules: []\n", "groups: {}\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct config c = loaded(texts[i]);
        struct rules_result r = judge(&c, NULL, "127.0.0.1", "8.8.8.8", 80);

        assert_int_equal(r.verdict, RULES_DENY);
        assert_string_equal(r.why, "default");
        schema_fini(&schema, &c);
    }
}

static void what_is_wrong_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"rules: yes\n", "1:8: rules: a list is expected here"},
        {"rules: {}\n", "1:8: rules: a list is expected here"},
        {"rules:\n", "1:7: rules: a list is expected here"},
        {"rules:\n  - allow\n", "2:5: rules: a rule is"},
        {"rules:\n  - allow: {}\n    deny: {}\n", "2:5: rules: a rule is"},
        {"rules:\n  - {}\n", "2:5: rules: a rule is"},
        {"rules:\n  - allow:\n", "2:11: allow: a mapping is expected here"},
        {"rules:\n  - allow: all\n", "2:12: allow: a mapping is expected here"},
        {"rules:\n  - permit: {}\n", "2:5: rules: \"permit\" is neither allow nor deny"},
        {"rules:\n  - deny: {}\n  - allow: { user: [a] }\n", "3:14: unknown key \"user\""},
        {"rules:\n  - allow: { users: alice }\n", "2:21: users: a list is expected here"},
        {"rules:\n  - allow: { users: [] }\n", "2:21: users: an empty list"},
        {"rules:\n  - allow: { groups: [] }\n", "2:22: groups: an empty list"},
        {"rules:\n  - allow: { from: [] }\n", "2:20: from: an empty list"},
        {"rules:\n  - allow: { commands: [] }\n", "2:24: commands: an empty list"},
        {"rules:\n  - allow: { to: [] }\n", "2:18: to: an empty list"},
        {"rules:\n  - allow: { ports: [] }\n", "2:21: ports: an empty list"},
        {"rules:\n  - allow: { to: }\n", "2:18: to: a list is expected here"},
        {"rules:\n  - allow: { to: [a.net, [b.net]] }\n", "2:26: to: a single value"},
        {"rules:\n  - allow:\n      to:\n        - a.net\n        -\n", "5:10: to: a single value"},
        {"rules:\n  - allow: { to: [a.net, 10.0.0.1/8] }\n",
         "2:26: to: \"10.0.0.1/8\": not a network"},
        {"rules:\n  - allow: { to: [\"*\"] }\n", "2:19: to: \"*\": not a host name"},
        {"rules:\n  - allow: { from: [example.net] }\n", "2:21: from: \"example.net\": not an"},
        {"rules:\n  - allow: { commands: [udp] }\n", "2:25: commands: \"udp\": not a command"},
        {"rules:\n  - allow: { ports: [80, 0] }\n", "2:26: ports: \"0\": not a port"},
        {"rules:\n  - allow: { users: [\"\"] }\n", "2:22: users: \"\": a user's name"},
        {"rules:\n  - allow: { groups: [staff] }\n", "2:23: groups: there is no group \"staff\""},
        {"rules:\n  - allow: { groups: [staff] }\ngroups:\n  stuff: [a]\n",
         "2:23: groups: there is no group \"staff\""},
        {"groups: [a]\n", "1:9: groups: a mapping is expected here"},
        {"groups:\n", "1:8: groups: a mapping is expected here"},
        {"groups:\n  staff: alice\n", "2:10: group: a list is expected here"},
        {"groups:\n  staff: [\"\"]\n", "2:11: group: a user's name"},
        {"groups:\n  staff: [[a]]\n", "2:11: group: a single value"},
        {"groups:\n  staff: [a]\n  staff: [b]\n", "3:3: "},
        {"rule: []\n", "1:1: unknown key"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config c;
        struct err e;
        size_t place = strlen("socksd.yaml:");

        if (load(rows[i].text, &c, &e) == 0)
            fail_msg("taken: %s", rows[i].text);
        if (strncmp(e.text, "socksd.yaml:", place) != 0 ||
            strncmp(e.text + place, rows[i].sentence, strlen(rows[i].sentence)) != 0)
            fail_msg("%s gives \"%s\", not \"%s\"", rows[i].text, e.text, rows[i].sentence);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rules_of_the_architecture_read_as_they_say),
        cmocka_unit_test(a_rule_may_name_groups_from_anywhere_in_the_file),
        cmocka_unit_test(without_rules_everything_is_denied),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
