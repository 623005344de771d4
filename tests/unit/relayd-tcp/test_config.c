#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayd-tcp/config.h"

static int load_as(const char *text, struct err *e, struct tcp_config *ret)
{
    struct yaml_tree tree;
    int rc = yaml_load_text("f", text, strlen(text), e, &tree);

    if (rc == 0) {
        rc = schema_load(&tcp_schema, tree.root, e, ret);
        yaml_fini(&tree);
    }
    return rc;
}

static void load(const char *text, struct tcp_config *ret)
{
    struct err e;

    if (load_as(text, &e, ret) != 0)
        fail_msg("%s", e.text);
}

static void without_a_file_all_is_preset(void **state)
{
    struct tcp_config c;

    (void)state;
    load("", &c);
    assert_int_equal(c.base.n2.lease_ms, 5000);
    assert_int_equal(c.base.drain_ms, 600000);
    assert_int_equal(c.base.relay.associations, 0);
    assert_int_equal(c.base.relay.bind.count, 0);
    assert_false(c.ports_given);
    assert_int_equal(c.base.relay.ports.first, 1);
    assert_int_equal(c.base.relay.ports.last, 65535);
    assert_false(c.privileged_ports);
    assert_true(tcp_config_engine(&c, TCP_SPLICE));
    assert_true(tcp_config_engine(&c, TCP_COPY));
    assert_int_equal(c.connect_ms, 20000);
    assert_int_equal(c.base.relay.idle_ms, 3600000);
    assert_int_equal(c.half_closed_ms, 600000);
    assert_int_equal(c.pipes, 256);
    assert_int_equal(c.pipe_octets, 262144);
    assert_int_equal(c.transparent_ports.first, 21024);
    assert_int_equal(c.transparent_ports.last, 21055);
    assert_int_equal(c.port_rest_ms, 10000);
    assert_int_equal(c.unlocked, 16);
    assert_int_equal(c.unused_ms, 30000);
    assert_false(c.sequential);
    schema_fini(&tcp_schema, &c);
}

static void what_every_relay_reads_and_what_is_its_own_stand_in_one_section(void **state)
{
    struct tcp_config c;

    (void)state;
    load("n2: {listen: [\"ipc:///x\"]}\n"
         "relay: {id: r, bind: [192.0.2.1], protect: [10.0.0.0/8], associations: 7,\n"
         "        ports: 2000-2001, engines: [copy], pipes: 0}\n",
         &c);
    assert_string_equal(c.base.n2.listen.items[0], "ipc:///x");
    assert_string_equal(c.base.relay.id, "r");
    assert_int_equal(c.base.relay.protect.items[0].bits, 8);
    assert_int_equal(c.base.relay.associations, 7);
    assert_int_equal(c.base.relay.bind.count, 1);
    assert_true(c.ports_given);
    assert_int_equal(c.base.relay.ports.last, 2001);
    assert_false(tcp_config_engine(&c, TCP_SPLICE));
    assert_int_equal(c.pipes, 0);
    schema_fini(&tcp_schema, &c);
}

static void a_key_of_another_relay_is_unknown(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"relay: {fragments: true}\n", "f:1:9: unknown key \"fragments\""},
        {"relay: {relock: 1s}\n", "f:1:9: unknown key \"relock\""},
        {"resolver: {}\n", "f:1:1: unknown key \"resolver\""},
        {"relay: {engines: [batch]}\n", "f:1:19: engines: \"batch\" is not one of copy, splice"},
        {"pipes: 1\n", "f:1:1: unknown key \"pipes\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tcp_config c;
        struct err e;
        if (load_as(cases[i].text, &e, &c) == 0)
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.text, cases[i].sentence);
    }
}

static void ports_are_for_bind_or_for_transparent(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"relay: {ports: 21055-22000}\n",
         "f:1:16: ports: 21055-21055 are in transparent-ports, 21024-21055, too"},
        {"relay: {ports: 20000-30000}\n",
         "f:1:16: ports: 21024-21055 are in transparent-ports, 21024-21055, too"},
        {"relay: {transparent-ports: 5000-5009, ports: 4000-5000}\n",
         "f:1:46: ports: 5000-5000 are in transparent-ports, 5000-5009, too"},
        {"relay: {transparent-ports: 1023-2000}\n",
         "f:1:28: transparent-ports: 1023-2000: ports below 1024 are not for this"},
    };
    struct tcp_config c;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err e;
        if (load_as(cases[i].text, &e, &c) == 0)
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.text, cases[i].sentence);
    }
    load("relay: {transparent-ports: 5000, ports: 5001-5009}\n", &c);
    assert_int_equal(c.transparent_ports.first, 5000);
    assert_int_equal(c.transparent_ports.last, 5000);
    schema_fini(&tcp_schema, &c);
}

static void a_reload_takes_what_new_associations_ask_for_and_keeps_the_rest(void **state)
{
    struct tcp_config c, fresh;

    (void)state;
    load("relay: {bind: [192.0.2.1], pipes: 8, engines: [copy]}\n", &c);
    load("relay: {bind: [192.0.2.2, \"2001:db8::2\"], ports: 5000-5001, privileged-ports: true,\n"
         "        connect-timeout: 1s, idle-timeout: 2s, half-closed-timeout: 3s, pipes: 9,\n"
         "        sequential: true, unused-timeout: 4s, transparent-ports: 7000, port-rest: 5s,\n"
         "        unlocked: 6}\n",
         &fresh);
    tcp_config_reload(&c, &fresh);
    assert_int_equal(c.base.relay.bind.count, 2);
    assert_int_equal(c.base.relay.bind.items[0].ip[3], 2);
    assert_true(c.ports_given);
    assert_int_equal(c.base.relay.ports.first, 5000);
    assert_true(c.privileged_ports);
    assert_int_equal(c.connect_ms, 1000);
    assert_int_equal(c.half_closed_ms, 3000);
    assert_int_equal(c.pipes, 8);
    assert_true(c.sequential);
    assert_int_equal(c.unused_ms, 4000);
    assert_int_equal(c.transparent_ports.first, 21024);
    assert_int_equal(c.port_rest_ms, 10000);
    assert_int_equal(c.unlocked, 16);
    assert_false(tcp_config_engine(&c, TCP_SPLICE));
    schema_fini(&tcp_schema, &fresh);
    schema_fini(&tcp_schema, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_all_is_preset),
        cmocka_unit_test(what_every_relay_reads_and_what_is_its_own_stand_in_one_section),
        cmocka_unit_test(a_key_of_another_relay_is_unknown),
        cmocka_unit_test(ports_are_for_bind_or_for_transparent),
        cmocka_unit_test(a_reload_takes_what_new_associations_ask_for_and_keeps_the_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
