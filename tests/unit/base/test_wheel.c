#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "shared/base/wheel.h"

#define TURN ((uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS)

struct alarm {
    struct wheel_timer timer;
    struct wheel *wheel;
    struct alarm *other;
    uint64_t again; /* when to start anew from the callback; 0: not */
    int fired;
};

static void ring(struct wheel_timer *t)
{
    struct alarm *a = (struct alarm *)t;

    a->fired++;
    if (a->again != 0)
        wheel_start(a->wheel, t, a->again);
}

static void ring_and_stop_the_other(struct wheel_timer *t)
{
    struct alarm *a = (struct alarm *)t;

    a->fired++;
    wheel_stop(a->wheel, &a->other->timer);
}

static void ring_and_free(struct wheel_timer *t)
{
    struct alarm *a = (struct alarm *)t;

    a->other->fired++;
    free(a);
}

static struct wheel *wheel_at(uint64_t now)
{
    static struct wheel w;

    wheel_init(&w, now);
    return &w;
}

static void alarm_init(struct alarm *a, struct wheel *w)
{
    *a = (struct alarm){.wheel = w};
    wheel_timer_init(&a->timer, ring);
}

static void a_timer_fires_once_not_early_and_at_most_a_tick_late(void **state)
{
    (void)state;
    for (uint64_t start = 1000; start < 1000 + 2 * WHEEL_TICK_MS; start += 7) {
        for (uint64_t wait = 1; wait < 200; wait += 13) {
            struct wheel *w = wheel_at(start);
            struct alarm a;
            uint64_t now = start;

            alarm_init(&a, w);
            wheel_start(w, &a.timer, start + wait);
            for (; a.fired == 0; wheel_advance(w, ++now))
                assert_true(now < start + wait + WHEEL_TICK_MS);
            assert_true(now >= start + wait);
            wheel_advance(w, now + 2 * TURN);
            assert_int_equal(a.fired, 1);
            assert_int_equal(w->count, 0);
        }
    }
}

static void a_due_in_the_past_fires_at_the_next_tick(void **state)
{
    struct wheel *w = wheel_at(100000);
    struct alarm a;

    (void)state;
    alarm_init(&a, w);
    wheel_start(w, &a.timer, 5);
    wheel_advance(w, 100000);
    assert_int_equal(a.fired, 0);
    wheel_advance(w, 100000 + WHEEL_TICK_MS);
    assert_int_equal(a.fired, 1);
}

static void a_timer_beyond_one_turn_waits_for_its_turn(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm a;

    (void)state;
    alarm_init(&a, w);
    wheel_start(w, &a.timer, 3 * TURN);
    for (uint64_t now = 0; now < 3 * TURN; now += WHEEL_TICK_MS)
        wheel_advance(w, now);
    assert_int_equal(a.fired, 0);
    wheel_advance(w, 3 * TURN);
    assert_int_equal(a.fired, 1);
}

static void after_a_sleep_of_many_turns_everything_due_fires_once(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm a[3000], late;

    (void)state;
    for (size_t i = 0; i < 3000; i++) {
        alarm_init(&a[i], w);
        wheel_start(w, &a[i].timer, (i + 1) * WHEEL_TICK_MS);
    }
    alarm_init(&late, w);
    wheel_start(w, &late.timer, 10 * TURN);
    wheel_advance(w, 5 * TURN + 3);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(a[i].fired, 1);
    assert_int_equal(late.fired, 0);
    assert_int_equal(w->count, 1);
    wheel_advance(w, 10 * TURN);
    assert_int_equal(late.fired, 1);
}

static void a_timer_started_again_from_its_callback_does_not_spin(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm past, same_slot;

    (void)state;
    alarm_init(&past, w);
    alarm_init(&same_slot, w);
    past.again = 1;                   /* always overdue: once per advance */
    same_slot.again = 20 * TURN + 64; /* falls into the very slot that is walked */
    wheel_start(w, &past.timer, 64);
    wheel_start(w, &same_slot.timer, 64);
    wheel_advance(w, 4 * TURN);
    assert_int_equal(past.fired, 1);
    assert_int_equal(same_slot.fired, 1);
    wheel_advance(w, 4 * TURN + WHEEL_TICK_MS);
    assert_int_equal(past.fired, 2);
    assert_int_equal(same_slot.fired, 1);
    assert_int_equal(w->count, 2);
}

static void a_callback_may_stop_a_timer_that_is_due_in_the_same_slot(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm a, b;

    (void)state;
    alarm_init(&a, w);
    alarm_init(&b, w);
    a.timer.fire = ring_and_stop_the_other;
    a.other = &b;
    wheel_start(w, &a.timer, 64);
    wheel_start(w, &b.timer, 64);
    wheel_advance(w, 64);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 0);
    assert_int_equal(w->count, 0);
    assert_false(wheel_running(&b.timer));
}

static void a_callback_may_free_its_timer(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm tally = {0}, *a[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        a[i] = calloc(1, sizeof(*a[i]));
        assert_non_null(a[i]);
        wheel_timer_init(&a[i]->timer, ring_and_free);
        a[i]->other = &tally;
        wheel_start(w, &a[i]->timer, 64);
    }
    wheel_advance(w, 64);
    assert_int_equal(tally.fired, 3);
}

static void starting_moves_and_stopping_twice_is_harmless(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm a;

    (void)state;
    alarm_init(&a, w);
    wheel_stop(w, &a.timer);
    assert_false(wheel_running(&a.timer));
    wheel_start(w, &a.timer, 64);
    wheel_start(w, &a.timer, 640);
    assert_int_equal(w->count, 1);
    wheel_advance(w, 320);
    assert_int_equal(a.fired, 0);
    assert_true(wheel_running(&a.timer));
    wheel_stop(w, &a.timer);
    wheel_stop(w, &a.timer);
    assert_int_equal(w->count, 0);
    wheel_advance(w, TURN);
    assert_int_equal(a.fired, 0);
}

static void never_is_a_time_too(void **state)
{
    struct wheel *w = wheel_at(0);
    struct alarm a;

    (void)state;
    alarm_init(&a, w);
    wheel_start(w, &a.timer, UINT64_MAX);
    wheel_advance(w, UINT64_MAX / 2);
    assert_int_equal(a.fired, 0);
    wheel_stop(w, &a.timer);
}

static void time_that_goes_backwards_is_ignored(void **state)
{
    struct wheel *w = wheel_at(1000000);
    struct alarm a;

    (void)state;
    alarm_init(&a, w);
    wheel_start(w, &a.timer, 1000064);
    wheel_advance(w, 5);
    assert_int_equal(a.fired, 0);
    wheel_advance(w, 1000064);
    assert_int_equal(a.fired, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_timer_fires_once_not_early_and_at_most_a_tick_late),
        cmocka_unit_test(a_due_in_the_past_fires_at_the_next_tick),
        cmocka_unit_test(a_timer_beyond_one_turn_waits_for_its_turn),
        cmocka_unit_test(after_a_sleep_of_many_turns_everything_due_fires_once),
        cmocka_unit_test(a_timer_started_again_from_its_callback_does_not_spin),
        cmocka_unit_test(a_callback_may_stop_a_timer_that_is_due_in_the_same_slot),
        cmocka_unit_test(a_callback_may_free_its_timer),
        cmocka_unit_test(starting_moves_and_stopping_twice_is_harmless),
        cmocka_unit_test(never_is_a_time_too),
        cmocka_unit_test(time_that_goes_backwards_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
