/* Links nat_table.c and its leaves only. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "shared/nat/conntrack.h"
#include "shared/nat/nat.h"
#include "shared/nat/nat_table.h"

static struct nat_entry entry(const char *source, const char *bound, uint8_t ptcl)
{
    struct nat_entry e = {.ptcl = ptcl};

    assert_true(addr_parse(source, &e.source));
    assert_true(addr_parse(bound, &e.bound));
    return e;
}

static struct nat_entry *find(const struct nat_table *t, const struct nat_entry *like)
{
    struct ct_name name = {.source = like->source, .dest = like->bound, .ptcl = like->ptcl};

    return nat_table_find(t, &name);
}

static void every_part_of_the_key_counts(void **state)
{
    struct nat_entry e[] = {
        entry("192.0.2.1:1", "198.51.100.1:9", 6),      entry("192.0.2.1:1", "198.51.100.1:9", 17),
        entry("192.0.2.1:2", "198.51.100.1:9", 6),      entry("192.0.2.2:1", "198.51.100.1:9", 6),
        entry("192.0.2.1:1", "198.51.100.2:9", 6),      entry("192.0.2.1:1", "198.51.100.1:8", 6),
        entry("[2001:db8::1]:1", "[2001:db8::2]:9", 6),
    };
    enum { COUNT = sizeof(e) / sizeof(*e) };
    struct nat_table t;
    (void)state;

    assert_int_equal(nat_table_init(&t, 1), 0);
    for (int i = 0; i < COUNT; i++) {
        assert_null(find(&t, &e[i]));
        nat_table_insert(&t, &e[i]);
    }
    assert_int_equal(t.count, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_ptr_equal(find(&t, &e[i]), &e[i]);
    for (int i = 0; i < COUNT; i++) {
        nat_table_remove(&t, &e[i]);
        assert_null(find(&t, &e[i]));
        for (int j = i + 1; j < COUNT; j++)
            assert_ptr_equal(find(&t, &e[j]), &e[j]);
    }
    nat_table_fini(&t);
}

static void remove_it(struct nat_entry *e, void *arg)
{
    nat_table_remove(arg, e);
}

static void each_may_remove_what_it_is_given(void **state)
{
    enum { MANY = 1000 };
    struct nat_entry *e = calloc(MANY, sizeof(*e));
    struct nat_table t;
    (void)state;

    assert_non_null(e);
    assert_int_equal(nat_table_init(&t, 16), 0);
    for (int i = 0; i < MANY; i++) {
        e[i] = entry("192.0.2.1:1", "198.51.100.1:9", 6);
        e[i].source.port = (uint16_t)(i + 1);
        nat_table_insert(&t, &e[i]);
    }
    nat_table_each(&t, remove_it, &t);
    assert_int_equal(t.count, 0);
    nat_table_fini(&t);
    free(e);
}

static void triples_are_found_by_all_of_their_parts(void **state)
{
    struct addr a, b;
    struct nat_held h;
    (void)state;

    assert_true(addr_parse("192.0.2.1:1", &a));
    assert_true(addr_parse("192.0.2.1:2", &b));
    nat_held_init(&h);
    struct nat_triple *t = nat_held_insert(&h, 6, &a);
    assert_ptr_equal(nat_held_find(&h, 6, &a), t);
    assert_null(nat_held_find(&h, 17, &a));
    assert_null(nat_held_find(&h, 6, &b));
    assert_non_null(nat_held_insert(&h, 6, &b));
    assert_int_equal(h.count, 2);
    nat_held_remove(&h, t);
    assert_null(nat_held_find(&h, 6, &a));
    nat_held_fini(&h);
    assert_int_equal(h.count, 0);
}

static void an_entry_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct nat_entry) <= 240);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_the_key_counts),
        cmocka_unit_test(each_may_remove_what_it_is_given),
        cmocka_unit_test(triples_are_found_by_all_of_their_parts),
        cmocka_unit_test(an_entry_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
