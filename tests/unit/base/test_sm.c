#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/base/sm.h"

enum { IDLE, RUNNING, DONE };

static const struct sm_state states[] = {
    [IDLE] = {"idle", SM_TO(RUNNING) | SM_TO(DONE)},
    [RUNNING] = {"running", SM_TO(RUNNING) | SM_TO(DONE)},
    [DONE] = {"done", 0},
};

static void moves_of_the_table_are_made(void **state)
{
    struct sm m;

    (void)state;
    sm_init(&m, states, 3, IDLE);
    assert_string_equal(sm_name(&m), "idle");
    sm_move(&m, RUNNING);
    sm_move(&m, RUNNING);
    sm_move(&m, DONE);
    assert_string_equal(sm_name(&m), "done");
}

/* True when moving from `from` to `to` ends the process with SIGABRT. */
static int move_aborts(uint8_t from, uint8_t to)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        struct sm m;

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        sm_init(&m, states, 3, from);
        sm_move(&m, to);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void a_move_outside_the_table_ends_the_process(void **state)
{
    (void)state;
    assert_false(move_aborts(IDLE, RUNNING));
    assert_true(move_aborts(IDLE, IDLE));
    assert_true(move_aborts(DONE, IDLE));
    assert_true(move_aborts(RUNNING, IDLE));
}

static void a_state_that_does_not_exist_ends_the_process(void **state)
{
    (void)state;
    assert_true(move_aborts(IDLE, 3));
    assert_true(move_aborts(IDLE, 255));
    assert_true(move_aborts(3, IDLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_of_the_table_are_made),
        cmocka_unit_test(a_move_outside_the_table_ends_the_process),
        cmocka_unit_test(a_state_that_does_not_exist_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
