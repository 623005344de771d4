/* shared/socks/socks4.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/socks/socks4.h"
#include "tests/lib/codec.h"
#include "tests/lib/vectors.h"

static int recode_request(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks4_request m;
    int taken = socks4_request_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks4_request_encode(&m, out, size);
    return taken;
}

static int recode_reply(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks4_reply m;
    int taken = socks4_reply_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks4_reply_encode(&m, out, size);
    return taken;
}

static void golden_messages_are_read_and_written(void **state)
{
    (void)state;
    codec_keeps_promises("socks4_request_connect", recode_request);
    codec_keeps_promises("socks4_request_bind", recode_request);
    codec_keeps_promises("socks4a_request_connect", recode_request);
    codec_keeps_promises("socks4_reply_granted", recode_reply);
    codec_keeps_promises("socks4_reply_rejected", recode_reply);
    codec_keeps_promises("socks4_reply_bind", recode_reply);
}

static struct socks4_request decoded(const char *vector)
{
    static uint8_t buf[VECTOR_MAX]; /* the user id points into it */
    struct socks4_request m;
    size_t len = vector_read(vector, buf);

    assert_int_equal(socks4_request_decode(buf, len, &m), len);
    return m;
}

static void a_connect_names_address_port_and_user(void **state)
{
    struct socks4_request m = decoded("socks4_request_connect");
    struct addr want = addr_ipv4((const uint8_t[]){192, 0, 2, 7}, 8080);

    (void)state;
    assert_int_equal(m.command, SOCKS_CONNECT);
    assert_true(addr_equal(&m.dest.addr, &want));
    assert_string_equal(m.dest.name, "");
    assert_int_equal(m.userid_len, 5);
    assert_memory_equal(m.userid, "PROXY", 5);
}

static void a_bind_without_user_has_an_empty_user_id(void **state)
{
    struct socks4_request m = decoded("socks4_request_bind");

    (void)state;
    assert_int_equal(m.command, SOCKS_BIND);
    assert_int_equal(m.userid_len, 0);
}

static void a_4a_request_has_a_name_and_no_address(void **state)
{
    struct socks4_request m = decoded("socks4a_request_connect");

    (void)state;
    assert_string_equal(m.dest.name, "www.example.net");
    assert_int_equal(m.dest.addr.family, ADDR_NONE);
    assert_int_equal(m.dest.addr.port, 80);
    assert_memory_equal(m.userid, "alice", 5);
}

static void every_last_octet_but_zero_announces_a_name(void **state)
{
    (void)state;
    for (unsigned x = 0; x <= 255; x++) {
        const uint8_t in[] = {4, 1, 0, 80, 0, 0, 0, (uint8_t)x, 0, 'a', 0};
        struct socks4_request m;
        int taken = socks4_request_decode(in, sizeof(in), &m);

        assert_int_equal(taken, x == 0 ? 9 : 11);
        assert_string_equal(m.dest.name, x == 0 ? "" : "a");
        assert_int_equal(m.dest.addr.family, x == 0 ? ADDR_IPV4 : ADDR_NONE);
    }
}

static void another_version_is_bad_from_the_first_octet(void **state)
{
    struct socks4_request request;
    struct socks4_reply reply;

    (void)state;
    assert_int_equal(socks4_request_decode((const uint8_t[]){5}, 1, &request), SOCKS_BAD);
    assert_int_equal(socks4_reply_decode((const uint8_t[]){4}, 1, &reply), SOCKS_BAD);
}

static void unknown_commands_are_bad_from_the_second_octet(void **state)
{
    struct socks4_request m;

    (void)state;
    for (unsigned cd = 0; cd <= 255; cd++) {
        int want = cd == 1 || cd == 2 ? SOCKS_MORE : SOCKS_BAD_COMMAND;
        assert_int_equal(socks4_request_decode((const uint8_t[]){4, (uint8_t)cd}, 2, &m), want);
    }
}

/* A request whose user id or domain (behind an empty user id) has n octets and its NUL. */
static size_t with_long_field(uint8_t buf[SOCKS4_REQUEST_MAX + 64], bool domain, size_t n)
{
    const uint8_t head[] = {4, 1, 0, 80, 0, 0, 0, 1, 0};
    size_t at = domain ? 9 : 8;

    memcpy(buf, head, sizeof(head));
    buf[7] = domain ? 1 : 0;
    memset(buf + at, 'a', n);
    buf[at + n] = 0;
    return at + n + 1;
}

static void fields_of_255_octets_fit(void **state)
{
    uint8_t in[SOCKS4_REQUEST_MAX + 64];
    struct socks4_request m;
    size_t len;

    (void)state;
    len = with_long_field(in, false, 255);
    assert_int_equal(socks4_request_decode(in, len, &m), len);
    assert_int_equal(m.userid_len, 255);
    len = with_long_field(in, true, 255);
    assert_int_equal(socks4_request_decode(in, len, &m), len);
    assert_int_equal(strlen(m.dest.name), 255);
}

static void a_longer_field_is_refused_without_waiting_for_its_end(void **state)
{
    uint8_t in[SOCKS4_REQUEST_MAX + 64];
    struct socks4_request m;

    (void)state;
    for (int domain = 0; domain <= 1; domain++) {
        size_t start = domain ? 9 : 8, len = with_long_field(in, domain, 256);

        assert_int_equal(socks4_request_decode(in, start + 255, &m), SOCKS_MORE);
        assert_int_equal(socks4_request_decode(in, start + 256, &m), SOCKS_TOO_LONG);
        assert_int_equal(socks4_request_decode(in, len, &m), SOCKS_TOO_LONG);
    }
}

static void an_empty_domain_is_bad(void **state)
{
    const uint8_t in[] = {4, 1, 0, 80, 0, 0, 0, 1, 'u', 0, 0};
    struct socks4_request m;

    (void)state;
    assert_int_equal(socks4_request_decode(in, sizeof(in), &m), SOCKS_BAD);
}

static void the_largest_request_has_the_size_the_header_says(void **state)
{
    uint8_t buf[SOCKS4_REQUEST_MAX], user[255];
    struct socks4_request m = {.command = SOCKS_CONNECT, .userid = user, .userid_len = 255};

    (void)state;
    memset(user, 'u', sizeof(user));
    memset(m.dest.name, 'n', DEST_NAME_MAX);
    assert_int_equal(socks4_request_encode(&m, buf, sizeof(buf)), SOCKS4_REQUEST_MAX);
}

static void what_the_form_cannot_say_is_not_said(void **state)
{
    uint8_t buf[SOCKS4_REQUEST_MAX];
    struct socks4_request request = {.command = SOCKS_CONNECT};
    struct socks4_reply reply = {.code = 90, .bound = addr_any(ADDR_IPV6, 1)};

    (void)state;
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 0); /* no destination */
    request.dest.addr = addr_any(ADDR_IPV6, 80);
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 0);
    request.dest.addr = addr_ipv4((const uint8_t[]){0, 0, 0, 9}, 80); /* would announce a name */
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 0);
    request.dest.addr = addr_ipv4((const uint8_t[]){192, 0, 2, 9}, 80);
    request.userid = (const uint8_t *)"a\0b";
    request.userid_len = 3;
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 0);
    request.userid_len = 1;
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 10);
    assert_int_equal(socks4_reply_encode(&reply, buf, sizeof(buf)), 0);
    memset(request.dest.name, 'n', sizeof(request.dest.name)); /* without its NUL */
    assert_int_equal(socks4_request_encode(&request, buf, sizeof(buf)), 0);
}

static void a_refused_message_leaves_the_result_alone(void **state)
{
    struct socks4_request m, before;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    before = m;
    assert_int_equal(socks4_request_decode((const uint8_t[]){4, 9}, 2, &m), SOCKS_BAD_COMMAND);
    assert_int_equal(socks4_request_decode((const uint8_t[]){4, 1, 0}, 3, &m), SOCKS_MORE);
    assert_memory_equal(&m, &before, sizeof(m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_messages_are_read_and_written),
        cmocka_unit_test(a_connect_names_address_port_and_user),
        cmocka_unit_test(a_bind_without_user_has_an_empty_user_id),
        cmocka_unit_test(a_4a_request_has_a_name_and_no_address),
        cmocka_unit_test(every_last_octet_but_zero_announces_a_name),
        cmocka_unit_test(another_version_is_bad_from_the_first_octet),
        cmocka_unit_test(unknown_commands_are_bad_from_the_second_octet),
        cmocka_unit_test(fields_of_255_octets_fit),
        cmocka_unit_test(a_longer_field_is_refused_without_waiting_for_its_end),
        cmocka_unit_test(an_empty_domain_is_bad),
        cmocka_unit_test(the_largest_request_has_the_size_the_header_says),
        cmocka_unit_test(what_the_form_cannot_say_is_not_said),
        cmocka_unit_test(a_refused_message_leaves_the_result_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
