#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "socksd/verify.h"

/* "secret" for alice and bob, cheaply; "swordfish" for carol. */
#define BCRYPT           "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define BCRYPT_SWORDFISH "$2b$04$bcdefghijklmnopqrstuvuB7jZiJSTR0.EcMf8oDPhNBAKRpjX74W"
/* "secret", some 20 ms: long enough to look at it while it runs. */
#define YESCRYPT "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0"

#define USERS "alice:" BCRYPT "\nbob:" BCRYPT "\ncarol:" BCRYPT_SWORDFISH "\n"

enum { FIRST = 100, MOST = 2000 }; /* milliseconds: delays of the tests */

struct fixture {
    uv_loop_t loop;
    struct verify_config config;
    struct verify *v;
    struct users *users;
    bool closed;
};

struct attempt {
    struct verify_request r;
    int calls;
    enum verify_outcome outcome;
    uint64_t started, took; /* ms */
    uv_loop_t *loop;
    struct attempt *then; /* to be cancelled by the callback */
    struct fixture *f;    /* to be closed by the callback */
};

static struct users *users_of(const char *text)
{
    struct users *u;
    struct err e;

    if (users_parse("users", text, strlen(text), &e, &u))
        fail_msg("%s", e.text);
    return u;
}

/* Until nothing is left to do. */
static void drain(struct fixture *f)
{
    while (uv_run(&f->loop, UV_RUN_DEFAULT))
        continue;
}

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    uv_loop_init(&f.loop);
    f.config = VERIFY_CONFIG_DEFAULT;
    f.config.penalty.delay_first_ms = FIRST;
    f.config.penalty.delay_most_ms = MOST;
    f.config.cache_ms = 0;
    *state = &f;
    return 0;
}

static void open_with(struct fixture *f, const char *users)
{
    f->users = users_of(users);
    f->v = verify_new(&f->loop, &f->config, f->users);
    assert_non_null(f->v);
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->v)
        verify_close(f->v, on_closed, &f->closed);
    users_unref(f->users);
    drain(f);
    if (f->v && !f->closed)
        return -1;
    return uv_loop_close(&f->loop);
}

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void on_outcome(struct verify_request *r, enum verify_outcome outcome)
{
    struct attempt *a = (struct attempt *)(void *)((char *)r - offsetof(struct attempt, r));

    uv_stop(a->loop); /* else uv_run would go on to wait for what comes next */
    a->calls++;
    a->outcome = outcome;
    a->took = now_ms() - a->started;
    if (a->then)
        verify_cancel(&a->then->r);
    if (a->f) {
        verify_close(a->f->v, on_closed, &a->f->closed);
        a->f->v = NULL;
    }
}

static void begin_from(struct fixture *f, struct attempt *a, const char *source, const char *user,
                       const char *password)
{
    struct addr from;

    assert_true(addr_parse_ip(source, &from));
    memset(a, 0, sizeof(*a));
    a->loop = &f->loop;
    verify_request_init(&a->r);
    uv_update_time(&f->loop);
    a->started = now_ms();
    verify_start(f->v, &a->r, &from, user, strlen(user), password, strlen(password), on_outcome);
}

static void begin(struct fixture *f, struct attempt *a, const char *user, const char *password)
{
    begin_from(f, a, "192.0.2.1", user, password);
}

static enum verify_outcome outcome_of(struct fixture *f, struct attempt *a)
{
    while (a->calls == 0 && uv_run(&f->loop, UV_RUN_ONCE))
        continue;
    assert_int_equal(a->calls, 1);
    return a->outcome;
}

static enum verify_outcome try_from(struct fixture *f, const char *source, const char *user,
                                    const char *password, uint64_t *ret_took)
{
    struct attempt a;
    enum verify_outcome outcome;

    begin_from(f, &a, source, user, password);
    outcome = outcome_of(f, &a);
    if (ret_took)
        *ret_took = a.took;
    return outcome;
}

static enum verify_outcome try(struct fixture *f, const char *user, const char *password)
{
    return try_from(f, "192.0.2.1", user, password, NULL);
}

static void the_right_password_passes_and_no_other(void **state)
{
    struct fixture *f = *state;

    f->config.penalty.delay_first_ms = 0;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    assert_int_equal(try(f, "carol", "swordfish"), VERIFY_RIGHT);
    assert_int_equal(try(f, "carol", "secret"), VERIFY_WRONG);
    assert_int_equal(try(f, "mallory", "secret"), VERIFY_WRONG);
    assert_int_equal(try(f, "", ""), VERIFY_WRONG);
    assert_int_equal(verify_stats(f->v).right, 2);
    assert_int_equal(verify_stats(f->v).wrong, 3);
}

static void without_users_nobody_passes(void **state)
{
    struct fixture *f = *state;

    f->v = verify_new(&f->loop, &f->config, NULL);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_WRONG);
}

static void the_callback_never_comes_before_start_returns(void **state)
{
    struct fixture *f = *state;
    struct attempt running, queued, busy, remembered;

    f->config.concurrent = 1;
    f->config.queue = 1;
    f->config.cache_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "bob", "secret"), VERIFY_RIGHT);
    begin(f, &running, "alice", "secret");
    begin(f, &queued, "carol", "secret");
    begin(f, &busy, "dave", "secret");
    begin(f, &remembered, "bob", "secret");
    assert_int_equal(running.calls + queued.calls + busy.calls + remembered.calls, 0);
    assert_int_equal(outcome_of(f, &busy), VERIFY_BUSY);
    assert_int_equal(outcome_of(f, &remembered), VERIFY_RIGHT);
    assert_int_equal(outcome_of(f, &running), VERIFY_RIGHT);
    assert_int_equal(outcome_of(f, &queued), VERIFY_WRONG);
}

static void so_many_run_at_once_so_many_wait_and_the_rest_is_turned_away(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[20];
    unsigned right = 0, busy = 0;
    struct verify_stats s;

    f->config.concurrent = 3;
    f->config.queue = 5;
    open_with(f, USERS);
    for (int i = 0; i < 20; i++)
        begin(f, &attempts[i], "alice", "secret");
    s = verify_stats(f->v);
    assert_int_equal(s.running, 3);
    assert_int_equal(s.queued, 5);
    for (int i = 0; i < 20; i++) {
        enum verify_outcome outcome = outcome_of(f, &attempts[i]);

        right += outcome == VERIFY_RIGHT;
        busy += outcome == VERIFY_BUSY;
        assert_true(verify_stats(f->v).running <= 3);
    }
    assert_int_equal(right, 8);
    assert_int_equal(busy, 12);
    s = verify_stats(f->v);
    assert_int_equal(s.busy, 12);
    assert_int_equal(s.running + s.queued + s.delayed, 0);
}

static void a_failure_is_held_back_and_makes_the_next_attempt_of_the_pair_wait(void **state)
{
    struct fixture *f = *state;
    struct attempt wrong, right;
    uint64_t took;

    open_with(f, USERS);
    assert_int_equal(try_from(f, "192.0.2.1", "alice", "x", &took), VERIFY_WRONG);
    assert_true(took >= FIRST - 1);
    assert_int_equal(try_from(f, "192.0.2.1", "alice", "x", &took), VERIFY_WRONG);
    assert_true(took >= 2 * FIRST - 1);
    begin(f, &wrong, "alice", "x");
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(wrong.calls, 0);
    begin(f, &right, "alice", "secret");
    assert_int_equal(verify_stats(f->v).running, 0);
    assert_int_equal(verify_stats(f->v).delayed, 2);
    assert_int_equal(outcome_of(f, &right), VERIFY_RIGHT);
    assert_true(right.took >= FIRST);
    assert_int_equal(wrong.calls, 1);
    /* The success has cleared the pair. */
    begin(f, &right, "alice", "secret");
    assert_int_equal(verify_stats(f->v).running, 1);
    assert_int_equal(outcome_of(f, &right), VERIFY_RIGHT);
}

static void unknown_users_are_held_back_alike(void **state)
{
    struct fixture *f = *state;
    uint64_t took;

    open_with(f, USERS);
    assert_int_equal(try_from(f, "192.0.2.1", "mallory", "x", &took), VERIFY_WRONG);
    assert_true(took >= FIRST - 1);
    assert_int_equal(try_from(f, "192.0.2.1", "mallory", "x", &took), VERIFY_WRONG);
    assert_true(took >= 2 * FIRST - 1);
}

/* Whether an attempt would have to wait; takes it back at once. */
static bool waits(struct fixture *f, const char *source, const char *user)
{
    uint64_t before = verify_stats(f->v).waited;
    struct attempt a;

    begin_from(f, &a, source, user, "secret");
    verify_cancel(&a.r);
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    return verify_stats(f->v).waited > before;
}

static void other_users_and_sources_are_not_slowed(void **state)
{
    struct fixture *f = *state;
    struct attempt a, b;

    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    begin_from(f, &a, "192.0.2.1", "alice", "x");
    begin_from(f, &b, "2001:db8:0:1::1", "alice", "x");
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(waits(f, "192.0.2.1", "alice"));
    assert_true(waits(f, "::ffff:192.0.2.1", "alice"));
    assert_false(waits(f, "192.0.2.2", "alice"));
    assert_false(waits(f, "192.0.2.1", "bob"));
    assert_true(waits(f, "2001:db8:0:1:ffff::9", "alice")); /* the same /64 */
    assert_false(waits(f, "2001:db8:0:2::1", "alice"));
    assert_false(waits(f, "2001:db8:0:1::1", "bob"));
    verify_cancel(&a.r);
    verify_cancel(&b.r);
}

static void guesses_that_arrive_at_once_gain_nothing(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[40], other;

    f->config.concurrent = 2;
    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    for (int i = 0; i < 40; i++)
        begin(f, &attempts[i], "alice", "x");
    while (verify_stats(f->v).running > 0 || verify_stats(f->v).queued > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    /* Only those that ran before the first failure was known have been hashed. */
    assert_int_equal(verify_stats(f->v).wrong, 2);
    assert_int_equal(verify_stats(f->v).delayed, 40);
    /* And nobody else has to stand behind them. */
    begin_from(f, &other, "192.0.2.9", "alice", "secret");
    assert_int_equal(outcome_of(f, &other), VERIFY_RIGHT);
    for (int i = 0; i < 40; i++)
        verify_cancel(&attempts[i].r);
    assert_int_equal(verify_stats(f->v).delayed, 0);
}

static void those_that_wait_get_their_turns_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[4];
    uint64_t before;

    f->config.penalty.delay_most_ms = FIRST;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "x"), VERIFY_WRONG);
    before = now_ms();
    for (int i = 0; i < 4; i++)
        begin(f, &attempts[i], "alice", "x");
    for (int i = 0; i < 4; i++)
        assert_int_equal(outcome_of(f, &attempts[i]), VERIFY_WRONG);
    assert_true(now_ms() - before >= 4 * FIRST - 4);
}

static void too_many_that_wait_are_turned_away(void **state)
{
    struct fixture *f = *state;
    struct attempt failed, waiting[2], more, at_once;

    f->config.delayed = 3;
    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    begin(f, &failed, "alice", "x");
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    begin(f, &waiting[0], "alice", "secret");
    begin(f, &waiting[1], "alice", "secret");
    begin(f, &more, "alice", "secret");
    assert_int_equal(outcome_of(f, &more), VERIFY_BUSY);
    /* Where nothing can be held back any more, a failure is answered at once. */
    begin(f, &at_once, "bob", "x");
    assert_int_equal(outcome_of(f, &at_once), VERIFY_WRONG);
    assert_int_equal(failed.calls, 0);
    verify_cancel(&failed.r);
    verify_cancel(&waiting[0].r);
    verify_cancel(&waiting[1].r);
}

static void a_source_that_tries_many_names_is_slowed(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[4];
    static const char *const names[] = {"u1", "u2", "u3", "u4"};

    f->config.penalty.names_free = 3;
    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "carol", "swordfish"), VERIFY_RIGHT);
    for (int i = 0; i < 4; i++) {
        begin(f, &attempts[i], names[i], "x");
        while (verify_stats(f->v).running > 0)
            uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_true(waits(f, "192.0.2.1", "u5"));
    assert_false(waits(f, "192.0.2.2", "u5"));
    assert_false(waits(f, "192.0.2.1", "carol")); /* known there */
    for (int i = 0; i < 4; i++)
        verify_cancel(&attempts[i].r);
}

static void a_cancelled_attempt_never_calls_back_in_whatever_state(void **state)
{
    struct fixture *f = *state;
    struct attempt running, queued, waiting, answering, idle;

    f->config.concurrent = 1;
    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    begin(f, &answering, "carol", "x");
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    begin(f, &running, "alice", "secret");
    begin(f, &queued, "bob", "secret");
    begin(f, &waiting, "carol", "swordfish");
    assert_int_equal(verify_stats(f->v).running, 1);
    assert_int_equal(verify_stats(f->v).queued, 1);
    assert_int_equal(verify_stats(f->v).delayed, 2);
    memset(&idle, 0, sizeof(idle));
    verify_request_init(&idle.r);
    verify_cancel(&idle.r);
    verify_cancel(&running.r);
    verify_cancel(&queued.r);
    verify_cancel(&waiting.r);
    verify_cancel(&answering.r);
    verify_cancel(&answering.r);
    drain(f);
    assert_int_equal(running.calls + queued.calls + waiting.calls + answering.calls, 0);
    assert_int_equal(verify_stats(f->v).cancelled, 3);
    assert_int_equal(verify_stats(f->v).running + verify_stats(f->v).delayed, 0);
}

static void who_hangs_up_before_the_failure_is_slowed_all_the_same(void **state)
{
    struct fixture *f = *state;
    struct attempt a;

    f->config.penalty.delay_first_ms = f->config.penalty.delay_most_ms = 60000;
    open_with(f, USERS);
    begin(f, &a, "alice", "x");
    verify_cancel(&a.r);
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(waits(f, "192.0.2.1", "alice"));
}

static void a_request_may_be_used_again_once_it_is_answered_or_cancelled(void **state)
{
    struct fixture *f = *state;
    struct addr from = {.family = ADDR_IPV4, .ip = {192, 0, 2, 1}};
    struct attempt a;

    open_with(f, USERS);
    begin(f, &a, "alice", "secret");
    verify_cancel(&a.r);
    verify_start(f->v, &a.r, &from, "bob", 3, "secret", 6, on_outcome);
    assert_int_equal(outcome_of(f, &a), VERIFY_RIGHT);
    drain(f);
    assert_int_equal(a.calls, 1);
    verify_start(f->v, &a.r, &from, "bob", 3, "secret", 6, on_outcome);
    drain(f);
    assert_int_equal(a.calls, 2);
}

static void a_success_is_remembered_and_a_failure_is_not(void **state)
{
    struct fixture *f = *state;
    struct attempt a;

    f->config.cache_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    begin_from(f, &a, "192.0.2.77", "alice", "secret");
    assert_int_equal(verify_stats(f->v).running, 0);
    assert_int_equal(outcome_of(f, &a), VERIFY_RIGHT);
    assert_int_equal(verify_stats(f->v).remembered, 1);
    assert_int_equal(try(f, "alice", "x"), VERIFY_WRONG);
    assert_int_equal(try(f, "alice", "x"), VERIFY_WRONG);
    assert_int_equal(try(f, "alices", "ecret"), VERIFY_WRONG);
    assert_int_equal(verify_stats(f->v).remembered, 1);
    /* Whoever has the right password does not stand behind those who guess. */
    begin(f, &a, "alice", "secret");
    assert_int_equal(outcome_of(f, &a), VERIFY_RIGHT);
    assert_int_equal(verify_stats(f->v).remembered, 2);
}

static void memory_ends_with_its_time(void **state)
{
    struct fixture *f = *state;

    f->config.cache_ms = 50;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    uv_sleep(60);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    assert_int_equal(verify_stats(f->v).remembered, 0);
}

static void nothing_is_remembered_when_that_is_off(void **state)
{
    struct fixture *f = *state;

    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    assert_int_equal(verify_stats(f->v).remembered, 0);
}

static void new_users_end_what_was_remembered_of_the_old_ones(void **state)
{
    struct fixture *f = *state;
    struct users *next = users_of("alice:" BCRYPT_SWORDFISH "\n");

    f->config.cache_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    verify_set_users(f->v, next);
    users_unref(next);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_WRONG);
    assert_int_equal(try(f, "alice", "swordfish"), VERIFY_RIGHT);
    verify_set_users(f->v, NULL);
    assert_int_equal(try(f, "alice", "swordfish"), VERIFY_WRONG);
}

static void a_reload_while_a_thread_hashes_is_harmless(void **state)
{
    struct fixture *f = *state;
    struct users *next = users_of("alice:" BCRYPT_SWORDFISH "\n");
    struct attempt running, queued;

    f->config.cache_ms = 60000;
    f->config.concurrent = 1;
    f->config.penalty.delay_first_ms = 0;
    open_with(f, "alice:" YESCRYPT "\n");
    begin(f, &running, "alice", "secret");
    begin(f, &queued, "alice", "secret");
    users_unref(f->users); /* ours */
    f->users = NULL;
    verify_set_users(f->v, next);
    users_unref(next);
    assert_int_equal(outcome_of(f, &running), VERIFY_RIGHT);
    assert_int_equal(outcome_of(f, &queued), VERIFY_WRONG);
    /* The success of the old ones is not remembered for the new ones. */
    assert_int_equal(try(f, "alice", "secret"), VERIFY_WRONG);
    assert_int_equal(verify_stats(f->v).remembered, 0);
}

static void closing_cancels_what_is_left_and_says_when_it_is_over(void **state)
{
    struct fixture *f = *state;
    struct attempt attempts[12], failed;

    f->config.concurrent = 8; /* more than libuv has threads: some have not begun */
    open_with(f, "alice:" YESCRYPT "\n");
    begin(f, &failed, "bob", "x");
    while (verify_stats(f->v).running > 0)
        uv_run(&f->loop, UV_RUN_ONCE);
    for (int i = 0; i < 12; i++)
        begin(f, &attempts[i], i % 2 ? "bob" : "alice", "secret");
    verify_close(f->v, on_closed, &f->closed);
    f->v = NULL;
    assert_false(f->closed);
    drain(f);
    assert_true(f->closed);
    assert_int_equal(failed.calls, 0);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(attempts[i].calls, 0);
        verify_cancel(&attempts[i].r); /* at rest: touches nothing */
    }
}

static void a_callback_may_cancel_others_that_are_due_with_it(void **state)
{
    struct fixture *f = *state;
    struct attempt a, b;

    f->config.cache_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    begin(f, &a, "alice", "secret");
    begin(f, &b, "alice", "secret");
    a.then = &b;
    drain(f);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
}

static void a_callback_may_close_everything(void **state)
{
    struct fixture *f = *state;
    struct attempt a, b;

    f->config.cache_ms = 60000;
    open_with(f, USERS);
    assert_int_equal(try(f, "alice", "secret"), VERIFY_RIGHT);
    begin(f, &a, "alice", "secret");
    begin(f, &b, "alice", "secret");
    a.f = f;
    drain(f);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_true(f->closed);
}

static void the_longest_credentials_are_taken(void **state)
{
    struct fixture *f = *state;
    char octets[256];

    open_with(f, USERS);
    memset(octets, 'a', 255);
    octets[255] = '\0';
    assert_int_equal(try(f, octets, octets), VERIFY_WRONG);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_right_password_passes_and_no_other),
        TEST(without_users_nobody_passes),
        TEST(the_callback_never_comes_before_start_returns),
        TEST(so_many_run_at_once_so_many_wait_and_the_rest_is_turned_away),
        TEST(a_failure_is_held_back_and_makes_the_next_attempt_of_the_pair_wait),
        TEST(unknown_users_are_held_back_alike),
        TEST(other_users_and_sources_are_not_slowed),
        TEST(guesses_that_arrive_at_once_gain_nothing),
        TEST(those_that_wait_get_their_turns_one_by_one),
        TEST(too_many_that_wait_are_turned_away),
        TEST(a_source_that_tries_many_names_is_slowed),
        TEST(a_cancelled_attempt_never_calls_back_in_whatever_state),
        TEST(who_hangs_up_before_the_failure_is_slowed_all_the_same),
        TEST(a_request_may_be_used_again_once_it_is_answered_or_cancelled),
        TEST(a_success_is_remembered_and_a_failure_is_not),
        TEST(memory_ends_with_its_time),
        TEST(nothing_is_remembered_when_that_is_off),
        TEST(new_users_end_what_was_remembered_of_the_old_ones),
        TEST(a_reload_while_a_thread_hashes_is_harmless),
        TEST(closing_cancels_what_is_left_and_says_when_it_is_over),
        TEST(a_callback_may_cancel_others_that_are_due_with_it),
        TEST(a_callback_may_close_everything),
        TEST(the_longest_credentials_are_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
