#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/schema.h"
#include "tests/unit/daemon/schema_sample.h"

static int load_as(const char *file, const char *text, struct err *e, struct config *ret)
{
    struct yaml_tree tree;
    int status_code = yaml_load_text(file, text, strlen(text), e, &tree);

    if (status_code != 0)
        return status_code;
    status_code = schema_load(&config, tree.root, e, ret);
    yaml_fini(&tree); /* nothing in *ret may point into it */
    return status_code;
}

static void load(const char *text, struct config *ret)
{
    struct err e;

    if (load_as("f.yaml", text, &e, ret) != 0)
        fail_msg("%s", e.text);
}

static void assert_addr(const struct addr *a, const char *text)
{
    char buf[ADDR_TEXT_MAX];

    assert_string_equal(a->port != 0 ? addr_format(a, buf) : addr_format_ip(a, buf), text);
}

static void the_sample_of_socksd_is_understood(void **state)
{
    struct config c;

    (void)state;
    load("listeners:\n"
         "  - listen: 127.0.0.1:1080\n"
         "    methods: [none]                # none, username-password, gssapi\n"
         "  - {listen: \"[::1]:1081\", methods: [gssapi, username-password]}\n"
         "users:\n"
         "  file: users.htpasswd\n"
         "relays:\n"
         "  - spawn: { program: relayd-tcp, count: 2 }\n"
         "  - spawn: { program: relayd-udp }\n"
         "  - url: tls+tcp://relayd-tcp-0.relayd-tcp:7011\n"
         "rules:\n"
         "  - allow: { users: [alice], to: [192.0.2.0/24], ports: [443, 8000-8999] }\n"
         "  - deny: {}\n"
         "status:\n"
         "  listen: [\"unix:/run/socksd/status.sock\", 127.0.0.1:9080]\n",
         &c);
    assert_int_equal(c.listeners.count, 2);
    assert_addr(&c.listeners.items[0].listen, "127.0.0.1:1080");
    assert_int_equal(c.listeners.items[0].handshake_ms, 10000);
    assert_int_equal(c.listeners.items[1].methods.count, 2);
    assert_int_equal(c.listeners.items[1].methods.items[0], METHOD_GSSAPI);
    assert_int_equal(c.listeners.items[1].methods.items[1], METHOD_PASSWORD);
    assert_string_equal(c.users.file, "users.htpasswd");
    assert_int_equal(c.relays.count, 3);
    assert_true(c.relays.items[0].is_spawn);
    assert_int_equal(c.relays.items[0].spawn.count, 2);
    assert_string_equal(c.relays.items[1].spawn.program, "relayd-udp");
    assert_int_equal(c.relays.items[1].spawn.count, 1);
    assert_false(c.relays.items[2].is_spawn);
    assert_string_equal(c.relays.items[2].url, "tls+tcp://relayd-tcp-0.relayd-tcp:7011");
    assert_int_equal(c.rules.count, 2);
    assert_true(c.rules.items[0].allow);
    assert_string_equal(c.rules.items[0].when.users.items[0], "alice");
    assert_int_equal(c.rules.items[0].when.to.items[0].bits, 24);
    assert_int_equal(c.rules.items[0].when.ports.items[0].last, 443);
    assert_int_equal(c.rules.items[0].when.ports.items[1].first, 8000);
    assert_int_equal(c.rules.items[0].when.ports.items[1].last, 8999);
    assert_false(c.rules.items[1].allow);
    assert_int_equal(c.rules.items[1].when.users.count, 0);
    assert_string_equal(c.status.listen.items[0], "unix:/run/socksd/status.sock");
    assert_string_equal(c.status.listen.items[1], "127.0.0.1:9080");
    schema_fini(&config, &c);
}

static void the_sample_of_a_relay_is_understood(void **state)
{
    struct config c;

    (void)state;
    load("relay:\n"
         "  bind: [203.0.113.7, \"2001:db8::7\", \"::\"]\n"
         "  ports: 20000-21023\n"
         "  buffer: 1MiB\n"
         "status: {listen: [], detail: true}\n",
         &c);
    assert_int_equal(c.data.bind.count, 3);
    assert_addr(&c.data.bind.items[0], "203.0.113.7");
    assert_addr(&c.data.bind.items[1], "2001:db8::7");
    assert_int_equal(c.data.ports.first, 20000);
    assert_int_equal(c.data.ports.last, 21023);
    assert_int_equal(c.data.buffer, 1024 * 1024);
    assert_int_equal(c.status.listen.count, 0);
    assert_null(c.status.listen.items);
    assert_true(c.status.detail);
    schema_fini(&config, &c);
}

static void assert_presets(const struct config *c)
{
    assert_int_equal(c->listeners.count, 1);
    assert_addr(&c->listeners.items[0].listen, "127.0.0.1:1080");
    assert_int_equal(c->listeners.items[0].methods.count, 1);
    assert_null(c->users.file);
    assert_string_equal(c->relays.items[0].spawn.program, "r");
    assert_int_equal(c->rules.count, 1);
    assert_int_equal(c->data.bind.count, 2);
    assert_int_equal(c->data.ports.last, 21023);
    assert_int_equal(c->data.buffer, 65536);
    assert_string_equal(c->status.listen.items[0], "unix:/run/status.sock");
    assert_false(c->status.detail);
}

static void without_a_file_and_with_an_empty_one_all_is_preset(void **state)
{
    struct config c;
    struct err e;

    (void)state;
    memset(&c, 0xff, sizeof(c));
    assert_int_equal(schema_load(&config, NULL, &e, &c), 0);
    assert_presets(&c);
    schema_fini(&config, &c);
    load("", &c);
    assert_presets(&c);
    schema_fini(&config, &c);
    load("relay: {}\nstatus: {}\n", &c);
    assert_presets(&c);
    schema_fini(&config, &c);
}

static void a_relative_path_starts_where_the_configuration_is(void **state)
{
    static const struct {
        const char *file, *text, *path;
    } cases[] = {
        {"/etc/socksd/socksd.yaml", "users: {file: u}", "/etc/socksd/u"},
        {"/etc/socksd/socksd.yaml", "users: {file: /srv/u}", "/srv/u"},
        {"conf/socksd.yaml", "users: {file: sub/u}", "conf/sub/u"},
        {"socksd.yaml", "users: {file: u}", "u"},
    };
    struct config c;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load_as(cases[i].file, cases[i].text, &e, &c), 0);
        assert_string_equal(c.users.file, cases[i].path);
        schema_fini(&config, &c);
    }
}

static void durations_and_sizes_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } durations[] = {{"100ms", 100}, {"5s", 5000}, {"1m", 60000}, {"\"90s\"", 90000}};
    static const struct {
        const char *text;
        uint64_t octets;
    } sizes[] = {{"4096", 4096}, {"64KiB", 65536}, {"1MiB", 1048576}};
    char text[128];
    struct config c;

    (void)state;
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        snprintf(text, sizeof(text), "listeners: [{listen: 127.0.0.1:1, handshake-timeout: %s}]",
                 durations[i].text);
        load(text, &c);
        assert_int_equal(c.listeners.items[0].handshake_ms, durations[i].ms);
        schema_fini(&config, &c);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(text, sizeof(text), "relay: {buffer: %s}", sizes[i].text);
        load(text, &c);
        assert_int_equal(c.data.buffer, sizes[i].octets);
        schema_fini(&config, &c);
    }
}

static void a_zero_needs_no_unit_and_an_hour_is_one(void **state)
{
    struct times {
        uint64_t idle, life, most;
    } t;
    static const struct schema_key keys[] = {
        SCHEMA_KEY("idle", DURATION, struct times, idle, .preset = "0"),
        SCHEMA_KEY("life", DURATION, struct times, life, .preset = "1h"),
        SCHEMA_KEY("most", SIZE, struct times, most, .preset = "2GiB"),
        {0},
    };
    static const struct schema times = {sizeof(struct times), keys, NULL};
    struct err e;

    (void)state;
    assert_int_equal(schema_load(&times, NULL, &e, &t), 0);
    assert_int_equal(t.idle, 0);
    assert_int_equal(t.life, 3600000);
    assert_int_equal(t.most, UINT64_C(2) << 30);
}

static void bad_input_is_refused_with_its_place_and_a_sentence(void **state)
{
#define LISTENER(more) "listeners:\n  - listen: 127.0.0.1:1\n    " more "\n"
#define LONG40         "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd"
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        /* keys */
        {"listners: []\n", "f.yaml:1:1: unknown key \"listners\", did you mean \"listeners\"?"},
        {"users: {}\nzebra: 1\n", "f.yaml:2:1: unknown key \"zebra\""},
        {LISTENER("metod: []"), "f.yaml:3:5: unknown key \"metod\", did you mean \"methods\"?"},
        {"a\"\\e\": 1\n", "f.yaml:1:1: unknown key \"a\"\\e\"\""},
        {"\"\\e[2J\": 1\n", "f.yaml:1:1: unknown key \"?[2J\""},
        {LONG40 LONG40 ": 1\n",
         "f.yaml:1:1: unknown key \"" LONG40 "aaaaaaaaaabbbbbbbbbbcccccc...\""},
        {"listeners:\n  - methods: []\n", "f.yaml:2:14: methods: an empty list is not allowed"},
        {"listeners:\n  - methods: [none]\n", "f.yaml:2:5: \"listen\" is missing"},
        {"relays: [{spawn: {}}]\n", "f.yaml:1:18: \"program\" is missing"},
        {"relays: [{}]\n", "f.yaml:1:10: one of \"spawn\", \"url\""},
        {"relays:\n  - url: a://b\n    spawn: {program: x}\n",
         "f.yaml:2:5: one of \"spawn\", \"url\""},
        /* kinds */
        {"- a\n", "f.yaml:1:1: a mapping is expected here, not a list"},
        {"a\n", "f.yaml:1:1: a mapping is expected here, not a single value"},
        {"users: 1\n", "f.yaml:1:8: users: a mapping is expected here, not a single value"},
        {"users:\n", "f.yaml:1:7: users: a mapping is expected here, not nothing"},
        {"listeners: {}\n", "f.yaml:1:12: listeners: a list is expected here, not a mapping"},
        {"listeners: [x]\n",
         "f.yaml:1:13: listeners: a mapping is expected here, not a single value"},
        {LISTENER("methods: none"),
         "f.yaml:3:14: methods: a list is expected here, not a single value"},
        {LISTENER("methods: [[none]]"),
         "f.yaml:3:15: methods: a single value is expected here, not a list"},
        {"users: {file: }\n", "f.yaml:1:15: file: a single value is expected here, not nothing"},
        {"users: {file: {}}\n",
         "f.yaml:1:15: file: a single value is expected here, not a mapping"},
        /* values */
        {"status: {detail: yes}\n", "f.yaml:1:18: detail: \"yes\" is not true or false"},
        {"listeners: [{listen: localhost:80}]\n", "f.yaml:1:22: listen: \"localhost:80\" is not an "
                                                  "address and port such as 127.0.0.1:1080 or "
                                                  "[::1]:1080"},
        {"listeners: [{listen: 127.0.0.1}]\n",
         "f.yaml:1:22: listen: \"127.0.0.1\" is not an address and port such as 127.0.0.1:1080 or "
         "[::1]:1080"},
        {LISTENER("methods: [nobody]"),
         "f.yaml:3:15: methods: \"nobody\" is not one of none, username-password, gssapi"},
        {LISTENER("methods: [none, none]"),
         "f.yaml:3:21: methods: \"none\" stands here a second time"},
        {LISTENER("handshake-timeout: 5"),
         "f.yaml:3:24: handshake-timeout: \"5\" is not a duration "
         "such as 250ms, 5s, 10m or 1h"},
        {LISTENER("handshake-timeout: -5s"),
         "f.yaml:3:24: handshake-timeout: \"-5s\" is not a duration such as 250ms, 5s, 10m or 1h"},
        {LISTENER("handshake-timeout: 99999999999999999h"),
         "f.yaml:3:24: handshake-timeout: \"99999999999999999h\" is not a duration such as 250ms, "
         "5s, 10m or 1h"},
        {LISTENER("handshake-timeout: 99ms"),
         "f.yaml:3:24: handshake-timeout: 99ms is less than 100ms"},
        {LISTENER("handshake-timeout: 0"), "f.yaml:3:24: handshake-timeout: 0 is less than 100ms"},
        {LISTENER("handshake-timeout: 1h"), "f.yaml:3:24: handshake-timeout: 1h is more than 90s"},
        {"relay: {buffer: 12KB}\n",
         "f.yaml:1:17: buffer: \"12KB\" is not a size such as 4096, 64KiB or 1MiB"},
        {"relay: {buffer: 1KiB}\n", "f.yaml:1:17: buffer: 1KiB is less than 4KiB"},
        {"relay: {buffer: 2GiB}\n", "f.yaml:1:17: buffer: 2GiB is more than 1MiB"},
        {"relay: {bind: [0.0.0.0:1]}\n",
         "f.yaml:1:16: bind: \"0.0.0.0:1\" is not an address such as 192.0.2.1 or 2001:db8::1"},
        {"relay: {ports: 0}\n", "f.yaml:1:16: ports: \"0\" is not a port or range of ports such as "
                                "443 or 8000-8999"},
        {"relay: {ports: 9-8}\n",
         "f.yaml:1:16: ports: \"9-8\" is not a port or range of ports such "
         "as 443 or 8000-8999"},
        {"relay: {ports: 1-65536}\n", "f.yaml:1:16: ports: \"1-65536\" is not a port or range of "
                                      "ports such as 443 or 8000-8999"},
        {"relay: {ports: 1-2-3}\n", "f.yaml:1:16: ports: \"1-2-3\" is not a port or range of ports "
                                    "such as 443 or 8000-8999"},
        {"relays: [{spawn: {program: x, count: 0}}]\n", "f.yaml:1:38: count: 0 is less than 1"},
        {"relays: [{spawn: {program: x, count: 65}}]\n", "f.yaml:1:38: count: 65 is more than 64"},
        {"relays: [{spawn: {program: x, count: 1.5}}]\n",
         "f.yaml:1:38: count: \"1.5\" is not a whole number"},
        {"relays: [{spawn: {program: x, count: 010}}]\n",
         "f.yaml:1:38: count: \"010\" is not a whole number"},
        {"relays: [{spawn: {program: x, count: 18446744073709551616}}]\n",
         "f.yaml:1:38: count: \"18446744073709551616\" is not a whole number"},
        {"relays: [{spawn: {program: ''}}]\n", "f.yaml:1:28: program: must not be empty"},
        {"relays: [{spawn: {program: aaaaaaaaaabbbbbbb}}]\n",
         "f.yaml:1:28: program: longer than 16 octets"},
        {"relays: [{url: nowhere}]\n", "f.yaml:1:16: url: no scheme"},
        {"status:\n  listen: [127.0.0.1:1, nowhere]\n",
         "f.yaml:2:25: listen: neither unix:PATH nor an address and port"},
        {"users: {file: ''}\n", "f.yaml:1:15: file: must not be empty"},
        /* rules, by a callback */
        {"rules: {}\n", "f.yaml:1:8: rules: a list is expected here, not a mapping"},
        {"rules: [x]\n", "f.yaml:1:9: rules: a mapping is expected here, not a single value"},
        {"rules: [{deny: {}}, {allow: {}, deny: {}}]\n",
         "f.yaml:1:21: rules: each item is one of \"allow\", \"deny\""},
        {"rules: [{permit: {}}]\n", "f.yaml:1:10: rules: each item is one of \"allow\", \"deny\""},
        {"rules: [{deny: }]\n", "f.yaml:1:16: a mapping is expected here, not nothing"},
        {"rules:\n  - deny: {}\n  - allow: {users: [a], to: [10.0.0.1/8]}\n",
         "f.yaml:3:30: to: \"10.0.0.1/8\" is not a network such as 192.0.2.0/24 with all host bits "
         "zero"},
        {"rules: [{allow: {to: [\"::ffff:10.0.0.0/104\"]}}]\n",
         "f.yaml:1:23: to: ::ffff:10.0.0.0/104 is IPv4: write it so"},
        {"rules: [{allow: {to: [\"::1\", \"::ffff:10.0.0.1\"]}}]\n",
         "f.yaml:1:30: to: ::ffff:10.0.0.1 is IPv4: write it so"},
        {"rules: [{allow: {users: []}}]\n", "f.yaml:1:25: users: an empty list is not allowed"},
    };
    static const struct config zero;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config c;
        struct err e;
        memset(&c, 0xff, sizeof(c));
        if (load_as("f.yaml", cases[i].text, &e, &c) == 0)
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.text, cases[i].sentence);
        assert_memory_equal(&c, &zero, sizeof(c));
    }
}

static void a_preset_that_its_own_row_refuses_is_found(void **state)
{
    struct one {
        uint64_t n;
    } o;
    static const struct schema_key keys[] = {
        SCHEMA_KEY("n", UINT, struct one, n, .preset = "9", .max = 8),
        {0},
    };
    static const struct schema one = {sizeof(struct one), keys, NULL};
    struct err e;

    (void)state;
    assert_int_equal(schema_load(&one, NULL, &e, &o), -1);
    assert_string_equal(e.text, "preset of \"n\": preset:1:1: n: 9 is more than 8");
}

static void the_help_names_every_key_with_type_and_default(void **state)
{
    static const char *const lines[] = {
        "listeners: list, each a mapping; default [{listen: 127.0.0.1:1080}]\n"
        "    Where socksd listens.\n",
        "listeners[].listen: an address and port such as 127.0.0.1:1080 or [::1]:1080; required\n"
        "    Where clients connect.\n",
        "listeners[].methods: list, each none | username-password | gssapi; default [none]\n",
        "listeners[].handshake-timeout: a duration such as 250ms, 5s, 10m or 1h; at least 100ms; "
        "at most 90s; default 10s\n",
        "users: a mapping\n"
        "users.file: a path\n",
        "relays[].spawn.count: a whole number; at least 1; at most 64; default 1\n",
        "rules: list of rules; default [{deny: {}}]\n",
        "relay.buffer: a size such as 4096, 64KiB or 1MiB; at least 4KiB; at most 1MiB; "
        "default 64KiB\n",
    };
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    schema_help(&config, out);
    fclose(out);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("not in the help: %s", lines[i]);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_of_socksd_is_understood),
        cmocka_unit_test(the_sample_of_a_relay_is_understood),
        cmocka_unit_test(without_a_file_and_with_an_empty_one_all_is_preset),
        cmocka_unit_test(a_relative_path_starts_where_the_configuration_is),
        cmocka_unit_test(durations_and_sizes_have_units),
        cmocka_unit_test(a_zero_needs_no_unit_and_an_hour_is_one),
        cmocka_unit_test(bad_input_is_refused_with_its_place_and_a_sentence),
        cmocka_unit_test(a_preset_that_its_own_row_refuses_is_found),
        cmocka_unit_test(the_help_names_every_key_with_type_and_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
