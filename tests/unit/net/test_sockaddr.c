#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "tests/lib/sockpairs.h"

static struct addr at(const char *text)
{
    struct addr a;

    assert_true(addr_parse(text, &a));
    return a;
}

static void addresses_come_back_as_they_went(void **state)
{
    static const char *const texts[] = {"192.0.2.1:80",      "0.0.0.0:0", "255.255.255.255:65535",
                                        "[2001:db8::1]:443", "[::]:1",    "[::1]:65535"};
    (void)state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct addr a = at(texts[i]), b;
        struct sockaddr_storage ss;
        socklen_t len = sockaddr_from(&a, &ss);
        assert_int_equal(len, a.family == ADDR_IPV4 ? sizeof(struct sockaddr_in)
                                                    : sizeof(struct sockaddr_in6));
        assert_true(sockaddr_to((struct sockaddr *)&ss, &b));
        assert_true(addr_equal(&a, &b));
    }
}

static void ports_are_in_network_order_there(void **state)
{
    struct addr a = at("192.0.2.1:258");
    struct sockaddr_storage ss;
    (void)state;

    sockaddr_from(&a, &ss);
    assert_memory_equal(&((struct sockaddr_in *)&ss)->sin_port, "\1\2", 2);
    assert_memory_equal(&((struct sockaddr_in *)&ss)->sin_addr, "\300\0\2\1", 4);
}

static void no_address_is_no_socket_address(void **state)
{
    const struct addr none = {.port = 80};
    struct sockaddr_storage ss;
    (void)state;

    memset(&ss, 0xff, sizeof(ss));
    assert_int_equal(sockaddr_from(&none, &ss), 0);
    assert_int_equal(ss.ss_family, AF_UNSPEC);
}

static void a_mapped_address_comes_back_as_ipv4(void **state)
{
    struct addr mapped = at("[::ffff:192.0.2.1]:80"), plain = at("192.0.2.1:80"), got;
    struct sockaddr_storage ss;
    (void)state;

    assert_int_equal(sockaddr_from(&mapped, &ss), sizeof(struct sockaddr_in6));
    assert_true(sockaddr_to((struct sockaddr *)&ss, &got));
    assert_true(addr_equal(&got, &plain));
}

static void other_families_are_refused_and_leave_zero(void **state)
{
    const struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/x"};
    const struct addr zero = {0};
    struct addr got = at("192.0.2.1:80");
    (void)state;

    assert_false(sockaddr_to((const struct sockaddr *)&un, &got));
    assert_memory_equal(&got, &zero, sizeof(zero));
}

static void both_ends_of_a_connection_agree(void **state)
{
    struct addr local_a, peer_a, local_b, peer_b;
    int a, b;
    (void)state;

    sockpair_tcp(0, &a, &b);
    assert_true(sockaddr_local(a, &local_a) && sockaddr_peer(a, &peer_a));
    assert_true(sockaddr_local(b, &local_b) && sockaddr_peer(b, &peer_b));
    assert_true(addr_equal(&local_a, &peer_b) && addr_equal(&peer_a, &local_b));
    assert_true(addr_is_loopback(&local_a));
    close(b);
    close(a);
}

static void who_is_not_connected_has_no_peer(void **state)
{
    struct addr got = at("192.0.2.1:80");
    uint16_t port;
    int fd = sock_listen(1, &port);
    (void)state;

    assert_false(sockaddr_peer(fd, &got));
    assert_int_equal(got.family, ADDR_NONE);
    assert_true(sockaddr_local(fd, &got));
    assert_int_equal(got.port, port);
    close(fd);
    assert_false(sockaddr_local(fd, &got));
    assert_int_equal(got.family, ADDR_NONE);
}

static void an_address_is_local_when_it_can_be_bound(void **state)
{
    static const char *const ours[] = {"127.0.0.1:1", "127.9.9.9:80", "0.0.0.0:0"};
    static const char *const others[] = {"192.0.2.1:80", "[2001:db8::1]:80"};
    const struct addr none = {0};
    (void)state;

    for (size_t i = 0; i < 3; i++) {
        struct addr a = at(ours[i]);
        assert_true(sockaddr_is_local(&a));
    }
    for (size_t i = 0; i < 2; i++) {
        struct addr a = at(others[i]);
        assert_false(sockaddr_is_local(&a));
    }
    assert_false(sockaddr_is_local(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_come_back_as_they_went),
        cmocka_unit_test(ports_are_in_network_order_there),
        cmocka_unit_test(no_address_is_no_socket_address),
        cmocka_unit_test(a_mapped_address_comes_back_as_ipv4),
        cmocka_unit_test(other_families_are_refused_and_leave_zero),
        cmocka_unit_test(both_ends_of_a_connection_agree),
        cmocka_unit_test(who_is_not_connected_has_no_peer),
        cmocka_unit_test(an_address_is_local_when_it_can_be_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
