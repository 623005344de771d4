#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>

#include "shared/daemon/utf8.h"

/* Encodes any number as if it were a character, also what must not be one. */
static size_t encode(uint32_t code, size_t len, uint8_t out[4])
{
    static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = len - 1; i > 0; i--, code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)(mark[len] | code);
    return len;
}

static size_t shortest(uint32_t code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static void every_character_is_known_by_its_shortest_form_only(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x200000; code++) {
        bool valid = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);

        for (size_t len = shortest(code); len <= 4; len++) {
            uint8_t text[4];

            encode(code, len, text);
            assert_int_equal(utf8_char(text, len), valid && len == shortest(code) ? len : 0);
        }
    }
}

static void a_character_cut_short_is_none(void **state)
{
    (void)state;
    for (size_t len = 0; len < 4; len++)
        assert_int_equal(utf8_char("\xf0\x9f\x98\x80", len), 0);
    assert_int_equal(utf8_char("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(utf8_char("\xc3(", 2), 0);
    assert_int_equal(utf8_char("\xe2\x82(", 3), 0);
}

static void octets_that_begin_nothing_are_refused(void **state)
{
    static const uint8_t never[] = {0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xf8, 0xfe, 0xff};

    (void)state;
    for (size_t i = 0; i < sizeof(never); i++) {
        const uint8_t text[] = {never[i], 0x80, 0x80, 0x80};

        assert_int_equal(utf8_char(text, sizeof(text)), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_is_known_by_its_shortest_form_only),
        cmocka_unit_test(a_character_cut_short_is_none),
        cmocka_unit_test(octets_that_begin_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
