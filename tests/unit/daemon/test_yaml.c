#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/daemon/yaml.h"

static struct yaml_tree parsed(const char *text)
{
    struct yaml_tree t;
    struct err e;

    if (yaml_load_text("f.yaml", text, strlen(text), &e, &t) != 0)
        fail_msg("%s", e.text);
    return t;
}

static void assert_refused(const char *text, size_t len, const char *sentence)
{
    struct yaml_tree t;
    struct err e;

    if (yaml_load_text("f.yaml", text, len, &e, &t) == 0)
        fail_msg("taken: %s", text);
    assert_string_equal(e.text, sentence);
}

static void assert_at(const struct yaml_node *n, unsigned line, unsigned column)
{
    assert_int_equal(n->line, line);
    assert_int_equal(n->column, column);
    assert_string_equal(n->file, "f.yaml");
}

static void every_node_remembers_where_it_stands(void **state)
{
    struct yaml_tree t = parsed("# a comment\n"
                                "one: 1\n"
                                "list:\n"
                                "  - x\n"
                                "  - {k: \"v\"}\n");
    const struct yaml_node *one = yaml_find(t.root, "one"), *list = yaml_find(t.root, "list");

    (void)state;
    assert_int_equal(t.root->kind, YAML_MAPPING);
    assert_int_equal(t.root->count, 2);
    assert_at(t.root, 2, 1);
    assert_int_equal(one->kind, YAML_SCALAR);
    assert_string_equal(one->text, "1");
    assert_at(one, 2, 6);
    assert_at(one->key, 2, 1);
    assert_int_equal(list->kind, YAML_SEQUENCE);
    assert_int_equal(list->count, 2);
    assert_at(list, 4, 3);
    assert_at(list->first, 4, 5);
    assert_at(list->first->next, 5, 5);
    assert_at(list->first->next->first, 5, 9);
    assert_true(list->first->next->first->quoted);
    assert_null(list->first->next->next);
    assert_null(list->first->key);
    yaml_fini(&t);
}

static void columns_count_characters_not_octets(void **state)
{
    struct yaml_tree t = parsed("\xc3\xa4\xe2\x82\xac: [\xc3\xb6, x]\n");

    (void)state;
    assert_at(t.root->first->first->next, 1, 9);
    yaml_fini(&t);
}

static void an_empty_file_is_an_empty_mapping(void **state)
{
    static const char *const texts[] = {"", "# nothing\n", "---\n", "--- \n...\n", "\n\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct yaml_tree t = parsed(texts[i]);
        assert_int_equal(t.root->kind, YAML_MAPPING);
        assert_int_equal(t.root->count, 0);
        assert_null(yaml_find(t.root, "x"));
        yaml_fini(&t);
    }
}

static void a_missing_value_is_not_an_empty_string(void **state)
{
    struct yaml_tree t = parsed("a:\nb: ''\nc: \"\"\nd: x\n");

    (void)state;
    assert_true(yaml_is_missing(yaml_find(t.root, "a")));
    assert_false(yaml_is_missing(yaml_find(t.root, "b")));
    assert_false(yaml_is_missing(yaml_find(t.root, "c")));
    assert_false(yaml_is_missing(yaml_find(t.root, "d")));
    assert_false(yaml_is_missing(t.root));
    yaml_fini(&t);
}

static void what_a_configuration_does_not_need_is_refused(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"a: &x 1\n", "f.yaml:1:4: anchors are not supported"},
        {"a: &x [1]\n", "f.yaml:1:4: anchors are not supported"},
        {"a: &x {b: 1}\n", "f.yaml:1:4: anchors are not supported"},
        {"a: 1\nb: *x\n", "f.yaml:2:4: aliases are not supported"},
        {"*x : 1\n", "f.yaml:1:1: aliases are not supported"},
        {"a: !!str 1\n", "f.yaml:1:4: tags are not supported"},
        {"a: !!seq [1]\n", "f.yaml:1:4: tags are not supported"},
        {"a: !x {b: 1}\n", "f.yaml:1:4: tags are not supported"},
        {"a: 1\nb: 2\na: 3\n",
         "f.yaml:3:1: key \"a\" stands here a second time, the first is in line 1"},
        {"x: {k: 1, 'k': 2}\n",
         "f.yaml:1:11: key \"k\" stands here a second time, the first is in line 1"},
        {"? [a]\n: 1\n", "f.yaml:1:3: a key must be a single word"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document is not allowed"},
        {"a: \"x\\0y\"\n", "f.yaml:1:4: a NUL character is not allowed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].sentence);
}

static void what_is_not_yaml_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"a: [1, 2\nb: 3\n", "f.yaml:2:2: not valid YAML: did not find expected ',' or ']' "
                             "while parsing a flow sequence"},
        {"a: b: c\n", "f.yaml:1:5: not valid YAML: mapping values are not allowed in this context"},
        {"a:\n\t- b\n", "f.yaml:2:1: not valid YAML: found character that cannot start any token "
                        "while scanning for the next token"},
        {"a: \"b\n", "f.yaml:2:1: not valid YAML: found unexpected end of stream while scanning a "
                     "quoted scalar"},
        {"a: 1\nb: \xff\n", "f.yaml:2:4: not valid YAML: invalid leading UTF-8 octet"},
        {"a: 1\n\xc3\xa4: \x01\n",
         "f.yaml:2:4: not valid YAML: control characters are not allowed"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].sentence);
}

static void nesting_has_a_limit(void **state)
{
    char text[2 * YAML_DEPTH_MAX + 3];
    struct yaml_tree t;
    struct err e;

    (void)state;
    memset(text, '[', YAML_DEPTH_MAX);
    memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
    assert_int_equal(yaml_load_text("f.yaml", text, 2 * YAML_DEPTH_MAX, &e, &t), 0);
    yaml_fini(&t);
    memset(text, '[', YAML_DEPTH_MAX + 1);
    memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
    assert_refused(text, 2 * YAML_DEPTH_MAX + 2, "f.yaml:1:33: nested more than 32 levels deep");
}

static void keys_of_a_mapping_have_a_limit(void **state)
{
    char text[16 * (YAML_KEYS_MAX + 1)];
    size_t len = 0;
    struct yaml_tree t;
    struct err e;

    (void)state;
    for (int i = 0; i < YAML_KEYS_MAX; i++)
        len += (size_t)sprintf(text + len, "k%d: 1\n", i);
    assert_int_equal(yaml_load_text("f.yaml", text, len, &e, &t), 0);
    yaml_fini(&t);
    len += (size_t)sprintf(text + len, "k: 1\n");
    assert_refused(text, len, "f.yaml:257:1: more than 256 keys in one mapping");
}

static void a_file_has_a_largest_size(void **state)
{
    char *text = malloc(YAML_FILE_MAX + 1);
    struct yaml_tree t;
    struct err e;

    (void)state;
    assert_non_null(text);
    memset(text, '#', YAML_FILE_MAX + 1);
    assert_int_equal(yaml_load_text("f.yaml", text, YAML_FILE_MAX, &e, &t), 0);
    yaml_fini(&t);
    assert_refused(text, YAML_FILE_MAX + 1, "f.yaml: larger than 1048576 octets");
    free(text);
}

static void a_file_is_read_and_named_in_errors(void **state)
{
    char path[] = "/tmp/test_yaml_XXXXXX", sentence[128];
    int fd = mkstemp(path);
    struct yaml_tree t;
    struct err e;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a: 1\n", 5), 5);
    assert_int_equal(yaml_load_file(path, &e, &t), 0);
    assert_string_equal(yaml_find(t.root, "a")->text, "1");
    assert_string_equal(t.root->file, path);
    yaml_fini(&t);
    assert_int_equal(write(fd, "a: 2\n", 5), 5);
    close(fd);
    assert_int_equal(yaml_load_file(path, &e, &t), -1);
    snprintf(sentence, sizeof(sentence),
             "%s:2:1: key \"a\" stands here a second time, the first is in line 1", path);
    assert_string_equal(e.text, sentence);
    unlink(path);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    struct yaml_tree t;
    struct err e;

    (void)state;
    assert_int_equal(yaml_load_file("/nonexistent/f.yaml", &e, &t), -1);
    assert_string_equal(e.text, "/nonexistent/f.yaml: No such file or directory");
    assert_int_equal(yaml_load_file("/tmp", &e, &t), -1);
    assert_string_equal(e.text, "/tmp: Is a directory");
}

static void a_file_that_is_too_large_is_not_read_to_its_end(void **state)
{
    struct yaml_tree t;
    struct err e;

    (void)state;
    assert_int_equal(yaml_load_file("/dev/zero", &e, &t), -1);
    assert_string_equal(e.text, "/dev/zero: larger than 1048576 octets");
}

static void an_error_of_ours_has_the_place_of_its_node(void **state)
{
    struct yaml_tree t = parsed("a: 1\n");
    struct err e;

    (void)state;
    assert_int_equal(yaml_err(yaml_find(t.root, "a"), &e, "is %d", 1), -1);
    assert_string_equal(e.text, "f.yaml:1:4: is 1");
    yaml_err(t.root, &e, "%s", e.text); /* made of itself */
    assert_string_equal(e.text, "f.yaml:1:1: f.yaml:1:4: is 1");
    yaml_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_remembers_where_it_stands),
        cmocka_unit_test(columns_count_characters_not_octets),
        cmocka_unit_test(an_empty_file_is_an_empty_mapping),
        cmocka_unit_test(a_missing_value_is_not_an_empty_string),
        cmocka_unit_test(what_a_configuration_does_not_need_is_refused),
        cmocka_unit_test(what_is_not_yaml_is_refused_with_its_place),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(keys_of_a_mapping_have_a_limit),
        cmocka_unit_test(a_file_has_a_largest_size),
        cmocka_unit_test(a_file_is_read_and_named_in_errors),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(a_file_that_is_too_large_is_not_read_to_its_end),
        cmocka_unit_test(an_error_of_ours_has_the_place_of_its_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
