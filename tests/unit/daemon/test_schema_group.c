#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/schema.h"

/* One struct, keys at three levels. */
struct plan {
    char *name;
    uint64_t pace, depth;
    bool depth_given;
    SCHEMA_ITEMS(char *) words;
    char *last;
};

static int check_inner(void *object, const struct yaml_node *at, struct err *e)
{
    const struct plan *p = object;

    return p->depth != 13 ? 0 : yaml_err(at, e, "inner: not 13");
}

static const struct schema_key inner_keys[] = {
    SCHEMA_KEY("depth", UINT, struct plan, depth, .preset = "3",
               .given = SCHEMA_GIVEN(struct plan, depth_given)),
    SCHEMA_LIST("words", STRING, struct plan, words, .preset = "[some, more]"),
    {0},
};
static const struct schema inner = {sizeof(struct plan), inner_keys, check_inner};

static const struct schema_key outer_keys[] = {
    SCHEMA_KEY("pace", DURATION, struct plan, pace, .preset = "2s"),
    SCHEMA_GROUP("inner", struct plan, &inner, .help = "Inside."),
    {0},
};
static const struct schema outer = {sizeof(struct plan), outer_keys, NULL};

static const struct schema_key plan_keys[] = {
    SCHEMA_KEY("name", STRING, struct plan, name, .preset = "nobody"),
    SCHEMA_GROUP("outer", struct plan, &outer),
    SCHEMA_KEY("last", STRING, struct plan, last, .required = true),
    {0},
};
static const struct schema plan = {sizeof(struct plan), plan_keys, NULL};

static int load_as(const char *text, struct err *e, struct plan *ret)
{
    struct yaml_tree tree;
    int rc = yaml_load_text("f", text, strlen(text), e, &tree);

    if (rc == 0) {
        rc = schema_load(&plan, tree.root, e, ret);
        yaml_fini(&tree);
    }
    return rc;
}

static void load(const char *text, struct plan *ret)
{
    struct err e;

    if (load_as(text, &e, ret) != 0)
        fail_msg("%s", e.text);
}

static void a_group_leaves_alone_what_stands_around_it(void **state)
{
    static const char *const orders[] = {
        "name: n\nouter: {pace: 5s, inner: {depth: 7, words: [a]}}\nlast: l\n",
        "last: l\nouter: {inner: {words: [a], depth: 7}, pace: 5s}\nname: n\n",
        "outer: {inner: {words: [a], depth: 7}, pace: 5s}\nname: n\nlast: l\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        struct plan p;
        load(orders[i], &p);
        assert_string_equal(p.name, "n");
        assert_int_equal(p.pace, 5000);
        assert_int_equal(p.depth, 7);
        assert_true(p.depth_given);
        assert_int_equal(p.words.count, 1);
        assert_string_equal(p.words.items[0], "a");
        assert_string_equal(p.last, "l");
        schema_fini(&plan, &p);
    }
}

static void what_is_absent_of_a_group_gets_its_preset(void **state)
{
    static const char *const texts[] = {"last: l\n", "last: l\nouter: {}\n",
                                        "outer: {inner: {}}\nlast: l\n"};
    struct plan p;
    struct err e;

    (void)state;
    for (size_t i = 0; i <= sizeof(texts) / sizeof(texts[0]); i++) {
        memset(&p, 0xff, sizeof(p));
        if (i == 0)
            assert_int_equal(schema_load(&plan, NULL, &e, &p), 0);
        else
            load(texts[i - 1], &p);
        assert_string_equal(p.name, "nobody");
        assert_int_equal(p.pace, 2000);
        assert_int_equal(p.depth, 3);
        assert_false(p.depth_given);
        assert_int_equal(p.words.count, 2);
        schema_fini(&plan, &p);
    }
}

/* With the sanitizer, also: freed once. */
static void a_group_that_is_refused_leaves_nothing(void **state)
{
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"name: n\nouter: {inner: {words: [a, b], zebra: 1}}\n", "f:2:32: unknown key \"zebra\""},
        {"outer: {inner: {words: [a, []]}}\n",
         "f:1:28: words: a single value is expected here, not a list"},
        {"last: l\nouter: {pace: 1s, depth: 1}\n", "f:2:19: unknown key \"depth\""},
        {"outer: {inner: {words: [a], depth: 13}}\nlast: l\n", "f:1:16: inner: not 13"},
        {"outer: {inner: {words: [a]}}\n", "f:1:1: \"last\" is missing"},
        {"last: l\nouter: []\n", "f:2:8: outer: a mapping is expected here, not a list"},
        {"last: l\nouter:\n", "f:2:7: outer: a mapping is expected here, not nothing"},
    };
    static const struct plan zero;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plan p;
        struct err e;
        memset(&p, 0xff, sizeof(p));
        if (load_as(cases[i].text, &e, &p) == 0)
            fail_msg("taken: %s", cases[i].text);
        assert_string_equal(e.text, cases[i].sentence);
        assert_memory_equal(&p, &zero, sizeof(p));
    }
}

static void the_help_names_the_keys_of_a_group_by_their_path(void **state)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_non_null(out);
    schema_help(&plan, out);
    fclose(out);
    assert_non_null(strstr(text, "\nouter.inner: a mapping\n    Inside.\n"
                                 "outer.inner.depth: a whole number; default 3\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_leaves_alone_what_stands_around_it),
        cmocka_unit_test(what_is_absent_of_a_group_gets_its_preset),
        cmocka_unit_test(a_group_that_is_refused_leaves_nothing),
        cmocka_unit_test(the_help_names_the_keys_of_a_group_by_their_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
