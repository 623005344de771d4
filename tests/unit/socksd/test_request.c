/* socksd/request.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/request.h"

static struct request to_name(const char *name)
{
    struct request r = {.version = 5, .command = SOCKS_CONNECT, .dest.addr.port = 443};

    strcpy(r.dest.name, name);
    return r;
}

static void stays_a_name(const char *name, const char *want)
{
    struct request r = to_name(name);

    assert_true(request_normalise(&r));
    assert_string_equal(r.dest.name, want);
    assert_int_equal(r.dest.addr.family, ADDR_NONE);
    assert_int_equal(r.dest.addr.port, 443);
}

static void becomes(const char *name, const char *want)
{
    char text[ADDR_TEXT_MAX];
    struct request r = to_name(name);

    assert_true(request_normalise(&r));
    assert_string_equal(r.dest.name, "");
    assert_string_equal(addr_format(&r.dest.addr, text), want);
}

static void names_stay_as_they_came(void **state)
{
    (void)state;
    stays_a_name("www.example.net", "www.example.net");
    stays_a_name("WWW.Example.NET", "WWW.Example.NET");
    stays_a_name("a\r\nb\xff c", "a\r\nb\xff c");
}

static void one_trailing_dot_is_stripped(void **state)
{
    (void)state;
    stays_a_name("www.example.net.", "www.example.net");
    stays_a_name("www.example.net..", "www.example.net.");
}

static void the_root_alone_is_no_destination(void **state)
{
    struct request r = to_name(".");

    (void)state;
    assert_false(request_normalise(&r));
}

static void literals_become_addresses(void **state)
{
    (void)state;
    becomes("192.0.2.1", "192.0.2.1:443");
    becomes("2001:db8::1", "[2001:db8::1]:443");
    becomes("[2001:db8::1]", "[2001:db8::1]:443");
    becomes("192.0.2.1.", "192.0.2.1:443"); /* a rule about the address must see it */
}

static void shorthand_is_a_name_for_the_resolver_to_refuse(void **state)
{
    (void)state;
    stays_a_name("127.1", "127.1");
    stays_a_name("0x7f000001", "0x7f000001");
    stays_a_name("0177.0.0.1", "0177.0.0.1");
    stays_a_name("[192.0.2.1]", "[192.0.2.1]");
}

static void mapped_addresses_become_ipv4(void **state)
{
    const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1};
    const struct addr want = addr_ipv4(mapped + 12, 443);
    struct request r = {
        .version = 5, .command = SOCKS_CONNECT, .dest.addr = addr_ipv6(mapped, 443)};

    (void)state;
    assert_true(request_normalise(&r));
    assert_true(addr_equal(&r.dest.addr, &want));
    becomes("::ffff:192.0.2.1", "192.0.2.1:443");
}

static void only_a_connect_needs_a_port(void **state)
{
    (void)state;
    for (int command = SOCKS_CONNECT; command <= SOCKS_UDP_ASSOCIATE; command++) {
        struct request r = {.command = command, .dest.addr = addr_any(ADDR_IPV4, 0)};
        assert_int_equal(request_normalise(&r), command != SOCKS_CONNECT);
    }
}

static void a_name_of_255_octets_is_whole(void **state)
{
    char name[DEST_NAME_MAX + 1];

    (void)state;
    memset(name, 'a', DEST_NAME_MAX);
    name[DEST_NAME_MAX] = '\0';
    stays_a_name(name, name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stay_as_they_came),
        cmocka_unit_test(one_trailing_dot_is_stripped),
        cmocka_unit_test(the_root_alone_is_no_destination),
        cmocka_unit_test(literals_become_addresses),
        cmocka_unit_test(shorthand_is_a_name_for_the_resolver_to_refuse),
        cmocka_unit_test(mapped_addresses_become_ipv4),
        cmocka_unit_test(only_a_connect_needs_a_port),
        cmocka_unit_test(a_name_of_255_octets_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
