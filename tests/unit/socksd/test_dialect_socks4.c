/* socksd/dialect_socks4.c and the first octet in dialect.c: the rules of SOCKS 4 and 4a. What holds
 * for every dialect is in tests/contract/test_dialect.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/dialect.h"
#include "tests/lib/handshake.h"
#include "tests/lib/vectors.h"

static const struct dialect_policy open_policy = {
    .methods = {SOCKS_METHOD_USERPASS, SOCKS_METHOD_NONE},
    .method_count = 2,
    .socks4 = true,
    .socks5 = true,
};
static const uint8_t rejection[] = {0, 91, 0, 0, 0, 0, 0, 0};

#define OCTETS(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static struct handshake said(const struct dialect_policy *policy, const uint8_t *in, size_t len)
{
    struct handshake h;

    handshake_play(&h, policy, false, in, len, NULL, 0);
    return h;
}

static void is_rejected(const struct handshake *h, enum reply_word word, const char *why)
{
    assert_int_equal(h->want, DIALECT_CLOSE);
    assert_string_equal(h->d.why, why);
    assert_int_equal(h->d.word, word);
    assert_int_equal(h->said_len, sizeof(rejection));
    assert_memory_equal(h->said, rejection, sizeof(rejection));
}

static void a_request_is_raised_without_authentication(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("socks4_request_connect", in);
    struct handshake h = said(&open_policy, in, len);
    const struct addr want = addr_ipv4((const uint8_t[]){192, 0, 2, 7}, 8080);

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.auths, 0);
    assert_int_equal(h.said_len, 0);
    assert_int_equal(h.d.method, SOCKS_METHOD_NONE);
    assert_int_equal(h.d.request.version, 4);
    assert_int_equal(h.d.request.command, SOCKS_CONNECT);
    assert_true(addr_equal(&h.d.request.dest.addr, &want));
    assert_int_equal(h.d.request.userid_len, 5);
    assert_string_equal(h.d.request.userid, "PROXY");
}

static void a_user_id_of_255_octets_is_kept_whole(void **state)
{
    uint8_t in[8 + 256] = {4, 1, 0, 80, 192, 0, 2, 7};
    struct handshake h;

    (void)state;
    memset(in + 8, '\n', 255);
    h = said(&open_policy, in, sizeof(in));
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.d.request.userid_len, 255);
    assert_int_equal(strlen(h.d.request.userid), 255);
}

static void a_4a_name_is_raised_as_a_name(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("socks4a_request_connect", in);
    struct handshake h = said(&open_policy, in, len);

    (void)state;
    assert_string_equal(h.d.request.dest.name, "www.example.net");
    assert_int_equal(h.d.request.dest.addr.family, ADDR_NONE);
    assert_int_equal(h.d.request.dest.addr.port, 80);
}

static void a_4a_name_that_is_a_literal_becomes_an_address(void **state)
{
    struct handshake h = said(&open_policy, OCTETS(4, 1, 0, 80, 0, 0, 0, 1, 0, ':', ':', '1', 0));

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_string_equal(h.d.request.dest.name, "");
    assert_true(addr_is_loopback(&h.d.request.dest.addr));
    assert_int_equal(h.d.request.dest.addr.port, 80);
}

static void all_zeros_is_an_address_and_no_4a(void **state)
{
    struct handshake h = said(&open_policy, OCTETS(4, 2, 0, 0, 0, 0, 0, 0, 0));

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.d.request.command, SOCKS_BIND);
    assert_int_equal(h.d.request.dest.addr.family, ADDR_IPV4);
    assert_true(addr_is_any(&h.d.request.dest.addr));
    assert_int_equal(h.d.request.dest.addr.port, 0);
}

static void unknown_commands_are_rejected(void **state)
{
    (void)state;
    for (unsigned cd = 0; cd <= 255; cd++) {
        struct handshake h = said(&open_policy, OCTETS(4, (uint8_t)cd));

        if (cd == 1 || cd == 2)
            assert_int_equal(h.want, DIALECT_MORE);
        else
            is_rejected(&h, REPLY_COMMAND_UNSUPPORTED, "bad_command");
    }
}

static void an_endless_user_id_is_rejected_when_it_exceeds(void **state)
{
    uint8_t in[8 + 256] = {4, 1, 0, 80, 192, 0, 2, 7};
    struct handshake h;

    (void)state;
    memset(in + 8, 'u', 256);
    h = said(&open_policy, in, sizeof(in) - 1);
    assert_int_equal(h.want, DIALECT_MORE);
    h = said(&open_policy, in, sizeof(in));
    is_rejected(&h, REPLY_GENERAL_FAILURE, "too_long");
}

static void an_endless_domain_is_rejected_when_it_exceeds(void **state)
{
    uint8_t in[9 + 256] = {4, 1, 0, 80, 0, 0, 0, 1, 0};
    struct handshake h;

    (void)state;
    memset(in + 9, 'd', 256);
    h = said(&open_policy, in, sizeof(in) - 1);
    assert_int_equal(h.want, DIALECT_MORE);
    h = said(&open_policy, in, sizeof(in));
    is_rejected(&h, REPLY_GENERAL_FAILURE, "too_long");
}

static void a_destination_that_is_none_is_rejected(void **state)
{
    struct handshake h;

    (void)state;
    h = said(&open_policy, OCTETS(4, 1, 0, 80, 0, 0, 0, 1, 0, 0)); /* an empty domain */
    is_rejected(&h, REPLY_GENERAL_FAILURE, "bad_message");
    h = said(&open_policy, OCTETS(4, 1, 0, 80, 0, 0, 0, 1, 0, '.', 0));
    is_rejected(&h, REPLY_GENERAL_FAILURE, "bad_message");
    h = said(&open_policy, OCTETS(4, 1, 0, 0, 192, 0, 2, 7, 0)); /* port 0 */
    is_rejected(&h, REPLY_GENERAL_FAILURE, "bad_message");
}

static void it_is_served_only_where_no_authentication_is_needed(void **state)
{
    struct dialect_policy policy = open_policy;
    struct handshake h;

    (void)state;
    policy.method_count = 1; /* username/password alone */
    h = said(&policy, OCTETS(4));
    is_rejected(&h, REPLY_DENIED, "dialect_disabled");
    policy = open_policy;
    policy.socks4 = false;
    h = said(&policy, OCTETS(4));
    is_rejected(&h, REPLY_DENIED, "dialect_disabled");
}

static void any_other_first_octet_closes_without_a_word(void **state)
{
    uint8_t reply[DIALECT_OUT_MAX];

    (void)state;
    for (unsigned octet = 0; octet <= 255; octet++) {
        struct handshake h = said(&open_policy, OCTETS((uint8_t)octet, 1));

        if (octet == 4 || octet == 5)
            continue;
        assert_int_equal(h.want, DIALECT_CLOSE);
        assert_string_equal(h.d.why, "bad_version");
        assert_int_equal(h.d.word, REPLY_SUCCEEDED);
        assert_int_equal(h.said_len, 0);
        assert_int_equal(h.d.version, octet);
        assert_int_equal(dialect_reply(&h.d, REPLY_DENIED, NULL, reply), 0);
    }
}

static void is_replied(const struct addr *bound, enum reply_word word, const uint8_t want[8])
{
    struct handshake h = said(&open_policy, OCTETS(4, 2, 0, 0, 0, 0, 0, 0, 0));
    uint8_t reply[DIALECT_OUT_MAX];

    assert_int_equal(dialect_reply(&h.d, word, bound, reply), 8);
    assert_memory_equal(reply, want, 8);
}

static void replies_say_what_ipv4_can(void **state)
{
    const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    const struct addr v4 = addr_ipv4((const uint8_t[]){198, 51, 100, 1}, 40000);
    const struct addr v6 = addr_ipv6(ipv6, 40000);
    uint8_t golden[VECTOR_MAX];

    (void)state;
    vector_read("socks4_reply_bind", golden);
    is_replied(&v4, REPLY_SUCCEEDED, golden);
    vector_read("socks4_reply_granted", golden);
    is_replied(NULL, REPLY_SUCCEEDED, golden);
    vector_read("socks4_reply_rejected", golden);
    is_replied(NULL, REPLY_REFUSED, golden);
    is_replied(&v6, REPLY_SUCCEEDED, (const uint8_t[]){0, 90, 0x9c, 0x40, 0, 0, 0, 0});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_raised_without_authentication),
        cmocka_unit_test(a_user_id_of_255_octets_is_kept_whole),
        cmocka_unit_test(a_4a_name_is_raised_as_a_name),
        cmocka_unit_test(a_4a_name_that_is_a_literal_becomes_an_address),
        cmocka_unit_test(all_zeros_is_an_address_and_no_4a),
        cmocka_unit_test(unknown_commands_are_rejected),
        cmocka_unit_test(an_endless_user_id_is_rejected_when_it_exceeds),
        cmocka_unit_test(an_endless_domain_is_rejected_when_it_exceeds),
        cmocka_unit_test(a_destination_that_is_none_is_rejected),
        cmocka_unit_test(it_is_served_only_where_no_authentication_is_needed),
        cmocka_unit_test(any_other_first_octet_closes_without_a_word),
        cmocka_unit_test(replies_say_what_ipv4_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
