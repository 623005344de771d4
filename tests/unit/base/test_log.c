#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/log.h"

/* stderr of the process goes to writer while a test runs, and comes back afterwards. */
static int saved_stderr, reader = -1;

static void capture(int writer)
{
    saved_stderr = dup(STDERR_FILENO);
    dup2(writer, STDERR_FILENO);
    close(writer);
    log_init("test", LOG_DEBUG, LOG_LOGFMT);
}

static void capture_by_pipe(void)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    reader = ends[0];
    capture(ends[1]);
}

static void capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    log_init("test", LOG_DEBUG, LOG_LOGFMT);
    if (reader >= 0)
        close(reader);
    reader = -1;
}

/* Everything that can be read now, as a string. */
static size_t drain(char *text, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len < size - 1 && (n = read(reader, text + len, size - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return len;
}

static size_t lines_in(const char *text)
{
    size_t lines = 0;

    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void records_wait_for_the_flush_but_errors_do_not(void **state)
{
    char text[1024];

    (void)state;
    capture_by_pipe();
    log_info("one");
    log_warn("two", LOG_U64("n", 2));
    assert_int_equal(drain(text, sizeof(text)), 0);
    log_error("three");
    drain(text, sizeof(text));
    assert_int_equal(lines_in(text), 3);
    assert_non_null(strstr(text, " level=warn prog=test event=two n=2\n"));
    log_info("four");
    log_flush();
    drain(text, sizeof(text));
    assert_non_null(strstr(text, " event=four\n"));
    capture_end();
}

static void records_below_the_level_are_not_written(void **state)
{
    char text[1024];

    (void)state;
    capture_by_pipe();
    log_configure(LOG_WARN, LOG_JSON);
    log_info("quiet");
    log_warn("loud");
    log_flush();
    drain(text, sizeof(text));
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, "\"event\":\"loud\"}\n"));
    capture_end();
}

static void a_reader_that_stalls_costs_records_and_never_time(void **state)
{
    static char text[1 << 20];
    uint64_t before = log_dropped(), emitted = 4000, dropped;
    size_t lines = 0, octets = 0;

    (void)state;
    capture_by_pipe();
    for (uint64_t i = 0; i < emitted; i++) { /* some 250 KiB: more than the pipe and the buffer */
        log_info("flood", LOG_U64("n", i));
        errno = 0;
        log_flush();
    }
    dropped = log_dropped() - before;
    assert_in_range(dropped, 1, emitted - 1);
    for (int i = 0; i < 100; i++) {
        log_flush();
        drain(text, sizeof(text));
        size_t len = strlen(text);
        if (len == 0)
            break;
        octets += len;
        lines += lines_in(text);
        assert_memory_equal(text, "ts=", 3); /* whole records only */
        assert_int_equal(text[len - 1], '\n');
    }
    assert_int_equal(lines, emitted - dropped);
    assert_true(octets > 100 * 1024); /* what waited in the pipe and in the buffer is not lost */
    capture_end();
}

static void a_stalled_socket_does_not_block_either(void **state)
{
    static char text[1 << 20];
    uint64_t before = log_dropped(), emitted = 20000;
    size_t lines = 0;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    reader = ends[0];
    capture(ends[1]);
    for (uint64_t i = 0; i < emitted; i++)
        log_info("flood", LOG_U64("n", i));
    log_flush();
    assert_true(log_dropped() > before);
    for (int i = 0; i < 100 && (drain(text, sizeof(text)), text[0] != '\0'); i++) {
        lines += lines_in(text);
        log_flush();
    }
    assert_int_equal(lines, emitted - (log_dropped() - before));
    capture_end();
}

static void each_write_is_whole_lines_and_at_most_4096_octets(void **state)
{
    char text[8192];
    ssize_t len;
    size_t writes = 0;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    reader = ends[0];
    capture(ends[1]);
    for (int i = 0; i < 200; i++)
        log_info("many");
    log_flush();
    while ((len = read(reader, text, sizeof(text))) > 0) {
        assert_in_range(len, 1, 4096);
        assert_memory_equal(text, "ts=", 3);
        assert_int_equal(text[len - 1], '\n');
        writes++;
    }
    assert_in_range(writes, 2, 10);
    capture_end();
}

static void a_reader_that_is_gone_costs_records_only(void **state)
{
    uint64_t before = log_dropped();

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    capture_by_pipe();
    close(reader);
    reader = -1;
    log_info("unheard");
    log_error("unheard_too");
    assert_int_equal(log_dropped() - before, 2);
    capture_end();
    signal(SIGPIPE, SIG_DFL);
}

static void a_closed_socket_does_not_even_signal(void **state)
{
    uint64_t before = log_dropped();
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    capture(ends[1]);
    close(ends[0]);
    log_error("unheard");
    assert_int_equal(log_dropped() - before, 1);
    capture_end();
}

static void a_file_is_appended_to(void **state)
{
    char text[4096];
    FILE *file = tmpfile();

    (void)state;
    assert_non_null(file);
    reader = dup(fileno(file));
    assert_int_equal(fcntl(reader, F_SETFL, O_APPEND), 0);
    assert_int_equal(write(reader, "before\n", 7), 7);
    capture(dup(reader));
    log_error("to_a_file");
    assert_int_equal(lseek(reader, 0, SEEK_SET), 0);
    drain(text, sizeof(text));
    assert_memory_equal(text, "before\nts=", 10);
    assert_int_equal(lines_in(text), 2);
    capture_end();
    fclose(file);
}

static void levels_and_formats_have_names(void **state)
{
    enum log_level level = LOG_DEBUG;
    enum log_format format = LOG_LOGFMT;

    (void)state;
    assert_true(log_parse_level("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_parse_level("loud", &level));
    assert_false(log_parse_level("", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_true(log_parse_format("json", &format));
    assert_int_equal(format, LOG_JSON);
    assert_false(log_parse_format("xml", &format));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_wait_for_the_flush_but_errors_do_not),
        cmocka_unit_test(records_below_the_level_are_not_written),
        cmocka_unit_test(a_reader_that_stalls_costs_records_and_never_time),
        cmocka_unit_test(a_stalled_socket_does_not_block_either),
        cmocka_unit_test(each_write_is_whole_lines_and_at_most_4096_octets),
        cmocka_unit_test(a_reader_that_is_gone_costs_records_only),
        cmocka_unit_test(a_closed_socket_does_not_even_signal),
        cmocka_unit_test(a_file_is_appended_to),
        cmocka_unit_test(levels_and_formats_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
