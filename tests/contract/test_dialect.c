/* What every dialect owes, whatever it speaks: one suite, run over each of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "socksd/dialect.h"
#include "tests/lib/handshake.h"
#include "tests/lib/vectors.h"

struct variant {
    const char *name;
    struct dialect_policy policy;
    const char *messages[4]; /* vectors: what the client says */
    const char *answers[3];  /* and what it hears */
    const uint8_t *broken;   /* a handshake that ends in CLOSE */
    size_t broken_len;
};

#define OCTETS(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static const struct variant variants[] = {
    {
        "socks4",
        {.methods = {SOCKS_METHOD_NONE}, .method_count = 1, .socks4 = true, .socks5 = true},
        {"socks4_request_connect"},
        {0},
        OCTETS(4, 9, 0, 80),
    },
    {
        "socks4a",
        {.methods = {SOCKS_METHOD_NONE}, .method_count = 1, .socks4 = true, .socks5 = true},
        {"socks4a_request_connect"},
        {0},
        OCTETS(4, 1, 0, 80, 0, 0, 0, 1, 0, 0),
    },
    {
        "socks5 none",
        {.methods = {SOCKS_METHOD_NONE}, .method_count = 1, .socks4 = true, .socks5 = true},
        {"socks5_greeting_none", "socks5_request_connect_name"},
        {"socks5_selection_none"},
        OCTETS(5, 1, 0, 5, 1, 0, 3, 0),
    },
    {
        "socks5 username-password",
        {.methods = {SOCKS_METHOD_USERPASS}, .method_count = 1, .socks5 = true},
        {"socks5_greeting_all", "socks5_userpass_request", "socks5_request_connect_ipv6"},
        {"socks5_selection_userpass", "socks5_userpass_status_success"},
        OCTETS(5, 1, 2, 1, 1, 'u', 0, 5, 1, 0, 9),
    },
};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

static size_t octets_of(const char *const *names, uint8_t buf[VECTOR_MAX])
{
    size_t len = 0;

    for (; *names != NULL; names++)
        vector_append(*names, buf, &len);
    return len;
}

static void play(struct handshake *h, const struct variant *v, const uint8_t *in, size_t len,
                 const size_t *cuts, size_t cut_count)
{
    handshake_play(h, &v->policy, true, in, len, cuts, cut_count);
}

static void play_by_octets(struct handshake *h, const struct variant *v, const uint8_t *in,
                           size_t len)
{
    size_t cuts[2 * VECTOR_MAX];

    for (size_t i = 0; i < len; i++)
        cuts[i] = i;
    play(h, v, in, len, cuts, len);
}

static void one_burst_raises_the_request_and_hears_every_answer(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX], answers[VECTOR_MAX];
    size_t len = octets_of(v->messages, in), answers_len = octets_of(v->answers, answers);
    struct handshake h;

    play(&h, v, in, len, NULL, 0);
    assert_int_equal(h.want, DIALECT_REQUEST);
    assert_int_equal(h.taken, len);
    assert_int_equal(h.said_len, answers_len);
    assert_memory_equal(h.said, answers, answers_len);
    assert_int_equal(h.d.version, in[0]);
    assert_int_equal(h.d.request.version, in[0]);
    assert_int_equal(h.d.method, v->policy.methods[0]);
    assert_int_equal(h.d.word, REPLY_SUCCEEDED);
    assert_null(h.d.why);
}

static void two_splits_anywhere_change_nothing(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t len = octets_of(v->messages, in);
    struct handshake whole, split;

    play(&whole, v, in, len, NULL, 0);
    for (size_t first = 0; first <= len; first++)
        for (size_t second = first; second <= len; second++) {
            play(&split, v, in, len, (const size_t[]){first, second}, 2);
            assert_int_equal(split.want, DIALECT_REQUEST);
            assert_true(handshake_same(&whole, &split));
        }
}

static void one_octet_at_a_time_changes_nothing(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t len = octets_of(v->messages, in);
    struct handshake whole, split;

    play(&whole, v, in, len, NULL, 0);
    play_by_octets(&split, v, in, len);
    assert_true(handshake_same(&whole, &split));
}

static void every_beginning_asks_for_more(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t len = octets_of(v->messages, in);
    struct handshake h;

    for (size_t n = 0; n < len; n++) {
        play(&h, v, in, n, NULL, 0);
        assert_int_equal(h.want, DIALECT_MORE);
    }
}

static void an_answer_comes_with_the_last_octet_of_its_message(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX], answer[VECTOR_MAX];
    size_t end = 0, heard = 0;
    struct handshake h;

    for (size_t i = 0; v->answers[i] != NULL; i++) {
        size_t answer_len = vector_read(v->answers[i], answer);

        vector_append(v->messages[i], in, &end);
        play(&h, v, in, end - 1, NULL, 0);
        assert_int_equal(h.said_len, heard);
        play(&h, v, in, end, NULL, 0);
        assert_int_equal(h.said_len, heard + answer_len);
        assert_memory_equal(h.said + heard, answer, answer_len);
        heard += answer_len;
    }
}

/* Early data may look like anything, another handshake included. */
static void payload_behind_the_request_is_left_alone(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t handshake = octets_of(v->messages, in), len = handshake;
    struct handshake h;

    for (size_t i = 0; v->messages[i] != NULL; i++)
        vector_append(v->messages[i], in, &len);
    for (size_t cut = 0; cut <= len; cut++) {
        play(&h, v, in, len, &cut, 1);
        assert_int_equal(h.want, DIALECT_REQUEST);
        assert_int_equal(h.taken, handshake);
    }
}

/* That CLOSE takes all and that nothing follows it is asserted by handshake_play in each case. */
static void a_broken_handshake_closes_at_the_same_octet_however_split(void **state)
{
    const struct variant *v = *state;
    struct handshake whole, split;

    play(&whole, v, v->broken, v->broken_len, NULL, 0);
    assert_int_equal(whole.want, DIALECT_CLOSE);
    assert_int_equal(whole.taken, v->broken_len);
    assert_true(whole.said_len > 0);
    play_by_octets(&split, v, v->broken, v->broken_len);
    assert_true(handshake_same(&whole, &split));
}

static void after_closing_it_swallows_everything_and_says_nothing(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t len = octets_of(v->messages, in), used;
    const char *why;
    struct handshake h;

    play(&h, v, v->broken, v->broken_len, NULL, 0);
    why = h.d.why;
    for (size_t n = 0; n <= len; n++) {
        assert_int_equal(dialect_feed(&h.d, in, n, &used), DIALECT_CLOSE);
        assert_int_equal(used, n);
        assert_int_equal(h.d.out_len, 0);
    }
    assert_int_equal(dialect_auth_done(&h.d, true), DIALECT_CLOSE);
    assert_int_equal(h.d.out_len, 0);
    assert_ptr_equal(h.d.why, why);
}

static void any_octet_changed_to_any_other_ends_the_same_however_split(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX];
    size_t len = octets_of(v->messages, in);
    struct handshake whole, split;

    for (size_t at = 0; at < len; at++) {
        uint8_t right = in[at];

        for (unsigned octet = 0; octet <= 255; octet++) {
            in[at] = (uint8_t)octet;
            play(&whole, v, in, len, NULL, 0);
            play_by_octets(&split, v, in, len);
            assert_true(handshake_same(&whole, &split));
        }
        in[at] = right;
    }
}

/* After each beginning of a right handshake, garbage; the same on every run. */
static void garbage_ends_the_same_however_split(void **state)
{
    const struct variant *v = *state;
    uint8_t in[VECTOR_MAX + 600];
    size_t len = octets_of(v->messages, in);
    uint32_t random = 1;
    struct handshake whole, split;

    for (size_t right = 0; right < len; right++)
        for (int round = 0; round < 20; round++) {
            octets_of(v->messages, in);
            for (size_t i = right; i < right + 600; i++) {
                random = random * 1664525 + 1013904223;
                in[i] = (uint8_t)(random >> 24);
            }
            play(&whole, v, in, right + 600, NULL, 0);
            play_by_octets(&split, v, in, right + 600);
            assert_true(handshake_same(&whole, &split));
        }
}

static void every_reply_is_short_and_carries_no_name(void **state)
{
    const struct variant *v = *state;
    const uint8_t ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 198, 51, 100, 1};
    const struct addr none = {0}, a = addr_ipv4(mapped + 12, 40000), b = addr_ipv6(ipv6, 40000),
                      c = addr_ipv6(mapped, 40000);
    const struct addr *bounds[] = {NULL, &none, &a, &b, &c};
    uint8_t in[VECTOR_MAX], reply[DIALECT_OUT_MAX], again[DIALECT_OUT_MAX];
    size_t len = octets_of(v->messages, in);
    struct handshake h;

    play(&h, v, in, len, NULL, 0);
    for (int word = 0; word < REPLY_COUNT; word++)
        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
            size_t n = dialect_reply(&h.d, word, bounds[i], reply);

            if (h.d.version == 4)
                assert_int_equal(n, 8);
            else
                assert_int_equal(n, bounds[i] == &b ? 22 : 10);
            if (h.d.version == 5)
                assert_int_equal(reply[3], bounds[i] == &b ? 4 : 1);
            /* BIND asks twice. */
            assert_int_equal(dialect_reply(&h.d, word, bounds[i], again), n);
            assert_memory_equal(reply, again, n);
        }
    assert_int_equal(h.d.out_len, 0);
}

static const struct CMUnitTest suite[] = {
    cmocka_unit_test(one_burst_raises_the_request_and_hears_every_answer),
    cmocka_unit_test(two_splits_anywhere_change_nothing),
    cmocka_unit_test(one_octet_at_a_time_changes_nothing),
    cmocka_unit_test(every_beginning_asks_for_more),
    cmocka_unit_test(an_answer_comes_with_the_last_octet_of_its_message),
    cmocka_unit_test(payload_behind_the_request_is_left_alone),
    cmocka_unit_test(a_broken_handshake_closes_at_the_same_octet_however_split),
    cmocka_unit_test(after_closing_it_swallows_everything_and_says_nothing),
    cmocka_unit_test(any_octet_changed_to_any_other_ends_the_same_however_split),
    cmocka_unit_test(garbage_ends_the_same_however_split),
    cmocka_unit_test(every_reply_is_short_and_carries_no_name),
};
#define TESTS (sizeof(suite) / sizeof(suite[0]))

int main(void)
{
    static struct CMUnitTest tests[VARIANTS * TESTS];
    static char names[VARIANTS * TESTS][128];

    for (size_t i = 0; i < VARIANTS * TESTS; i++) {
        const struct variant *v = &variants[i / TESTS];

        tests[i] = suite[i % TESTS];
        snprintf(names[i], sizeof(names[i]), "%s: %s", v->name, tests[i].name);
        tests[i].name = names[i];
        tests[i].initial_state = (void *)v;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
