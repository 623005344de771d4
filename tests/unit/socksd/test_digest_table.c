#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/digest_table.h"

struct record {
    struct digest_record base;
    unsigned value;
};

/* Same first octets: all in one bucket. */
static const uint8_t *digest(unsigned n)
{
    static uint8_t d[DIGEST_LEN];

    memset(d, 0, sizeof(d));
    d[DIGEST_LEN - 1] = (uint8_t)n;
    return d;
}

static void put(struct digest_table *t, unsigned n, uint64_t now, uint64_t until)
{
    struct record *r = digest_table_put(t, digest(n), now);

    assert_non_null(r);
    r->value = n;
    r->base.until = until;
}

static bool has(struct digest_table *t, unsigned n, uint64_t now)
{
    struct record *r = digest_table_find(t, digest(n), now);

    assert_true(!r || r->value == n);
    return r != NULL;
}

static void a_full_table_gives_up_what_was_put_longest_ago(void **state)
{
    struct digest_table t;

    (void)state;
    assert_int_equal(digest_table_init(&t, 3, sizeof(struct record)), 0);
    for (unsigned n = 0; n < 3; n++)
        put(&t, n, 0, 1000);
    put(&t, 0, 0, 1000);
    put(&t, 3, 0, 1000);
    assert_true(has(&t, 0, 0));
    assert_false(has(&t, 1, 0));
    assert_true(has(&t, 2, 0));
    assert_true(has(&t, 3, 0));
    digest_table_fini(&t);
}

static void a_record_ends_with_its_time_and_comes_back_zeroed(void **state)
{
    struct digest_table t;
    struct record *r;

    (void)state;
    assert_int_equal(digest_table_init(&t, 2, sizeof(struct record)), 0);
    put(&t, 7, 0, 1000);
    assert_true(has(&t, 7, 999));
    assert_false(has(&t, 7, 1000));
    assert_false(has(&t, 7, 0));
    r = digest_table_put(&t, digest(7), 2000);
    assert_int_equal(r->value, 0);
    digest_table_fini(&t);
}

static void places_are_used_again_without_end(void **state)
{
    struct digest_table t;

    (void)state;
    assert_int_equal(digest_table_init(&t, 5, sizeof(struct record)), 0);
    for (unsigned round = 0; round < 1000; round++) {
        put(&t, round % 251, round, round + 3);
        if (round % 7 == 0)
            (void)has(&t, (round + 249) % 251, round + 2);
        if (round % 100 == 99) {
            digest_table_clear(&t);
            assert_false(has(&t, round % 251, round));
        }
    }
    digest_table_fini(&t);
}

static void a_table_without_room_holds_nothing(void **state)
{
    struct digest_table t;

    (void)state;
    assert_int_equal(digest_table_init(&t, 0, sizeof(struct record)), 0);
    assert_null(digest_table_put(&t, digest(1), 0));
    assert_null(digest_table_find(&t, digest(1), 0));
    digest_table_clear(&t);
    digest_table_fini(&t);
    digest_table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_table_gives_up_what_was_put_longest_ago),
        cmocka_unit_test(a_record_ends_with_its_time_and_comes_back_zeroed),
        cmocka_unit_test(places_are_used_again_without_end),
        cmocka_unit_test(a_table_without_room_holds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
