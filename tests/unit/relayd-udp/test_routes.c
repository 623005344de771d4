#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "relayd-udp/routes.h"

static const uint8_t header[] = {0, 0, 0, 1, 192, 0, 2, 1, 0, 53};
static struct addr target = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}, .port = 53};

/* Never looked into: only who it is matters. */
static const struct association *association(uintptr_t n)
{
    return (const struct association *)(n * 400);
}

static int set_up(void **state)
{
    *state = routes_new();
    return *state == NULL;
}

static int tear_down(void **state)
{
    routes_free(*state);
    return 0;
}

static void remember(struct routes *r, uintptr_t who, uint64_t now)
{
    routes_remember(r, association(who), header, sizeof(header), &target, true, now);
}

static const struct route *find(const struct routes *r, uintptr_t who, const char *payload,
                                uint64_t now)
{
    uint8_t data[64];
    size_t len = strlen(payload);

    memcpy(data, header, sizeof(header));
    memcpy(data + sizeof(header), payload, len);
    return routes_find(r, association(who), data, sizeof(header) + len, now);
}

static void what_begins_alike_goes_the_same_way(void **state)
{
    remember(*state, 1, 100);
    const struct route *t = find(*state, 1, "x", 100);
    assert_non_null(t);
    assert_true(addr_equal(&t->to, &target));
    assert_true(t->by_name);
    assert_int_equal(t->header_len, sizeof(header));
    assert_non_null(find(*state, 1, "", 100));
}

static void another_header_another_association_or_a_cut_one_does_not(void **state)
{
    uint8_t other[sizeof(header)];

    remember(*state, 1, 100);
    assert_null(find(*state, 2, "x", 100));
    for (size_t i = 0; i < sizeof(header); i++) {
        memcpy(other, header, sizeof(header));
        other[i] ^= 1;
        assert_null(routes_find(*state, association(1), other, sizeof(other), 100));
        assert_null(routes_find(*state, association(1), header, i, 100));
    }
}

static void it_holds_for_a_second(void **state)
{
    remember(*state, 1, 100);
    assert_non_null(find(*state, 1, "x", 1099));
    assert_null(find(*state, 1, "x", 1100));
    remember(*state, 1, 1100);
    assert_non_null(find(*state, 1, "x", 1100));
}

static void what_was_forgotten_is_gone_and_only_that(void **state)
{
    remember(*state, 1, 100);
    routes_forget(*state, association(2));
    assert_non_null(find(*state, 1, "x", 100));
    routes_forget(*state, association(1));
    assert_null(find(*state, 1, "x", 100));
}

static void among_many_associations_none_gets_what_is_anothers(void **state)
{
    struct addr to = target;

    for (uintptr_t n = 1; n <= 5000; n++) {
        to.port = (uint16_t)n;
        routes_remember(*state, association(n), header, sizeof(header), &to, false, 100);
    }
    unsigned found = 0;
    for (uintptr_t n = 1; n <= 5000; n++) {
        const struct route *t = find(*state, n, "x", 100);
        found += t != NULL;
        if (t != NULL)
            assert_int_equal(t->to.port, n);
    }
    assert_in_range(found, 500, 1024);
    assert_non_null(find(*state, 5000, "x", 100));
}

static void a_long_header_is_not_remembered_and_changes_nothing(void **state)
{
    static const uint8_t longer[100];

    remember(*state, 1, 100);
    routes_remember(*state, association(1), longer, sizeof(longer), &target, true, 100);
    assert_non_null(find(*state, 1, "x", 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_begins_alike_goes_the_same_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_header_another_association_or_a_cut_one_does_not,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_holds_for_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_forgotten_is_gone_and_only_that, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(among_many_associations_none_gets_what_is_anothers, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_long_header_is_not_remembered_and_changes_nothing, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
