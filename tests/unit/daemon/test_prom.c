#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "shared/daemon/prom.h"
#include "shared/daemon/prom_process.h"

static int setup(void **state)
{
    static struct prom p;

    prom_init(&p, 1 << 20);
    *state = &p;
    return 0;
}

static int teardown(void **state)
{
    prom_fini(*state);
    return 0;
}

/* The text so far, valid until the next call. */
static const char *text_of(struct prom *p)
{
    static char text[1 << 16];

    assert_false(p->text.failed);
    assert_true(p->text.len < sizeof(text));
    memcpy(text, p->text.data, p->text.len);
    text[p->text.len] = '\0';
    return text;
}

static double value_of(struct prom *p, const char *name)
{
    char line[256];
    const char *at;

    snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(text_of(p), line);
    assert_non_null(at);
    return strtod(at + strlen(line), NULL);
}

static void a_family_reads_as_the_format_demands(void **state)
{
    struct prom *p = *state;

    prom_family(p, "relayd_bytes_total", PROM_COUNTER, "Payload octets.");
    prom_u64(p, PROM_LABELS({"proto", "tcp"}, {"direction", "out"}), UINT64_MAX);
    prom_family(p, "relayd_fds", PROM_GAUGE, "Back\\slash, \"quote\", new\nline.");
    prom_u64(p, NULL, 0);
    prom_f64(p, PROM_LABELS(), -1.5);
    assert_string_equal(text_of(p),
                        "# HELP relayd_bytes_total Payload octets.\n"
                        "# TYPE relayd_bytes_total counter\n"
                        "relayd_bytes_total{proto=\"tcp\",direction=\"out\"} 18446744073709551615\n"
                        "# HELP relayd_fds Back\\\\slash, \"quote\", new\\nline.\n"
                        "# TYPE relayd_fds gauge\n"
                        "relayd_fds 0\n"
                        "relayd_fds -1.5\n");
}

static void hostile_label_values_stay_inside_their_quotes(void **state)
{
    struct prom *p = *state;

    prom_family(p, "x", PROM_GAUGE, "X.");
    prom_u64(p, PROM_LABELS({"a", "\"} 1\nevil 2"}, {"b", "\\"}, {"c", NULL}), 1);
    prom_u64(p, PROM_LABELS({"a", "\xff\xc3\xa9\xed\xa0\x80z"}), 1);
    assert_non_null(strstr(text_of(p), "x{a=\"\\\"} 1\\nevil 2\",b=\"\\\\\",c=\"\"} 1\n"));
    assert_non_null(strstr(text_of(p), "x{a=\"\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd"
                                       "\xef\xbf\xbdz\"} 1\n"));
}

static void numbers_read_back_as_they_were(void **state)
{
    static const double values[] = {0,     0.1,    1.0 / 3,     1e-9,   1795160478.25,
                                    1e300, 5e-324, 1.0 + 1e-15, -0.005, 1e15};
    struct prom *p = *state;

    prom_family(p, "x", PROM_GAUGE, "X.");
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        p->text.len = 0;
        prom_f64(p, NULL, values[i]);
        assert_true(strtod(text_of(p) + 2, NULL) == values[i]);
    }
    p->text.len = 0;
    prom_f64(p, NULL, 0.1);
    prom_f64(p, NULL, NAN);
    prom_f64(p, NULL, INFINITY);
    prom_f64(p, NULL, -INFINITY);
    assert_string_equal(text_of(p), "x 0.1\nx NaN\nx +Inf\nx -Inf\n");
}

static void buckets_are_cumulative_and_bounds_inclusive(void **state)
{
    static const double bounds[] = {0.005, 0.1, 1};
    struct prom_histogram h = {.bounds = bounds, .n = 3};
    struct prom *p = *state;

    prom_observe(&h, 0.005);
    prom_observe(&h, 0.0051);
    prom_observe(&h, 1);
    prom_observe(&h, 70);
    prom_observe(&h, -3);
    prom_observe(&h, NAN);
    prom_family(p, "socksd_dns_seconds", PROM_HISTOGRAM, "Time to resolve a name.");
    prom_histogram(p, PROM_LABELS({"result", "ok"}), &h);
    assert_string_equal(strchr(strchr(text_of(p), '\n') + 1, '\n') + 1,
                        "socksd_dns_seconds_bucket{result=\"ok\",le=\"0.005\"} 3\n"
                        "socksd_dns_seconds_bucket{result=\"ok\",le=\"0.1\"} 4\n"
                        "socksd_dns_seconds_bucket{result=\"ok\",le=\"1\"} 5\n"
                        "socksd_dns_seconds_bucket{result=\"ok\",le=\"+Inf\"} 6\n"
                        "socksd_dns_seconds_sum{result=\"ok\"} 71.0101\n"
                        "socksd_dns_seconds_count{result=\"ok\"} 6\n");
}

static void a_text_beyond_its_limit_is_not_handed_out(void **state)
{
    struct prom p;
    size_t len;

    (void)state;
    prom_init(&p, 200);
    prom_family(&p, "x", PROM_GAUGE, "X.");
    for (int i = 0; i < 100; i++)
        prom_u64(&p, NULL, 12345);
    assert_true(p.text.len <= 200);
    assert_null(prom_take(&p, &len));
    prom_fini(&p);
}

static void the_taken_text_is_whole_and_ours(void **state)
{
    struct prom *p = *state;
    size_t len = 0;
    char *text;

    prom_build_info(p, "socksd", "1.0-\"rc1\"");
    text = prom_take(p, &len);
    assert_non_null(text);
    assert_int_equal(p->text.len, 0);
    assert_memory_equal(text + len - strlen("socksd_build_info{version=\"1.0-\\\"rc1\\\"\"} 1\n"),
                        "socksd_build_info{version=\"1.0-\\\"rc1\\\"\"} 1\n",
                        strlen("socksd_build_info{version=\"1.0-\\\"rc1\\\"\"} 1\n"));
    free(text);
    text = prom_take(p, &len); /* nothing at all is a text too */
    assert_non_null(text);
    assert_int_equal(len, 0);
    free(text);
}

static void both_ways_of_counting_descriptors_agree(void **state)
{
    uint64_t before, after, stated;
    struct rlimit limit, few;
    int fds[300];

    (void)state;
    assert_true(open_fds_by_poll(&before));
    for (int i = 0; i < 300; i++)
        assert_true((fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    assert_true(open_fds_by_poll(&after));
    assert_int_equal(after, before + 300);
    if (open_fds_by_stat(&stated))
        assert_int_equal(stated, after);
    for (int i = 0; i < 300; i++)
        close(fds[i]);
    getrlimit(RLIMIT_NOFILE, &limit);
    few = limit;
    few.rlim_cur = 20; /* fewer than one block of the sweep */
    setrlimit(RLIMIT_NOFILE, &few);
    assert_true(open_fds_by_poll(&after));
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(after, before);
}

static void the_process_tells_plausible_figures(void **state)
{
    struct prom *p = *state;
    struct rlimit limit;
    double start, age;

    prom_process(p);
    getrlimit(RLIMIT_NOFILE, &limit);
    start = value_of(p, "process_start_time_seconds");
    age = (double)time(NULL) - start;
    assert_true(age > -2 && age < 600);
    assert_true(value_of(p, "process_cpu_seconds_total") > 0);
    assert_true(value_of(p, "process_resident_memory_bytes") > 100000);
    assert_true(value_of(p, "process_open_fds") >= 3);
    assert_true(value_of(p, "process_max_fds") == (double)limit.rlim_cur);
    p->text.len = 0;
    prom_process(p);
    assert_true(value_of(p, "process_start_time_seconds") == start);
}

static void counting_descriptors_leaves_none_open(void **state)
{
    struct prom *p = *state;
    uint64_t before, after;

    open_fds_by_poll(&before);
    for (int i = 0; i < 50; i++)
        prom_process(p);
    open_fds_by_poll(&after);
    assert_int_equal(after, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_family_reads_as_the_format_demands, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_label_values_stay_inside_their_quotes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(numbers_read_back_as_they_were, setup, teardown),
        cmocka_unit_test_setup_teardown(buckets_are_cumulative_and_bounds_inclusive, setup,
                                        teardown),
        cmocka_unit_test(a_text_beyond_its_limit_is_not_handed_out),
        cmocka_unit_test_setup_teardown(the_taken_text_is_whole_and_ours, setup, teardown),
        cmocka_unit_test(both_ways_of_counting_descriptors_agree),
        cmocka_unit_test_setup_teardown(the_process_tells_plausible_figures, setup, teardown),
        cmocka_unit_test_setup_teardown(counting_descriptors_leaves_none_open, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
