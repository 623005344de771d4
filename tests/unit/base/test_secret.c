#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/base/secret.h"

static void octets_differ_from_draw_to_draw(void **state)
{
    uint8_t a[16], b[16];

    (void)state;
    secret_random(a, sizeof(a));
    secret_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

static void more_than_a_block_is_filled_to_the_end(void **state)
{
    static uint8_t big[20000];
    uint8_t seen[256] = {0};

    (void)state;
    secret_random(big, sizeof(big));
    for (size_t i = 4096; i < sizeof(big); i++)
        seen[big[i]] = 1;
    for (size_t i = 0; i < 256; i++)
        assert_true(seen[i]);
}

static void a_child_of_a_fork_draws_octets_of_its_own(void **state)
{
    uint8_t mine[32], theirs[32];
    int ends[2], status;
    pid_t child;

    (void)state;
    secret_random(mine, 1); /* the stock is filled before the fork */
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        secret_random(theirs, sizeof(theirs));
        _exit(write(ends[1], theirs, sizeof(theirs)) == sizeof(theirs) ? 0 : 1);
    }
    assert_int_equal(read(ends[0], theirs, sizeof(theirs)), sizeof(theirs));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    secret_random(mine, sizeof(mine));
    assert_memory_not_equal(mine, theirs, sizeof(mine));
    close(ends[0]);
    close(ends[1]);
}

static void equal_and_unequal_octets_are_told_apart_at_every_place(void **state)
{
    uint8_t a[8] = {1, 2, 3, 4, 5, 6, 7, 8}, b[8];

    (void)state;
    memcpy(b, a, sizeof(a));
    assert_true(secret_equal(a, b, sizeof(a)));
    assert_true(secret_equal(NULL, NULL, 0));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] ^= 0x80;
        assert_false(secret_equal(a, b, sizeof(a)));
        b[i] ^= 0x80;
    }
}

static void wiping_leaves_zeros(void **state)
{
    uint8_t a[4] = {1, 2, 3, 4}, zero[4] = {0};

    (void)state;
    secret_wipe(a, sizeof(a));
    assert_memory_equal(a, zero, sizeof(a));
    secret_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(octets_differ_from_draw_to_draw),
        cmocka_unit_test(more_than_a_block_is_filled_to_the_end),
        cmocka_unit_test(a_child_of_a_fork_draws_octets_of_its_own),
        cmocka_unit_test(equal_and_unequal_octets_are_told_apart_at_every_place),
        cmocka_unit_test(wiping_leaves_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
