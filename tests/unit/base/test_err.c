#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/base/err.h"

static void setting_returns_minus_one_and_keeps_the_sentence(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, "port %d is taken", 80), -1);
    assert_string_equal(e.text, "port 80 is taken");
}

static void wrapping_puts_the_place_in_front(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, "is taken");
    assert_int_equal(err_wrap(&e, "port %d", 80), -1);
    assert_int_equal(err_wrap(&e, "listener"), -1);
    assert_string_equal(e.text, "listener: port 80: is taken");
}

static void a_sentence_may_be_made_of_itself(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, "b");
    err_set(&e, "a %s c", e.text);
    assert_string_equal(e.text, "a b c");
    err_wrap(&e, "<%s>", e.text);
    assert_string_equal(e.text, "<a b c>: a b c");
}

static void too_long_a_sentence_is_cut_and_stays_a_string(void **state)
{
    char text[2 * sizeof(struct err)];
    struct err e;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    err_set(&e, "%s", text);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    err_wrap(&e, "place");
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
    assert_memory_equal(e.text, "place: xxx", 10);
    err_wrap(&e, "%s", text);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void nobody_need_take_the_sentence(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, "x"), -1);
    assert_int_equal(err_wrap(NULL, "x"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(setting_returns_minus_one_and_keeps_the_sentence),
        cmocka_unit_test(wrapping_puts_the_place_in_front),
        cmocka_unit_test(a_sentence_may_be_made_of_itself),
        cmocka_unit_test(too_long_a_sentence_is_cut_and_stays_a_string),
        cmocka_unit_test(nobody_need_take_the_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
