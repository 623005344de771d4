#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "shared/relay/relay_address.h"

static struct addr at(const char *ip)
{
    struct addr a;

    assert_true(addr_parse_ip(ip, &a));
    return a;
}

static const struct addr nowhere = {.family = ADDR_NONE};

/* What is told to a client that reached the server through `through`. */
static struct addr told(const struct relay_keys *k, struct addr local, const char *client,
                        struct addr through)
{
    const struct n2_open o = {.client = at(client), .client_local = through};

    return relay_address_reachable(k, &local, &o);
}

static void assert_is(struct addr a, const char *ip)
{
    const struct addr wanted = at(ip);

    assert_true(addr_ip_equal(&a, &wanted));
}

static void what_is_advertised_in_its_family_comes_first(void **state)
{
    struct addr list[] = {at("2001:db8::9"), at("192.0.2.9")};
    const struct relay_keys k = {.advertise = {list, 2}};
    (void)state;

    assert_is(told(&k, at("127.0.0.2"), "127.0.0.1", at("127.0.0.3")), "192.0.2.9");
    assert_is(told(&k, nowhere, "::1", nowhere), "2001:db8::9");
}

static void then_where_our_sockets_are_bound(void **state)
{
    struct addr list[] = {at("2001:db8::9")};
    const struct relay_keys k = {.advertise = {list, 1}};
    (void)state;

    assert_is(told(&k, at("127.0.0.2"), "127.0.0.1", at("127.0.0.3")), "127.0.0.2");
}

static void then_where_the_client_reached_the_server_if_that_is_ours(void **state)
{
    const struct relay_keys k = {0};
    (void)state;

    assert_is(told(&k, at("0.0.0.0"), "127.0.0.1", at("127.0.0.3")), "127.0.0.3");
    assert_is(told(&k, at("0.0.0.0"), "127.0.0.1", at("192.0.2.3")), "127.0.0.1");
    assert_is(told(&k, at("0.0.0.0"), "127.0.0.1", at("0.0.0.0")), "127.0.0.1");
    assert_is(told(&k, at("::"), "::1", at("127.0.0.3")), "::1");
}

static void then_the_one_that_leads_to_the_client(void **state)
{
    const struct relay_keys k = {0};
    (void)state;

    assert_is(told(&k, nowhere, "127.0.0.1", nowhere), "127.0.0.1");
    /* Without a way to it there is none. */
    assert_int_equal(told(&k, nowhere, "0.0.0.0", nowhere).family, ADDR_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_advertised_in_its_family_comes_first),
        cmocka_unit_test(then_where_our_sockets_are_bound),
        cmocka_unit_test(then_where_the_client_reached_the_server_if_that_is_ours),
        cmocka_unit_test(then_the_one_that_leads_to_the_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
