#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shared/base/log_record.h"

/* The record of these fields at a fixed time, as a string. */
static const char *record(enum log_format format, const struct log_field *fields)
{
    static char text[LOG_RECORD_MAX + 1];
    struct log_head head = {
        .format = format,
        .level = LOG_INFO,
        .program = "socksd",
        .event = "relay_up",
        .time = {.tv_sec = 1795161600, .tv_nsec = 123999999},
    };

    text[log_record_format(&head, fields, text)] = '\0';
    return text;
}

#define LOGFMT(...) record(LOG_LOGFMT, LOG_FIELDS(__VA_ARGS__))
#define JSON(...)   record(LOG_JSON, LOG_FIELDS(__VA_ARGS__))
#define HEAD        "ts=2026-11-20T08:00:00.123Z level=info prog=socksd event=relay_up"
#define JSON_HEAD                                                                                  \
    "{\"ts\":\"2026-11-20T08:00:00.123Z\",\"level\":\"info\",\"prog\":\"socksd\",\"event\":"       \
    "\"relay_up\""

static void a_record_begins_with_time_level_program_and_event(void **state)
{
    (void)state;
    assert_string_equal(LOGFMT(), HEAD "\n");
    assert_string_equal(JSON(), JSON_HEAD "}\n");
}

static void every_kind_of_field_is_written(void **state)
{
    const uint8_t ip[4] = {192, 0, 2, 1};
    struct addr a = addr_ipv4(ip, 80);

    (void)state;
    assert_string_equal(
        LOGFMT(LOG_STR("s", "x"), LOG_BYTES("b", "yz!", 2), LOG_U64("u", UINT64_MAX),
               LOG_I64("i", INT64_MIN), LOG_BOOL("t", true), LOG_BOOL("f", false),
               LOG_ADDR("a", &a), LOG_ERRNO("e", ECONNREFUSED), LOG_ERRNO("n", 9999)),
        HEAD " s=x b=yz u=18446744073709551615 i=-9223372036854775808 t=true f=false "
             "a=192.0.2.1:80 e=\"Connection refused\" n=\"error 9999\"\n");
    assert_string_equal(JSON(LOG_STR("s", "x"), LOG_U64("u", 7), LOG_I64("i", -7),
                             LOG_BOOL("t", true), LOG_ADDR("a", &a)),
                        JSON_HEAD ",\"s\":\"x\",\"u\":7,\"i\":-7,\"t\":true,"
                                  "\"a\":\"192.0.2.1:80\"}\n");
}

static void absent_strings_and_addresses_are_left_out(void **state)
{
    struct addr none = {0};

    (void)state;
    assert_string_equal(LOGFMT(LOG_STR("s", NULL), LOG_ADDR("a", NULL), LOG_ADDR("b", &none),
                               LOG_STR("c", ""), LOG_BYTES("d", NULL, 0)),
                        HEAD " c=\"\" d=\"\"\n");
}

static void a_hostile_value_neither_ends_the_line_nor_forges_a_field(void **state)
{
    static const char evil[] = "x\nts=1 level=info\r\0\"\\=\x1b[31m";

    (void)state;
    assert_string_equal(LOGFMT(LOG_BYTES("v", evil, sizeof(evil) - 1)),
                        HEAD " v=\"x\\x0ats=1 level=info\\x0d\\x00\\x22\\x5c=\\x1b[31m\"\n");
    assert_string_equal(JSON(LOG_BYTES("v", evil, sizeof(evil) - 1)),
                        JSON_HEAD ",\"v\":\"x\\u000ats=1 level=info\\u000d\\u0000\\u0022\\u005c="
                                  "\\u001b[31m\"}\n");
}

static void utf8_stands_as_it_is_and_what_is_not_is_escaped(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xe2\x82\xac", "\"\xe2\x82\xac\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""},
        {"\xff", "\"\\xff\""},
        {"\xc3", "\"\\xc3\""},                            /* cut short */
        {"\xc3(", "\"\\xc3(\""},                          /* not a continuation */
        {"\xc0\xaf", "\"\\xc0\\xaf\""},                   /* overlong */
        {"\xe0\x80\xaf", "\"\\xe0\\x80\\xaf\""},          /* overlong */
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},          /* a surrogate */
        {"\xf4\x90\x80\x80", "\"\\xf4\\x90\\x80\\x80\""}, /* beyond Unicode */
        {"\xc2\x9b", "\"\\xc2\\x9b\""},                   /* a control of ISO 6429 */
        {"\xe2\x80\xa8", "\"\\xe2\\x80\\xa8\""},          /* LINE SEPARATOR */
        {"\xe2\x80\xae", "\"\\xe2\\x80\\xae\""},          /* RIGHT-TO-LEFT OVERRIDE */
        {"\x7f", "\"\\x7f\""},
    };
    char expected[256];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(expected, sizeof(expected), HEAD " v=%s\n", cases[i].out);
        assert_string_equal(LOGFMT(LOG_STR("v", cases[i].in)), expected);
    }
    /* What follows the value in memory does not complete it. */
    assert_string_equal(LOGFMT(LOG_BYTES("v", "\xc3\xbc", 1)), HEAD " v=\"\\xc3\"\n");
}

static void logfmt_quotes_only_what_needs_it(void **state)
{
    (void)state;
    assert_string_equal(
        LOGFMT(LOG_STR("a", "plain-1.2:3/[x]'"), LOG_STR("b", "two words"), LOG_STR("c", "k=v")),
        HEAD " a=plain-1.2:3/[x]' b=\"two words\" c=\"k=v\"\n");
}

static void a_long_value_is_cut_at_a_whole_character_and_says_so(void **state)
{
    char text[2 * LOG_VALUE_MAX + 1], expected[LOG_RECORD_MAX];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[LOG_VALUE_MAX] = '\0';
    snprintf(expected, sizeof(expected), HEAD " v=%s\n", text);
    assert_string_equal(LOGFMT(LOG_STR("v", text)), expected);
    text[LOG_VALUE_MAX] = 'x';
    text[LOG_VALUE_MAX + 1] = '\0';
    snprintf(expected, sizeof(expected), HEAD " v=%.*s...\n", LOG_VALUE_MAX - 3, text);
    assert_string_equal(LOGFMT(LOG_STR("v", text)), expected);

    memset(text, 0xff, sizeof(text)); /* four octets each once escaped: 127 of them and "..." */
    text[sizeof(text) - 1] = '\0';
    const char *line = LOGFMT(LOG_STR("v", text));
    assert_int_equal(strlen(line), strlen(HEAD " v=\"\"\n") + 127 * 4 + 3);
    assert_string_equal(line + strlen(line) - 9, "\\xff...\"\n");
}

static void a_record_that_would_be_too_long_leaves_fields_out_and_says_so(void **state)
{
    char text[LOG_VALUE_MAX + 1];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[LOG_VALUE_MAX] = '\0';
    for (int json = 0; json < 2; json++) {
        const char *tail = json ? ",\"small\":1,\"cut\":true}\n" : " small=1 cut=true\n";
        const char *line =
            record(json ? LOG_JSON : LOG_LOGFMT,
                   LOG_FIELDS(LOG_STR("a", text), LOG_STR("b", text), LOG_STR("c", text),
                              LOG_STR("d", text), LOG_STR("e", text), LOG_STR("f", text),
                              LOG_STR("g", text), LOG_STR("h", text), LOG_U64("small", 1)));
        assert_in_range(strlen(line), 3 * 1024, LOG_RECORD_MAX);
        assert_string_equal(line + strlen(line) - strlen(tail), tail);
        assert_null(strstr(line, json ? "\"h\"" : " h="));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_begins_with_time_level_program_and_event),
        cmocka_unit_test(every_kind_of_field_is_written),
        cmocka_unit_test(absent_strings_and_addresses_are_left_out),
        cmocka_unit_test(a_hostile_value_neither_ends_the_line_nor_forges_a_field),
        cmocka_unit_test(utf8_stands_as_it_is_and_what_is_not_is_escaped),
        cmocka_unit_test(logfmt_quotes_only_what_needs_it),
        cmocka_unit_test(a_long_value_is_cut_at_a_whole_character_and_says_so),
        cmocka_unit_test(a_record_that_would_be_too_long_leaves_fields_out_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
