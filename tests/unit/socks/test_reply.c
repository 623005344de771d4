/* shared/socks/reply.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "shared/socks/reply.h"

/* RFC 1928 section 6, written down a second time on purpose. */
static void socks5_says_the_codes_of_rfc_1928(void **state)
{
    (void)state;
    assert_int_equal(reply_socks5(REPLY_SUCCEEDED), 0);
    assert_int_equal(reply_socks5(REPLY_GENERAL_FAILURE), 1);
    assert_int_equal(reply_socks5(REPLY_DENIED), 2);
    assert_int_equal(reply_socks5(REPLY_NETWORK_UNREACHABLE), 3);
    assert_int_equal(reply_socks5(REPLY_HOST_UNREACHABLE), 4);
    assert_int_equal(reply_socks5(REPLY_NAME_NOT_FOUND), 4);
    assert_int_equal(reply_socks5(REPLY_REFUSED), 5);
    assert_int_equal(reply_socks5(REPLY_TIMED_OUT), 6);
    assert_int_equal(reply_socks5(REPLY_COMMAND_UNSUPPORTED), 7);
    assert_int_equal(reply_socks5(REPLY_ADDRESS_UNSUPPORTED), 8);
    assert_int_equal(reply_socks5(REPLY_OVERLOADED), 1);
}

static void the_ambiguous_code_9_is_said_by_one_word_alone(void **state)
{
    (void)state;
    assert_int_equal(reply_socks5(REPLY_PROTOCOL_UNSUPPORTED), 9);
    for (int word = 0; word < REPLY_COUNT; word++)
        assert_true(reply_socks5(word) <= 8 || word == REPLY_PROTOCOL_UNSUPPORTED);
}

static void socks4_says_90_for_success_and_91_for_everything_else(void **state)
{
    (void)state;
    assert_int_equal(reply_socks4(REPLY_SUCCEEDED), 90);
    for (int word = REPLY_SUCCEEDED + 1; word < REPLY_COUNT; word++)
        assert_int_equal(reply_socks4(word), 91);
}

static void names_are_distinct_labels(void **state)
{
    (void)state;
    for (int word = 0; word < REPLY_COUNT; word++) {
        assert_true(strlen(reply_name(word)) > 0);
        for (const char *c = reply_name(word); *c != '\0'; c++)
            assert_true(islower((unsigned char)*c) || *c == '_');
        for (int other = 0; other < word; other++)
            assert_string_not_equal(reply_name(word), reply_name(other));
    }
    assert_string_equal(reply_name(REPLY_REFUSED), "refused");
}

static void sentences_are_there_for_all(void **state)
{
    (void)state;
    for (int word = 0; word < REPLY_COUNT; word++)
        assert_true(strlen(reply_sentence(word)) > 0);
    assert_string_equal(reply_sentence(REPLY_REFUSED), "connection refused");
}

static void a_value_outside_the_words_is_a_general_failure(void **state)
{
    (void)state;
    assert_int_equal(reply_socks5(REPLY_COUNT), 1);
    assert_int_equal(reply_socks4((enum reply_word) - 1), 91);
    assert_string_equal(reply_name((enum reply_word)1000), "general_failure");
    assert_string_equal(reply_sentence(REPLY_COUNT), "general failure");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(socks5_says_the_codes_of_rfc_1928),
        cmocka_unit_test(the_ambiguous_code_9_is_said_by_one_word_alone),
        cmocka_unit_test(socks4_says_90_for_success_and_91_for_everything_else),
        cmocka_unit_test(names_are_distinct_labels),
        cmocka_unit_test(sentences_are_there_for_all),
        cmocka_unit_test(a_value_outside_the_words_is_a_general_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
