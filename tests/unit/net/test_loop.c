#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/loop.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/sockpairs.h"

/* ---- tasks ---- */

struct job {
    struct loop_task task;
    struct loop *loop;
    struct job *next; /* posted by this one */
    char *diary;
    char letter;
};

static void do_job(struct loop_task *t)
{
    struct job *j = LIST_ENTRY(t, struct job, task);

    strncat(j->diary, &j->letter, 1);
    if (j->next != NULL)
        loop_post(j->loop, &j->next->task);
}

static void job_init(struct job *j, struct loop *l, char letter, char *diary)
{
    *j = (struct job){.loop = l, .letter = letter, .diary = diary};
    loop_task_init(&j->task, do_job);
}

static void posted_work_is_done_once_and_in_order(void **state)
{
    struct loop *l = *state;
    char diary[16] = "";
    struct job a, b, c;

    job_init(&a, l, 'a', diary);
    job_init(&b, l, 'b', diary);
    job_init(&c, l, 'c', diary);
    loop_post(l, &b.task);
    loop_post(l, &a.task);
    loop_post(l, &b.task);
    loop_post(l, &c.task);
    assert_string_equal(diary, "");
    loop_run_for(l, 5);
    assert_string_equal(diary, "bac");
    loop_run_for(l, 5);
    assert_string_equal(diary, "bac");
    loop_post(l, &a.task);
    loop_run_for(l, 5);
    assert_string_equal(diary, "baca");
}

static void work_that_work_posts_is_done_before_sleeping_too(void **state)
{
    struct loop *l = *state;
    char diary[16] = "";
    struct job a, b;

    job_init(&a, l, 'a', diary);
    job_init(&b, l, 'b', diary);
    a.next = &b;
    loop_post(l, &a.task);
    uint64_t before = l->iterations;
    uv_run(&l->uv, UV_RUN_NOWAIT); /* nothing keeps it alive: no iteration at all */
    assert_string_equal(diary, "");
    loop_run_for(l, 5);
    assert_string_equal(diary, "ab");
    assert_true(l->iterations - before <= 4);
}

static void work_may_be_taken_back(void **state)
{
    struct loop *l = *state;
    char diary[16] = "";
    struct job a, b;

    job_init(&a, l, 'a', diary);
    job_init(&b, l, 'b', diary);
    loop_unpost(&a.task);
    loop_post(l, &a.task);
    loop_post(l, &b.task);
    loop_unpost(&a.task);
    loop_unpost(&a.task);
    loop_run_for(l, 5);
    assert_string_equal(diary, "b");
}

/* ---- sockets ---- */

struct ear {
    struct hot hot;
    struct loop *loop;
    struct loop_grave grave;
    struct ear *victim; /* removed and buried when this one hears */
    int heard, freed;
    uint32_t events;
};

static void ear_freed(struct loop_grave *g)
{
    LIST_ENTRY(g, struct ear, grave)->freed++;
}

static void on_ear(struct hot *h, uint32_t events)
{
    struct ear *e = LIST_ENTRY(h, struct ear, hot);
    char got;

    e->heard++;
    e->events = events;
    if (events & EPOLLIN)
        assert_int_equal(recv(h->fd, &got, 1, 0), 1);
    if (e->victim != NULL && e->victim->hot.fd >= 0) {
        close(hot_remove(e->loop, &e->victim->hot));
        loop_bury(e->loop, &e->victim->grave, ear_freed);
        assert_int_equal(e->victim->freed, 0);
    }
}

static int ear_init(struct ear *e, struct loop *l, uint32_t mask)
{
    int fds[2];

    *e = (struct ear){.loop = l};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    hot_init(&e->hot, on_ear);
    assert_int_equal(hot_add(l, &e->hot, fds[0], mask), 0);
    return fds[1];
}

static void whisper(int fd)
{
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
}

/* Whichever of the two the kernel names first takes the other with it. */
static void who_was_removed_in_this_iteration_hears_nothing_and_dies_after_it(void **state)
{
    struct loop *l = *state;
    struct ear a, b;
    int mouth_a = ear_init(&a, l, EPOLLIN), mouth_b = ear_init(&b, l, EPOLLIN);

    a.victim = &b;
    b.victim = &a;
    whisper(mouth_a);
    whisper(mouth_b);
    loop_run_for(l, 20);
    assert_int_equal(a.heard + b.heard, 1);
    assert_int_equal(a.freed + b.freed, 1);
    assert_true(a.freed ? b.heard : a.heard);
    close(hot_remove(l, a.freed ? &b.hot : &a.hot));
    close(mouth_a);
    close(mouth_b);
}

static void interest_can_be_taken_away_and_given_back(void **state)
{
    struct loop *l = *state;
    struct ear e;
    int mouth = ear_init(&e, l, 0);

    whisper(mouth);
    whisper(mouth);
    assert_true(loop_run_for(l, 50) < 10);
    assert_int_equal(e.heard, 0);
    hot_mask(l, &e.hot, EPOLLIN);
    loop_run_for(l, 20);
    assert_int_equal(e.heard, 2);
    hot_mask(l, &e.hot, EPOLLOUT);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    loop_run_for(l, 1);
    assert_true(e.heard > 2);
    assert_int_equal(e.events, EPOLLOUT);
    hot_mask(l, &e.hot, 0);
    int heard = e.heard;
    whisper(mouth);
    loop_run_for(l, 20);
    assert_int_equal(e.heard, heard);
    close(hot_remove(l, &e.hot));
    close(mouth);
}

static void a_hang_up_comes_unasked_and_edge_triggered_only_once(void **state)
{
    struct loop *l = *state;
    struct ear e;
    int mouth = ear_init(&e, l, EPOLLET);

    close(mouth);
    assert_true(loop_run_for(l, 50) < 10);
    assert_int_equal(e.heard, 1);
    assert_true(e.events & EPOLLHUP);
    close(hot_remove(l, &e.hot));
}

static void removing_gives_the_descriptor_back_once(void **state)
{
    struct loop *l = *state;
    struct ear e;
    int mouth = ear_init(&e, l, EPOLLIN), fd = e.hot.fd;

    whisper(mouth);
    assert_int_equal(hot_remove(l, &e.hot), fd);
    assert_int_equal(hot_remove(l, &e.hot), -1);
    loop_run_for(l, 20);
    assert_int_equal(e.heard, 0);
    /* It is in no set any more, and may come again. */
    assert_int_equal(hot_add(l, &e.hot, fd, EPOLLIN), 0);
    loop_run_for(l, 20);
    assert_int_equal(e.heard, 1);
    close(hot_remove(l, &e.hot));
    close(mouth);
}

/* For files that are closed at once, which ends their events too. */
static void taking_gives_the_descriptor_back_and_closing_ends_its_events(void **state)
{
    struct loop *l = *state;
    struct ear e;
    int mouth = ear_init(&e, l, EPOLLIN), fd = e.hot.fd;

    whisper(mouth);
    assert_int_equal(hot_take(&e.hot), fd);
    assert_int_equal(hot_take(&e.hot), -1);
    close(fd);
    assert_true(loop_run_for(l, 50) < 10);
    assert_int_equal(e.heard, 0);
    close(mouth);
}

static void what_cannot_be_watched_is_refused_and_changes_nothing(void **state)
{
    struct loop *l = *state;
    struct hot h;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    hot_init(&h, on_ear);
    assert_int_equal(hot_add(l, &h, -1, EPOLLIN), -EBADF);
    assert_int_equal(hot_add(l, &h, file, EPOLLIN), -EPERM);
    assert_int_equal(h.fd, -1);
    close(file);
}

static void many_sockets_that_are_ready_together_are_all_served(void **state)
{
    enum { MANY = 400 };
    struct loop *l = *state;
    struct ear *ears = calloc(MANY, sizeof(*ears));
    int mouths[MANY], heard = 0;

    for (int i = 0; i < MANY; i++) {
        mouths[i] = ear_init(&ears[i], l, EPOLLIN);
        whisper(mouths[i]);
    }
    loop_run_for(l, 50);
    for (int i = 0; i < MANY; i++) {
        heard += ears[i].heard;
        close(hot_remove(l, &ears[i].hot));
        close(mouths[i]);
    }
    assert_int_equal(heard, MANY);
    free(ears);
}

/* ---- timers ---- */

struct bell {
    struct wheel_timer timer;
    struct loop *loop;
    uint64_t rang_at;
    int rang, again;
};

static void ring(struct wheel_timer *t)
{
    struct bell *b = LIST_ENTRY(t, struct bell, timer);

    b->rang++;
    b->rang_at = loop_now(b->loop);
    if (b->again-- > 0)
        loop_timer_start(b->loop, t, 40);
}

static void bell_init(struct bell *b, struct loop *l)
{
    *b = (struct bell){.loop = l};
    wheel_timer_init(&b->timer, ring);
}

static void a_timer_rings_in_time(void **state)
{
    struct loop *l = *state;
    struct bell soon, late, never;

    loop_run_for(l, 100); /* the wheel has stood still meanwhile */
    bell_init(&soon, l);
    bell_init(&late, l);
    bell_init(&never, l);
    uint64_t start = loop_now(l);
    loop_timer_start(l, &late.timer, 150);
    loop_timer_start(l, &soon.timer, 50);
    loop_timer_start(l, &never.timer, 60);
    loop_timer_stop(l, &never.timer);
    loop_run_for(l, 300);
    assert_int_equal(soon.rang, 1);
    assert_int_equal(late.rang, 1);
    assert_int_equal(never.rang, 0);
    assert_in_range(soon.rang_at - start, 50, 50 + 2 * WHEEL_TICK_MS + 20);
    assert_in_range(late.rang_at - start, 150, 150 + 2 * WHEEL_TICK_MS + 20);
}

static void a_timer_may_start_itself_again(void **state)
{
    struct loop *l = *state;
    struct bell b;

    bell_init(&b, l);
    b.again = 3;
    loop_timer_start(l, &b.timer, 1);
    loop_run_for(l, 500);
    assert_int_equal(b.rang, 4);
}

static void a_loop_without_timers_sleeps(void **state)
{
    struct loop *l = *state;
    struct bell b;

    bell_init(&b, l);
    loop_timer_start(l, &b.timer, 10);
    loop_run_for(l, 100);
    assert_int_equal(b.rang, 1);
    assert_true(loop_run_for(l, 300) <= 4);
}

/* ---- life ---- */

static void nothing_of_the_loops_own_keeps_it_running(void **state)
{
    struct loop *l = *state;
    struct bell b;
    struct ear e;
    int mouth = ear_init(&e, l, EPOLLIN);

    bell_init(&b, l);
    loop_timer_start(l, &b.timer, 100000);
    loop_run(l);
    loop_timer_stop(l, &b.timer);
    close(hot_remove(l, &e.hot));
    close(mouth);
}

static void the_end_does_what_was_posted_and_buries_the_dead(void **state)
{
    char diary[16] = "";
    struct ear e = {0};
    struct loop l;
    struct job a;
    unsigned before = descriptors_open();
    (void)state;

    assert_int_equal(loop_init(&l), 0);
    job_init(&a, &l, 'a', diary);
    loop_post(&l, &a.task);
    loop_bury(&l, &e.grave, ear_freed);
    loop_fini(&l);
    assert_string_equal(diary, "a");
    assert_int_equal(e.freed, 1);
    assert_int_equal(descriptors_open(), before);
}

static int set_loop(void **state)
{
    struct loop *l = malloc(sizeof(*l));

    *state = l;
    return loop_init(l);
}

static int clear_loop(void **state)
{
    loop_fini(*state);
    free(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_loop, clear_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(posted_work_is_done_once_and_in_order),
        TEST(work_that_work_posts_is_done_before_sleeping_too),
        TEST(work_may_be_taken_back),
        TEST(who_was_removed_in_this_iteration_hears_nothing_and_dies_after_it),
        TEST(interest_can_be_taken_away_and_given_back),
        TEST(a_hang_up_comes_unasked_and_edge_triggered_only_once),
        TEST(removing_gives_the_descriptor_back_once),
        TEST(taking_gives_the_descriptor_back_and_closing_ends_its_events),
        TEST(what_cannot_be_watched_is_refused_and_changes_nothing),
        TEST(many_sockets_that_are_ready_together_are_all_served),
        TEST(a_timer_rings_in_time),
        TEST(a_timer_may_start_itself_again),
        TEST(a_loop_without_timers_sleeps),
        TEST(nothing_of_the_loops_own_keeps_it_running),
        cmocka_unit_test(the_end_does_what_was_posted_and_buries_the_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
