#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/base/siphash.h"

/* hash() of CPython 3.11 with PYTHONHASHSEED=0, which is SipHash-1-3 with a key of zeros. */
static void octets_hash_as_in_python(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        {1, UINT64_C(0x68a914128e01e473)},  {7, UINT64_C(0x2f098ab0c751325a)},
        {8, UINT64_C(0xead411e67ebe2eea)},  {9, UINT64_C(0x75927f9d95124362)},
        {15, UINT64_C(0xf30eb725bb91c9ea)}, {16, UINT64_C(0x8972188433a5c5b7)},
        {17, UINT64_C(0x4883c49a2c009c1d)}, {64, UINT64_C(0x75e05fd5bbc870c6)},
    };
    static const uint64_t key[2] = {0, 0};
    uint8_t octets[64];

    (void)state;
    for (unsigned i = 0; i < sizeof(octets); i++)
        octets[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(siphash(key, octets, rows[i].len), rows[i].hash);
}

/* The key of the reference's vectors, octets 0 to 15. The numbers are of a second implementation,
 * in Python, which gives the paper's result for SipHash-2-4 (appendix A: a129ca6149be45e5). */
static void octets_hash_under_a_key_as_elsewhere(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        {0, UINT64_C(0xabac0158050fc4dc)},  {1, UINT64_C(0xc9f49bf37d57ca93)},
        {7, UINT64_C(0xd3927d989bb11140)},  {8, UINT64_C(0x369095118d299a8e)},
        {15, UINT64_C(0xd320d86d2a519956)}, {16, UINT64_C(0xcc4fdd1a7d908b66)},
        {63, UINT64_C(0x9d199062b7bbb3a8)},
    };
    uint8_t octets[63];
    uint64_t key[2];

    (void)state;
    for (unsigned i = 0; i < sizeof(octets); i++)
        octets[i] = (uint8_t)i;
    memcpy(key, octets, sizeof(key)); /* words of the host, as the hash reads them */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_true(siphash(key, octets, rows[i].len) == rows[i].hash);
}

static void the_key_and_the_length_count(void **state)
{
    static const uint64_t key[2] = {1, 2}, low[2] = {3, 2}, high[2] = {1, 3};
    static const uint8_t zeros[9];

    (void)state;
    assert_true(siphash(key, zeros, 8) != siphash(low, zeros, 8));
    assert_true(siphash(key, zeros, 8) != siphash(high, zeros, 8));
    assert_true(siphash(key, zeros, 8) != siphash(key, zeros, 9));
    assert_true(siphash(key, zeros, 0) != siphash(key, zeros, 1));
    assert_true(siphash(key, NULL, 0) == siphash(key, zeros, 0));
}

static void octets_may_lie_anywhere(void **state)
{
    static const uint64_t key[2] = {5, 6};
    uint8_t octets[32] = {0};

    (void)state;
    uint64_t expected = siphash(key, "twelve octets", 13);
    for (size_t shift = 0; shift < 8; shift++) {
        memcpy(octets + shift, "twelve octets", 13);
        assert_true(siphash(key, octets + shift, 13) == expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(octets_hash_as_in_python),
        cmocka_unit_test(octets_hash_under_a_key_as_elsewhere),
        cmocka_unit_test(the_key_and_the_length_count),
        cmocka_unit_test(octets_may_lie_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
