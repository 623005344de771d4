#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/verify_cache.h"

static const uint8_t one[DIGEST_LEN] = {1}, two[DIGEST_LEN] = {2}, three[DIGEST_LEN] = {3};

static void a_success_is_remembered_for_its_time(void **state)
{
    struct verify_cache c;

    (void)state;
    assert_int_equal(verify_cache_init(&c, 10, 60000), 0);
    assert_false(verify_cache_has(&c, one, 100));
    verify_cache_add(&c, one, 100);
    assert_true(verify_cache_has(&c, one, 100));
    assert_true(verify_cache_has(&c, one, 60099)); /* and looking does not prolong it */
    assert_false(verify_cache_has(&c, one, 60100));
    assert_false(verify_cache_has(&c, two, 100));
    verify_cache_fini(&c);
}

static void the_cache_is_bounded_and_can_be_cleared(void **state)
{
    struct verify_cache c;

    (void)state;
    assert_int_equal(verify_cache_init(&c, 2, 60000), 0);
    verify_cache_add(&c, one, 0);
    verify_cache_add(&c, two, 0);
    verify_cache_add(&c, three, 0);
    assert_false(verify_cache_has(&c, one, 0));
    assert_true(verify_cache_has(&c, three, 0));
    verify_cache_clear(&c);
    assert_false(verify_cache_has(&c, two, 0));
    assert_false(verify_cache_has(&c, three, 0));
    verify_cache_fini(&c);
}

static void a_cache_that_keeps_for_no_time_keeps_nothing(void **state)
{
    struct verify_cache c;

    (void)state;
    assert_int_equal(verify_cache_init(&c, 10, 0), 0);
    verify_cache_add(&c, one, 0);
    assert_false(verify_cache_has(&c, one, 0));
    verify_cache_fini(&c);
}

static void digest(const struct verify_key *key, const char *a, const char *b,
                   uint8_t ret[DIGEST_LEN])
{
    struct verify_part parts[] = {{a, strlen(a)}, {b, strlen(b)}};

    assert_true(verify_digest(key, parts, 2, ret));
}

static void a_digest_depends_on_the_key_and_on_where_parts_end(void **state)
{
    struct verify_key key, other_key;
    uint8_t base[DIGEST_LEN], other[DIGEST_LEN];

    (void)state;
    verify_key_draw(&key);
    verify_key_draw(&other_key);
    digest(&key, "alice", "secret", base);
    digest(&key, "alice", "secret", other);
    assert_memory_equal(base, other, DIGEST_LEN);
    digest(&key, "alices", "ecret", other);
    assert_memory_not_equal(base, other, DIGEST_LEN);
    digest(&key, "alice", "Secret", other);
    assert_memory_not_equal(base, other, DIGEST_LEN);
    digest(&other_key, "alice", "secret", other);
    assert_memory_not_equal(base, other, DIGEST_LEN);
}

static void a_digest_is_hmac_sha256(void **state)
{
    /* RFC 4231 section 4.2 has another key length; this was made with openssl dgst -mac HMAC. */
    static const uint8_t expected[DIGEST_LEN] = {0x86, 0x38, 0x79, 0xab, 0x81, 0x1e, 0xa4, 0x28,
                                                 0x4f, 0xaa, 0x8e, 0xe2, 0xc2, 0xd8, 0xbf, 0xeb,
                                                 0x46, 0xc1, 0x4f, 0x1d, 0x92, 0x3f, 0x28, 0x31,
                                                 0xec, 0x5d, 0x35, 0x62, 0x14, 0x30, 0x38, 0x5b};
    struct verify_key key;
    uint8_t got[DIGEST_LEN];

    (void)state;
    for (size_t i = 0; i < sizeof(key.octets); i++)
        key.octets[i] = (uint8_t)i;
    digest(&key, "alice", "", got); /* 05 "alice" 00 */
    assert_memory_equal(got, expected, DIGEST_LEN);
}

static void the_longest_parts_fit(void **state)
{
    static const uint8_t octets[VERIFY_PART_MAX];
    struct verify_part parts[VERIFY_PARTS_MAX];
    struct verify_key key;
    uint8_t got[DIGEST_LEN];

    (void)state;
    verify_key_draw(&key);
    for (size_t i = 0; i < VERIFY_PARTS_MAX; i++)
        parts[i] = (struct verify_part){octets, sizeof(octets)};
    assert_true(verify_digest(&key, parts, VERIFY_PARTS_MAX, got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_success_is_remembered_for_its_time),
        cmocka_unit_test(the_cache_is_bounded_and_can_be_cleared),
        cmocka_unit_test(a_cache_that_keeps_for_no_time_keeps_nothing),
        cmocka_unit_test(a_digest_depends_on_the_key_and_on_where_parts_end),
        cmocka_unit_test(a_digest_is_hmac_sha256),
        cmocka_unit_test(the_longest_parts_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
