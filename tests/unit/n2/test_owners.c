#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "shared/n2/n2_owners.h"

static struct n2_owners owners;
static bool no_memory;

static struct n2_owner *add(const char *owner, const char *client, uint32_t max)
{
    struct addr a = {0};

    assert_true(addr_parse_ip(client, &a));
    return n2_owners_add(&owners, owner, &a, max, &no_memory);
}

static int set_up(void **state)
{
    (void)state;
    n2_owners_init(&owners);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(owners.map.count, 0);
    n2_owners_fini(&owners);
    return 0;
}

static void an_owner_holds_as_many_as_it_may(void **state)
{
    (void)state;
    struct n2_owner *a = add("alice", "192.0.2.1", 2), *b = add("alice", "192.0.2.2", 2);
    assert_ptr_equal(a, b);
    assert_null(add("alice", "192.0.2.1", 2));
    assert_false(no_memory);
    struct n2_owner *other = add("bob", "192.0.2.1", 2);
    assert_non_null(other);
    n2_owners_remove(&owners, a);
    assert_ptr_equal(add("alice", "192.0.2.1", 2), b);
    n2_owners_remove(&owners, b);
    n2_owners_remove(&owners, b);
    n2_owners_remove(&owners, other);
}

static void without_a_name_the_address_is_the_owner_whatever_its_port(void **state)
{
    (void)state;
    struct addr a = {0}, b = {0};
    addr_parse("192.0.2.1:1", &a);
    addr_parse("192.0.2.1:2", &b);
    struct n2_owner *x = n2_owners_add(&owners, "", &a, 1, &no_memory);
    assert_non_null(x);
    assert_null(n2_owners_add(&owners, "", &b, 1, &no_memory));
    struct n2_owner *y = add("", "2001:db8::1", 1);
    assert_non_null(y);
    assert_null(add("", "2001:db8::1", 1));
    n2_owners_remove(&owners, x);
    n2_owners_remove(&owners, y);
}

static void a_name_that_reads_like_an_address_is_another_owner(void **state)
{
    (void)state;
    struct n2_owner *x = add("aaaa", "192.0.2.1", 1), *y = add("", "97.97.97.97", 1);
    assert_non_null(x);
    assert_non_null(y);
    n2_owners_remove(&owners, x);
    n2_owners_remove(&owners, y);
}

static void without_a_bound_there_is_none(void **state)
{
    (void)state;
    struct n2_owner *x = NULL;
    for (int i = 0; i < 1000; i++)
        x = add("alice", "192.0.2.1", 0);
    assert_int_equal(x->count, 1000);
    for (int i = 0; i < 1000; i++)
        n2_owners_remove(&owners, x);
}

static void many_owners_are_kept_apart(void **state)
{
    static struct n2_owner *held[2000];
    char name[16];
    (void)state;

    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "user%d", i);
        held[i] = add(name, "192.0.2.1", 1);
        assert_non_null(held[i]);
    }
    for (int i = 0; i < 2000; i++)
        n2_owners_remove(&owners, held[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_owner_holds_as_many_as_it_may),
        TEST(without_a_name_the_address_is_the_owner_whatever_its_port),
        TEST(a_name_that_reads_like_an_address_is_another_owner),
        TEST(without_a_bound_there_is_none),
        TEST(many_owners_are_kept_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
