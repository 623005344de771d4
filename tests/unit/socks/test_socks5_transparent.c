/* shared/socks/socks5_transparent.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/socks/socks5_transparent.h"
#include "tests/lib/codec.h"
#include "tests/lib/vectors.h"

enum { TCP = 6, UDP = 17, SCTP = 132 };

static int recode(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks5_transparent m;
    int taken = socks5_transparent_decode(in, len, &m);

    if (taken > 0)
        *ret_out = socks5_transparent_encode(&m, out, size);
    return taken;
}

static void golden_messages_are_read_and_written(void **state)
{
    (void)state;
    codec_keeps_promises("socks5_transparent_ipv4", recode);
    codec_keeps_promises("socks5_transparent_ipv6", recode);
    codec_keeps_promises("socks5_transparent_names", recode);
    codec_keeps_promises("socks5_transparent_mixed", recode);
}

static struct socks5_transparent decoded(const char *vector)
{
    uint8_t in[VECTOR_MAX];
    struct socks5_transparent m;
    size_t len = vector_read(vector, in);

    memset(&m, 0x5a, sizeof(m));
    assert_int_equal(socks5_transparent_decode(in, len, &m), len);
    return m;
}

static void requests_name_protocol_destination_and_source(void **state)
{
    const struct addr dest = addr_ipv4((const uint8_t[]){192, 0, 2, 7}, 8080);
    const struct addr dest6 = addr_ipv6((const uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, [15] = 7}, 53);
    const struct addr source = addr_ipv4((const uint8_t[]){198, 51, 100, 9}, 50000);
    const struct addr unknown6 = addr_any(ADDR_IPV6, 50000);
    struct socks5_transparent m;

    (void)state;
    m = decoded("socks5_transparent_ipv4");
    assert_int_equal(m.protocol, TCP);
    assert_true(addr_equal(&m.dest.addr, &dest));
    assert_true(addr_equal(&m.source.addr, &source));
    assert_string_equal(m.dest.name, "");
    assert_string_equal(m.source.name, "");
    m = decoded("socks5_transparent_ipv6");
    assert_int_equal(m.protocol, UDP);
    assert_true(addr_equal(&m.dest.addr, &dest6));
    assert_true(addr_equal(&m.source.addr, &unknown6));
    m = decoded("socks5_transparent_mixed");
    assert_true(addr_equal(&m.dest.addr, &dest6));
    assert_true(addr_equal(&m.source.addr, &source));
    m = decoded("socks5_transparent_names");
    assert_int_equal(m.protocol, SCTP);
    assert_string_equal(m.dest.name, "www.example.net");
    assert_int_equal(m.dest.addr.port, 80);
    assert_string_equal(m.source.name, "client.example");
    assert_int_equal(m.source.addr.port, 0);
    assert_int_equal(m.source.addr.family, ADDR_NONE);
}

/* Each octet of the head, with everything right before it. */
static void the_head_is_judged_octet_by_octet(void **state)
{
    struct socks5_transparent m;

    (void)state;
    for (unsigned v = 0; v <= 255; v++) {
        const uint8_t octet = (uint8_t)v;

        assert_int_equal(socks5_transparent_decode((const uint8_t[]){octet}, 1, &m),
                         v == 5 ? SOCKS_MORE : SOCKS_BAD);
        assert_int_equal(socks5_transparent_decode((const uint8_t[]){5, octet}, 2, &m),
                         v == 4 ? SOCKS_MORE : SOCKS_BAD_COMMAND);
        assert_int_equal(socks5_transparent_decode((const uint8_t[]){5, 4, octet}, 3, &m),
                         v == 0 ? SOCKS_MORE : SOCKS_BAD);
        assert_int_equal(socks5_transparent_decode((const uint8_t[]){5, 4, 0, octet}, 4, &m),
                         v == 1 || v == 3 || v == 4 ? SOCKS_MORE : SOCKS_BAD_ATYP);
    }
}

static void unknown_types_of_the_source_are_bad_at_once(void **state)
{
    struct socks5_transparent m;

    (void)state;
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        const uint8_t in[] = {5, 4, 0, 1, 192, 0, 2, 7, 0, 80, UDP, (uint8_t)atyp};

        assert_int_equal(socks5_transparent_decode(in, sizeof(in), &m),
                         atyp == 1 || atyp == 3 || atyp == 4 ? SOCKS_MORE : SOCKS_BAD_ATYP);
    }
}

static void any_protocol_is_read(void **state)
{
    struct socks5_transparent m;

    (void)state;
    for (unsigned protocol = 0; protocol <= 255; protocol++) {
        const uint8_t in[] = {5, 4, 0, 1, 192, 0, 2, 7, 0, 80, (uint8_t)protocol,
                              1, 0, 0, 0, 0,   0, 0};

        assert_int_equal(socks5_transparent_decode(in, sizeof(in), &m), sizeof(in));
        assert_int_equal(m.protocol, protocol);
    }
}

static void names_of_no_octets_or_with_nul_are_bad_in_the_source_too(void **state)
{
    const uint8_t empty[] = {5, 4, 0, 1, 192, 0, 2, 7, 0, 80, TCP, 3, 0};
    const uint8_t with_nul[] = {5, 4, 0, 1, 192, 0, 2, 7, 0, 80, TCP, 3, 2, 'a', 0};
    struct socks5_transparent m;

    (void)state;
    assert_int_equal(socks5_transparent_decode(empty, sizeof(empty), &m), SOCKS_BAD);
    assert_int_equal(socks5_transparent_decode(with_nul, sizeof(with_nul), &m), SOCKS_BAD);
}

static void the_longest_request_has_the_size_the_header_says(void **state)
{
    uint8_t out[SOCKS5_TRANSPARENT_MAX + 1];
    struct socks5_transparent m = {.protocol = TCP}, back;

    (void)state;
    memset(m.dest.name, 'd', DEST_NAME_MAX);
    memset(m.source.name, 's', DEST_NAME_MAX);
    assert_int_equal(socks5_transparent_encode(&m, out, sizeof(out)), SOCKS5_TRANSPARENT_MAX);
    assert_int_equal(socks5_transparent_decode(out, SOCKS5_TRANSPARENT_MAX, &back),
                     SOCKS5_TRANSPARENT_MAX);
    assert_string_equal(back.dest.name, m.dest.name);
    assert_string_equal(back.source.name, m.source.name);
}

static void a_source_or_destination_that_is_nothing_is_not_said(void **state)
{
    uint8_t out[SOCKS5_TRANSPARENT_MAX];
    struct socks5_transparent m = {.protocol = TCP};

    (void)state;
    m.dest.addr = addr_any(ADDR_IPV4, 80);
    assert_int_equal(socks5_transparent_encode(&m, out, sizeof(out)), 0);
    m.source.addr = addr_any(ADDR_IPV4, 0);
    assert_int_equal(socks5_transparent_encode(&m, out, sizeof(out)), 18);
    m.dest.addr.family = ADDR_NONE;
    assert_int_equal(socks5_transparent_encode(&m, out, sizeof(out)), 0);
}

static void a_refused_message_leaves_the_result_alone(void **state)
{
    const uint8_t in[] = {5, 4, 0, 1, 192, 0, 2, 7, 0, 80, TCP, 8};
    struct socks5_transparent m, before;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    before = m;
    assert_int_equal(socks5_transparent_decode(in, sizeof(in), &m), SOCKS_BAD_ATYP);
    assert_int_equal(socks5_transparent_decode(in, sizeof(in) - 1, &m), SOCKS_MORE);
    assert_memory_equal(&m, &before, sizeof(m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_messages_are_read_and_written),
        cmocka_unit_test(requests_name_protocol_destination_and_source),
        cmocka_unit_test(the_head_is_judged_octet_by_octet),
        cmocka_unit_test(unknown_types_of_the_source_are_bad_at_once),
        cmocka_unit_test(any_protocol_is_read),
        cmocka_unit_test(names_of_no_octets_or_with_nul_are_bad_in_the_source_too),
        cmocka_unit_test(the_longest_request_has_the_size_the_header_says),
        cmocka_unit_test(a_source_or_destination_that_is_nothing_is_not_said),
        cmocka_unit_test(a_refused_message_leaves_the_result_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
