#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "socksd/children.h"

#define READY " echo ready > $DIR/ready; "
/* Ends on SIGTERM, or ignores it. */
#define STAY      READY "while :; do sleep 0.02; done"
#define OBEDIENT  "trap 'exit 0' TERM;" STAY
#define STUBBORN  "trap '' TERM;" STAY
#define SAY(what) what " > $DIR/said.new; mv $DIR/said.new $DIR/said; " STAY

struct fixture {
    struct loop loop;
    uv_timer_t alive;
    struct children *children;
    char dir[64];
    int gone;
    bool free_when_gone;
};

/* Time flies when a test wants it: the archive's calls are bound to this one. */
static uint64_t skew_ms;

uint64_t uv_now(const uv_loop_t *l)
{
    return l->time + skew_ms;
}

/* ---- fixture ---- */

static void on_alive(uv_timer_t *t)
{
    (void)t;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    skew_ms = 0;
    strcpy(f->dir, "/tmp/test_children.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    setenv("DIR", f->dir, 1);
    assert_int_equal(loop_init(&f->loop), 0);
    uv_timer_init(&f->loop.uv, &f->alive);
    uv_timer_start(&f->alive, on_alive, 5, 5);
    assert_int_equal(children_new(&f->loop, &f->children), 0);
    *state = f;
    return 0;
}

static void on_gone(void *arg)
{
    struct fixture *f = arg;

    f->gone++;
    if (f->free_when_gone) {
        children_free(f->children);
        f->children = NULL;
    }
}

static bool is_gone(struct fixture *f)
{
    return f->gone > 0;
}

#define wait_until(f, condition)                                                                   \
    do {                                                                                           \
        for (uint64_t end_ = uv_hrtime() + UINT64_C(10000000000); !(condition);) {                 \
            if (uv_hrtime() > end_)                                                                \
                fail_msg("in vain: %s", #condition);                                               \
            uv_run(&(f)->loop.uv, UV_RUN_ONCE);                                                    \
        }                                                                                          \
    } while (0)

static void run_for(struct fixture *f, uint64_t ms)
{
    uint64_t end = uv_hrtime() + ms * 1000000;

    while (uv_hrtime() < end)
        uv_run(&f->loop.uv, UV_RUN_ONCE);
}

static void stop_children(struct fixture *f)
{
    f->gone = 0;
    children_drain(f->children, 0, on_gone, f);
    wait_until(f, is_gone(f));
    children_free(f->children);
    f->children = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];

    if (f->children != NULL)
        stop_children(f);
    uv_close((uv_handle_t *)&f->alive, NULL);
    loop_run(&f->loop);
    loop_fini(&f->loop);
    snprintf(command, sizeof(command), "rm -r %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static const char *path_of(struct fixture *f, const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *p = path[next++ % 4];

    snprintf(p, sizeof(path[0]), "%s/%s", f->dir, name);
    return p;
}

static bool there(struct fixture *f, const char *name)
{
    return access(path_of(f, name), F_OK) == 0;
}

static const char *content(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");
    size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

    assert_non_null(file);
    fclose(file);
    text[n] = '\0';
    return text;
}

static void write_script(const char *path, const char *body)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", body);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
}

static void add(struct fixture *f, const char *name, const char *script)
{
    const char *const args[] = {"-c", script, "argv0", "one", "two words", NULL};
    struct child_config config = {.program = "/bin/sh", .args = args, .name = name};
    struct err e = {""};

    if (children_add(f->children, &config, &e) != 0)
        fail_msg("%s", e.text);
}

static void take_info(void *arg, const struct child_info *child)
{
    *(struct child_info *)arg = *child;
}

/* Of the last child. */
static struct child_info info(struct fixture *f)
{
    struct child_info i = {0};

    children_each(f->children, take_info, &i);
    return i;
}

static void forget_ready(struct fixture *f)
{
    unlink(path_of(f, "ready"));
}

/* ---- what a child gets ---- */

static const char *said(struct fixture *f, const char *script)
{
    add(f, "speaker", script);
    wait_until(f, there(f, "said"));
    return content(path_of(f, "said"));
}

static void the_descriptor_is_appended_to_the_arguments(void **state)
{
    assert_string_equal(said(*state, SAY("for a in \"$@\"; do echo \"[$a]\"; done")),
                        "[one]\n[two words]\n[--parent-fd]\n[3]\n");
}

/* The list has one more, of the directory itself while it is read. */
#define LIST_DESCRIPTORS                                                                           \
    "set -- /proc/$$/fd/*; for d; do if [ -L $d ]; then echo ${d##*/}; fi; done "

static void a_child_has_four_descriptors(void **state)
{
    struct fixture *f = *state;

    /* Two at once, so that the second could have inherited what belongs to the first. */
    add(f, "first", STAY);
    assert_string_equal(said(f, SAY(LIST_DESCRIPTORS)), "0\n1\n2\n3\n");
}

static void standard_input_is_dev_null_and_output_is_ours(void **state)
{
    char expected[PATH_MAX + 32], out[PATH_MAX];
    ssize_t n = readlink("/proc/self/fd/1", out, sizeof(out) - 1);

    assert_true(n > 0);
    out[n] = '\0';
    snprintf(expected, sizeof(expected), "/dev/null\n%s\n", out);
    assert_string_equal(said(*state, "( readlink /proc/$$/fd/0 /proc/$$/fd/1; )" SAY("")),
                        expected);
}

/* The shell reads its own state by itself: while it waits for a command, it blocks signals. */
#define READ_SIGNALS "while read -r l; do case $l in SigBlk*|SigIgn*) echo $l;; esac; done "

static void signals_are_as_in_a_fresh_process(void **state)
{
    sigset_t blocked, before;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    const char *text = said(*state, SAY(READ_SIGNALS "< /proc/$$/status"));
    signal(SIGHUP, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    const char *ignored = strstr(text, "SigIgn: ");
    assert_non_null(ignored);
    assert_int_equal(strtoull(text + strlen("SigBlk: "), NULL, 16), 0);
    /* The C library keeps the two signals behind the standard ones to itself. */
    assert_int_equal(strtoull(ignored + strlen("SigIgn: "), NULL, 16) & 0x7fffffff, 0);
}

static void a_child_leads_a_session_of_its_own(void **state)
{
    struct fixture *f = *state;
    char expected[64];

    const char *text = said(f, SAY("cut -d ' ' -f 1,5,6 /proc/$$/stat"));
    int pid = (int)info(f).pid;
    snprintf(expected, sizeof(expected), "%d %d %d\n", pid, pid, pid);
    assert_string_equal(text, expected);
}

static void our_environment_is_theirs(void **state)
{
    setenv("TEST_CHILDREN", "a value", 1);
    assert_string_equal(said(*state, SAY("echo $TEST_CHILDREN")), "a value\n");
}

/* ---- how we are missed ---- */

/* In a process of its own: two children, then nothing but to be killed. */
static void be_a_parent(struct fixture *f)
{
    struct loop l;
    struct children *c;
    struct err e;

    if (loop_init(&l) != 0 || children_new(&l, &c) != 0)
        _exit(1);
    for (int i = 0; i < 2; i++) {
        char script[256];
        const char *const args[] = {"-c", script, NULL};
        struct child_config config = {.program = "/bin/sh", .args = args, .name = "orphan"};
        snprintf(script, sizeof(script),
                 "echo > %s/started%d; cat <&3 >/dev/null; echo > %s/orphan%d", f->dir, i, f->dir,
                 i);
        if (children_add(c, &config, &e) != 0)
            _exit(1);
    }
    for (;;)
        pause();
}

static void children_read_end_of_file_when_we_are_killed(void **state)
{
    struct fixture *f = *state;
    int status;

    pid_t parent = fork();
    if (parent == 0)
        be_a_parent(f);
    wait_until(f, there(f, "started0") && there(f, "started1"));
    run_for(f, 50);
    assert_false(there(f, "orphan0") || there(f, "orphan1"));
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, &status, 0), parent);
    wait_until(f, there(f, "orphan0") && there(f, "orphan1"));
}

static void children_read_end_of_file_when_they_are_forgotten(void **state)
{
    struct fixture *f = *state;

    add(f, "forgotten", "echo > $DIR/ready; cat <&3; echo > $DIR/over");
    wait_until(f, there(f, "ready"));
    children_free(f->children);
    f->children = NULL;
    wait_until(f, there(f, "over"));
}

/* ---- which program ---- */

static int try_program(struct fixture *f, const char *program, struct err *e)
{
    struct child_config config = {.program = program, .name = "relay"};

    return children_add(f->children, &config, e);
}

static void a_program_that_is_not_there_is_named(void **state)
{
    struct fixture *f = *state;
    struct err e = {""};

    assert_int_equal(try_program(f, "/nonexistent/relayd-tcp", &e), -1);
    assert_string_equal(e.text,
                        "/nonexistent/relayd-tcp: cannot be executed: No such file or directory");
    assert_int_equal(children_count(f->children), 0);
}

static void a_program_that_is_nowhere_is_looked_for_beside_us_and_in_path(void **state)
{
    struct fixture *f = *state;
    struct err e = {""};

    assert_int_equal(try_program(f, "no-such-relay", &e), -1);
    assert_non_null(strstr(e.text, "no-such-relay: neither in /"));
    assert_non_null(strstr(e.text, "nor in PATH"));
}

static void a_file_that_is_no_program_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct err e = {""};
    const char *path = path_of(f, "plain");

    write_script(path, "");
    chmod(path, 0600);
    assert_int_equal(try_program(f, path, &e), -1);
    assert_non_null(strstr(e.text, "cannot be executed: Permission denied"));
    assert_int_equal(try_program(f, f->dir, &e), -1);
    assert_non_null(strstr(e.text, "cannot be executed: Permission denied"));
}

static void the_program_beside_us_comes_before_the_one_in_path(void **state)
{
    struct fixture *f = *state;
    char here[PATH_MAX], beside[PATH_MAX + 32], path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof(here) - 1);
    struct err e = {""};

    assert_true(n > 0);
    here[n] = '\0';
    *strrchr(here, '/') = '\0';
    snprintf(beside, sizeof(beside), "%s/relay-of-test-children", here);
    write_script(path_of(f, "relay-of-test-children"), "echo path > $DIR/said;" STAY);
    const char *old = getenv("PATH");
    snprintf(path, sizeof(path), "%s:%s", f->dir, old);
    char *saved = strdup(old);
    setenv("PATH", path, 1);

    assert_int_equal(try_program(f, "relay-of-test-children", &e), 0);
    wait_until(f, there(f, "ready"));
    assert_string_equal(content(path_of(f, "said")), "path\n");

    forget_ready(f);
    write_script(beside, "echo beside > $DIR/said;" STAY);
    int rc = try_program(f, "relay-of-test-children", &e);
    wait_until(f, rc != 0 || there(f, "ready"));
    unlink(beside);
    setenv("PATH", saved, 1);
    free(saved);
    assert_int_equal(rc, 0);
    assert_string_equal(content(path_of(f, "said")), "beside\n");
    assert_string_equal(info(f).program, beside);
}

/* ---- lives and ends ---- */

static void a_child_that_dies_comes_back_later_and_later(void **state)
{
    struct fixture *f = *state;
    uint64_t begin = uv_hrtime();

    add(f, "mortal", "exit 3");
    wait_until(f, info(f).restarts == 3);
    /* 100, 200 and 400 ms, each three quarters of it at least. */
    assert_true(uv_hrtime() - begin >= UINT64_C(525) * 1000000);
    wait_until(f, info(f).state == CHILD_WAITING);
    assert_int_equal(info(f).pid, 0);
    assert_string_equal(info(f).state_name, "waiting");
    assert_int_equal(children_count(f->children), 1);
}

static void who_has_lived_long_comes_back_soon(void **state)
{
    struct fixture *f = *state;

    add(f, "mortal", "test -e $DIR/live || exit 1;" STAY);
    wait_until(f, info(f).restarts == 4); /* the next delay is 1.6 s, the one after it 3.2 s */
    write_script(path_of(f, "live"), "");
    wait_until(f, there(f, "ready"));
    assert_int_equal(info(f).state, CHILD_RUNNING);

    skew_ms += 10000;
    uint64_t begin = uv_hrtime(), restarts = info(f).restarts;
    kill(info(f).pid, SIGKILL);
    wait_until(f, info(f).restarts == restarts + 1);
    assert_true(uv_hrtime() - begin < UINT64_C(1100) * 1000000);
}

static void delays_end_at_five_seconds(void **state)
{
    struct fixture *f = *state;

    add(f, "mortal", "exit 1");
    for (int i = 0; i < 12; i++) {
        wait_until(f, info(f).state == CHILD_WAITING);
        uint64_t restarts = info(f).restarts;
        skew_ms += 6250 + 64;
        run_for(f, 20);
        wait_until(f, info(f).restarts > restarts || info(f).state != CHILD_WAITING);
    }
    assert_true(info(f).restarts >= 12);
}

static void a_program_that_vanishes_is_tried_again(void **state)
{
    struct fixture *f = *state;
    const char *path = path_of(f, "program");
    struct err e = {""};

    write_script(path, STAY);
    assert_int_equal(try_program(f, path, &e), 0);
    wait_until(f, there(f, "ready"));
    assert_int_equal(rename(path_of(f, "program"), path_of(f, "elsewhere")), 0);
    kill(info(f).pid, SIGKILL);
    wait_until(f, info(f).restarts >= 2);
    assert_int_equal(info(f).pid, 0);
    forget_ready(f);
    assert_int_equal(rename(path_of(f, "elsewhere"), path_of(f, "program")), 0);
    wait_until(f, there(f, "ready"));
    assert_int_equal(info(f).state, CHILD_RUNNING);
}

static unsigned occurrences(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

/* Runs a child until it has ended once; returns what was logged. */
static const char *log_of_one_end(struct fixture *f, const char *script, bool drain)
{
    int saved = dup(STDERR_FILENO);
    int file = open(path_of(f, "log"), O_CREAT | O_TRUNC | O_WRONLY, 0600);

    log_flush();
    dup2(file, STDERR_FILENO);
    close(file);
    log_init("test", LOG_INFO, LOG_LOGFMT);
    add(f, "relay-7", script);
    if (drain) {
        wait_until(f, there(f, "ready"));
        children_drain(f->children, 10000, on_gone, f);
        wait_until(f, is_gone(f));
    } else {
        wait_until(f, info(f).state == CHILD_WAITING);
    }
    log_flush();
    dup2(saved, STDERR_FILENO);
    close(saved);
    log_init("test", LOG_INFO, LOG_LOGFMT);
    return content(path_of(f, "log"));
}

static void an_exit_is_logged_once_with_its_code(void **state)
{
    const char *text = log_of_one_end(*state, "exit 3", false);

    assert_int_equal(occurrences(text, "event=child_exited"), 1);
    assert_int_equal(occurrences(text, "level=warn"), 1);
    assert_non_null(strstr(text, "name=relay-7"));
    assert_non_null(strstr(text, "code=3 "));
    assert_non_null(strstr(text, "restart_ms="));
}

static void an_exit_is_logged_once_with_its_signal(void **state)
{
    const char *text = log_of_one_end(*state, "kill -SEGV $$", false);

    assert_int_equal(occurrences(text, "event=child_exited"), 1);
    assert_non_null(strstr(text, "signal=SIGSEGV "));
    assert_null(strstr(text, "code="));
}

static void an_exit_that_was_asked_for_is_no_warning(void **state)
{
    const char *text = log_of_one_end(*state, OBEDIENT, true);

    assert_int_equal(occurrences(text, "event=child_exited"), 1);
    assert_non_null(strstr(text, "code=0 "));
    assert_null(strstr(text, "level=warn"));
    assert_null(strstr(text, "restart_ms="));
}

/* ---- drain ---- */

static void a_drain_ends_all_and_says_so_once(void **state)
{
    struct fixture *f = *state;

    add(f, "one", "trap 'echo > $DIR/asked1; exit 0' TERM; echo > $DIR/up1;" STAY);
    add(f, "two", "trap 'echo > $DIR/asked2; exit 5' TERM; echo > $DIR/up2;" STAY);
    wait_until(f, there(f, "up1") && there(f, "up2"));
    children_drain(f->children, 10000, on_gone, f);
    assert_int_equal(info(f).state, CHILD_STOPPING);
    wait_until(f, is_gone(f));
    assert_true(there(f, "asked1") && there(f, "asked2"));
    assert_int_equal(info(f).state, CHILD_GONE);
    assert_int_equal(info(f).pid, 0);
    run_for(f, 200);
    assert_int_equal(f->gone, 1);
    assert_int_equal(info(f).state, CHILD_GONE);
    assert_int_equal(info(f).restarts, 0);
}

static void who_does_not_go_is_killed_at_the_deadline(void **state)
{
    struct fixture *f = *state;

    add(f, "stubborn", STUBBORN);
    wait_until(f, there(f, "ready"));
    uv_update_time(&f->loop.uv);
    uint64_t begin = uv_hrtime();
    children_drain(f->children, 200, on_gone, f);
    wait_until(f, is_gone(f));
    assert_true(uv_hrtime() - begin >= UINT64_C(200) * 1000000);
}

static void a_second_drain_moves_the_deadline(void **state)
{
    struct fixture *f = *state;

    add(f, "stubborn", STUBBORN);
    wait_until(f, there(f, "ready"));
    children_drain(f->children, 60000, on_gone, f);
    run_for(f, 50);
    assert_int_equal(f->gone, 0);
    children_drain(f->children, 0, on_gone, f);
    wait_until(f, is_gone(f));
    run_for(f, 50);
    assert_int_equal(f->gone, 1);
}

static void draining_nobody_calls_back_later(void **state)
{
    struct fixture *f = *state;

    children_drain(f->children, 1000, on_gone, f);
    assert_int_equal(f->gone, 0);
    wait_until(f, is_gone(f));
}

static void a_child_that_waits_for_its_restart_is_gone_at_once(void **state)
{
    struct fixture *f = *state;

    add(f, "mortal", "exit 1");
    wait_until(f, info(f).state == CHILD_WAITING);
    uint64_t restarts = info(f).restarts;
    children_drain(f->children, 10000, on_gone, f);
    assert_int_equal(info(f).state, CHILD_GONE);
    wait_until(f, is_gone(f));
    run_for(f, 300);
    assert_int_equal(info(f).restarts, restarts);
}

static void children_may_be_freed_when_they_are_gone(void **state)
{
    struct fixture *f = *state;

    f->free_when_gone = true;
    add(f, "one", OBEDIENT);
    add(f, "two", "exit 1");
    wait_until(f, there(f, "ready"));
    children_drain(f->children, 10000, on_gone, f);
    wait_until(f, is_gone(f));
    assert_null(f->children);
}

static void freeing_during_a_drain_calls_nobody_back(void **state)
{
    struct fixture *f = *state;

    add(f, "one", OBEDIENT);
    wait_until(f, there(f, "ready"));
    children_drain(f->children, 10000, on_gone, f);
    children_free(f->children);
    f->children = NULL;
    run_for(f, 200);
    assert_int_equal(f->gone, 0);
}

static void freeing_takes_back_a_callback_that_is_due(void **state)
{
    struct fixture *f = *state;

    children_drain(f->children, 10000, on_gone, f);
    children_free(f->children);
    f->children = NULL;
    run_for(f, 50);
    assert_int_equal(f->gone, 0);
}

static void no_descriptor_is_left(void **state)
{
    struct fixture *f = *state;
    int before = dup(0), after;

    close(before);
    add(f, "mortal", "exit 1");
    wait_until(f, info(f).restarts == 2);
    stop_children(f);
    after = dup(0);
    close(after);
    assert_int_equal(after, before);
}

/* Whoever runs us may have left descriptors open. */
static int group_setup(void **state)
{
    (void)state;
    for (int fd = 3; fd < 256; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_descriptor_is_appended_to_the_arguments),
        TEST(a_child_has_four_descriptors),
        TEST(standard_input_is_dev_null_and_output_is_ours),
        TEST(signals_are_as_in_a_fresh_process),
        TEST(a_child_leads_a_session_of_its_own),
        TEST(our_environment_is_theirs),
        TEST(children_read_end_of_file_when_we_are_killed),
        TEST(children_read_end_of_file_when_they_are_forgotten),
        TEST(a_program_that_is_not_there_is_named),
        TEST(a_program_that_is_nowhere_is_looked_for_beside_us_and_in_path),
        TEST(a_file_that_is_no_program_is_an_error),
        TEST(the_program_beside_us_comes_before_the_one_in_path),
        TEST(a_child_that_dies_comes_back_later_and_later),
        TEST(who_has_lived_long_comes_back_soon),
        TEST(delays_end_at_five_seconds),
        TEST(a_program_that_vanishes_is_tried_again),
        TEST(an_exit_is_logged_once_with_its_code),
        TEST(an_exit_is_logged_once_with_its_signal),
        TEST(an_exit_that_was_asked_for_is_no_warning),
        TEST(a_drain_ends_all_and_says_so_once),
        TEST(who_does_not_go_is_killed_at_the_deadline),
        TEST(a_second_drain_moves_the_deadline),
        TEST(draining_nobody_calls_back_later),
        TEST(a_child_that_waits_for_its_restart_is_gone_at_once),
        TEST(children_may_be_freed_when_they_are_gone),
        TEST(freeing_during_a_drain_calls_nobody_back),
        TEST(freeing_takes_back_a_callback_that_is_due),
        TEST(no_descriptor_is_left),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
