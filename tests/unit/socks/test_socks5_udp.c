/* shared/socks/socks5_udp.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shared/socks/socks5_udp.h"
#include "tests/lib/codec.h"
#include "tests/lib/vectors.h"

/* Decodes a copy of exactly len octets: the sanitizer sees any other. */
static int decode(const uint8_t *in, size_t len, struct socks5_udp *ret)
{
    uint8_t *copy = malloc(len);
    int taken;

    if (len > 0)
        memcpy(copy, in, len);
    taken = socks5_udp_decode(copy, len, ret);
    free(copy);
    return taken;
}

/* A datagram that is cut short is what another codec waits for the rest of. */
static int recode(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out)
{
    struct socks5_udp m;
    int taken = socks5_udp_decode(in, len, &m);

    assert_int_not_equal(taken, SOCKS_MORE);
    if (taken > 0)
        *ret_out = socks5_udp_encode(&m.dest.addr, out, size);
    return taken == SOCKS_TOO_SHORT ? SOCKS_MORE : taken;
}

static struct socks5_udp decoded(const char *vector)
{
    uint8_t in[VECTOR_MAX];
    struct socks5_udp m;
    size_t len = vector_read(vector, in);

    memset(&m, 0x5a, sizeof(m));
    for (size_t n = 0; n < len; n++)
        assert_int_equal(decode(in, n, &m), SOCKS_TOO_SHORT);
    assert_int_equal(decode(in, len, &m), len);
    memset(in + len, 0xa5, 32);
    assert_int_equal(decode(in, len + 32, &m), len);
    return m;
}

static const struct addr ipv4 = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 8080};
static const struct addr ipv6 = {
    .family = ADDR_IPV6, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 7}, .port = 8080};
static const struct addr mapped = {
    .family = ADDR_IPV6, .ip = {[10] = 0xff, 0xff, 192, 0, 2, 7}, .port = 8080};

static void golden_headers_of_addresses_are_read_and_written(void **state)
{
    (void)state;
    codec_keeps_promises("socks5_udp_ipv4", recode);
    codec_keeps_promises("socks5_udp_ipv6", recode);
}

static void headers_name_their_destination(void **state)
{
    struct socks5_udp m;

    (void)state;
    m = decoded("socks5_udp_ipv4");
    assert_int_equal(m.frag, 0);
    assert_true(addr_equal(&m.dest.addr, &ipv4));
    assert_string_equal(m.dest.name, "");
    m = decoded("socks5_udp_ipv6");
    assert_int_equal(m.frag, 0);
    assert_true(addr_equal(&m.dest.addr, &ipv6));
    assert_string_equal(m.dest.name, "");
    m = decoded("socks5_udp_name");
    assert_int_equal(m.frag, 0);
    assert_string_equal(m.dest.name, "www.example.net");
    assert_int_equal(m.dest.addr.family, ADDR_NONE);
    assert_int_equal(m.dest.addr.port, 53);
}

static void a_mapped_address_is_read_as_ipv4(void **state)
{
    const struct socks5_udp m = decoded("socks5_udp_mapped");

    (void)state;
    assert_true(addr_equal(&m.dest.addr, &ipv4));
    assert_string_equal(m.dest.name, "");
}

static void a_mapped_address_is_written_as_ipv4(void **state)
{
    uint8_t want[VECTOR_MAX], out[SOCKS5_UDP_ADDR_MAX];
    size_t len = vector_read("socks5_udp_ipv4", want);

    (void)state;
    assert_int_equal(socks5_udp_encode(&mapped, out, sizeof(out)), len);
    assert_memory_equal(out, want, len);
    assert_int_equal(socks5_udp_encode(&mapped, out, len), len);
    assert_int_equal(socks5_udp_encode(&mapped, out, len - 1), 0);
}

static void every_frag_is_read_and_none_judged(void **state)
{
    uint8_t in[] = {0, 0, 0, 1, 192, 0, 2, 7, 0x1f, 0x90};
    struct socks5_udp m;

    (void)state;
    assert_int_equal(decoded("socks5_udp_fragment").frag, 0x82);
    for (unsigned frag = 0; frag <= 255; frag++) {
        in[2] = (uint8_t)frag;
        assert_int_equal(decode(in, sizeof(in), &m), sizeof(in));
        assert_int_equal(m.frag, frag);
        assert_true(addr_equal(&m.dest.addr, &ipv4));
    }
}

static void any_bit_of_the_reserved_octets_is_bad_as_soon_as_they_are_whole(void **state)
{
    uint8_t in[] = {0, 0, 0, 1, 192, 0, 2, 7, 0x1f, 0x90};
    struct socks5_udp m;

    (void)state;
    for (unsigned bit = 0; bit < 16; bit++) {
        in[0] = (uint8_t)(1u << bit >> 8);
        in[1] = (uint8_t)(1u << bit);
        assert_int_equal(decode(in, 1, &m), SOCKS_TOO_SHORT);
        for (size_t len = 2; len <= sizeof(in); len++)
            assert_int_equal(decode(in, len, &m), SOCKS_BAD);
    }
}

static void unknown_address_types_are_bad_from_the_fourth_octet(void **state)
{
    struct socks5_udp m;

    (void)state;
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        const uint8_t in[] = {0, 0, 0, (uint8_t)atyp};
        bool known = atyp == 1 || atyp == 3 || atyp == 4;

        assert_int_equal(decode(in, 3, &m), SOCKS_TOO_SHORT);
        assert_int_equal(decode(in, 4, &m), known ? SOCKS_TOO_SHORT : SOCKS_BAD_ATYP);
    }
}

static void the_reserved_octets_outweigh_the_address_type(void **state)
{
    struct socks5_udp m;

    (void)state;
    assert_int_equal(decode((const uint8_t[]){0, 1, 0, 9}, 4, &m), SOCKS_BAD);
}

static void a_name_of_no_octets_is_bad_from_its_length(void **state)
{
    const uint8_t in[] = {0, 0, 0, 3, 0, 0, 80};
    struct socks5_udp m;

    (void)state;
    assert_int_equal(decode(in, 4, &m), SOCKS_TOO_SHORT);
    for (size_t len = 5; len <= sizeof(in); len++)
        assert_int_equal(decode(in, len, &m), SOCKS_BAD);
}

static void a_nul_anywhere_in_a_name_is_bad_as_soon_as_the_name_is_whole(void **state)
{
    struct socks5_udp m;

    (void)state;
    for (size_t at = 0; at < 3; at++) {
        uint8_t in[] = {0, 0, 0, 3, 3, 'a', 'b', 'c', 0, 80};

        in[5 + at] = 0;
        assert_int_equal(decode(in, 7, &m), SOCKS_TOO_SHORT);
        for (size_t len = 8; len <= sizeof(in); len++)
            assert_int_equal(decode(in, len, &m), SOCKS_BAD);
    }
}

static void a_name_may_hold_any_other_octet_and_be_255_long(void **state)
{
    uint8_t in[SOCKS5_UDP_HEADER_MAX] = {0, 0, 0, 3, 255};
    struct socks5_udp m;

    (void)state;
    for (unsigned i = 1; i <= 255; i++)
        in[4 + i] = (uint8_t)i;
    in[SOCKS5_UDP_HEADER_MAX - 1] = 80;
    assert_int_equal(decode(in, sizeof(in), &m), sizeof(in));
    assert_int_equal(strlen(m.dest.name), 255);
    assert_memory_equal(m.dest.name, in + 5, 255);
    assert_int_equal(m.dest.addr.port, 80);
    assert_int_equal(decode(in, sizeof(in) - 1, &m), SOCKS_TOO_SHORT);
}

static void a_name_that_is_a_literal_stays_a_name(void **state)
{
    const uint8_t in[] = {0, 0, 0, 3, 9, '1', '9', '2', '.', '0', '.', '2', '.', '7', 0, 80};
    struct socks5_udp m;

    (void)state;
    assert_int_equal(decode(in, sizeof(in), &m), sizeof(in));
    assert_string_equal(m.dest.name, "192.0.2.7");
    assert_int_equal(m.dest.addr.family, ADDR_NONE);
}

/* One struct serves many datagrams: nothing of the one before shows. */
static void what_stood_in_the_result_before_does_not_show(void **state)
{
    static const uint8_t name[] = {0, 0, 5, 3, 3, 'a', 'b', 'c', 0, 80};
    static const uint8_t shorter[] = {0, 0, 0, 3, 1, 'x', 0, 53};
    static const uint8_t ip[] = {0, 0, 0, 1, 192, 0, 2, 7, 0x1f, 0x90};
    static const uint8_t zero[16];
    struct socks5_udp m;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    assert_int_equal(decode(ip, sizeof(ip), &m), sizeof(ip));
    assert_string_equal(m.dest.name, "");
    assert_memory_equal(m.dest.addr.ip + 4, zero, 12);
    assert_int_equal(decode(name, sizeof(name), &m), sizeof(name));
    assert_int_equal(m.frag, 5);
    assert_memory_equal(m.dest.addr.ip, zero, 16);
    assert_int_equal(decode(shorter, sizeof(shorter), &m), sizeof(shorter));
    assert_string_equal(m.dest.name, "x");
    assert_int_equal(m.dest.addr.port, 53);
}

static void a_refused_datagram_leaves_the_result_alone(void **state)
{
    static const uint8_t cut[] = {0, 0, 7, 1, 192, 0, 2, 7, 0x1f};
    static const uint8_t nul[] = {0, 0, 7, 3, 2, 'a', 0, 0, 80};
    struct socks5_udp m, before;

    (void)state;
    memset(&m, 0x5a, sizeof(m));
    before = m;
    assert_int_equal(decode(cut, sizeof(cut), &m), SOCKS_TOO_SHORT);
    assert_int_equal(decode(nul, sizeof(nul), &m), SOCKS_BAD);
    assert_int_equal(decode((const uint8_t[]){0, 0, 7, 9}, 4, &m), SOCKS_BAD_ATYP);
    assert_int_equal(decode((const uint8_t[]){1, 0, 7, 1}, 4, &m), SOCKS_BAD);
    assert_int_equal(decode(cut, 0, &m), SOCKS_TOO_SHORT);
    assert_memory_equal(&m, &before, sizeof(m));
}

static void no_address_is_not_said(void **state)
{
    const struct addr none = {.port = 80};
    uint8_t out[SOCKS5_UDP_HEADER_MAX];

    (void)state;
    assert_int_equal(socks5_udp_encode(&none, out, sizeof(out)), 0);
}

static void the_longest_header_of_an_address_has_the_size_the_header_says(void **state)
{
    uint8_t out[SOCKS5_UDP_ADDR_MAX];

    (void)state;
    assert_int_equal(socks5_udp_encode(&ipv6, out, sizeof(out)), SOCKS5_UDP_ADDR_MAX);
    assert_int_equal(socks5_udp_encode(&ipv6, out, sizeof(out) - 1), 0);
    assert_int_equal(socks5_udp_encode(&ipv4, out, 0), 0);
}

static void a_client_writes_names_and_addresses_as_they_are(void **state)
{
    static const char *const vectors[] = {"socks5_udp_ipv4", "socks5_udp_ipv6", "socks5_udp_name"};
    uint8_t in[VECTOR_MAX], out[SOCKS5_UDP_HEADER_MAX];
    struct dest as_it_is = {.addr = mapped};

    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct socks5_udp m = decoded(vectors[i]);
        size_t header = (size_t)socks5_udp_decode(in, vector_read(vectors[i], in), &m);

        assert_int_equal(socks5_udp_encode_to(&m.dest, out, sizeof(out)), header);
        assert_memory_equal(in, out, header);
        assert_int_equal(socks5_udp_encode_to(&m.dest, out, header - 1), 0);
    }
    assert_int_equal(socks5_udp_encode_to(&as_it_is, out, sizeof(out)), 22);
    assert_memory_equal(out + 4, mapped.ip, 16);
}

static void a_client_cannot_write_to_nowhere(void **state)
{
    uint8_t out[SOCKS5_UDP_HEADER_MAX];

    (void)state;
    assert_int_equal(socks5_udp_encode_to(&(struct dest){0}, out, sizeof(out)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_headers_of_addresses_are_read_and_written),
        cmocka_unit_test(headers_name_their_destination),
        cmocka_unit_test(a_mapped_address_is_read_as_ipv4),
        cmocka_unit_test(a_mapped_address_is_written_as_ipv4),
        cmocka_unit_test(every_frag_is_read_and_none_judged),
        cmocka_unit_test(any_bit_of_the_reserved_octets_is_bad_as_soon_as_they_are_whole),
        cmocka_unit_test(unknown_address_types_are_bad_from_the_fourth_octet),
        cmocka_unit_test(the_reserved_octets_outweigh_the_address_type),
        cmocka_unit_test(a_name_of_no_octets_is_bad_from_its_length),
        cmocka_unit_test(a_nul_anywhere_in_a_name_is_bad_as_soon_as_the_name_is_whole),
        cmocka_unit_test(a_name_may_hold_any_other_octet_and_be_255_long),
        cmocka_unit_test(a_name_that_is_a_literal_stays_a_name),
        cmocka_unit_test(what_stood_in_the_result_before_does_not_show),
        cmocka_unit_test(a_refused_datagram_leaves_the_result_alone),
        cmocka_unit_test(no_address_is_not_said),
        cmocka_unit_test(the_longest_header_of_an_address_has_the_size_the_header_says),
        cmocka_unit_test(a_client_writes_names_and_addresses_as_they_are),
        cmocka_unit_test(a_client_cannot_write_to_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
