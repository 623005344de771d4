#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayd-udp/config.h"

static int load_as(const char *text, struct err *e, struct udp_config *ret)
{
    struct yaml_tree tree;
    int rc = yaml_load_text("f", text, strlen(text), e, &tree);

    if (rc == 0) {
        rc = schema_load(&udp_schema, tree.root, e, ret);
        yaml_fini(&tree);
    }
    return rc;
}

static void load(const char *text, struct udp_config *ret)
{
    struct err e;

    if (load_as(text, &e, ret) != 0)
        fail_msg("%s: %s", text, e.text);
}

static void without_a_file_all_is_preset(void **state)
{
    struct udp_config c;
    struct resolver_config names;

    (void)state;
    load("", &c);
    assert_int_equal(c.base.n2.lease_ms, 5000);
    assert_int_equal(c.base.drain_ms, 600000);
    assert_int_equal(c.base.relay.bind.count, 0);
    assert_int_equal(c.base.relay.advertise.count, 0);
    assert_int_equal(c.base.relay.ports.first, 20000);
    assert_int_equal(c.base.relay.ports.last, 21023);
    assert_true(udp_config_engine(&c, UDP_BATCH));
    assert_true(udp_config_engine(&c, UDP_PLAIN));
    assert_int_equal(c.base.relay.idle_ms, 3600000);
    assert_int_equal(c.unused_ms, 30000);
    assert_int_equal(c.port_rest_ms, 10000);
    assert_int_equal(c.unlocked, 64);
    assert_int_equal(c.relock_ms, 0);
    assert_int_equal(c.filtering, UDP_ADDRESS_DEPENDENT);
    assert_int_equal(c.peers, 4096);
    assert_int_equal(c.peer_timeout_ms, 300000);
    assert_true(c.fragments);
    assert_int_equal(c.fragment_octets, 4 << 20);
    assert_int_equal(c.fragment_ms, 5000);
    assert_int_equal(c.receive_octets, 4 << 20);
    assert_int_equal(c.target_octets, 1 << 20);
    assert_int_equal(c.pending, 16);
    assert_int_equal(c.pending_octets, 4 << 20);
    names = resolver_config_of(&c.resolver);
    assert_int_equal(names.server_count, 0);
    assert_int_equal(names.timeout_ms, 2000);
    assert_int_equal(names.tries, 2);
    assert_int_equal(names.cache_entries, 4096);
    assert_int_equal(names.negative_ms, 5000);
    schema_fini(&udp_schema, &c);
}

static void every_key_reaches_its_own_field(void **state)
{
    struct udp_config c;

    (void)state;
    load("relay:\n"
         "  id: u\n  bind: [192.0.2.1]\n  advertise: [198.51.100.1, \"2001:db8::1\"]\n"
         "  ports: 1024-1025\n  engines: [plain]\n  protect: [10.0.0.0/8]\n  associations: 2\n"
         "  idle-timeout: 3s\n  unused-timeout: 4s\n  port-rest: 5s\n  unlocked: 6\n"
         "  relock: 7s\n  filtering: endpoint-independent\n  peers: 8\n  peer-timeout: 9s\n"
         "  fragments: false\n  fragment-memory: 256KiB\n  fragment-timeout: 10s\n"
         "  receive-buffer: 64KiB\n  target-buffer: 128KiB\n  pending: 11\n"
         "  pending-memory: 512KiB\n"
         "resolver: {servers: [\"192.0.2.53:53\"], tries: 3}\n",
         &c);
    assert_string_equal(c.base.relay.id, "u");
    assert_int_equal(c.base.relay.bind.count, 1);
    assert_int_equal(c.base.relay.advertise.count, 2);
    assert_int_equal(c.base.relay.protect.count, 1);
    assert_int_equal(c.base.relay.associations, 2);
    assert_int_equal(c.base.relay.ports.first, 1024);
    assert_int_equal(c.base.relay.ports.last, 1025);
    assert_false(udp_config_engine(&c, UDP_BATCH));
    assert_true(udp_config_engine(&c, UDP_PLAIN));
    assert_int_equal(c.base.relay.idle_ms, 3000);
    assert_int_equal(c.unused_ms, 4000);
    assert_int_equal(c.port_rest_ms, 5000);
    assert_int_equal(c.unlocked, 6);
    assert_int_equal(c.relock_ms, 7000);
    assert_int_equal(c.filtering, UDP_ENDPOINT_INDEPENDENT);
    assert_int_equal(c.peers, 8);
    assert_int_equal(c.peer_timeout_ms, 9000);
    assert_false(c.fragments);
    assert_int_equal(c.fragment_octets, 256 << 10);
    assert_int_equal(c.fragment_ms, 10000);
    assert_int_equal(c.receive_octets, 64 << 10);
    assert_int_equal(c.target_octets, 128 << 10);
    assert_int_equal(c.pending, 11);
    assert_int_equal(c.pending_octets, 512 << 10);
    assert_int_equal(resolver_config_of(&c.resolver).servers[0].port, 53);
    assert_int_equal(resolver_config_of(&c.resolver).tries, 3);
    schema_fini(&udp_schema, &c);
}

static void zero_means_off_where_it_may_stand(void **state)
{
    struct udp_config c;

    (void)state;
    load("relay: {port-rest: 0, unlocked: 0, relock: 0, peer-timeout: 0}\n", &c);
    assert_int_equal(c.port_rest_ms + c.unlocked + c.relock_ms + c.peer_timeout_ms, 0);
    schema_fini(&udp_schema, &c);
}

static void what_makes_no_sense_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        /* keys of another program */
        {"relay: {pipes: 1}\n", "f:1:9: unknown key \"pipes\""},
        {"relay: {connect-timeout: 1s}\n", "f:1:9: unknown key \"connect-timeout\""},
        {"relay: {privileged-ports: true}\n", "f:1:9: unknown key \"privileged-ports\""},
        {"relay: {engines: [splice]}\n", "f:1:19: engines: \"splice\" is not one of plain, batch"},
        /* addresses */
        {"relay: {bind: [192.0.2.1:1]}\n",
         "f:1:16: bind: \"192.0.2.1:1\" is not an address such as 192.0.2.1 or 2001:db8::1"},
        {"relay: {bind: [192.0.2.1, \"2001:db8::1\", 192.0.2.2]}\n",
         "f:1:15: bind: more than one IPv4 address"},
        {"relay: {bind: [\"::ffff:192.0.2.1\"]}\n",
         "f:1:16: bind: ::ffff:192.0.2.1 is IPv4: write it so"},
        {"relay: {advertise: [0.0.0.0]}\n",
         "f:1:21: advertise: 0.0.0.0 is no address that a client can send to"},
        {"relay: {advertise: [\"::\"]}\n",
         "f:1:21: advertise: :: is no address that a client can send to"},
        {"relay: {advertise: [\"::ffff:0.0.0.0\"]}\n",
         "f:1:21: advertise: ::ffff:0.0.0.0 is IPv4: write it so"},
        {"relay: {advertise: [\"2001:db8::1\", \"2001:db8::2\"]}\n",
         "f:1:20: advertise: more than one IPv6 address"},
        {"relay: {ports: 1023-2000}\n",
         "f:1:16: ports: 1023-2000: ports below 1024 are not for this"},
        {"relay: {ports: 0}\n",
         "f:1:16: ports: \"0\" is not a port or range of ports such as 443 or 8000-8999"},
        /* quantities */
        {"relay: {idle-timeout: 999ms}\n", "f:1:23: idle-timeout: 999ms is less than 1s"},
        {"relay: {unused-timeout: 99ms}\n", "f:1:25: unused-timeout: 99ms is less than 100ms"},
        {"relay: {port-rest: 2h}\n", "f:1:20: port-rest: 2h is more than 1h"},
        {"relay: {peers: 0}\n", "f:1:16: peers: 0 is less than 1"},
        {"relay: {peers: 65537}\n", "f:1:16: peers: 65537 is more than 65536"},
        {"relay: {peer-timeout: 999ms}\n", "f:1:23: peer-timeout: 0, or at least 1s"},
        {"relay: {filtering: none}\n", "f:1:20: filtering: \"none\" is not one of "
                                       "address-dependent, endpoint-independent"},
        {"relay: {fragment-timeout: 4s}\n", "f:1:27: fragment-timeout: 4s is less than 5s"},
        {"relay: {fragment-memory: 64KiB}\n", "f:1:26: fragment-memory: 64KiB is less than 128KiB"},
        {"relay: {receive-buffer: 1KiB}\n", "f:1:25: receive-buffer: 1KiB is less than 64KiB"},
        {"relay: {pending: 0}\n", "f:1:18: pending: 0 is less than 1"},
        {"relay: {pending: 1025}\n", "f:1:18: pending: 1025 is more than 1024"},
        {"resolver: {tries: 0}\n", "f:1:19: tries: 0 is less than 1"},
    };
    static const struct udp_config zero;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct udp_config c;
        struct err e;
        memset(&c, 0xff, sizeof(c));
        if (load_as(cases[i].text, &e, &c) == 0)
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.text, cases[i].sentence);
        assert_memory_equal(&c, &zero, sizeof(c));
    }
}

static void a_reload_keeps_what_the_sockets_are_made_of(void **state)
{
    struct udp_config c, fresh;

    (void)state;
    load("relay: {bind: [192.0.2.1], ports: 3000-3001, engines: [plain], unlocked: 1}\n", &c);
    load("relay: {bind: [192.0.2.2], ports: 4000-4001, unlocked: 2, port-rest: 1s,\n"
         "        idle-timeout: 2s, unused-timeout: 3s, relock: 4s, peers: 5, peer-timeout: 6s,\n"
         "        filtering: endpoint-independent, fragments: false, fragment-memory: 1MiB,\n"
         "        fragment-timeout: 7s, receive-buffer: 2MiB, target-buffer: 3MiB, pending: 8,\n"
         "        pending-memory: 9MiB}\n",
         &fresh);
    udp_config_reload(&c, &fresh);
    assert_int_equal(c.base.relay.bind.items[0].ip[3], 1);
    assert_int_equal(c.base.relay.ports.first, 3000);
    assert_false(udp_config_engine(&c, UDP_BATCH));
    assert_int_equal(c.unlocked, 1);
    assert_int_equal(c.port_rest_ms, 10000);
    assert_int_equal(c.unused_ms, 3000);
    assert_int_equal(c.relock_ms, 4000);
    assert_int_equal(c.peers, 5);
    assert_int_equal(c.peer_timeout_ms, 6000);
    assert_int_equal(c.filtering, UDP_ENDPOINT_INDEPENDENT);
    assert_false(c.fragments);
    assert_int_equal(c.fragment_octets, 1 << 20);
    assert_int_equal(c.fragment_ms, 7000);
    assert_int_equal(c.receive_octets, 2 << 20);
    assert_int_equal(c.target_octets, 3 << 20);
    assert_int_equal(c.pending, 8);
    assert_int_equal(c.pending_octets, 9 << 20);
    schema_fini(&udp_schema, &fresh);
    schema_fini(&udp_schema, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_all_is_preset),
        cmocka_unit_test(every_key_reaches_its_own_field),
        cmocka_unit_test(zero_means_off_where_it_may_stand),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_its_place),
        cmocka_unit_test(a_reload_keeps_what_the_sockets_are_made_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
