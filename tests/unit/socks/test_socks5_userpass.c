/* shared/socks/socks5_userpass.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/socks/socks5_userpass.h"
#include "tests/lib/codec.h"
#include "tests/lib/vectors.h"

static int recode_request(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks5_userpass m;
    int taken = socks5_userpass_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks5_userpass_encode(&m, out, size);
    return taken;
}

static int recode_status(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    uint8_t status;
    int taken = socks5_userpass_status_decode(in, len, &status);

    if (taken > 0)
        *ret_out = socks5_userpass_status_encode(status, out, size);
    return taken;
}

static void golden_messages_are_read_and_written(void **state)
{
    (void)state;
    codec_keeps_promises("socks5_userpass_request", recode_request);
    codec_keeps_promises("socks5_userpass_request_empty", recode_request);
    codec_keeps_promises("socks5_userpass_status_success", recode_status);
    codec_keeps_promises("socks5_userpass_status_failure", recode_status);
}

static void user_and_password_are_told_apart(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("socks5_userpass_request", in);
    struct socks5_userpass m;

    (void)state;
    assert_int_equal(socks5_userpass_decode(in, len, &m), len);
    assert_int_equal(m.user_len, 5);
    assert_memory_equal(m.user, "alice", 5);
    assert_int_equal(m.password_len, 6);
    assert_memory_equal(m.password, "secret", 6);
}

static void credentials_are_not_copied(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("socks5_userpass_request", in);
    struct socks5_userpass m;

    (void)state;
    socks5_userpass_decode(in, len, &m);
    assert_ptr_equal(m.user, in + 2);
    assert_ptr_equal(m.password, in + len - 6);
}

static void either_may_be_empty(void **state)
{
    struct socks5_userpass m;

    (void)state;
    assert_int_equal(socks5_userpass_decode((const uint8_t[]){1, 0, 1, 'p'}, 4, &m), 4);
    assert_int_equal(m.user_len, 0);
    assert_int_equal(m.password_len, 1);
    assert_int_equal(socks5_userpass_decode((const uint8_t[]){1, 1, 'u', 0}, 4, &m), 4);
    assert_int_equal(m.user_len, 1);
    assert_int_equal(m.password_len, 0);
}

static void the_largest_request_has_the_size_the_header_says(void **state)
{
    uint8_t in[SOCKS5_USERPASS_MAX], out[SOCKS5_USERPASS_MAX];
    struct socks5_userpass m;

    (void)state;
    memset(in, 0, sizeof(in)); /* NUL is an octet like any other */
    in[0] = 1;
    in[1] = in[2 + 255] = 255;
    assert_int_equal(socks5_userpass_decode(in, sizeof(in), &m), sizeof(in));
    assert_int_equal(m.user_len, 255);
    assert_int_equal(m.password_len, 255);
    assert_int_equal(socks5_userpass_encode(&m, out, sizeof(out)), sizeof(in));
    assert_memory_equal(in, out, sizeof(in));
}

/* 5 is the version of SOCKS, a known mistake; this sub-negotiation has its own. */
static void another_version_is_bad_from_the_first_octet(void **state)
{
    struct socks5_userpass m;
    uint8_t status;

    (void)state;
    for (unsigned version = 0; version <= 255; version++) {
        const uint8_t in[] = {(uint8_t)version};
        int want = version == 1 ? SOCKS_MORE : SOCKS_BAD;

        assert_int_equal(socks5_userpass_decode(in, 1, &m), want);
        assert_int_equal(socks5_userpass_status_decode(in, 1, &status), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_messages_are_read_and_written),
        cmocka_unit_test(user_and_password_are_told_apart),
        cmocka_unit_test(credentials_are_not_copied),
        cmocka_unit_test(either_may_be_empty),
        cmocka_unit_test(the_largest_request_has_the_size_the_header_says),
        cmocka_unit_test(another_version_is_bad_from_the_first_octet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
