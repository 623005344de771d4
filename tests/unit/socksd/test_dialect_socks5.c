/* socksd/dialect_socks5.c: the rules of SOCKS 5 and of its user names and passwords. What holds for
 * every dialect is in tests/contract/test_dialect.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/dialect.h"
#include "tests/lib/handshake.h"
#include "tests/lib/vectors.h"

static const struct dialect_policy none = {
    .methods = {SOCKS_METHOD_NONE}, .method_count = 1, .socks4 = true, .socks5 = true};
static const struct dialect_policy userpass = {
    .methods = {SOCKS_METHOD_USERPASS}, .method_count = 1, .socks5 = true};

#define OCTETS(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static struct handshake said(const struct dialect_policy *policy, bool admit, const uint8_t *in,
                             size_t len)
{
    struct handshake h;

    handshake_play(&h, policy, admit, in, len, NULL, 0);
    return h;
}

/* A request behind a greeting without authentication. */
static struct handshake asked(const uint8_t *request, size_t len)
{
    uint8_t in[VECTOR_MAX] = {5, 1, 0};

    memcpy(in + 3, request, len);
    return said(&none, true, in, 3 + len);
}

static void closes(const struct handshake *h, const char *why, const uint8_t *want, size_t len)
{
    assert_int_equal(h->want, DIALECT_CLOSE);
    assert_string_equal(h->d.why, why);
    assert_int_equal(h->said_len, len);
    assert_memory_equal(h->said, want, len);
}

static void is_rejected(const struct handshake *h, enum reply_word word, uint8_t code,
                        const char *why)
{
    closes(h, why, OCTETS(5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0));
    assert_int_equal(h->d.word, word);
}

/* ---- methods -------------------------------------------------------------------------------- */

static void the_listeners_order_decides_on_the_method(void **state)
{
    struct dialect_policy both = {
        .methods = {SOCKS_METHOD_USERPASS, SOCKS_METHOD_NONE}, .method_count = 2, .socks5 = true};
    struct handshake h;

    (void)state;
    h = said(&both, true, OCTETS(5, 2, 0, 2));
    assert_int_equal(h.d.method, SOCKS_METHOD_USERPASS);
    assert_memory_equal(h.said, ((const uint8_t[]){5, 2}), 2);
    h = said(&both, true, OCTETS(5, 1, 0));
    assert_int_equal(h.d.method, SOCKS_METHOD_NONE);
    assert_memory_equal(h.said, ((const uint8_t[]){5, 0}), 2);
    both.methods[0] = SOCKS_METHOD_NONE;
    both.methods[1] = SOCKS_METHOD_USERPASS;
    h = said(&both, true, OCTETS(5, 2, 2, 0));
    assert_int_equal(h.d.method, SOCKS_METHOD_NONE);
}

static void a_method_that_nobody_implements_is_not_chosen(void **state)
{
    const struct dialect_policy odd = {
        .methods = {SOCKS_METHOD_NO_ACCEPTABLE, SOCKS_METHOD_GSSAPI, SOCKS_METHOD_NONE},
        .method_count = 3,
        .socks5 = true};
    struct handshake h;

    (void)state;
    h = said(&odd, true, OCTETS(5, 3, 1, 0xff, 0));
    assert_int_equal(h.want, DIALECT_MORE);
    assert_memory_equal(h.said, ((const uint8_t[]){5, 0}), 2);
    h = said(&odd, true, OCTETS(5, 2, 1, 0xff));
    closes(&h, "no_acceptable_method", OCTETS(5, 0xff));
}

static void no_method_in_common_is_said_and_closes(void **state)
{
    struct handshake h;

    (void)state;
    h = said(&userpass, true, OCTETS(5, 2, 0, 1));
    closes(&h, "no_acceptable_method", OCTETS(5, 0xff));
    assert_int_equal(h.d.word, REPLY_SUCCEEDED);
    h = said(&none, true, OCTETS(5, 0)); /* NMETHODS 0 */
    closes(&h, "no_acceptable_method", OCTETS(5, 0xff));
}

static void the_last_of_255_methods_is_found(void **state)
{
    uint8_t in[2 + 255] = {5, 255};
    struct handshake h;

    (void)state;
    memset(in + 2, 0x80, 254);
    in[256] = SOCKS_METHOD_NONE;
    h = said(&none, true, in, sizeof(in));
    assert_int_equal(h.want, DIALECT_MORE);
    assert_memory_equal(h.said, ((const uint8_t[]){5, 0}), 2);
}

static void where_it_is_not_served_no_method_is_acceptable(void **state)
{
    struct dialect_policy policy = none;
    struct handshake h;

    (void)state;
    policy.socks5 = false;
    h = said(&policy, true, OCTETS(5));
    closes(&h, "dialect_disabled", OCTETS(5, 0xff));
}

/* ---- user name and password ----------------------------------------------------------------- */

static void credentials_are_raised_and_wiped(void **state)
{
    uint8_t in[VECTOR_MAX] = {5, 1, 2};
    size_t len = 3;
    struct handshake h;

    (void)state;
    vector_append("socks5_userpass_request", in, &len);
    h = said(&userpass, true, in, len); /* the wiping is asserted inside */
    assert_int_equal(h.want, DIALECT_MORE);
    assert_int_equal(h.auths, 1);
    assert_int_equal(h.credentials.user_len, 5);
    assert_memory_equal(h.credentials.user, "alice", 5);
    assert_int_equal(h.credentials.password_len, 6);
    assert_memory_equal(h.credentials.password, "secret", 6);
}

static void credentials_of_any_length_are_left_to_the_judge(void **state)
{
    uint8_t in[3 + 513] = {5, 1, 2, 1};
    struct handshake h;

    (void)state;
    h = said(&userpass, true, OCTETS(5, 1, 2, 1, 0, 0));
    assert_int_equal(h.auths, 1);
    assert_int_equal(h.credentials.user_len, 0);
    assert_int_equal(h.credentials.password_len, 0);
    in[4] = in[5 + 255] = 255;
    h = said(&userpass, true, in, sizeof(in));
    assert_int_equal(h.auths, 1);
    assert_int_equal(h.credentials.user_len, 255);
    assert_int_equal(h.credentials.password_len, 255);
}

static void refused_credentials_say_failure_and_close(void **state)
{
    struct handshake h = said(&userpass, false, OCTETS(5, 1, 2, 1, 1, 'u', 1, 'p'));

    (void)state;
    closes(&h, "auth_failed", OCTETS(5, 2, 1, 1));
    assert_int_equal(h.d.word, REPLY_SUCCEEDED);
}

static void another_version_of_the_sub_negotiation_says_failure_and_closes(void **state)
{
    struct handshake h = said(&userpass, true, OCTETS(5, 1, 2, 5, 1, 'u', 1, 'p'));

    (void)state;
    closes(&h, "bad_message", OCTETS(5, 2, 1, 1));
    assert_int_equal(h.auths, 0);
}

static void no_request_is_heard_before_authentication(void **state)
{
    struct handshake h = said(&userpass, true, OCTETS(5, 1, 2, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80));

    (void)state;
    assert_int_equal(h.want, DIALECT_CLOSE);
}

static void an_answer_that_nobody_asked_for_admits_nobody(void **state)
{
    struct dialect d;
    size_t used;

    (void)state;
    dialect_init(&d, &userpass);
    assert_int_equal(dialect_auth_done(&d, true), DIALECT_MORE);
    dialect_feed(&d, OCTETS(5, 1, 2), &used);
    assert_int_equal(dialect_auth_done(&d, true), DIALECT_MORE);
    dialect_feed(&d, OCTETS(5, 1, 0, 1, 127, 0, 0, 1, 0, 80), &used);
    assert_string_equal(d.why, "bad_message"); /* still waiting for credentials */
}

/* ---- requests ------------------------------------------------------------------------------- */

static void every_command_is_raised(void **state)
{
    struct handshake h;

    (void)state;
    h = asked(OCTETS(5, 1, 0, 1, 192, 0, 2, 7, 0, 80));
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.d.request.command, SOCKS_CONNECT);
    assert_int_equal(h.d.request.version, 5);
    assert_int_equal(h.d.request.userid_len, 0);
    h = asked(OCTETS(5, 2, 0, 1, 0, 0, 0, 0, 0, 0));
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.d.request.command, SOCKS_BIND);
    h = asked(OCTETS(5, 3, 0, 1, 0, 0, 0, 0, 0, 0));
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.d.request.command, SOCKS_UDP_ASSOCIATE);
}

static void transparent_says_which_packets_and_whence(void **state)
{
    struct handshake h = asked(OCTETS(5, 4, 0, 1, 192, 0, 2, 7, 0, 80, 6, 1, 10, 0, 0, 9, 1, 2));
    const struct request *r = &h.d.request;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(r->command, SOCKS_TRANSPARENT);
    assert_int_equal(r->version, 5);
    assert_int_equal(r->ptcl, 6);
    assert_string_equal(addr_format(&r->dest.addr, text), "192.0.2.7:80");
    assert_string_equal(addr_format(&r->source.addr, text), "10.0.0.9:258");
}

static void a_bad_transparent_request_is_rejected(void **state)
{
    struct handshake h = asked(OCTETS(5, 4, 0, 1, 192, 0, 2, 7, 0, 80, 6, 2));

    (void)state;
    is_rejected(&h, REPLY_ADDRESS_UNSUPPORTED, 8, "bad_address_type");
    h = asked(OCTETS(5, 4, 0, 9));
    is_rejected(&h, REPLY_ADDRESS_UNSUPPORTED, 8, "bad_address_type");
    h = asked(OCTETS(5, 4, 1, 1, 192, 0, 2, 7, 0, 80, 6, 1, 10, 0, 0, 9, 1, 2));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
    h = asked(
        OCTETS(5, 4, 0, 1, 192, 0, 2, 7, 0, 80)); /* what another command would be content with */
    assert_int_equal(h.want, DIALECT_MORE);
}

static void the_reserved_octet_is_ignored(void **state)
{
    struct handshake h = asked(OCTETS(5, 1, 0xff, 1, 192, 0, 2, 7, 0, 80));

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
}

static void another_version_in_the_request_is_rejected(void **state)
{
    struct handshake h = asked(OCTETS(4, 1, 0, 1, 192, 0, 2, 7, 0, 80));

    (void)state;
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
}

static void unknown_commands_are_rejected(void **state)
{
    (void)state;
    for (unsigned cmd = 0; cmd <= 255; cmd++) {
        struct handshake h = asked(OCTETS(5, (uint8_t)cmd, 0, 1, 192, 0, 2, 7, 0, 80));

        if (cmd < SOCKS_CONNECT || cmd > SOCKS_TRANSPARENT)
            is_rejected(&h, REPLY_COMMAND_UNSUPPORTED, 7, "bad_command");
    }
}

static void unknown_address_types_are_rejected(void **state)
{
    (void)state;
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        struct handshake h = asked(OCTETS(5, 1, 0, (uint8_t)atyp));

        if (atyp == 1 || atyp == 3 || atyp == 4)
            assert_int_equal(h.want, DIALECT_MORE);
        else
            is_rejected(&h, REPLY_ADDRESS_UNSUPPORTED, 8, "bad_address_type");
    }
}

static void names_that_are_none_are_rejected(void **state)
{
    struct handshake h;

    (void)state;
    h = asked(OCTETS(5, 1, 0, 3, 0, 0, 80));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
    h = asked(OCTETS(5, 1, 0, 3, 3, 'a', 0, 'b', 0, 80));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
    h = asked(OCTETS(5, 1, 0, 3, 1, '.', 0, 80));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
}

static void port_0_is_no_destination_of_a_connect(void **state)
{
    struct handshake h;

    (void)state;
    h = asked(OCTETS(5, 1, 0, 1, 192, 0, 2, 7, 0, 0));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
    h = asked(OCTETS(5, 1, 0, 3, 1, 'a', 0, 0));
    is_rejected(&h, REPLY_GENERAL_FAILURE, 1, "bad_message");
}

static void a_literal_sent_as_a_name_becomes_an_address(void **state)
{
    struct handshake h = asked(OCTETS(5, 1, 0, 3, 7, '1', '.', '2', '.', '3', '.', '4', 0, 80));
    const struct addr want = addr_ipv4((const uint8_t[]){1, 2, 3, 4}, 80);

    (void)state;
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_string_equal(h.d.request.dest.name, "");
    assert_true(addr_equal(&h.d.request.dest.addr, &want));
}

static void a_mapped_address_becomes_ipv4(void **state)
{
    struct handshake h =
        asked(OCTETS(5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1, 0, 80));

    (void)state;
    assert_int_equal(h.d.request.dest.addr.family, ADDR_IPV4);
    assert_true(addr_is_loopback(&h.d.request.dest.addr));
}

/* ---- replies -------------------------------------------------------------------------------- */

static void is_replied(const struct addr *bound, enum reply_word word, const char *vector)
{
    struct handshake h = asked(OCTETS(5, 1, 0xff, 1, 192, 0, 2, 7, 0, 80));
    uint8_t golden[VECTOR_MAX], reply[DIALECT_OUT_MAX];
    size_t len = vector_read(vector, golden);

    assert_int_equal(dialect_reply(&h.d, word, bound, reply), len);
    assert_memory_equal(reply, golden, len); /* the reserved octet is 0 whatever the client set */
}

static void replies_are_those_of_rfc_1928(void **state)
{
    const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 198, 51, 100, 1};
    struct addr bound;

    (void)state;
    bound = addr_ipv6(ipv6, 40000);
    is_replied(&bound, REPLY_SUCCEEDED, "socks5_reply_succeeded_ipv6");
    bound = addr_ipv6(mapped, 40000);
    is_replied(&bound, REPLY_SUCCEEDED, "socks5_reply_succeeded_ipv4");
    bound = addr_ipv4(mapped + 12, 40000);
    is_replied(&bound, REPLY_SUCCEEDED, "socks5_reply_succeeded_ipv4");
    bound = (struct addr){.port = 7}; /* no family: zeros, the port too */
    is_replied(&bound, REPLY_REFUSED, "socks5_reply_refused");
    is_replied(NULL, REPLY_REFUSED, "socks5_reply_refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_listeners_order_decides_on_the_method),
        cmocka_unit_test(a_method_that_nobody_implements_is_not_chosen),
        cmocka_unit_test(no_method_in_common_is_said_and_closes),
        cmocka_unit_test(the_last_of_255_methods_is_found),
        cmocka_unit_test(where_it_is_not_served_no_method_is_acceptable),
        cmocka_unit_test(credentials_are_raised_and_wiped),
        cmocka_unit_test(credentials_of_any_length_are_left_to_the_judge),
        cmocka_unit_test(refused_credentials_say_failure_and_close),
        cmocka_unit_test(another_version_of_the_sub_negotiation_says_failure_and_closes),
        cmocka_unit_test(no_request_is_heard_before_authentication),
        cmocka_unit_test(an_answer_that_nobody_asked_for_admits_nobody),
        cmocka_unit_test(every_command_is_raised),
        cmocka_unit_test(transparent_says_which_packets_and_whence),
        cmocka_unit_test(a_bad_transparent_request_is_rejected),
        cmocka_unit_test(the_reserved_octet_is_ignored),
        cmocka_unit_test(another_version_in_the_request_is_rejected),
        cmocka_unit_test(unknown_commands_are_rejected),
        cmocka_unit_test(unknown_address_types_are_rejected),
        cmocka_unit_test(names_that_are_none_are_rejected),
        cmocka_unit_test(port_0_is_no_destination_of_a_connect),
        cmocka_unit_test(a_literal_sent_as_a_name_becomes_an_address),
        cmocka_unit_test(a_mapped_address_becomes_ipv4),
        cmocka_unit_test(replies_are_those_of_rfc_1928),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
