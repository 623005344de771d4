#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/base/addr.h"

static struct addr parsed(const char *text)
{
    struct addr a;
    assert_true(addr_parse(text, &a));
    return a;
}

static struct addr parsed_ip(const char *text)
{
    struct addr a;
    assert_true(addr_parse_ip(text, &a));
    return a;
}

static struct prefix net(const char *text)
{
    struct prefix p;
    assert_true(prefix_parse(text, &p));
    return p;
}

static void an_address_with_a_port_reads_back_as_written(void **state)
{
    static const char *const texts[] = {
        "127.0.0.1:1080", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:1080", "[2001:db8::1]:443",
    };
    char buf[ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct addr a = parsed(texts[i]);
        assert_string_equal(addr_format(&a, buf), texts[i]);
    }
}

static void octets_are_in_network_order_and_the_port_in_host_order(void **state)
{
    const uint8_t v4[4] = {192, 0, 2, 1};
    struct addr a = parsed("192.0.2.1:258"), b = addr_ipv4(v4, 258);

    (void)state;
    assert_int_equal(a.family, ADDR_IPV4);
    assert_memory_equal(a.ip, v4, 4);
    assert_int_equal(a.port, 0x0102);
    assert_true(addr_equal(&a, &b));
}

static void a_bad_endpoint_is_refused_and_leaves_the_result_alone(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.1:80",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[::1:80",
        "::1]:80",
        "[127.0.0.1]:80",
        "[]:80",
        "1.2.3.4:+80",
        "1.2.3.4: 80",
        "1.2.3.4:80 ",
        " 1.2.3.4:80",
        "1.2.3.4:080",
        "01.2.3.4:1",
        "0x7f.0.0.1:1",
        "1.2.3.4:99999999999999999999",
        "host:80",
        "[fe80::1%eth0]:80",
        "1.2.3.4.5:1",
        "256.0.0.1:1",
        "[::1]]:80",
    };
    struct addr before = parsed("192.0.2.7:7"), a = before;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (addr_parse(texts[i], &a))
            fail_msg("\"%s\" was taken", texts[i]);
        assert_memory_equal(&a, &before, sizeof(a));
    }
}

static void a_bare_address_may_stand_in_brackets_when_it_is_ipv6(void **state)
{
    struct addr a = parsed_ip("2001:db8::1"), b = parsed_ip("[2001:db8::1]"), c = b;

    (void)state;
    assert_true(addr_equal(&a, &b));
    assert_int_equal(a.port, 0);
    assert_int_equal(parsed_ip("192.0.2.1").family, ADDR_IPV4);
    assert_false(addr_parse_ip("[192.0.2.1]", &c));
    assert_false(addr_parse_ip("[", &c));
    assert_false(addr_parse_ip("[]", &c));
    assert_false(addr_parse_ip("", &c));
    assert_false(addr_parse_ip("192.0.2.1:80", &c));
    assert_false(addr_parse_ip("2001:db8:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15", &c));
    assert_true(addr_equal(&b, &c));
}

static void without_a_family_the_text_is_a_dash(void **state)
{
    struct addr none = {0};
    char buf[ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(addr_format(&none, buf), "-");
    assert_string_equal(addr_format_ip(&none, buf), "-");
}

static void the_longest_address_fits_its_buffer(void **state)
{
    struct addr a = parsed("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535");
    char buf[ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(addr_format(&a, buf), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    assert_string_equal(addr_format_ip(&a, buf), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

static void equality_looks_at_family_address_and_port(void **state)
{
    struct addr a = parsed("127.0.0.1:1"), b = parsed("127.0.0.1:2"), c = parsed("[::1]:1");

    (void)state;
    assert_false(addr_equal(&a, &b));
    assert_true(addr_ip_equal(&a, &b));
    assert_false(addr_ip_equal(&a, &c));
}

static void unspecified_and_loopback_addresses_are_told_apart(void **state)
{
    struct addr any4 = addr_any(ADDR_IPV4, 80), any6 = addr_any(ADDR_IPV6, 80), none = {0};
    struct addr loop4 = parsed_ip("127.255.0.1"), loop6 = parsed_ip("::1"),
                other = parsed_ip("::2");

    (void)state;
    assert_true(addr_is_any(&any4) && addr_is_any(&any6) && addr_is_any(&none));
    assert_false(addr_is_any(&loop4) || addr_is_any(&loop6));
    assert_true(addr_is_loopback(&loop4) && addr_is_loopback(&loop6));
    assert_false(addr_is_loopback(&other) || addr_is_loopback(&any4) || addr_is_loopback(&none));
    assert_int_equal(any6.port, 80);
}

static void a_mapped_address_is_unwrapped_with_its_port(void **state)
{
    struct addr a = parsed("[::ffff:192.0.2.1]:80"), b = parsed("192.0.2.1:80"),
                c = parsed("[::1]:80");
    struct addr unmapped = addr_unmap(&a), same4 = addr_unmap(&b), same6 = addr_unmap(&c);

    (void)state;
    assert_true(addr_equal(&unmapped, &b));
    assert_true(addr_equal(&same4, &b));
    assert_true(addr_equal(&same6, &c));
}

static void a_prefix_holds_its_addresses_and_no_others(void **state)
{
    struct prefix p = net("192.0.2.128/25"), q = net("2001:db8:8000::/33"), all = net("0.0.0.0/0");
    struct addr in = parsed_ip("192.0.2.200"), out = parsed_ip("192.0.2.127");
    struct addr in6 = parsed_ip("2001:db8:ffff::1"), out6 = parsed_ip("2001:db8:7fff::1");
    struct prefix none = {0};
    struct addr no_addr = {0};

    (void)state;
    assert_true(prefix_contains(&p, &in));
    assert_false(prefix_contains(&p, &out));
    assert_false(prefix_contains(&p, &in6));
    assert_true(prefix_contains(&q, &in6));
    assert_false(prefix_contains(&q, &out6));
    assert_true(prefix_contains(&all, &out));
    assert_false(prefix_contains(&all, &out6));
    assert_false(prefix_contains(&none, &no_addr));
}

static void a_bare_address_is_a_prefix_of_all_its_bits(void **state)
{
    struct prefix p = net("192.0.2.1"), q = net("::1");

    (void)state;
    assert_int_equal(p.bits, 32);
    assert_int_equal(q.bits, 128);
}

static void a_bad_prefix_is_refused(void **state)
{
    static const char *const texts[] = {
        "",           "/8",          "10.0.0.0/33",    "10.0.0.0/", "10.0.0.0/08",
        "10.0.0.1/8", "::/129",      "2001:db8::1/64", "[::]/0",    "10.0.0.0/8/8",
        "10/8",       "10.0.0.0/-1", "10.0.0.0:8",     "name/8",
    };
    struct prefix p;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (prefix_parse(texts[i], &p))
            fail_msg("\"%s\" was taken", texts[i]);
}

static void a_network_of_mapped_addresses_is_told_from_others(void **state)
{
    static const char *const mapped[] = {"::ffff:0:0/96", "::ffff:10.0.0.0/104",
                                         "::ffff:0a00:0/104", "::ffff:127.0.0.1"};
    static const char *const others[] = {
        "::/0",       "::/95",     "::ffff:0:0:0/96", "::fffe:0:0/95", "::10.0.0.0/104", "::1",
        "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32",   "64:ff9b::/96",  "255.255.0.0/16"};
    const struct prefix none = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(mapped) / sizeof(mapped[0]); i++) {
        struct prefix p = net(mapped[i]);
        if (!prefix_is_mapped(&p))
            fail_msg("%s", mapped[i]);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct prefix p = net(others[i]);
        if (prefix_is_mapped(&p))
            fail_msg("%s", others[i]);
    }
    assert_false(prefix_is_mapped(&none));
}

static void a_prefix_is_within_itself_and_within_shorter_ones(void **state)
{
    struct prefix p8 = net("10.0.0.0/8"), p9 = net("10.128.0.0/9"), q9 = net("11.0.0.0/9");
    struct prefix v6 = net("::/0"), low9 = net("10.0.0.0/9");

    (void)state;
    assert_true(prefix_within(&p8, &p8));
    assert_true(prefix_within(&p9, &p8));
    assert_false(prefix_within(&p8, &p9));
    assert_false(prefix_within(&p8, &low9));
    assert_false(prefix_within(&q9, &p8));
    assert_false(prefix_within(&p8, &v6));
}

static void interleaving_alternates_families_and_keeps_their_order(void **state)
{
    const char *const given[] = {"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1",
                                 "192.0.2.2"};
    const char *const wanted[] = {"2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2",
                                  "2001:db8::3"};
    struct addr list[5], want;

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(addr_parse_ip(given[i], &list[i]));
    addr_interleave(list, 5);
    for (int i = 0; i < 5; i++) {
        assert_true(addr_parse_ip(wanted[i], &want));
        assert_true(addr_equal(&list[i], &want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_with_a_port_reads_back_as_written),
        cmocka_unit_test(octets_are_in_network_order_and_the_port_in_host_order),
        cmocka_unit_test(a_bad_endpoint_is_refused_and_leaves_the_result_alone),
        cmocka_unit_test(a_bare_address_may_stand_in_brackets_when_it_is_ipv6),
        cmocka_unit_test(without_a_family_the_text_is_a_dash),
        cmocka_unit_test(the_longest_address_fits_its_buffer),
        cmocka_unit_test(equality_looks_at_family_address_and_port),
        cmocka_unit_test(unspecified_and_loopback_addresses_are_told_apart),
        cmocka_unit_test(a_mapped_address_is_unwrapped_with_its_port),
        cmocka_unit_test(a_prefix_holds_its_addresses_and_no_others),
        cmocka_unit_test(a_bare_address_is_a_prefix_of_all_its_bits),
        cmocka_unit_test(a_network_of_mapped_addresses_is_told_from_others),
        cmocka_unit_test(a_bad_prefix_is_refused),
        cmocka_unit_test(interleaving_alternates_families_and_keeps_their_order),
        cmocka_unit_test(a_prefix_is_within_itself_and_within_shorter_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
