#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/daemon/json.h"

static void expect(struct json *j, const char *text)
{
    size_t len = 0;
    char *got = json_take(j, &len);

    assert_non_null(got);
    assert_int_equal(len, strlen(text));
    assert_string_equal(got, text);
    free(got);
    json_free(j);
}

static void every_kind_of_value_is_written_in_order(void **state)
{
    struct json *j = json_new(1 << 20);
    struct addr a4 = addr_ipv4((const uint8_t[]){192, 0, 2, 1}, 1080), none = {0};

    (void)state;
    json_object_begin(j, NULL);
    json_put_str(j, "z", "text");
    json_put_str(j, "null", NULL);
    json_put_bytes(j, "bytes", "a\0b", 3);
    json_put_bytes(j, "empty", NULL, 0);
    json_put_hex(j, "id", "\x00\xfe\x10", 3);
    json_put_bool(j, "yes", true);
    json_put_addr(j, "addr", &a4);
    json_put_addr(j, "none", &none);
    json_put_addr(j, "missing", NULL);
    json_array_begin(j, "a");
    json_put_u64(j, NULL, INT64_MAX);
    json_put_i64(j, NULL, INT64_MIN);
    json_put_f64(j, NULL, 0.1);
    json_object_begin(j, NULL);
    json_object_end(j);
    json_array_begin(j, NULL);
    json_array_end(j);
    json_array_end(j);
    json_object_end(j);
    expect(j,
           "{\"z\":\"text\",\"null\":null,\"bytes\":\"a\\u0000b\",\"empty\":\"\",\"id\":\"00fe10\","
           "\"yes\":true,\"addr\":\"192.0.2.1:1080\",\"none\":null,\"missing\":null,"
           "\"a\":[9223372036854775807,-9223372036854775808,0.1,{},[]]}\n");
}

static void the_root_may_be_an_array(void **state)
{
    struct json *j = json_new(1 << 20);

    (void)state;
    json_array_begin(j, NULL);
    json_array_end(j);
    expect(j, "[]\n");
}

static void hostile_octets_become_valid_json(void **state)
{
    struct json *j = json_new(1 << 20);

    (void)state;
    json_array_begin(j, NULL);
    json_put_str(j, NULL, "\"\\\n\x1b\x7f");
    json_put_str(j, NULL, "\xff-\xc3\xa9-\xed\xa0\x80-\xf0\x9f\x98\x80-\xf0\x9f");
    json_array_end(j);
    expect(
        j,
        "[\"\\\"\\\\\\n\\u001B\x7f\",\"\xef\xbf\xbd-\xc3\xa9-\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd-"
        "\xf0\x9f\x98\x80-\xef\xbf\xbd\xef\xbf\xbd\"]\n");
}

static void numbers_that_json_lacks_are_not_written(void **state)
{
    struct json *j = json_new(1 << 20);

    (void)state;
    json_array_begin(j, NULL);
    json_put_f64(j, NULL, NAN);
    json_put_f64(j, NULL, -INFINITY);
    json_put_u64(j, NULL, UINT64_MAX);
    json_array_end(j);
    expect(j, "[null,null,1.84467440737096e19]\n");
}

static void a_text_beyond_its_limit_is_not_handed_out(void **state)
{
    size_t len;

    (void)state;
    for (size_t limit = 0; limit < 2000; limit += 100) {
        struct json *j = json_new(limit);

        json_array_begin(j, NULL);
        for (int i = 0; i < 10; i++) {
            json_object_begin(j, NULL);
            json_put_str(j, "name", "\xff\xff\xff\xff");
            json_object_end(j);
        }
        json_array_end(j);
        assert_null(json_take(j, &len));
        json_free(j);
    }
}

static void a_text_that_was_never_finished_is_freed(void **state)
{
    struct json *j = json_new(1 << 20);

    (void)state;
    json_object_begin(j, NULL);
    json_array_begin(j, "open");
    json_put_str(j, NULL, "x");
    json_free(j);
    json_free(NULL);
}

static void without_memory_for_the_builder_all_calls_are_harmless(void **state)
{
    size_t len;

    (void)state;
    json_object_begin(NULL, NULL);
    json_put_u64(NULL, "n", 1);
    json_put_str(NULL, "s", "x");
    json_put_hex(NULL, "h", "x", 1);
    json_object_end(NULL);
    assert_null(json_take(NULL, &len));
}

static void end_without_begin(struct json *j)
{
    json_object_end(j);
}

static void end_of_the_other_kind(struct json *j)
{
    json_array_begin(j, NULL);
    json_object_end(j);
}

static void key_in_an_array(struct json *j)
{
    json_array_begin(j, NULL);
    json_put_u64(j, "key", 1);
}

static void no_key_in_an_object(struct json *j)
{
    json_object_begin(j, NULL);
    json_put_u64(j, NULL, 1);
}

static void key_twice(struct json *j)
{
    json_object_begin(j, NULL);
    json_put_u64(j, "key", 1);
    json_put_u64(j, "key", 2);
}

static void second_root(struct json *j)
{
    json_object_begin(j, NULL);
    json_object_end(j);
    json_object_begin(j, NULL);
}

static void value_without_a_root(struct json *j)
{
    json_put_u64(j, NULL, 1);
}

static void taken_while_open(struct json *j)
{
    size_t len;

    json_object_begin(j, NULL);
    json_take(j, &len);
}

static void too_deep(struct json *j)
{
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        json_array_begin(j, NULL);
}

static bool aborts(void (*misuse)(struct json *j))
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) != NULL)
            misuse(json_new(1 << 20));
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void misuse_is_an_assertion(void **state)
{
    (void)state;
    assert_true(aborts(end_without_begin));
    assert_true(aborts(end_of_the_other_kind));
    assert_true(aborts(key_in_an_array));
    assert_true(aborts(no_key_in_an_object));
    assert_true(aborts(key_twice));
    assert_true(aborts(second_root));
    assert_true(aborts(value_without_a_root));
    assert_true(aborts(taken_while_open));
    assert_true(aborts(too_deep));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_written_in_order),
        cmocka_unit_test(the_root_may_be_an_array),
        cmocka_unit_test(hostile_octets_become_valid_json),
        cmocka_unit_test(numbers_that_json_lacks_are_not_written),
        cmocka_unit_test(a_text_beyond_its_limit_is_not_handed_out),
        cmocka_unit_test(a_text_that_was_never_finished_is_freed),
        cmocka_unit_test(misuse_is_an_assertion),
        cmocka_unit_test(without_memory_for_the_builder_all_calls_are_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
