/* shared/socks/socks5.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/socks/socks5.h"
#include "tests/lib/codec.h"
#include "tests/lib/vectors.h"

static int recode_greeting(const uint8_t *in, size_t len, uint8_t *out, size_t size,
                           size_t *ret_out)
{
    struct socks5_greeting m;
    int taken = socks5_greeting_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks5_greeting_encode(&m, out, size);
    return taken;
}

static int recode_selection(const uint8_t *in, size_t len, uint8_t *out, size_t size,
                            size_t *ret_out)
{
    uint8_t method;
    int taken = socks5_selection_decode(in, len, &method);

    if (taken > 0)
        *ret_out = socks5_selection_encode(method, out, size);
    return taken;
}

static int recode_request(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks5_request m;
    int taken = socks5_request_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks5_request_encode(&m, out, size);
    return taken;
}

static int recode_reply(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks5_reply m;
    int taken = socks5_reply_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks5_reply_encode(&m, out, size);
    return taken;
}

static void golden_messages_are_read_and_written(void **state)
{
    (void)state;
    codec_keeps_promises("socks5_greeting_none", recode_greeting);
    codec_keeps_promises("socks5_greeting_all", recode_greeting);
    codec_keeps_promises("socks5_greeting_empty", recode_greeting);
    codec_keeps_promises("socks5_selection_none", recode_selection);
    codec_keeps_promises("socks5_selection_userpass", recode_selection);
    codec_keeps_promises("socks5_selection_no_acceptable", recode_selection);
    codec_keeps_promises("socks5_request_connect_ipv4", recode_request);
    codec_keeps_promises("socks5_request_connect_ipv6", recode_request);
    codec_keeps_promises("socks5_request_connect_name", recode_request);
    codec_keeps_promises("socks5_request_bind", recode_request);
    codec_keeps_promises("socks5_request_udp_associate", recode_request);
    codec_keeps_promises("socks5_reply_succeeded_ipv4", recode_reply);
    codec_keeps_promises("socks5_reply_succeeded_ipv6", recode_reply);
    codec_keeps_promises("socks5_reply_succeeded_name", recode_reply);
    codec_keeps_promises("socks5_reply_refused", recode_reply);
    codec_keeps_promises("socks5_reply_protocol_not_served", recode_reply);
}

static void a_greeting_lists_its_methods_in_order(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("socks5_greeting_all", in);
    struct socks5_greeting m;

    (void)state;
    assert_int_equal(socks5_greeting_decode(in, len, &m), 5);
    assert_int_equal(m.method_count, 3);
    assert_memory_equal(m.methods, ((const uint8_t[]){0, 1, 2}), 3);
}

static void a_greeting_of_255_methods_has_the_size_the_header_says(void **state)
{
    uint8_t in[SOCKS5_GREETING_MAX] = {5, 255}, out[SOCKS5_GREETING_MAX];
    struct socks5_greeting m;

    (void)state;
    for (unsigned i = 0; i < 255; i++)
        in[2 + i] = (uint8_t)i;
    assert_int_equal(socks5_greeting_decode(in, sizeof(in), &m), sizeof(in));
    assert_int_equal(m.method_count, 255);
    assert_int_equal(socks5_greeting_encode(&m, out, sizeof(out)), sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
}

static struct socks5_request decoded(const char *vector)
{
    uint8_t in[VECTOR_MAX];
    struct socks5_request m;
    size_t len = vector_read(vector, in);

    assert_int_equal(socks5_request_decode(in, len, &m), len);
    return m;
}

static void requests_name_command_and_destination(void **state)
{
    const struct addr ipv4 = addr_ipv4((const uint8_t[]){192, 0, 2, 7}, 8080);
    const struct addr ipv6 = addr_ipv6((const uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, [15] = 7}, 8080);
    struct socks5_request m;

    (void)state;
    m = decoded("socks5_request_connect_ipv4");
    assert_int_equal(m.command, SOCKS_CONNECT);
    assert_true(addr_equal(&m.dest.addr, &ipv4));
    assert_string_equal(m.dest.name, "");
    m = decoded("socks5_request_connect_ipv6");
    assert_true(addr_equal(&m.dest.addr, &ipv6));
    m = decoded("socks5_request_connect_name");
    assert_string_equal(m.dest.name, "www.example.net");
    assert_int_equal(m.dest.addr.family, ADDR_NONE);
    assert_int_equal(m.dest.addr.port, 80);
    assert_int_equal(decoded("socks5_request_bind").command, SOCKS_BIND);
    assert_int_equal(decoded("socks5_request_udp_associate").command, SOCKS_UDP_ASSOCIATE);
}

static void replies_name_code_and_bound_address(void **state)
{
    const struct addr bound = addr_ipv4((const uint8_t[]){198, 51, 100, 1}, 40000);
    uint8_t in[VECTOR_MAX];
    struct socks5_reply m;
    size_t len;

    (void)state;
    len = vector_read("socks5_reply_succeeded_ipv4", in);
    assert_int_equal(socks5_reply_decode(in, len, &m), len);
    assert_int_equal(m.code, 0);
    assert_true(addr_equal(&m.bound.addr, &bound));
    len = vector_read("socks5_reply_refused", in);
    assert_int_equal(socks5_reply_decode(in, len, &m), len);
    assert_int_equal(m.code, 5);
}

static void another_version_is_bad_from_the_first_octet(void **state)
{
    struct socks5_greeting greeting;
    struct socks5_request request;
    struct socks5_reply reply;
    uint8_t method;

    (void)state;
    for (unsigned version = 0; version <= 255; version++) {
        const uint8_t in[] = {(uint8_t)version};
        int want = version == 5 ? SOCKS_MORE : SOCKS_BAD;

        assert_int_equal(socks5_greeting_decode(in, 1, &greeting), want);
        assert_int_equal(socks5_selection_decode(in, 1, &method), want);
        assert_int_equal(socks5_request_decode(in, 1, &request), want);
        assert_int_equal(socks5_reply_decode(in, 1, &reply), want);
    }
}

static void unknown_commands_are_bad_from_the_second_octet(void **state)
{
    struct socks5_request m;

    (void)state;
    for (unsigned cmd = 0; cmd <= 255; cmd++) {
        int want = cmd >= 1 && cmd <= 3 ? SOCKS_MORE : SOCKS_BAD_COMMAND;
        assert_int_equal(socks5_request_decode((const uint8_t[]){5, (uint8_t)cmd}, 2, &m), want);
    }
}

/* Of a command that we do not know, nothing else is judged: its layout may be anything. */
static void an_unknown_command_outweighs_an_unknown_address_type(void **state)
{
    struct socks5_request m;

    (void)state;
    assert_int_equal(socks5_request_decode((const uint8_t[]){5, 8, 0, 8}, 4, &m),
                     SOCKS_BAD_COMMAND);
}

static void unknown_address_types_are_bad_from_the_fourth_octet(void **state)
{
    struct socks5_request request;
    struct socks5_reply reply;

    (void)state;
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        const uint8_t in[] = {5, 1, 0, (uint8_t)atyp};
        int want = atyp == 1 || atyp == 3 || atyp == 4 ? SOCKS_MORE : SOCKS_BAD_ATYP;

        assert_int_equal(socks5_request_decode(in, sizeof(in), &request), want);
        assert_int_equal(socks5_reply_decode(in, sizeof(in), &reply), want);
    }
}

static void the_reserved_octet_is_kept_and_not_judged(void **state)
{
    const uint8_t in[] = {5, 1, 0xff, 1, 192, 0, 2, 7, 0, 80};
    uint8_t out[sizeof(in)];
    struct socks5_request m;

    (void)state;
    assert_int_equal(socks5_request_decode(in, sizeof(in), &m), sizeof(in));
    assert_int_equal(m.rsv, 0xff);
    assert_int_equal(socks5_request_encode(&m, out, sizeof(out)), sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
}

static void a_name_of_no_octets_is_bad_from_its_length(void **state)
{
    struct socks5_request m;

    (void)state;
    assert_int_equal(socks5_request_decode((const uint8_t[]){5, 1, 0, 3, 0}, 5, &m), SOCKS_BAD);
}

static void a_nul_anywhere_in_a_name_is_bad(void **state)
{
    struct socks5_request m;

    (void)state;
    for (size_t at = 0; at < 3; at++) {
        uint8_t in[] = {5, 1, 0, 3, 3, 'a', 'b', 'c', 0, 80};

        in[5 + at] = 0;
        assert_int_equal(socks5_request_decode(in, sizeof(in), &m), SOCKS_BAD);
    }
}

static void a_name_may_hold_any_other_octet(void **state)
{
    uint8_t in[SOCKS5_REQUEST_MAX] = {5, 1, 0, 3, 255}, out[SOCKS5_REQUEST_MAX];
    struct socks5_request m;

    (void)state;
    for (unsigned i = 1; i <= 255; i++)
        in[4 + i] = (uint8_t)i;
    in[SOCKS5_REQUEST_MAX - 1] = 80;
    assert_int_equal(socks5_request_decode(in, sizeof(in), &m), sizeof(in));
    assert_int_equal(strlen(m.dest.name), 255);
    assert_int_equal(m.dest.addr.port, 80);
    assert_int_equal(socks5_request_encode(&m, out, sizeof(out)), sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
}

static void a_destination_that_is_nothing_is_not_said(void **state)
{
    uint8_t out[SOCKS5_REQUEST_MAX + 8];
    struct socks5_request request = {.command = SOCKS_CONNECT};
    const struct socks5_reply reply = {.code = 0};

    (void)state;
    assert_int_equal(socks5_request_encode(&request, out, sizeof(out)), 0);
    assert_int_equal(socks5_reply_encode(&reply, out, sizeof(out)), 0);
    memset(request.dest.name, 'n', sizeof(request.dest.name)); /* without its NUL */
    assert_int_equal(socks5_request_encode(&request, out, sizeof(out)), 0);
}

static void a_refused_message_leaves_the_result_alone(void **state)
{
    struct socks5_request m, before;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    before = m;
    assert_int_equal(socks5_request_decode((const uint8_t[]){5, 1, 0, 9}, 4, &m), SOCKS_BAD_ATYP);
    assert_int_equal(socks5_request_decode((const uint8_t[]){5, 1, 0}, 3, &m), SOCKS_MORE);
    assert_memory_equal(&m, &before, sizeof(m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_messages_are_read_and_written),
        cmocka_unit_test(a_greeting_lists_its_methods_in_order),
        cmocka_unit_test(a_greeting_of_255_methods_has_the_size_the_header_says),
        cmocka_unit_test(requests_name_command_and_destination),
        cmocka_unit_test(replies_name_code_and_bound_address),
        cmocka_unit_test(another_version_is_bad_from_the_first_octet),
        cmocka_unit_test(unknown_commands_are_bad_from_the_second_octet),
        cmocka_unit_test(an_unknown_command_outweighs_an_unknown_address_type),
        cmocka_unit_test(unknown_address_types_are_bad_from_the_fourth_octet),
        cmocka_unit_test(the_reserved_octet_is_kept_and_not_judged),
        cmocka_unit_test(a_name_of_no_octets_is_bad_from_its_length),
        cmocka_unit_test(a_nul_anywhere_in_a_name_is_bad),
        cmocka_unit_test(a_name_may_hold_any_other_octet),
        cmocka_unit_test(a_destination_that_is_nothing_is_not_said),
        cmocka_unit_test(a_refused_message_leaves_the_result_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
