#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shared/base/idmap.h"

struct thing {
    int number;
    struct idmap_node node;
};

static struct thing *thing_new(uint32_t number)
{
    struct thing *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    t->number = (int)number;
    memcpy(t->node.id, &number, sizeof(number));
    return t;
}

static struct thing *find(const struct idmap *m, uint32_t number)
{
    uint8_t id[ID_LEN] = {0};
    struct idmap_node *n;

    memcpy(id, &number, sizeof(number));
    n = idmap_find(m, id);
    return n == NULL ? NULL : IDMAP_ENTRY(n, struct thing, node);
}

struct visit {
    struct idmap *map;
    int seen;
};

static void remove_and_free(struct idmap_node *node, void *arg)
{
    struct visit *v = arg;

    v->seen++;
    idmap_remove(v->map, node);
    free(IDMAP_ENTRY(node, struct thing, node));
}

static void what_was_inserted_is_found_until_it_is_removed(void **state)
{
    struct idmap m;
    struct thing *a = thing_new(1), *b = thing_new(2);

    (void)state;
    idmap_init(&m);
    assert_null(find(&m, 1));
    assert_int_equal(idmap_insert(&m, &a->node), 0);
    assert_int_equal(idmap_insert(&m, &b->node), 0);
    assert_ptr_equal(find(&m, 1), a);
    assert_ptr_equal(find(&m, 2), b);
    assert_null(find(&m, 3));
    idmap_remove(&m, &a->node);
    assert_null(find(&m, 1));
    assert_ptr_equal(find(&m, 2), b);
    assert_int_equal(m.count, 1);
    idmap_fini(&m);
    free(a);
    free(b);
}

static void every_octet_of_the_id_counts(void **state)
{
    struct thing a[ID_LEN] = {0};
    struct idmap m;

    (void)state;
    idmap_init(&m);
    for (size_t i = 0; i < ID_LEN; i++) {
        a[i].node.id[i] = 1;
        assert_int_equal(idmap_insert(&m, &a[i].node), 0);
    }
    for (size_t i = 0; i < ID_LEN; i++) {
        uint8_t id[ID_LEN] = {0};
        id[i] = 1;
        assert_ptr_equal(idmap_find(&m, id), &a[i].node);
    }
    idmap_fini(&m);
}

static void ten_thousand_ids_spread_and_can_be_removed_while_walking(void **state)
{
    enum { COUNT = 10000 };
    struct idmap m;
    struct visit v = {&m, 0};
    size_t longest = 0;

    (void)state;
    idmap_init(&m);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(idmap_insert(&m, &thing_new(i)->node), 0);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(find(&m, i)->number, i);
    assert_true(m.size >= COUNT);
    for (size_t i = 0; i < m.size; i++) {
        size_t length = 0;
        for (struct idmap_node *n = m.buckets[i]; n != NULL; n = n->next)
            length++;
        longest = length > longest ? length : longest;
    }
    assert_in_range(longest, 1, 12); /* ids that are numbers in a row, still no long chain */
    idmap_each(&m, remove_and_free, &v);
    assert_int_equal(v.seen, COUNT);
    assert_int_equal(m.count, 0);
    idmap_fini(&m);
}

static void two_maps_have_different_secrets(void **state)
{
    struct idmap a, b;

    (void)state;
    idmap_init(&a);
    idmap_init(&b);
    assert_memory_not_equal(a.key, b.key, sizeof(a.key));
    idmap_fini(&a);
    idmap_fini(&b);
}

static void an_empty_map_can_be_walked_and_ended(void **state)
{
    struct idmap m;
    struct visit v = {&m, 0};

    (void)state;
    idmap_init(&m);
    idmap_each(&m, remove_and_free, &v);
    assert_int_equal(v.seen, 0);
    idmap_fini(&m);
}

static void an_id_is_printed_as_hexadecimal(void **state)
{
    const uint8_t id[ID_LEN] = {0x00, 0x01, 0x0f, 0x10, 0xab, 0xff};
    char text[ID_TEXT_LEN];

    (void)state;
    assert_string_equal(id_format(id, text), "00010f10abff00000000000000000000");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_inserted_is_found_until_it_is_removed),
        cmocka_unit_test(every_octet_of_the_id_counts),
        cmocka_unit_test(ten_thousand_ids_spread_and_can_be_removed_while_walking),
        cmocka_unit_test(two_maps_have_different_secrets),
        cmocka_unit_test(an_empty_map_can_be_walked_and_ended),
        cmocka_unit_test(an_id_is_printed_as_hexadecimal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
