/* When memory is short: the sources are compiled in with an allocator that fails on demand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int allowed = -1; /* allocations until they fail; -1: they do not */
static bool arrays_fail; /* but for those that a table begins with */

static bool may_allocate(void)
{
    if (allowed == 0)
        return false;
    if (allowed > 0)
        allowed--;
    return true;
}

static void *scarce_malloc(size_t size)
{
    return may_allocate() ? malloc(size) : NULL;
}

static void *scarce_calloc(size_t count, size_t size)
{
    return may_allocate() && !(arrays_fail && count > 16) ? calloc(count, size) : NULL;
}

#define malloc scarce_malloc
#define calloc scarce_calloc
#include "shared/relay/ports.c"
#include "shared/relay/ports_records.c"
#include "shared/relay/ports_table.c"
#undef malloc
#undef calloc

#include "tests/unit/relay/ports_fixture.h"

static int give_back(void **state)
{
    (void)state;
    allowed = -1;
    arrays_fail = false;
    return 0;
}

static void making_one_fails_at_every_place(void **state)
{
    struct ports *p = NULL;
    int failed = 0;

    (void)state;
    for (int n = 0; p == NULL; n++) {
        allowed = n;
        p = ports_of(300, 300, 0);
        failed += p == NULL;
        assert_true(n < 50);
    }
    assert_int_equal(failed, 6); /* itself and five tables */
    ports_free(p);
}

/* What a claim that failed leaves behind is nothing; with memory again, it works. */
static void claim_fails_cleanly(struct addr client, const char *owner, int places)
{
    struct ports *p = ports_of(300, 300, 1);
    struct ports_claim c;
    enum ports_result result = PORTS_NO_MEMORY;
    int failed = 0;

    for (int n = 0; result != PORTS_OK; n++) {
        allowed = n;
        result = take(p, &c, client, owner, 0);
        allowed = -1;
        if (result != PORTS_OK) {
            assert_int_equal(result, PORTS_NO_MEMORY);
            assert_true(is_empty(p));
            assert_int_equal(p->addresses.count, 0);
            failed++;
        }
        assert_true(n < 50);
    }
    assert_int_equal(failed, places);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void a_claim_fails_cleanly_at_every_place(void **state)
{
    (void)state;
    claim_fails_cleanly(v4(1, 0), "", 2);      /* address, site */
    claim_fails_cleanly(v4(1, 0), "alice", 3); /* and owner */
    claim_fails_cleanly(v6(1, 7), "alice", 2);
}

static bool usable_then_nothing(void *arg, enum addr_family family, uint16_t port)
{
    (void)arg, (void)family, (void)port;
    allowed = 0;
    return true;
}

static void once_a_port_is_usable_nothing_can_fail(void **state)
{
    struct ports *p = ports_of(300, 301, 0);
    struct ports_claim a, b;
    struct addr unlocked = v4(1, 0), hinted = v4(1, 9);

    (void)state;
    assert_int_equal(ports_claim(p, &a, &unlocked, "alice", 0, usable_then_nothing, NULL),
                     PORTS_OK);
    assert_true(ports_lock(p, &a, 5, 0));
    allowed = -1;
    assert_int_equal(ports_claim(p, &b, &hinted, "", 0, usable_then_nothing, NULL), PORTS_OK);
    allowed = -1;
    ports_release(p, &a, 0);
    ports_release(p, &b, 0);
    ports_free(p);
}

static void tables_that_cannot_grow_are_fuller_and_right(void **state)
{
    enum { CLIENTS = 200 };
    struct ports *p = ports_of(300, 300, 0);
    struct ports_claim c[CLIENTS], *found;

    (void)state;
    arrays_fail = true;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(take(p, &c[i], v4(i, 0), "", 0), PORTS_OK);
        assert_true(ports_lock(p, &c[i], 8, 0));
    }
    assert_true(p->locked.size < CLIENTS);
    arrays_fail = false;
    ports_table_reserve(&p->locked, CLIENTS);
    assert_true(p->locked.size >= CLIENTS);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(find(p, v4(i, 8), 300, &found), PORTS_LOCKED);
        assert_ptr_equal(found, &c[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        ports_release(p, &c[i], 0);
    ports_free(p);
}

static void keys_in_one_bucket_are_told_apart(void **state)
{
    struct ports_claim c, *found;
    struct ports *p;

    (void)state;
    arrays_fail = true;
    p = ports_of(300, 301, 0);
    for (uint16_t i = 1; i <= 200; i++) {
        assert_int_equal(take(p, &c, v4(i % 3, i), "", 0), PORTS_OK);
        ports_release(p, &c, 0);
        assert_int_equal(find(p, v4(i % 3, i), c.port, &found), PORTS_LATE);
        assert_int_equal(find(p, v4(i % 3, i), (uint16_t)(601 - c.port), &found), PORTS_STRANGER);
        assert_int_equal(find(p, v4((i + 1) % 3, i), c.port, &found), PORTS_STRANGER);
        assert_int_equal(find(p, v4(i % 3, i + 1), c.port, &found), PORTS_STRANGER);
    }
    ports_free(p);
}

static void without_memory_the_oldest_key_makes_room(void **state)
{
    struct ports *p = ports_of(300, 300, 0);
    struct ports_claim a, b, c, *found;

    (void)state;
    assert_int_equal(take(p, &a, v4(1, 5), "", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v4(2, 5), "", 0), PORTS_OK);
    assert_int_equal(take(p, &c, v4(2, 6), "", 0), PORTS_OK);
    allowed = 0;
    /* None rests yet: this one is forgotten at once. */
    ports_release(p, &c, 0);
    assert_int_equal(ports_stats(p).resting, 0);
    assert_int_equal(find(p, v4(2, 6), 300, &found), PORTS_OTHER_PORT);
    allowed = -1;
    ports_release(p, &a, 0);
    assert_int_equal(find(p, v4(1, 5), 300, &found), PORTS_LATE);
    allowed = 0;
    assert_true(ports_lock(p, &b, 7, 0));
    assert_int_equal(find(p, v4(1, 5), 300, &found), PORTS_STRANGER);
    assert_int_equal(find(p, v4(2, 5), 300, &found), PORTS_LATE);
    /* The same site, which stays. */
    ports_release(p, &b, 0);
    assert_int_equal(find(p, v4(2, 5), 300, &found), PORTS_STRANGER);
    assert_int_equal(find(p, v4(2, 7), 300, &found), PORTS_LATE);
    assert_int_equal(ports_stats(p).resting, 1);
    assert_int_equal(ports_stats(p).sites, 1);
    ports_sweep(p, REST_MS);
    assert_true(is_empty(p));
    ports_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(making_one_fails_at_every_place, give_back),
        cmocka_unit_test_teardown(a_claim_fails_cleanly_at_every_place, give_back),
        cmocka_unit_test_teardown(once_a_port_is_usable_nothing_can_fail, give_back),
        cmocka_unit_test_teardown(tables_that_cannot_grow_are_fuller_and_right, give_back),
        cmocka_unit_test_teardown(keys_in_one_bucket_are_told_apart, give_back),
        cmocka_unit_test_teardown(without_memory_the_oldest_key_makes_room, give_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
