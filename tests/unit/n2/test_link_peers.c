/* The link and what other processes, other users and bad moments do to it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/n2/n2.h"
#include "tests/lib/link_bench.h"
#include "tests/lib/loop_run.h"

enum { NOBODY = 65534 };

/* What follows runs in processes of its own: nng 1.5 may lose its reaper when it closes in the
 * midst of traffic (see n2_link.c), and leaks what was just being connected. */

/* ---- peers that hang up before they are greeted: nng alone never recovers from it ---- */

static int by_hand(const struct link_bench *b, bool listening)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(un.sun_path, b->url + strlen("ipc://"));
    if (listening) {
        assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
        assert_int_equal(listen(fd, 8), 0);
    } else {
        assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    }
    return fd;
}

static bool gets_an_answer(struct link_bench *b)
{
    struct asked *a = link_asked(b, 0);

    for (int i = 0; i < 20; i++) {
        a->answers = 0;
        link_ask(a, 10, 500);
        if (!loop_run_until(&b->loop, link_is_answered, a, LINK_PATIENCE_MS))
            return false;
        if (a->status == 0)
            return a->intact;
    }
    return false;
}

static int hang_up_on_the_listener(struct link_bench *b)
{
    link_listen(b, 16);
    /* After it was accepted and before it is greeted: that takes nng some microseconds. */
    for (unsigned i = 0; i < 100; i++) {
        int fd = by_hand(b, false);
        for (uint64_t until = uv_hrtime() + 2000 * i; uv_hrtime() < until;)
            ;
        close(fd);
    }
    link_dial(b);
    bool answered = gets_an_answer(b);
    link_close_dialer(b);
    link_close_listener(b);
    return answered ? 0 : 1;
}

static void accept_and_close(void *arg)
{
    int *listening = arg, fd;

    while ((fd = accept(*listening, NULL, NULL)) >= 0)
        close(fd);
}

static int hang_up_on_the_dialer(struct link_bench *b)
{
    int listening = by_hand(b, true);
    uv_thread_t thread;

    uv_thread_create(&thread, accept_and_close, &listening);
    link_dial(b);
    loop_run_for(&b->loop, 3000);
    shutdown(listening, SHUT_RDWR);
    uv_thread_join(&thread);
    close(listening);
    unlink(b->url + strlen("ipc://"));
    link_listen(b, 16);
    bool answered = gets_an_answer(b);
    link_close_dialer(b);
    link_close_listener(b);
    return answered ? 0 : 1;
}

static int run_role(const char *role, const char *url, uid_t uid);

static void who_hangs_up_at_once_does_not_stop_the_listener(void **state)
{
    struct link_bench *b = *state;

    assert_int_equal(run_role("hang_up_on_the_listener", b->url, 0), 0);
}

static void a_listener_that_hangs_up_at_once_is_dialled_again(void **state)
{
    struct link_bench *b = *state;

    assert_int_equal(run_role("hang_up_on_the_dialer", b->url, 0), 0);
}

/* ---- a message over the limit; its sender is cut off in the middle of it ---- */

static int say_too_much(struct link_bench *b)
{
    link_listen(b, 16);
    link_dial(b);
    loop_run_until(&b->loop, link_is_up, b, LINK_PATIENCE_MS);
    struct asked *a = link_asked(b, 0);
    link_ask(a, N2_MESSAGE_MAX, LINK_PATIENCE_MS);
    bool answered = loop_run_until(&b->loop, link_is_answered, a, LINK_PATIENCE_MS);
    bool gone = loop_run_until(&b->loop, link_somebody_gone, b, LINK_PATIENCE_MS);
    link_close_dialer(b);
    link_close_listener(b);
    return answered && a->status == -ECONNRESET && gone && b->requests == 0 ? 0 : 1;
}

static void a_message_over_the_limit_costs_its_sender_the_connection(void **state)
{
    struct link_bench *b = *state;

    assert_int_equal(run_role("say_too_much", b->url, 0), 0);
}

/* ---- closing at any moment: that it comes back, that nobody is called afterwards ---- */

static bool dialer_is_closed(void *arg)
{
    return ((struct link_bench *)arg)->dialer == NULL;
}

static bool listener_is_closed(void *arg)
{
    return ((struct link_bench *)arg)->listener == NULL;
}

static void ask_much(struct link_bench *b, size_t most)
{
    for (uint32_t i = 0; i < 8; i++)
        link_ask(link_asked(b, i), (size_t)random() % most, 50);
}

static int close_at_random(struct link_bench *b)
{
    srandom((unsigned)getpid());
    for (int round = 0; round < 4; round++) {
        b->ups = b->downs = 0;
        b->manner = random() % 2 == 0 ? ANSWER : PARK;
        link_listen(b, 16);
        link_dial(b);
        ask_much(b, 100000);
        loop_run_for(&b->loop, (unsigned)random() % 12);
        if (random() % 2 == 0)
            link_close_dialer(b);
        else
            link_close_listener(b);
        size_t answered = b->answered, requests = b->requests;
        loop_run_for(&b->loop, (unsigned)random() % 5);
        if (b->dialer == NULL ? b->answered != answered : b->requests != requests)
            return 1;
        if (b->dialer != NULL)
            link_close_dialer(b);
        if (b->listener != NULL)
            link_close_listener(b);
    }
    return 0;
}

static int close_dialer_when_up(struct link_bench *b)
{
    b->close_dialer_when_up = true;
    link_listen(b, 16);
    link_dial(b);
    ask_much(b, 100);
    bool closed = loop_run_until(&b->loop, dialer_is_closed, b, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 20);
    link_close_listener(b);
    return closed && b->ups == 1 && b->downs == 0 ? 0 : 1;
}

static int close_dialer_when_answered(struct link_bench *b)
{
    b->close_dialer_when_answered = true;
    link_listen(b, 16);
    link_dial(b);
    ask_much(b, 100);
    bool closed = loop_run_until(&b->loop, dialer_is_closed, b, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 20);
    link_close_listener(b);
    return closed && b->answered == 1 ? 0 : 1;
}

static int close_dialer_when_down(struct link_bench *b)
{
    b->close_dialer_when_down = true;
    b->manner = PARK;
    link_listen(b, 16);
    link_dial(b);
    link_ask(link_asked(b, 0), 100, LINK_PATIENCE_MS);
    loop_run_until(&b->loop, link_some_parked, b, LINK_PATIENCE_MS);
    link_close_listener(b);
    bool closed = loop_run_until(&b->loop, dialer_is_closed, b, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 20);
    return closed && b->downs == 1 ? 0 : 1;
}

static int close_listener_when_asked(struct link_bench *b)
{
    b->manner = CLOSE;
    link_listen(b, 16);
    link_dial(b);
    ask_much(b, 100);
    bool closed = loop_run_until(&b->loop, listener_is_closed, b, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 20);
    link_close_dialer(b);
    return closed && b->requests == 1 ? 0 : 1;
}

static int close_listener_when_it_answered(struct link_bench *b)
{
    b->manner = ANSWER_THEN_CLOSE;
    link_listen(b, 16);
    link_dial(b);
    ask_much(b, 100);
    bool closed = loop_run_until(&b->loop, listener_is_closed, b, LINK_PATIENCE_MS);
    loop_run_for(&b->loop, 20);
    link_close_dialer(b);
    return closed && b->requests == 1 ? 0 : 1;
}

static void either_side_may_be_closed_at_any_moment(void **state)
{
    struct link_bench *b = *state;

    for (int i = 0; i < 12; i++)
        assert_int_equal(run_role("close_at_random", b->url, 0), 0);
}

static void either_side_may_be_closed_from_each_of_its_callbacks(void **state)
{
    struct link_bench *b = *state;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(run_role("close_dialer_when_up", b->url, 0), 0);
        assert_int_equal(run_role("close_dialer_when_answered", b->url, 0), 0);
        assert_int_equal(run_role("close_dialer_when_down", b->url, 0), 0);
        assert_int_equal(run_role("close_listener_when_asked", b->url, 0), 0);
        assert_int_equal(run_role("close_listener_when_it_answered", b->url, 0), 0);
    }
}

/* ---- who may come ---- */

static int ask_once(struct link_bench *b)
{
    link_dial(b);
    struct asked *a = link_asked(b, 0);
    link_ask(a, 10, 600);
    loop_run_until(&b->loop, link_is_answered, a, LINK_PATIENCE_MS);
    link_close_dialer(b);
    return a->answers == 1 && a->status == 0 ? 0 : 1;
}

static int dial_a_stranger(struct link_bench *b)
{
    while (access(b->url + strlen("ipc://"), R_OK | W_OK) != 0)
        usleep(10000);
    link_dial(b);
    struct asked *a = link_asked(b, 0);
    link_ask(a, 10, 400);
    loop_run_until(&b->loop, link_is_answered, a, LINK_PATIENCE_MS);
    link_close_dialer(b);
    return a->status == -ETIMEDOUT && b->ups == 0 && b->downs == 0 ? 0 : 1;
}

static int listen_as_stranger(struct link_bench *b)
{
    link_listen(b, 4);
    if (chmod(b->url + strlen("ipc://"), 0666) != 0)
        return 1;
    loop_run_for(&b->loop, 1500);
    link_close_listener(b);
    return 0;
}

static int listen_and_die(struct link_bench *b)
{
    link_listen(b, 4);
    _exit(0); /* without closing */
}

static void serve(void *arg)
{
    struct link_bench *b = arg;

    while (!__atomic_load_n(&b->close_dialer_when_up, __ATOMIC_ACQUIRE))
        loop_run_for(&b->loop, 10);
}

static void another_user_is_refused_unless_named(void **state)
{
    struct link_bench *b = *state;
    const char *const urls[] = {b->url};
    uint32_t uid = 12345;
    struct n2_listener_config c = {
        .urls = urls, .url_count = 1, .contexts_max = 16, .uids = &uid, .uid_count = 1};
    struct err e;

    if (geteuid() != 0)
        skip();
    for (int named = 0; named < 2; named++) {
        uv_thread_t server;
        assert_int_equal(n2_listener_open(&b->loop, &c, &link_listener_ops, b, &b->listener, &e),
                         0);
        __atomic_store_n(&b->close_dialer_when_up, false, __ATOMIC_RELEASE);
        uv_thread_create(&server, serve, b);
        int rc = run_role("ask_once", b->url, NOBODY);
        __atomic_store_n(&b->close_dialer_when_up, true, __ATOMIC_RELEASE);
        uv_thread_join(&server);
        assert_int_equal(rc, named ? 0 : 1);
        assert_int_equal(b->requests, named ? 1 : 0);
        link_close_listener(b);
        uid = NOBODY;
    }
}

/* Whoever got hold of the path could answer for the relay. Root is trusted by everybody, so neither
 * side is root here. */
static void a_listener_of_another_user_is_refused(void **state)
{
    struct link_bench *b = *state;
    int status;

    if (geteuid() != 0)
        skip();
    pid_t pid = fork();
    if (pid == 0)
        _exit(run_role("listen_as_stranger", b->url, NOBODY));
    int rc = run_role("dial_a_stranger", b->url, NOBODY - 1);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(rc, 0);
}

/* ---- whoever listens already ---- */

/* nng looks whether the other one lives by connecting to it and hanging up. */
static int listen_where_another_one_does(struct link_bench *b)
{
    const char *const urls[] = {b->url, "ipc:///nonexistent/n2.ipc"};
    struct n2_listener *other;
    struct err e;

    link_listen(b, 16);
    link_dial(b);
    loop_run_until(&b->loop, link_is_up, b, LINK_PATIENCE_MS);
    for (int i = 0; i < 2; i++) {
        const struct n2_listener_config c = {.urls = &urls[i], .url_count = 1, .contexts_max = 16};
        if (n2_listener_open(&b->loop, &c, &link_listener_ops, b, &other, &e) != -1 ||
            strstr(e.text, urls[i]) == NULL)
            return 1;
    }
    bool answered = gets_an_answer(b);
    link_close_dialer(b);
    link_close_listener(b);
    return answered ? 0 : 1;
}

static void an_address_that_is_taken_is_refused_and_its_owner_unharmed(void **state)
{
    struct link_bench *b = *state;

    assert_int_equal(run_role("listen_where_another_one_does", b->url, 0), 0);
}

static void a_left_over_socket_file_is_replaced(void **state)
{
    struct link_bench *b = *state;

    assert_int_equal(run_role("listen_and_die", b->url, 0), 0);
    struct stat st;
    assert_int_equal(stat(b->url + strlen("ipc://"), &st), 0);
    struct asked *a = link_connected(b, 16);
    link_ask(a, 10, LINK_PATIENCE_MS);
    link_answer_of(a, 0);
}

/* ---- other processes: this program, run as `ROLE URL` ---- */

static const struct {
    const char *name;
    int (*play)(struct link_bench *b);
} roles[] = {
    {"hang_up_on_the_listener", hang_up_on_the_listener},
    {"hang_up_on_the_dialer", hang_up_on_the_dialer},
    {"say_too_much", say_too_much},
    {"close_at_random", close_at_random},
    {"close_dialer_when_up", close_dialer_when_up},
    {"close_dialer_when_answered", close_dialer_when_answered},
    {"close_dialer_when_down", close_dialer_when_down},
    {"close_listener_when_asked", close_listener_when_asked},
    {"close_listener_when_it_answered", close_listener_when_it_answered},
    {"ask_once", ask_once},
    {"dial_a_stranger", dial_a_stranger},
    {"listen_as_stranger", listen_as_stranger},
    {"listen_and_die", listen_and_die},
    {"listen_where_another_one_does", listen_where_another_one_does},
};

static void add_option(const char *variable, const char *option)
{
    char options[512];
    const char *given = getenv(variable);

    snprintf(options, sizeof(options), "%s:%s", given != NULL ? given : "", option);
    setenv(variable, options, 1);
}

/* nng does not survive a fork, so it is exec as well. Returns the exit status, 200 after a signal.
 */
static int run_role(const char *role, const char *url, uid_t uid)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        add_option("ASAN_OPTIONS", "detect_leaks=0");
        add_option("TSAN_OPTIONS", "atexit_sleep_ms=0");
        alarm(60);
        if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0))
            _exit(201);
        execl("/proc/self/exe", role, url, NULL);
        _exit(202);
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

static int play_role(const char *name, const char *url)
{
    struct link_bench *b = link_bench_new(url);
    int rc = 203;

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i].name, name) == 0)
            rc = roles[i].play(b);
    }
    link_bench_free(b);
    return rc;
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    *state = link_bench_new(NULL);
    return 0;
}

static int clear_bench(void **state)
{
    link_bench_free(*state);
    n2_dialer_close(NULL);
    n2_listener_close(NULL);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(who_hangs_up_at_once_does_not_stop_the_listener),
        TEST(a_listener_that_hangs_up_at_once_is_dialled_again),
        TEST(a_message_over_the_limit_costs_its_sender_the_connection),
        TEST(either_side_may_be_closed_at_any_moment),
        TEST(either_side_may_be_closed_from_each_of_its_callbacks),
        TEST(another_user_is_refused_unless_named),
        TEST(a_listener_of_another_user_is_refused),
        TEST(an_address_that_is_taken_is_refused_and_its_owner_unharmed),
        TEST(a_left_over_socket_file_is_replaced),
    };

    if (argc == 2)
        return play_role(argv[0], argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
