/* Socket files that are ours, left over, alive, or somebody else's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/daemon/status_listen.h"
#include "shared/net/sockaddr.h"

static char dir[] = "/tmp/test_status_listen.XXXXXX";
static char path[sizeof(dir) + 8], spec[sizeof(path) + 8];

static int setup(void **state)
{
    (void)state;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/s.sock", dir);
    snprintf(spec, sizeof(spec), "unix:%s", path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void expect_refused(const char *what, const char *sentence)
{
    struct status_listen l;
    struct err e;

    assert_int_equal(status_listen_open(&l, what, 0600, &e), -1);
    assert_int_equal(l.fd, -1);
    assert_non_null(strstr(e.text, sentence));
}

/* What a process that was killed leaves behind. */
static void leave_socket(void)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(sun.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
}

static void the_file_has_its_mode_whatever_the_umask(void **state)
{
    struct status_listen l;
    struct stat st;
    mode_t old = umask(0177);

    (void)state;
    assert_int_equal(status_listen_open(&l, spec, 0666, NULL), 0);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0666);
    status_listen_close(&l);
    umask(0);
    assert_int_equal(status_listen_open(&l, spec, 0600, NULL), 0);
    umask(old);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0600);
    status_listen_close(&l);
}

static void closing_removes_the_file_and_twice_is_harmless(void **state)
{
    struct status_listen l;

    (void)state;
    assert_int_equal(status_listen_open(&l, spec, 0600, NULL), 0);
    status_listen_close(&l);
    assert_int_equal(access(path, F_OK), -1);
    status_listen_close(&l);
}

static void a_leftover_is_replaced(void **state)
{
    struct status_listen l;
    struct err e;

    (void)state;
    leave_socket();
    assert_int_equal(status_listen_open(&l, spec, 0600, &e), 0);
    expect_refused(spec, "another process listens there");
    status_listen_close(&l);
}

static void a_live_socket_is_left_alone_even_when_its_queue_is_full(void **state)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), clients[4];

    (void)state;
    strcpy(sun.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, 0), 0);
    for (int i = 0; i < 4; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(clients[i], (struct sockaddr *)&sun, sizeof(sun));
    }
    expect_refused(spec, "another process listens there");
    assert_int_equal(access(path, F_OK), 0);
    for (int i = 0; i < 4; i++)
        close(clients[i]);
    close(fd);
}

static void what_is_no_socket_is_never_removed(void **state)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600);

    (void)state;
    close(fd);
    expect_refused(spec, "exists and is not a socket");
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(symlink("/nowhere", path), 0);
    expect_refused(spec, "exists and is not a socket");
}

static void the_file_of_a_successor_is_not_removed(void **state)
{
    struct status_listen l;

    (void)state;
    assert_int_equal(status_listen_open(&l, spec, 0600, NULL), 0);
    unlink(path);
    leave_socket();
    status_listen_close(&l);
    assert_int_equal(access(path, F_OK), 0);
}

static void bad_addresses_say_what_is_wrong(void **state)
{
    char longest[300] = "unix:/";
    struct err e;

    (void)state;
    memset(longest + 6, 'a', 200);
    expect_refused("unix:", "lacks the path");
    expect_refused(longest, "a path may have 107 octets");
    expect_refused("unix:/does/not/exist.sock", "No such file or directory");
    expect_refused("localhost:9080", "neither unix:/PATH nor ADDRESS:PORT");
    expect_refused("127.0.0.1", "neither unix:/PATH nor ADDRESS:PORT");
    expect_refused("", "neither unix:/PATH nor ADDRESS:PORT");
    expect_refused("192.0.2.1:9080", "Cannot assign requested address");
    assert_int_equal(status_listen_check("unix:/does/not/exist.sock", &e), 0);
    assert_int_equal(status_listen_check("[::1]:9080", &e), 0);
    assert_int_equal(status_listen_check("::1:9080", &e), -1);
}

static void a_tcp_port_that_is_taken_is_an_error(void **state)
{
    struct status_listen first;
    struct addr addr;
    char text[ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(status_listen_open(&first, "127.0.0.1:0", 0600, NULL), 0);
    assert_true(sockaddr_local(first.fd, &addr));
    assert_true(addr.port != 0);
    expect_refused(addr_format(&addr, text), "Address already in use");
    status_listen_close(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_file_has_its_mode_whatever_the_umask, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_removes_the_file_and_twice_is_harmless, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_leftover_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_live_socket_is_left_alone_even_when_its_queue_is_full,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_socket_is_never_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_of_a_successor_is_not_removed, setup, teardown),
        cmocka_unit_test(bad_addresses_say_what_is_wrong),
        cmocka_unit_test(a_tcp_port_that_is_taken_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
