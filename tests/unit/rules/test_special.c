#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/rules/special.h"

static struct addr ip(const char *text)
{
    struct addr a;

    if (!addr_parse_ip(text, &a))
        fail_msg("%s is no address", text);
    return a;
}

static const char *name_of(const char *text)
{
    struct addr a = ip(text);
    const struct special *s = special_find(&a);

    return s ? s->name : "-";
}

static const char *name_of_network(const char *text)
{
    struct prefix p;
    const struct special *s;

    if (!prefix_parse(text, &p))
        fail_msg("%s is no network", text);
    s = special_find_prefix(&p);
    return s ? s->name : "-";
}

struct row {
    const char *text, *name;
};

static void check_addresses(const struct row *rows)
{
    for (; rows->text; rows++)
        if (strcmp(name_of(rows->text), rows->name) != 0)
            fail_msg("%s is %s, not %s", rows->text, name_of(rows->text), rows->name);
}

static void ipv4_ranges_hold_their_first_and_last_address_and_not_the_next(void **state)
{
    static const struct row rows[] = {
        {"0.0.0.0", "this_network"},
        {"0.255.255.255", "this_network"},
        {"1.0.0.0", "-"},
        {"9.255.255.255", "-"},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"11.0.0.0", "-"},
        {"100.63.255.255", "-"},
        {"100.64.0.0", "shared"},
        {"100.100.100.200", "shared"},
        {"100.127.255.255", "shared"},
        {"100.128.0.0", "-"},
        {"126.255.255.255", "-"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.255", "loopback"},
        {"128.0.0.0", "-"},
        {"169.253.255.255", "-"},
        {"169.254.169.254", "link_local"},
        {"169.255.0.0", "-"},
        {"172.15.255.255", "-"},
        {"172.16.0.0", "private"},
        {"172.31.255.255", "private"},
        {"172.32.0.0", "-"},
        {"192.0.0.8", "protocol_assignment"},
        {"192.0.1.0", "-"},
        {"192.0.2.1", "documentation"},
        {"192.0.3.0", "-"},
        {"192.88.99.1", "6to4_relay"},
        {"192.167.255.255", "-"},
        {"192.168.0.1", "private"},
        {"192.169.0.0", "-"},
        {"198.17.255.255", "-"},
        {"198.18.0.0", "benchmarking"},
        {"198.19.255.255", "benchmarking"},
        {"198.20.0.0", "-"},
        {"198.51.100.7", "documentation"},
        {"203.0.113.7", "documentation"},
        {"223.255.255.255", "-"},
        {"224.0.0.1", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.1", "reserved"},
        {"255.255.255.254", "reserved"},
        {"255.255.255.255", "broadcast"},
        {"8.8.8.8", "-"},
        {NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void ipv6_ranges_and_what_lies_outside_global_unicast(void **state)
{
    static const struct row rows[] = {
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::2", "reserved"},
        {"::127.0.0.1", "reserved"},     /* IPv4-compatible, deprecated */
        {"::ffff:0:7f00:1", "reserved"}, /* IPv4-translated, RFC 2765 */
        {"64:ff9b:1::1", "local_nat64"},
        {"64:ff9b:1:7f00:0:100::", "local_nat64"},
        {"64:ff9b:2::1", "reserved"},
        {"100::1", "discard"},
        {"100:0:0:1::1", "reserved"},
        {"1fff:ffff::1", "reserved"},
        {"2000::1", "-"},
        {"2001:1::1", "protocol_assignment"},
        {"2001:2::1", "benchmarking"},
        {"2001:1ff:ffff::1", "protocol_assignment"},
        {"2001:200::1", "-"},
        {"2001:db7::1", "-"},
        {"2001:db8::1", "documentation"},
        {"2001:db9::1", "-"},
        {"2606:4700::1111", "-"},
        {"3ffe:ffff::1", "-"},
        {"3fff:fff::1", "documentation"},
        {"3fff:1000::1", "-"},
        {"4000::1", "reserved"},
        {"5f00::1", "segment_routing"},
        {"7fff::1", "reserved"},
        {"8000::1", "reserved"},
        {"fbff::1", "reserved"},
        {"fc00::1", "unique_local"},
        {"fd00:ec2::254", "unique_local"},
        {"fe80::1", "link_local"},
        {"febf::1", "link_local"},
        {"fec0::1", "site_local"},
        {"ff02::1", "multicast"},
        {NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void an_ipv6_address_is_as_special_as_the_ipv4_address_it_carries(void **state)
{
    static const struct row rows[] = {
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:8.8.8.8", "-"},
        {"64:ff9b::7f00:1", "loopback"},
        {"64:ff9b::169.254.169.254", "link_local"},
        {"64:ff9b::8.8.8.8", "-"},
        {"2002:7f00:1::", "loopback"},
        {"2002:a01:203::1", "private"},
        {"2002:a9fe:a9fe::1", "link_local"},
        {"2002:808:808::1", "-"},
        {"2001:0:808:808::80ff:fffe", "loopback"}, /* Teredo: client 127.0.0.1, inverted */
        {"2001:0:a00:1::f7f7:f7f7", "private"},    /* Teredo: server 10.0.0.1 */
        {"2001:0:808:808::f7f7:f7f7", "teredo"},   /* both are global */
        {NULL, NULL},
    };

    (void)state;
    check_addresses(rows);
}

static void a_network_is_special_only_as_a_whole(void **state)
{
    static const struct row rows[] = {
        {"127.0.0.0/8", "loopback"},
        {"10.1.2.3", "private"},
        {"10.0.0.0/7", "-"},
        {"0.0.0.0/0", "-"},
        {"0.0.0.0/8", "this_network"},
        {"224.0.0.0/3", "-"},
        {"240.0.0.0/4", "reserved"},
        {"::/0", "-"},
        {"::/3", "-"}, /* holds ::1, and NAT64 of global addresses */
        {"::/96", "reserved"},
        {"::ffff:0:0/96", "-"},
        {"::ffff:10.0.0.0/104", "private"},
        {"64:ff9b::/96", "-"},
        {"64:ff9b::/64", "-"},
        {"64:ff9b::7f00:0/104", "loopback"},
        {"2002::/16", "-"},
        {"2002:7f00::/24", "loopback"},
        {"2002:7e00::/23", "-"},
        {"2000::/4", "-"},
        {"2001::/32", "teredo"},
        {"2001::/23", "protocol_assignment"},
        {"2001:0:a00::/40", "private"},
        {"2001::/22", "-"},
        {"fc00::/7", "unique_local"},
        {"8000::/1", "reserved"},
        {NULL, NULL},
    };

    (void)state;
    for (const struct row *r = rows; r->text; r++)
        if (strcmp(name_of_network(r->text), r->name) != 0)
            fail_msg("%s is %s, not %s", r->text, name_of_network(r->text), r->name);
}

static void the_carried_addresses_are_told(void **state)
{
    struct addr ret[SPECIAL_CARRIED_MAX];
    struct addr expected;
    struct addr a = ip("2606:4700::1111");

    (void)state;
    assert_int_equal(special_carried(&a, ret), 0);
    a = ip("10.0.0.1");
    assert_int_equal(special_carried(&a, ret), 0);
    a = ip("64:ff9b::198.51.100.7");
    assert_int_equal(special_carried(&a, ret), 1);
    expected = ip("198.51.100.7");
    assert_true(addr_equal(&ret[0], &expected));
    a = ip("2002:c633:6407::1");
    assert_int_equal(special_carried(&a, ret), 1);
    assert_true(addr_equal(&ret[0], &expected));
    a = ip("2001:0:c633:6407::80ff:fffe");
    assert_int_equal(special_carried(&a, ret), 2);
    assert_true(addr_equal(&ret[1], &expected));
    expected = ip("127.0.0.1");
    assert_true(addr_equal(&ret[0], &expected));
}

static void an_address_of_no_family_is_special(void **state)
{
    struct addr a = {0};

    (void)state;
    assert_string_equal(special_find(&a)->name, "none");
}

static void the_port_and_the_unused_octets_of_ipv4_do_not_matter(void **state)
{
    struct addr a = ip("10.0.0.1");

    (void)state;
    a.port = 443;
    a.ip[9] = 0xff;
    assert_string_equal(special_find(&a)->name, "private");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_ranges_hold_their_first_and_last_address_and_not_the_next),
        cmocka_unit_test(ipv6_ranges_and_what_lies_outside_global_unicast),
        cmocka_unit_test(an_ipv6_address_is_as_special_as_the_ipv4_address_it_carries),
        cmocka_unit_test(a_network_is_special_only_as_a_whole),
        cmocka_unit_test(the_carried_addresses_are_told),
        cmocka_unit_test(an_address_of_no_family_is_special),
        cmocka_unit_test(the_port_and_the_unused_octets_of_ipv4_do_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
