/* Which answer a request gets: no sockets, no HTTP library. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/status_page.h"

struct daemon {
    bool live, ready;
    size_t junk; /* values in each JSON page */
    unsigned limit;
    char after[32], user[300], kind[32];
};

static bool live(void *ctx, char *reason, size_t cap)
{
    snprintf(reason, cap, "the loop is stuck");
    return ((struct daemon *)ctx)->live;
}

static bool ready(void *ctx, char *reason, size_t cap)
{
    snprintf(reason, cap, "no relay is up");
    return ((struct daemon *)ctx)->ready;
}

static void metrics(void *ctx, struct prom *p)
{
    (void)ctx;
    prom_build_info(p, "test", "1");
}

static void members(void *ctx, struct json *j)
{
    struct daemon *d = ctx;

    json_put_str(j, "state", "serving");
    json_array_begin(j, "junk");
    for (size_t i = 0; i < d->junk; i++)
        json_put_u64(j, NULL, i);
    json_array_end(j);
}

static int associations(void *ctx, const struct status_query *q, struct json *j, struct err *e)
{
    struct daemon *d = ctx;

    d->limit = q->limit;
    snprintf(d->after, sizeof(d->after), "%s", q->after != NULL ? q->after : "-");
    snprintf(d->user, sizeof(d->user), "%s", q->filter[0] != NULL ? q->filter[0] : "-");
    snprintf(d->kind, sizeof(d->kind), "%s", q->filter[1] != NULL ? q->filter[1] : "-");
    json_array_begin(j, "associations");
    if (q->after != NULL && strcmp(q->after, "nonsense") == 0)
        return err_set(e, "after is not a cursor of ours");
    json_array_end(j);
    return 0;
}

static const char *const filters[] = {"user", "kind", NULL};
static const struct status_pages all = {.live = live,
                                        .ready = ready,
                                        .metrics = metrics,
                                        .status = members,
                                        .associations = associations,
                                        .relays = members,
                                        .filters = filters};
static const struct status_pages none = {0};
static struct daemon daemon_state;
static char *hosts[] = {(char *)"status.example.net"};
static struct status_site site;

static int setup(void **state)
{
    (void)state;
    daemon_state = (struct daemon){.live = true, .ready = true};
    site =
        (struct status_site){.pages = &all, .ctx = &daemon_state, .hosts = hosts, .host_count = 1};
    return 0;
}

static void expect(const struct status_request *q, unsigned code, const char *body)
{
    struct status_reply r;

    status_answer(&site, q, &r);
    assert_int_equal(r.code, code);
    assert_non_null(r.body);
    if (body != NULL) {
        assert_int_equal(r.len, strlen(body));
        assert_memory_equal(r.body, body, r.len);
    }
    free(r.body);
}

static void expect_get(const char *path, unsigned code, const char *body)
{
    expect(&(struct status_request){.method = "GET", .path = path}, code, body);
}

static void expect_tcp(const char *path, unsigned code, const char *body)
{
    const struct status_request q = {
        .method = "GET", .path = path, .tcp = true, .host = "127.0.0.1:9080", .host_count = 1};

    expect(&q, code, body);
}

static void probes_say_ok_or_the_reason(void **state)
{
    (void)state;
    expect_get("/livez", 200, "ok\n");
    expect_get("/readyz", 200, "ok\n");
    daemon_state.live = daemon_state.ready = false;
    expect_get("/livez", 503, "not alive: the loop is stuck\n");
    expect_get("/readyz", 503, "not ready: no relay is up\n");
}

static void pages_that_the_daemon_lacks_do_not_exist(void **state)
{
    (void)state;
    site.pages = &none;
    expect_get("/livez", 200, "ok\n");
    expect_get("/readyz", 200, "ok\n");
    expect_get("/", 200, "/livez\n/readyz\n");
    expect_get("/metrics", 404, NULL);
    expect_get("/status", 404, NULL);
    expect_get("/associations", 404, NULL);
    expect_get("/relays", 404, NULL);
}

static void the_index_lists_what_is_served_where_it_is_asked(void **state)
{
    (void)state;
    expect_get("/", 200, "/livez\n/readyz\n/metrics\n/status\n/associations\n/relays\n");
    expect_tcp("/", 200, "/livez\n/readyz\n/metrics\n");
    site.detail = true;
    expect_tcp("/", 200, "/livez\n/readyz\n/metrics\n/status\n/associations\n/relays\n");
}

static void details_stay_off_tcp_unless_they_are_wanted(void **state)
{
    (void)state;
    expect_tcp("/livez", 200, "ok\n");
    expect_tcp("/readyz", 200, "ok\n");
    expect_tcp("/metrics", 200, NULL);
    expect_tcp("/status", 404,
               "/status is served on Unix sockets; over TCP only with detail: true\n");
    expect_tcp("/associations", 404, NULL);
    expect_tcp("/relays", 404, NULL);
    site.detail = true;
    expect_tcp("/status", 200, "{\"state\":\"serving\",\"junk\":[]}\n");
    expect_tcp("/associations", 200, "{\"associations\":[]}\n");
    expect_tcp("/relays", 200, NULL);
}

static void paths_match_whole(void **state)
{
    static const char *const paths[] = {"",         "livez",   "/livez/", "//livez",
                                        "/Livez",   "/livezz", "*",       "http://127.0.0.1/livez",
                                        "/../livez"};

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        expect_get(paths[i], 404, "no such page; / lists them\n");
}

static void only_reading_is_allowed(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "get", "PATCH", ""};
    struct status_reply r;

    (void)state;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        status_answer(&site, &(struct status_request){.method = methods[i], .path = "/livez"}, &r);
        assert_int_equal(r.code, 405);
        assert_string_equal(r.allow, "GET, HEAD");
        free(r.body);
    }
    expect(&(struct status_request){.method = "HEAD", .path = "/livez"}, 200, "ok\n");
}

static void expect_host(const char *host, unsigned code)
{
    const struct status_request q = {
        .method = "GET", .path = "/livez", .tcp = true, .host = host, .host_count = 1};

    expect(&q, code, NULL);
}

static void over_tcp_the_host_must_be_one_that_nobody_can_rebind(void **state)
{
    static const char *const good[] = {
        "127.0.0.1",        "127.0.0.1:9080", "203.0.113.7:80",     "[::1]",
        "[2001:db8::1]:80", "localhost",      "LocalHost:9080",     "localhost.",
        "127.0.0.1:",       "[::1]:",         "status.example.net", "STATUS.example.NET.:9080"};
    static const char *const bad[] = {"",
                                      "evil.example",
                                      "evil.example:9080",
                                      "127.0.0.1.evil.example",
                                      "localhost.evil.example",
                                      "xlocalhost",
                                      "127.0.0.1:9080:1",
                                      "127.0.0.1:x",
                                      "[::1",
                                      "[::1]x",
                                      "[evil.example]",
                                      ":9080",
                                      "127.1",
                                      "0x7f.0.0.1",
                                      "127.0.0.1@evil.example",
                                      "[::1%eth0]",
                                      "localhost..",
                                      " 127.0.0.1",
                                      "127.0.0.1 evil",
                                      "[]",
                                      "[",
                                      ".",
                                      "status.example.net.evil.example"};
    char longest[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        expect_host(good[i], 200);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_host(bad[i], 403);
    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    expect_host(longest, 403);
}

static void the_host_is_not_asked_for_where_there_is_none(void **state)
{
    const struct status_request
        old = {.method = "GET", .path = "/livez", .tcp = true},
        local = {.method = "GET", .path = "/livez", .host = "evil.example", .host_count = 1},
        twice = {.method = "GET", .path = "/livez", .host = "127.0.0.1", .host_count = 2};

    (void)state;
    expect(&old, 200, NULL);   /* HTTP/1.0 */
    expect(&local, 200, NULL); /* a Unix socket: its file's mode says who may ask */
    expect(&twice, 400, "more than one Host\n");
}

#define PARAM(n, v)                                                                                \
    {                                                                                              \
        .name = n, .value = v, .name_len = sizeof(n) - 1, .value_len = sizeof(v) - 1               \
    }
#define QUERY(...)                                                                                 \
    &(const struct status_request)                                                                 \
    {                                                                                              \
        .method = "GET", .path = "/associations", .params = {__VA_ARGS__},                         \
        .param_count = sizeof((struct status_param[]){__VA_ARGS__}) / sizeof(struct status_param)  \
    }

static void parameters_reach_the_page(void **state)
{
    (void)state;
    expect_get("/associations", 200, "{\"associations\":[]}\n");
    assert_int_equal(daemon_state.limit, 100);
    assert_string_equal(daemon_state.after, "-");
    expect(QUERY(PARAM("kind", "connect"), PARAM("limit", "1000"), PARAM("after", "17"),
                 PARAM("user", "al ice")),
           200, NULL);
    assert_int_equal(daemon_state.limit, 1000);
    assert_string_equal(daemon_state.after, "17");
    assert_string_equal(daemon_state.user, "al ice");
    assert_string_equal(daemon_state.kind, "connect");
}

static void limits_out_of_bounds_are_refused(void **state)
{
    (void)state;
    expect(QUERY(PARAM("limit", "1")), 200, NULL);
    assert_int_equal(daemon_state.limit, 1);
    expect(QUERY(PARAM("limit", "0")), 400, "limit is a number from 1 to 1000\n");
    expect(QUERY(PARAM("limit", "1001")), 400, NULL);
    expect(QUERY(PARAM("limit", "")), 400, NULL);
    expect(QUERY(PARAM("limit", "-1")), 400, NULL);
    expect(QUERY(PARAM("limit", "10x")), 400, NULL);
    expect(QUERY(PARAM("limit", "99999999999999999999")), 400, NULL);
    expect(QUERY(PARAM("limit", "1\0")), 400, NULL);
    expect(QUERY({.name = "limit", .name_len = 5}), 400, NULL); /* "?limit" */
}

static void parameters_that_mean_nothing_are_refused_by_name(void **state)
{
    (void)state;
    expect(QUERY(PARAM("limits", "1")), 400, "unknown parameter: limits\n");
    expect(QUERY(PARAM("user", "a"), PARAM("<b>\n\xff", "1")), 400, "unknown parameter: <b>??\n");
    expect(QUERY(PARAM("user\0x", "a")), 400, "unknown parameter: user?x\n");
    expect(QUERY(PARAM("user", "a"), PARAM("user", "b")), 400, "user is given twice\n");
    expect(QUERY(PARAM("limit", "1"), PARAM("limit", "1")), 400, "limit is given twice\n");
    expect(QUERY(PARAM("user", "")), 400, "user has from 1 to 255 octets, and no NUL\n");
    expect(QUERY(PARAM("user", "a\0b")), 400, NULL);
    expect(QUERY({.name = "", .name_len = 0}), 400, "unknown parameter: \n");
    expect(&(struct status_request){.method = "GET",
                                    .path = "/metrics",
                                    .params = {PARAM("verbose", "1")},
                                    .param_count = 1},
           400, "unknown parameter: verbose\n");
    site.pages = &(struct status_pages){.associations = associations};
    expect(QUERY(PARAM("user", "a")), 400, "unknown parameter: user\n");
}

static void more_parameters_than_are_kept_are_refused(void **state)
{
    struct status_request q = {.method = "GET", .path = "/associations", .param_count = 1000};

    (void)state;
    for (size_t i = 0; i < STATUS_PARAMS_MAX; i++)
        q.params[i] = (struct status_param)PARAM("user", "a");
    expect(&q, 400, "user is given twice\n");
}

static void values_are_bounded(void **state)
{
    char value[256];
    struct status_request q = {.method = "GET", .path = "/associations", .param_count = 1};

    (void)state;
    memset(value, 'x', sizeof(value));
    q.params[0] =
        (struct status_param){.name = "user", .value = value, .name_len = 4, .value_len = 256};
    expect(&q, 400, NULL);
    value[255] = '\0';
    q.params[0].value_len = 255;
    expect(&q, 200, NULL);
    assert_int_equal(strlen(daemon_state.user), 255);
}

static void a_page_may_refuse_what_it_cannot_use(void **state)
{
    (void)state;
    expect(QUERY(PARAM("after", "nonsense")), 400, "after is not a cursor of ours\n");
}

static void a_page_beyond_its_limit_is_an_error_and_not_half_a_page(void **state)
{
    (void)state;
    daemon_state.junk = 200000;
    expect_get("/status", 500, "this page did not fit into its limit, or memory ran out\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(probes_say_ok_or_the_reason, setup),
        cmocka_unit_test_setup(pages_that_the_daemon_lacks_do_not_exist, setup),
        cmocka_unit_test_setup(the_index_lists_what_is_served_where_it_is_asked, setup),
        cmocka_unit_test_setup(details_stay_off_tcp_unless_they_are_wanted, setup),
        cmocka_unit_test_setup(paths_match_whole, setup),
        cmocka_unit_test_setup(only_reading_is_allowed, setup),
        cmocka_unit_test_setup(over_tcp_the_host_must_be_one_that_nobody_can_rebind, setup),
        cmocka_unit_test_setup(the_host_is_not_asked_for_where_there_is_none, setup),
        cmocka_unit_test_setup(parameters_reach_the_page, setup),
        cmocka_unit_test_setup(limits_out_of_bounds_are_refused, setup),
        cmocka_unit_test_setup(parameters_that_mean_nothing_are_refused_by_name, setup),
        cmocka_unit_test_setup(more_parameters_than_are_kept_are_refused, setup),
        cmocka_unit_test_setup(values_are_bounded, setup),
        cmocka_unit_test_setup(a_page_may_refuse_what_it_cannot_use, setup),
        cmocka_unit_test_setup(a_page_beyond_its_limit_is_an_error_and_not_half_a_page, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
