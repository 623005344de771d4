#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/base/buf.h"

static void what_is_appended_stands_in_order(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 100000);
    for (unsigned i = 0; i < 50000; i++)
        buf_append(&b, &(uint8_t){(uint8_t)(i % 251)}, 1);
    assert_int_equal(b.len, 50000);
    for (unsigned i = 0; i < 50000; i++)
        assert_int_equal(b.data[i], i % 251);
    assert_false(b.failed);
    buf_fini(&b);
}

static void appending_nothing_changes_nothing(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 0);
    buf_append(&b, NULL, 0);
    assert_false(b.failed);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void the_limit_can_be_reached_and_not_passed(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 5);
    buf_append(&b, "abc", 3);
    buf_append(&b, "de", 2);
    assert_false(b.failed);
    buf_append(&b, "f", 1);
    assert_true(b.failed);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.data, "abcde", 5);
    buf_fini(&b);
}

/* Otherwise a message could lack something in its middle. */
static void after_a_failure_nothing_is_appended_any_more(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 4);
    buf_append(&b, "abc", 3);
    buf_append(&b, "too long", 8);
    assert_true(b.failed);
    buf_append(&b, "d", 1);
    assert_int_equal(b.len, 3);
    assert_null(buf_reserve(&b, 1));
    buf_fini(&b);
}

static void huge_wishes_fail_without_harm(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 10);
    buf_append(&b, "abc", 3);
    assert_null(buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    assert_int_equal(b.len, 3);
    buf_fini(&b);
}

static void reserved_room_is_not_counted_until_it_is_used(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 10000);
    buf_append(&b, "abc", 3);
    uint8_t *at = buf_reserve(&b, 5000);
    assert_ptr_equal(at, b.data + 3);
    memset(at, 'x', 5000);
    assert_int_equal(b.len, 3);
    buf_append(&b, "d", 1);
    assert_memory_equal(b.data, "abcd", 4);
    buf_fini(&b);
}

static void reset_empties_and_forgives_and_keeps_the_memory(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 4);
    buf_append(&b, "abcd", 4);
    buf_append(&b, "e", 1);
    const uint8_t *data = b.data;
    buf_reset(&b);
    assert_false(b.failed);
    assert_int_equal(b.len, 0);
    buf_append(&b, "wxyz", 4);
    assert_ptr_equal(b.data, data);
    assert_memory_equal(b.data, "wxyz", 4);
    buf_fini(&b);
}

static void a_buffer_can_be_used_again_after_fini(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 4);
    buf_append(&b, "abcd", 4);
    buf_fini(&b);
    buf_fini(&b);
    buf_append(&b, "abcde", 5);
    assert_true(b.failed);
    buf_reset(&b);
    buf_append(&b, "abcd", 4);
    assert_int_equal(b.len, 4);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_stands_in_order),
        cmocka_unit_test(appending_nothing_changes_nothing),
        cmocka_unit_test(the_limit_can_be_reached_and_not_passed),
        cmocka_unit_test(after_a_failure_nothing_is_appended_any_more),
        cmocka_unit_test(huge_wishes_fail_without_harm),
        cmocka_unit_test(reserved_room_is_not_counted_until_it_is_used),
        cmocka_unit_test(reset_empties_and_forgives_and_keeps_the_memory),
        cmocka_unit_test(a_buffer_can_be_used_again_after_fini),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
