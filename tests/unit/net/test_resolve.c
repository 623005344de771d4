#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/resolve.h"
#include "shared/net/sockaddr.h"
#include "tests/lib/dnsserver.h"

enum { TYPE_A = 1, TYPE_AAAA = 28, TRY_MS = 200 };

#define A16 "aaaaaaaaaaaaaaaa"

struct fixture {
    struct loop loop;
    uv_timer_t alive;
    struct dnsserver *server;
    struct resolver_config config;
    struct addr servers[2];
    struct resolver *resolver;
};

/* One question and how it ended. */
struct asked {
    struct fixture *f;
    struct resolve *q;
    int calls;
    enum resolve_status status;
    struct addr addrs[RESOLVE_MAX];
    size_t count;
    struct resolve **cancel; /* what the callback does: cancels this, */
    bool frees;              /* frees the resolver, */
    struct asked *next;      /* asks for the same */
    const char *name;
};

/* Time flies when a test wants it: the archive's calls are bound to this one. c-ares has its own.
 */
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
    assert_int_equal(loop_init(&f->loop), 0);
    uv_timer_init(&f->loop.uv, &f->alive);
    uv_timer_start(&f->alive, on_alive, 5, 5);
    f->server = dnsserver_new(&f->loop);
    f->servers[0] = dnsserver_addr(f->server);
    f->config = RESOLVER_CONFIG_DEFAULT;
    f->config.servers = f->servers;
    f->config.server_count = 1;
    f->config.timeout_ms = TRY_MS;
    *state = f;
    return 0;
}

static void begin(struct fixture *f)
{
    struct err e = {""};

    if (resolver_new(&f->loop, &f->config, &f->resolver, &e) != 0)
        fail_msg("%s", e.text);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    resolver_free(f->resolver);
    uv_close((uv_handle_t *)&f->alive, NULL);
    loop_run(&f->loop);
    dnsserver_free(f->server);
    loop_fini(&f->loop);
    free(f);
    return 0;
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

static void pass_time(struct fixture *f, uint64_t ms)
{
    skew_ms += ms;
    run_for(f, 10);
}

static void ask(struct fixture *f, struct asked *a, const char *name, uint16_t port);

static void on_resolved(void *arg, enum resolve_status status, const struct addr *addrs,
                        size_t count)
{
    struct asked *a = arg;

    a->calls++;
    a->status = status;
    a->count = count;
    if (count > 0)
        memcpy(a->addrs, addrs, count * sizeof(addrs[0]));
    if (a->cancel != NULL)
        resolve_cancel(*a->cancel);
    if (a->next != NULL)
        ask(a->f, a->next, a->name, 80);
    if (a->frees) {
        resolver_free(a->f->resolver);
        a->f->resolver = NULL;
    }
}

static void ask(struct fixture *f, struct asked *a, const char *name, uint16_t port)
{
    uv_update_time(&f->loop.uv);
    a->f = f;
    a->name = name;
    a->q = resolve_start(f->resolver, name, port, on_resolved, a);
    assert_non_null(a->q);
    assert_int_equal(a->calls, 0);
}

static struct asked answer_to(struct fixture *f, const char *name)
{
    struct asked a = {0};

    ask(f, &a, name, 443);
    wait_until(f, a.calls > 0);
    run_for(f, 1);
    assert_int_equal(a.calls, 1);
    return a;
}

static enum resolve_status status_of(struct fixture *f, const char *name)
{
    return answer_to(f, name).status;
}

static bool has(const struct asked *a, const char *text)
{
    struct addr want;

    assert_true(addr_parse(text, &want));
    for (size_t i = 0; i < a->count; i++)
        if (addr_equal(&a->addrs[i], &want))
            return true;
    return false;
}

/* ---- answers ---- */

static void both_families_are_found_with_the_port(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_address(f->server, "host.test", 60, "192.0.2.2");
    dnsserver_address(f->server, "host.test", 60, "2001:db8::1");
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.status, RESOLVE_OK);
    assert_int_equal(a.count, 3);
    assert_true(has(&a, "192.0.2.1:443"));
    assert_true(has(&a, "192.0.2.2:443"));
    assert_true(has(&a, "[2001:db8::1]:443"));
}

static void a_name_of_one_family_is_found(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "six.test", 60, "2001:db8::6");
    dnsserver_address(f->server, "four.test", 60, "192.0.2.4");
    begin(f);
    struct asked six = answer_to(f, "six.test"), four = answer_to(f, "four.test");
    assert_int_equal(six.count, 1);
    assert_true(has(&six, "[2001:db8::6]:443"));
    assert_int_equal(four.count, 1);
    assert_true(has(&four, "192.0.2.4:443"));
}

static bool ipv6_loopback_works(void)
{
    struct sockaddr_storage ss;
    struct addr one;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(addr_parse("[::1]:9", &one));
    bool works = fd >= 0 && connect(fd, (struct sockaddr *)&ss, sockaddr_from(&one, &ss)) == 0;
    if (fd >= 0)
        close(fd);
    return works;
}

/* RFC 6724 section 6: rule 6 prefers ::1, rule 1 forbids it where there is no IPv6. */
static void addresses_come_in_the_order_of_preference(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "127.0.0.1");
    dnsserver_address(f->server, "host.test", 60, "::1");
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.count, 2);
    assert_int_equal(a.addrs[0].family, ipv6_loopback_works() ? ADDR_IPV6 : ADDR_IPV4);
}

static void mapped_addresses_and_duplicates_become_one(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_address(f->server, "host.test", 60, "::ffff:192.0.2.1");
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.count, 1);
    assert_true(has(&a, "192.0.2.1:443"));
}

static void aliases_are_followed(void **state)
{
    struct fixture *f = *state;

    dnsserver_alias(f->server, "www.test", 60, "a.cdn.test");
    dnsserver_alias(f->server, "a.cdn.test", 60, "b.cdn.test");
    dnsserver_alias(f->server, "b.cdn.test", 60, "_c.cdn.test");
    dnsserver_address(f->server, "_c.cdn.test", 60, "192.0.2.7");
    begin(f);
    struct asked a = answer_to(f, "www.test");
    assert_int_equal(a.count, 1);
    assert_true(has(&a, "192.0.2.7:443"));
}

static void aliases_in_a_circle_lead_nowhere(void **state)
{
    struct fixture *f = *state;

    dnsserver_alias(f->server, "a.test", 60, "b.test");
    dnsserver_alias(f->server, "b.test", 60, "a.test");
    begin(f);
    assert_int_equal(status_of(f, "a.test"), RESOLVE_NOT_FOUND);
}

static void a_name_that_does_not_exist_is_not_found(void **state)
{
    struct fixture *f = *state;

    dnsserver_alias(f->server, "dangling.test", 60, "nothing.test");
    begin(f);
    struct asked a = answer_to(f, "nothing.test");
    assert_int_equal(a.status, RESOLVE_NOT_FOUND);
    assert_int_equal(a.count, 0);
    assert_int_equal(status_of(f, "dangling.test"), RESOLVE_NOT_FOUND);
    assert_int_equal(resolver_stats(f->resolver).not_found, 2);
}

/* ---- many addresses ---- */

static void add_many(struct fixture *f, const char *format, unsigned count)
{
    char text[64];

    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof(text), format, i / 250, i % 250 + 1);
        dnsserver_address(f->server, "many.test", 60, text);
    }
}

static size_t count_family(const struct asked *a, uint8_t family)
{
    size_t n = 0;

    for (size_t i = 0; i < a->count; i++)
        n += a->addrs[i].family == family;
    return n;
}

static void of_a_hundred_addresses_32_are_given(void **state)
{
    struct fixture *f = *state;

    add_many(f, "192.0.%u.%u", 100);
    begin(f);
    struct asked a = answer_to(f, "many.test");
    assert_int_equal(a.status, RESOLVE_OK);
    assert_int_equal(a.count, RESOLVE_MAX);
    assert_true(dnsserver_asked_tcp(f->server) > 0);
}

static void neither_family_crowds_the_other_one_out(void **state)
{
    struct fixture *f = *state;

    /* More than are looked at for their order. */
    add_many(f, "192.0.%u.%u", 300);
    add_many(f, "2001:db8:%u::%u", 150);
    begin(f);
    struct asked a = answer_to(f, "many.test");
    assert_int_equal(a.count, RESOLVE_MAX);
    assert_int_equal(count_family(&a, ADDR_IPV4), RESOLVE_MAX / 2);
    assert_int_equal(count_family(&a, ADDR_IPV6), RESOLVE_MAX / 2);
}

/* Each look costs four system calls: an answer with thousands must not hold up the loop. ::1 would
 * come first, were it looked at. Both answers are long, and so come by TCP, one after the other. */
static void only_so_many_addresses_are_looked_at_for_their_order(void **state)
{
    struct fixture *f = *state;

    add_many(f, "127.0.%u.%u", 200);
    add_many(f, "2001:db8:%u::%u", 20);
    dnsserver_address(f->server, "many.test", 60, "::1");
    begin(f);
    struct asked a = answer_to(f, "many.test");
    assert_int_equal(a.count, RESOLVE_MAX);
    assert_int_equal(a.addrs[0].family, ADDR_IPV4);
}

static void a_small_family_is_kept_whole(void **state)
{
    struct fixture *f = *state;

    add_many(f, "192.0.%u.%u", 100);
    add_many(f, "2001:db8:%u::%u", 5);
    begin(f);
    struct asked a = answer_to(f, "many.test");
    assert_int_equal(a.count, RESOLVE_MAX);
    assert_int_equal(count_family(&a, ADDR_IPV6), 5);
}

static void a_truncated_answer_is_asked_for_by_tcp(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_behave(f->server, "host.test", 0, DNSSERVER_TRUNCATED);
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_true(has(&a, "192.0.2.1:443"));
    assert_int_equal(dnsserver_asked_tcp(f->server), 2);
}

/* ---- servers at fault ---- */

static void servers_that_fail_or_refuse_are_a_failure(void **state)
{
    struct fixture *f = *state;

    dnsserver_behave(f->server, "servfail.test", 0, DNSSERVER_SERVFAIL);
    dnsserver_behave(f->server, "refused.test", 0, DNSSERVER_REFUSED);
    begin(f);
    assert_int_equal(status_of(f, "servfail.test"), RESOLVE_FAILED);
    assert_int_equal(status_of(f, "refused.test"), RESOLVE_FAILED);
    assert_int_equal(resolver_stats(f->resolver).failed, 2);
    /* Nothing of it is remembered. */
    dnsserver_address(f->server, "servfail.test", 60, "192.0.2.1");
    dnsserver_behave(f->server, "servfail.test", 0, DNSSERVER_RIGHT);
    assert_int_equal(status_of(f, "servfail.test"), RESOLVE_OK);
}

static void silence_is_a_timeout_after_all_tries(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = uv_hrtime();

    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    begin(f);
    assert_int_equal(status_of(f, "silent.test"), RESOLVE_TIMED_OUT);
    /* The second try is given twice the time of the first. */
    assert_in_range((uv_hrtime() - begun) / 1000000, 3 * TRY_MS, 3 * TRY_MS + 2000);
    assert_int_equal(dnsserver_asked(f->server, "silent.test", TYPE_A), 2);
    assert_int_equal(resolver_stats(f->resolver).timed_out, 1);
}

static void a_question_has_a_time_of_its_own(void **state)
{
    struct fixture *f = *state;
    uint64_t begun = uv_hrtime();

    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    f->config.question_ms = 100;
    begin(f);
    assert_int_equal(status_of(f, "silent.test"), RESOLVE_TIMED_OUT);
    assert_in_range((uv_hrtime() - begun) / 1000000, 100, 1000);
    assert_int_equal(resolver_stats(f->resolver).in_flight, 1);
    wait_until(f, resolver_stats(f->resolver).in_flight == 0);
}

static void silence_about_one_family_does_not_lose_the_other(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_behave(f->server, "host.test", TYPE_AAAA, DNSSERVER_SILENT);
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.status, RESOLVE_OK);
    assert_true(has(&a, "192.0.2.1:443"));
}

static void a_server_that_is_not_there_is_a_failure(void **state)
{
    struct fixture *f = *state;

    dnsserver_down(f->server);
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_FAILED);
}

static void a_server_that_restarts_is_used_again(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 0, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    dnsserver_down(f->server);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_FAILED);
    dnsserver_up(f->server);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
}

static void the_second_server_answers_when_the_first_does_not(void **state)
{
    struct fixture *f = *state;
    struct dnsserver *first = dnsserver_new(&f->loop);

    f->servers[0] = dnsserver_addr(first);
    f->servers[1] = dnsserver_addr(f->server);
    f->config.server_count = 2;
    dnsserver_behave(first, "host.test", 0, DNSSERVER_SILENT);
    dnsserver_address(f->server, "host.test", 0, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    dnsserver_behave(first, "host.test", 0, DNSSERVER_SERVFAIL);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    dnsserver_down(first);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    dnsserver_free(first);
}

/* ---- answers that were not asked for ---- */

static void expect_right_answer_despite(void **state, enum dnsserver_way way)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    dnsserver_behave(f->server, "host.test", 0, way);
    begin(f);
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.status, RESOLVE_OK);
    assert_int_equal(a.count, 1);
    assert_true(has(&a, "192.0.2.1:443"));
}

static void an_answer_with_another_id_is_ignored(void **state)
{
    expect_right_answer_despite(state, DNSSERVER_WRONG_ID);
}

static void an_answer_to_another_question_is_ignored(void **state)
{
    expect_right_answer_despite(state, DNSSERVER_WRONG_NAME);
}

static void garbage_is_ignored(void **state)
{
    expect_right_answer_despite(state, DNSSERVER_GARBAGE);
}

static void an_empty_datagram_does_no_harm(void **state)
{
    expect_right_answer_despite(state, DNSSERVER_NOTHING);
}

static void an_answer_that_is_cut_off_is_a_failure(void **state)
{
    struct fixture *f = *state;

    dnsserver_behave(f->server, "host.test", 0, DNSSERVER_BROKEN_RECORD);
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_FAILED);
}

static void source_ports_change_under_load(void **state)
{
    struct fixture *f = *state;
    struct asked busy = {0};
    char name[32];

    /* Keeps the channel from ever being idle. */
    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    f->config.timeout_ms = 5000;
    begin(f);
    ask(f, &busy, "silent.test", 1);
    for (int i = 0; i < 120; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        status_of(f, name);
    }
    assert_true(dnsserver_source_ports(f->server) >= 2);
}

/* ---- names ---- */

static void what_cannot_be_a_name_is_not_asked_for(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {
        "",
        ".",
        "a b.test",
        "a\tb.test",
        "a\nb.test",
        "\x7f.t",
        "\xc3\xa4.test",
        "a..test",
        ".test",
        "\\host.test",
        "hos\\t.test", /* what c-ares takes for host.test */
        "hidden.onion",
        (A16 A16 A16 A16 ".test"), /* labels end at 63 octets */
    };

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    begin(f);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(status_of(f, names[i]), RESOLVE_NOT_FOUND);
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 0);
}

static void names_are_at_most_255_octets(void **state)
{
    struct fixture *f = *state;
    char name[300];

    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    begin(f);
    name[256] = '\0';
    assert_int_equal(status_of(f, name), RESOLVE_NOT_FOUND);
    name[254] = '\0'; /* on the wire: 256 */
    assert_int_equal(status_of(f, name), RESOLVE_NOT_FOUND);
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 0);
    name[253] = '\0';
    assert_int_equal(status_of(f, name), RESOLVE_NOT_FOUND);
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 2);
}

static void localhost_is_loopback(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"localhost", "LocalHost", "localhost.", "a.b.localhost"};

    dnsserver_address(f->server, "notlocalhost", 60, "192.0.2.1");
    begin(f);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct asked a = answer_to(f, names[i]);
        assert_int_equal(a.count, 2);
        assert_true(has(&a, "[::1]:443"));
        assert_true(has(&a, "127.0.0.1:443"));
    }
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 0);
    struct asked other = answer_to(f, "notlocalhost");
    assert_true(has(&other, "192.0.2.1:443"));
}

static void literals_are_themselves(void **state)
{
    struct fixture *f = *state;

    begin(f);
    struct asked four = answer_to(f, "192.0.2.1"), six = answer_to(f, "2001:DB8::1"),
                 mapped = answer_to(f, "::ffff:192.0.2.1");
    assert_int_equal(four.count, 1);
    assert_true(has(&four, "192.0.2.1:443"));
    assert_true(has(&six, "[2001:db8::1]:443"));
    assert_true(has(&mapped, "192.0.2.1:443"));
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 0);
}

static void case_and_a_dot_at_the_end_make_no_difference(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "HOST.Test."), RESOLVE_OK);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    assert_int_equal(dnsserver_asked(f->server, "host.test", TYPE_A), 1);
}

static void names_mean_themselves(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/test_resolve.XXXXXX";
    int fd = mkstemp(path);

    assert_true(write(fd, "alias host.test\n", 16) == 16);
    close(fd);
    setenv("LOCALDOMAIN", "test", 1);
    setenv("HOSTALIASES", path, 1);
    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    begin(f);
    enum resolve_status searched = status_of(f, "host"), alias = status_of(f, "alias");
    unsetenv("LOCALDOMAIN");
    unsetenv("HOSTALIASES");
    unlink(path);
    assert_int_equal(searched, RESOLVE_NOT_FOUND);
    assert_int_equal(alias, RESOLVE_NOT_FOUND);
    assert_int_equal(dnsserver_asked(f->server, NULL, TYPE_A), 2);
}

static void the_hosts_file_comes_first_for_a_second(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/test_resolve.XXXXXX";
    int fd = mkstemp(path);

    assert_true(write(fd, "192.0.2.9 inhosts.test\n", 23) == 23);
    close(fd);
    setenv("CARES_HOSTS", path, 1);
    dnsserver_address(f->server, "inhosts.test", 60, "192.0.2.1");
    begin(f);
    struct asked a = answer_to(f, "InHosts.test");
    unsetenv("CARES_HOSTS");
    unlink(path);
    assert_int_equal(a.count, 1);
    assert_true(has(&a, "192.0.2.9:443"));
    assert_int_equal(dnsserver_asked(f->server, NULL, 0), 0);
    a = answer_to(f, "inhosts.test");
    assert_true(has(&a, "192.0.2.9:443"));
    pass_time(f, 1000);
    a = answer_to(f, "inhosts.test");
    assert_true(has(&a, "192.0.2.1:443"));
}

/* ---- memory ---- */

static bool cached(struct fixture *f, const char *name)
{
    struct addr addrs[RESOLVE_MAX];
    size_t count = 99;

    return resolver_cached(f->resolver, name, addrs, RESOLVE_MAX, &count);
}

static void an_answer_is_remembered_for_its_ttl(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 100, "192.0.2.1");
    dnsserver_address(f->server, "host.test", 50, "2001:db8::1");
    begin(f);
    assert_false(cached(f, "host.test"));
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    pass_time(f, 49000);
    assert_true(cached(f, "host.test"));
    struct asked a = answer_to(f, "host.test");
    assert_int_equal(a.count, 2);
    assert_true(has(&a, "192.0.2.1:443"));
    assert_int_equal(dnsserver_asked(f->server, "host.test", 0), 2);
    pass_time(f, 1000);
    assert_false(cached(f, "host.test"));
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    assert_int_equal(dnsserver_asked(f->server, "host.test", 0), 4);
}

static void the_ttl_of_aliases_counts(void **state)
{
    struct fixture *f = *state;

    dnsserver_alias(f->server, "www.test", 10, "host.test");
    dnsserver_address(f->server, "host.test", 100, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "www.test"), RESOLVE_OK);
    pass_time(f, 9000);
    assert_true(cached(f, "www.test"));
    pass_time(f, 1000);
    assert_false(cached(f, "www.test"));
}

static void nothing_is_remembered_for_more_than_five_minutes(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 86400, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    pass_time(f, 299000);
    assert_true(cached(f, "host.test"));
    pass_time(f, 1000);
    assert_false(cached(f, "host.test"));
}

static void a_ttl_of_zero_is_not_remembered(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "zero.test", 0, "192.0.2.1");
    dnsserver_address(f->server, "negative.test", 0x80000001, "192.0.2.1");
    begin(f);
    assert_int_equal(status_of(f, "zero.test"), RESOLVE_OK);
    assert_int_equal(status_of(f, "negative.test"), RESOLVE_OK);
    assert_false(cached(f, "zero.test"));
    assert_false(cached(f, "negative.test"));
}

static void what_does_not_exist_is_remembered_for_a_while(void **state)
{
    struct fixture *f = *state;
    size_t count = 99;

    begin(f);
    assert_int_equal(status_of(f, "nothing.test"), RESOLVE_NOT_FOUND);
    assert_true(resolver_cached(f->resolver, "nothing.test", NULL, 0, &count));
    assert_int_equal(count, 0);
    assert_int_equal(status_of(f, "nothing.test"), RESOLVE_NOT_FOUND);
    assert_int_equal(dnsserver_asked(f->server, "nothing.test", 0), 2);
    pass_time(f, f->config.negative_ms);
    assert_false(cached(f, "nothing.test"));
}

static void without_a_cache_everything_is_asked_for(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    f->config.cache_entries = 0;
    begin(f);
    assert_int_equal(status_of(f, "host.test"), RESOLVE_OK);
    assert_false(cached(f, "host.test"));
    assert_int_equal(status_of(f, "nothing.test"), RESOLVE_NOT_FOUND);
    assert_false(cached(f, "nothing.test"));
    assert_int_equal(resolver_stats(f->resolver).cached, 0);
}

static void the_least_recently_used_name_is_forgotten(void **state)
{
    struct fixture *f = *state;

    dnsserver_address(f->server, "a.test", 60, "192.0.2.1");
    dnsserver_address(f->server, "b.test", 60, "192.0.2.2");
    dnsserver_address(f->server, "c.test", 60, "192.0.2.3");
    f->config.cache_entries = 2;
    begin(f);
    status_of(f, "a.test");
    status_of(f, "b.test");
    assert_true(cached(f, "a.test"));
    status_of(f, "c.test");
    assert_int_equal(resolver_stats(f->resolver).cached, 2);
    assert_true(cached(f, "a.test"));
    assert_false(cached(f, "b.test"));
    assert_true(cached(f, "c.test"));
}

static void what_is_known_needs_no_question(void **state)
{
    struct fixture *f = *state;
    struct addr addrs[2];
    char text[ADDR_TEXT_MAX];
    size_t count = 99;

    add_many(f, "192.0.%u.%u", 5);
    begin(f);
    status_of(f, "many.test");
    assert_true(resolver_cached(f->resolver, "Many.test.", addrs, 2, &count));
    assert_int_equal(count, 2);
    assert_int_equal(addrs[0].port, 0);
    assert_true(resolver_cached(f->resolver, "192.0.2.200", addrs, 2, &count));
    assert_int_equal(count, 1);
    assert_string_equal(addr_format_ip(&addrs[0], text), "192.0.2.200");
    assert_true(resolver_cached(f->resolver, "not a name", addrs, 2, &count));
    assert_int_equal(count, 0);
    struct resolver_stats s = resolver_stats(f->resolver);
    assert_int_equal(s.questions, 4);
    assert_int_equal(s.cache_hits, 1);
    assert_int_equal(s.queries, 1);
}

/* ---- many questions ---- */

static void questions_for_one_name_share_a_query(void **state)
{
    struct fixture *f = *state;
    struct asked a[10] = {0};

    dnsserver_address(f->server, "host.test", 0, "192.0.2.1");
    begin(f);
    for (uint16_t i = 0; i < 10; i++)
        ask(f, &a[i], i % 2 ? "host.test" : "HOST.test.", 1000 + i);
    assert_int_equal(resolver_stats(f->resolver).waiting, 10);
    assert_int_equal(resolver_stats(f->resolver).in_flight, 1);
    wait_until(f, resolver_stats(f->resolver).waiting == 0);
    for (uint16_t i = 0; i < 10; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].count, 1);
        assert_int_equal(a[i].addrs[0].port, 1000 + i);
    }
    assert_int_equal(dnsserver_asked(f->server, "host.test", 0), 2);
}

static void too_many_questions_are_refused(void **state)
{
    struct fixture *f = *state;
    struct asked a[3] = {0};

    dnsserver_behave(f->server, "a.test", 0, DNSSERVER_SILENT);
    dnsserver_behave(f->server, "b.test", 0, DNSSERVER_SILENT);
    f->config.queries_max = 2;
    begin(f);
    ask(f, &a[0], "a.test", 1);
    ask(f, &a[1], "a.test", 1);
    assert_null(resolve_start(f->resolver, "a.test", 1, on_resolved, &a[2]));
    assert_null(resolve_start(f->resolver, "192.0.2.1", 1, on_resolved, &a[2]));
    resolve_cancel(a[1].q);
    ask(f, &a[1], "b.test", 1);
    /* Queries that nobody waits for count all the same. */
    resolve_cancel(a[0].q);
    resolve_cancel(a[1].q);
    assert_null(resolve_start(f->resolver, "c.test", 1, on_resolved, &a[2]));
    assert_int_equal(resolver_stats(f->resolver).busy, 3);
    wait_until(f, resolver_stats(f->resolver).in_flight == 0);
    assert_int_equal(status_of(f, "c.test"), RESOLVE_NOT_FOUND);
    assert_int_equal(a[0].calls + a[1].calls + a[2].calls, 0);
}

static void many_names_at_once_are_answered(void **state)
{
    enum { COUNT = 100 }; /* more would not fit into the server's socket at once */
    struct fixture *f = *state;
    static struct asked a[COUNT];
    char name[32];

    memset(a, 0, sizeof(a));
    begin(f);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        ask(f, &a[i], name, 1);
    }
    wait_until(f, resolver_stats(f->resolver).waiting == 0);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(a[i].status, RESOLVE_NOT_FOUND);
    assert_int_equal(resolver_stats(f->resolver).in_flight, 0);
}

/* ---- cancelled ---- */

static void a_cancelled_question_is_not_answered_but_remembered(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};

    dnsserver_address(f->server, "host.test", 60, "192.0.2.1");
    begin(f);
    ask(f, &a, "host.test", 1);
    resolve_cancel(a.q);
    wait_until(f, cached(f, "host.test"));
    assert_int_equal(a.calls, 0);
}

static void a_cancelled_instant_answer_is_not_given(void **state)
{
    struct fixture *f = *state;
    struct asked a = {0};

    begin(f);
    ask(f, &a, "localhost", 1);
    resolve_cancel(a.q);
    resolve_cancel(NULL);
    run_for(f, 50);
    assert_int_equal(a.calls, 0);
}

static void a_callback_may_cancel_the_next(void **state)
{
    struct fixture *f = *state;
    struct asked a[2] = {0};

    begin(f);
    a[0].cancel = &a[1].q;
    ask(f, &a[0], "nothing.test", 1);
    ask(f, &a[1], "nothing.test", 1);
    wait_until(f, a[0].calls == 1);
    run_for(f, 50);
    assert_int_equal(a[1].calls, 0);
}

static void a_callback_may_ask_again(void **state)
{
    struct fixture *f = *state;
    struct asked a[2] = {0};

    f->config.negative_ms = 0;
    begin(f);
    a[0].next = &a[1];
    ask(f, &a[0], "nothing.test", 1);
    wait_until(f, a[1].calls == 1);
    assert_int_equal(dnsserver_asked(f->server, "nothing.test", TYPE_A), 2);
}

static void a_callback_may_free_the_resolver(void **state)
{
    struct fixture *f = *state;
    struct asked a[4] = {0};

    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    begin(f);
    a[0].frees = true;
    ask(f, &a[0], "nothing.test", 1);
    ask(f, &a[1], "nothing.test", 1);
    ask(f, &a[2], "silent.test", 1);
    wait_until(f, a[0].calls == 1);
    run_for(f, 50);
    assert_null(f->resolver);
    assert_int_equal(a[1].calls + a[2].calls, 0);
}

static void a_late_question_may_free_the_resolver(void **state)
{
    struct fixture *f = *state;
    struct asked a = {.frees = true};

    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    f->config.question_ms = 50;
    begin(f);
    ask(f, &a, "silent.test", 1);
    wait_until(f, a.calls == 1);
    assert_null(f->resolver);
}

static void freeing_cancels_every_question(void **state)
{
    struct fixture *f = *state;
    struct asked a[3] = {0};

    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    begin(f);
    ask(f, &a[0], "silent.test", 1);
    ask(f, &a[1], "silent.test", 1);
    run_for(f, 1);
    ask(f, &a[2], "192.0.2.1", 1);
    resolver_free(f->resolver);
    f->resolver = NULL;
    resolver_free(NULL);
    run_for(f, 4 * TRY_MS);
    assert_int_equal(a[0].calls + a[1].calls + a[2].calls, 0);
}

/* ---- set up ---- */

static void the_system_s_servers_are_the_default(void **state)
{
    struct fixture *f = *state;

    f->config = (struct resolver_config){0};
    begin(f);
    assert_int_equal(status_of(f, "localhost"), RESOLVE_OK);
}

static void no_descriptor_is_left(void **state)
{
    struct fixture *f = *state;
    int before = dup(0), after;

    close(before);
    dnsserver_behave(f->server, "silent.test", 0, DNSSERVER_SILENT);
    dnsserver_behave(f->server, "tcp.test", 0, DNSSERVER_TRUNCATED);
    begin(f);
    assert_int_equal(status_of(f, "tcp.test"), RESOLVE_NOT_FOUND);
    struct asked a = {0};
    ask(f, &a, "silent.test", 1);
    resolver_free(f->resolver);
    f->resolver = NULL;
    run_for(f, 20);
    after = dup(0);
    close(after);
    assert_int_equal(after, before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_families_are_found_with_the_port),
        TEST(a_name_of_one_family_is_found),
        TEST(addresses_come_in_the_order_of_preference),
        TEST(mapped_addresses_and_duplicates_become_one),
        TEST(aliases_are_followed),
        TEST(aliases_in_a_circle_lead_nowhere),
        TEST(a_name_that_does_not_exist_is_not_found),
        TEST(of_a_hundred_addresses_32_are_given),
        TEST(neither_family_crowds_the_other_one_out),
        TEST(only_so_many_addresses_are_looked_at_for_their_order),
        TEST(a_small_family_is_kept_whole),
        TEST(a_truncated_answer_is_asked_for_by_tcp),
        TEST(servers_that_fail_or_refuse_are_a_failure),
        TEST(silence_is_a_timeout_after_all_tries),
        TEST(a_question_has_a_time_of_its_own),
        TEST(silence_about_one_family_does_not_lose_the_other),
        TEST(a_server_that_is_not_there_is_a_failure),
        TEST(a_server_that_restarts_is_used_again),
        TEST(the_second_server_answers_when_the_first_does_not),
        TEST(an_answer_with_another_id_is_ignored),
        TEST(an_answer_to_another_question_is_ignored),
        TEST(garbage_is_ignored),
        TEST(an_empty_datagram_does_no_harm),
        TEST(an_answer_that_is_cut_off_is_a_failure),
        TEST(source_ports_change_under_load),
        TEST(what_cannot_be_a_name_is_not_asked_for),
        TEST(names_are_at_most_255_octets),
        TEST(localhost_is_loopback),
        TEST(literals_are_themselves),
        TEST(case_and_a_dot_at_the_end_make_no_difference),
        TEST(names_mean_themselves),
        TEST(the_hosts_file_comes_first_for_a_second),
        TEST(an_answer_is_remembered_for_its_ttl),
        TEST(the_ttl_of_aliases_counts),
        TEST(nothing_is_remembered_for_more_than_five_minutes),
        TEST(a_ttl_of_zero_is_not_remembered),
        TEST(what_does_not_exist_is_remembered_for_a_while),
        TEST(without_a_cache_everything_is_asked_for),
        TEST(the_least_recently_used_name_is_forgotten),
        TEST(what_is_known_needs_no_question),
        TEST(questions_for_one_name_share_a_query),
        TEST(too_many_questions_are_refused),
        TEST(many_names_at_once_are_answered),
        TEST(a_cancelled_question_is_not_answered_but_remembered),
        TEST(a_cancelled_instant_answer_is_not_given),
        TEST(a_callback_may_cancel_the_next),
        TEST(a_callback_may_ask_again),
        TEST(a_callback_may_free_the_resolver),
        TEST(a_late_question_may_free_the_resolver),
        TEST(freeing_cancels_every_question),
        TEST(the_system_s_servers_are_the_default),
        TEST(no_descriptor_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
