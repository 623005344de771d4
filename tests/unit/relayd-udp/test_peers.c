/* relayd-udp/peers.c, with a calloc that can be told to fail. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool memory_is_out;

static void *calloc_or_not(size_t n, size_t size)
{
    return memory_is_out ? NULL : calloc(n, size);
}

#define calloc calloc_or_not
#include "relayd-udp/peers.c"
#undef calloc

#define MANY 1000

static struct peers s;

static int fresh(void **state)
{
    (void)state;
    memset(&s, 0, sizeof(s));
    memory_is_out = false;
    return 0;
}

static int settled(void **state)
{
    (void)state;
    peers_fini(&s);
    return 0;
}

/* The n-th address, of either family in turn. */
static struct addr address(uint32_t n)
{
    const struct addr ipv4 = {.family = ADDR_IPV4, .ip = {10, 0, (uint8_t)(n >> 8), (uint8_t)n}};
    const struct addr ipv6 = {.family = ADDR_IPV6,
                              .ip = {0x20, 0x01, 0x0d, 0xb8, 0, 1, 2, (uint8_t)(3 * n), 8, 1, 9, 5,
                                     6, 7, (uint8_t)(n >> 8), (uint8_t)n}};
    struct addr a = n % 2 == 0 ? ipv4 : ipv6;

    a.port = 7;
    return a;
}

static void note(uint32_t n, uint32_t now_s, uint32_t max)
{
    const struct addr a = address(n);

    assert_true(peers_note(&s, &a, false, now_s, max));
}

static const struct peer *found(uint32_t n)
{
    const struct addr a = address(n);

    return peers_find(&s, &a, 0, 0);
}

static void no_peer_is_in_zeroed_memory_and_none_costs_nothing(void **state)
{
    (void)state;
    assert_null(found(1));
    assert_int_equal(peers_octets(&s), 0);
    peers_filter(&s, NULL, NULL);
    peers_fini(&s);
    assert_null(found(1));
}

static void a_peer_is_found_whatever_its_port(void **state)
{
    struct addr a = address(2);
    const struct peer *p;

    (void)state;
    a.port = 53;
    assert_true(peers_note(&s, &a, true, 100, 8));
    a.port = 54;
    p = peers_find(&s, &a, 100, 0);
    assert_non_null(p);
    assert_memory_equal(p->ip, a.ip, 16);
    assert_int_equal(p->family, ADDR_IPV4);
    assert_int_equal(p->port, 53);
    assert_int_equal(p->used, 100);
    assert_true(p->by_name);
    assert_int_equal(s.count, 1);
}

static void what_was_noted_again_has_the_newer_port_time_and_reason(void **state)
{
    (void)state;
    for (uint32_t peers = 1; peers <= MANY; peers *= 10) {
        struct addr a = address(0);
        const struct peer *p;

        for (uint32_t n = 0; n < peers; n++)
            note(n, 1, MANY);
        a.port = 99;
        assert_true(peers_note(&s, &a, true, 5, MANY));
        p = found(0);
        assert_int_equal(p->port, 99);
        assert_int_equal(p->used, 5);
        assert_true(p->by_name);
        assert_true(peers_note(&s, &a, false, 6, MANY));
        assert_false(p->by_name);
        assert_int_equal(p->used, 6);
        assert_int_equal(s.count, peers);
    }
}

static void every_octet_and_the_family_count(void **state)
{
    struct addr a = {.family = ADDR_IPV6};

    (void)state;
    assert_true(peers_note(&s, &a, false, 1, MANY));
    for (unsigned i = 0; i < 16; i++) {
        struct addr b = a;

        b.ip[i] = 1;
        assert_null(peers_find(&s, &b, 1, 0));
        assert_true(peers_note(&s, &b, false, 1, MANY));
        assert_non_null(peers_find(&s, &b, 1, 0));
    }
    a.family = ADDR_IPV4;
    assert_null(peers_find(&s, &a, 1, 0));
    assert_int_equal(s.count, 17);
}

static bool keep_all_but_2(const struct peer *p, void *arg)
{
    (void)arg;
    return p->ip[3] != 2;
}

static void an_address_of_no_family_is_never_found(void **state)
{
    struct addr none = address(2);

    (void)state;
    note(1, 1, 8);
    note(2, 1, 8);
    none.family = ADDR_NONE;
    assert_null(peers_find(&s, &none, 1, 0));
    peers_filter(&s, keep_all_but_2, NULL); /* leaves its place as it was, but for the family */
    assert_null(found(2));
    assert_null(peers_find(&s, &none, 1, 0));
}

static void below_the_bound_nobody_is_forgotten(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < MANY; n++) {
        note(n, n, MANY);
        assert_int_equal(s.count, n + 1);
        for (uint32_t i = 0; i <= n; i++)
            assert_non_null(found(i));
        assert_null(found(n + 1));
    }
}

static void the_set_grows_in_steps_to_little_more_than_its_bound(void **state)
{
    size_t before = 0, steps = 0;

    (void)state;
    note(0, 0, MANY);
    assert_true(peers_octets(&s) <= 32);
    for (uint32_t n = 0; n < 4 * MANY; n++) {
        note(n, n, MANY);
        steps += peers_octets(&s) != before;
        before = peers_octets(&s);
        assert_true(s.count <= s.size && s.size <= (s.count < 4 ? 4 : 8 * s.count / 3 + 8));
    }
    assert_int_equal(s.count, MANY);
    assert_int_equal(s.size, 2048);
    assert_int_equal(peers_octets(&s), octets_of(2048));
    assert_int_equal(steps, 12);
}

static void an_entry_and_a_set_are_as_small_as_the_header_says(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct peer), 24);
    assert_int_equal(sizeof(struct peers), 16);
}

static void a_bound_of_0_counts_as_1(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 20; n++) {
        note(n, n, 0);
        assert_int_equal(s.count, 1);
        assert_non_null(found(n));
    }
    assert_int_equal(s.size, 1);
}

static void among_a_few_the_least_recently_noted_is_forgotten(void **state)
{
    (void)state;
    for (uint32_t max = 1; max <= 8; max++) {
        uint32_t now = 0;

        for (uint32_t n = 0; n < max; n++)
            note(n, now++, max);
        for (uint32_t n = max; n-- > 0;) /* now the last is the oldest */
            note(n, now++, max);
        for (uint32_t i = 0; i < max; i++) {
            note(100 + i, now++, max);
            assert_int_equal(s.count, max);
            assert_null(found(max - 1 - i));
            for (uint32_t n = 0; n + 1 + i < max; n++)
                assert_non_null(found(n));
            for (uint32_t n = 0; n <= i; n++)
                assert_non_null(found(100 + n));
        }
        peers_fini(&s);
    }
}

static void within_a_second_the_one_noted_last_is_not_forgotten(void **state)
{
    (void)state;
    for (uint32_t last = 1; last <= 2; last++) {
        note(1, 5, 2);
        note(2, 5, 2);
        note(last, 5, 2);
        note(3, 5, 2);
        assert_non_null(found(last));
        assert_null(found(3 - last));
        peers_fini(&s);
    }
}

static void the_clock_may_pass_its_end(void **state)
{
    const struct addr a = address(1);

    (void)state;
    note(1, UINT32_MAX - 1, 2);
    note(2, 1, 2);
    assert_non_null(peers_find(&s, &a, 2, 4));
    assert_null(peers_find(&s, &a, 3, 4));
    note(3, 2, 2);
    assert_null(found(1));
    assert_non_null(found(2));
}

/* Of a full set of MANY the oldest of eight goes: never one of the seven youngest, and on the
 * average one out of the oldest quarter. */
static void among_many_an_old_one_is_forgotten(void **state)
{
    static uint32_t used[4 * MANY];
    uint64_t rank_sum = 0;
    uint32_t now = 0;

    (void)state;
    for (uint32_t n = 0; n < MANY; n++)
        note(n, used[n] = now++, MANY);
    for (uint32_t n = MANY; n < 4 * MANY; n++) {
        uint32_t gone = UINT32_MAX, rank = 0;

        note(n, used[n] = now++, MANY);
        assert_int_equal(s.count, MANY);
        for (uint32_t i = 0; i <= n; i++) {
            if (used[i] != UINT32_MAX && found(i) == NULL) {
                assert_int_equal(gone, UINT32_MAX);
                gone = i;
            }
        }
        assert_int_not_equal(gone, UINT32_MAX);
        for (uint32_t i = 0; i < gone; i++) /* noted once each, in the order of their numbers */
            rank += used[i] != UINT32_MAX;
        used[gone] = UINT32_MAX;
        assert_true(rank + 7 < MANY);
        rank_sum += rank;
    }
    assert_true(rank_sum / (3 * MANY) < MANY / 4);
}

static void a_bound_that_shrinks_takes_hold_with_the_next_new_peer(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 100; n++)
        note(n, n, 100);
    note(99, 100, 10);
    assert_int_equal(s.count, 100);
    note(100, 101, 10);
    assert_int_equal(s.count, 10);
    assert_non_null(found(100));
    for (uint32_t n = 200; n < 300; n++) {
        note(n, n, 10);
        assert_int_equal(s.count, 10);
        assert_non_null(found(n));
    }
}

static void a_peer_is_not_found_when_its_time_is_over(void **state)
{
    const struct addr a = address(3);

    (void)state;
    note(3, 1000, 8);
    assert_non_null(peers_find(&s, &a, 1000, 60));
    assert_non_null(peers_find(&s, &a, 1060, 60));
    assert_null(peers_find(&s, &a, 1061, 60));
    assert_non_null(peers_find(&s, &a, 1000000, 0));
    note(3, 1061, 8);
    assert_non_null(peers_find(&s, &a, 1061, 60));
}

struct filter {
    uint32_t modulus, asked;
    unsigned times[2 * MANY];
};

static uint32_t number_of(const struct peer *p)
{
    return p->family == ADDR_IPV4 ? (uint32_t)(p->ip[2] << 8 | p->ip[3])
                                  : (uint32_t)(p->ip[14] << 8 | p->ip[15]);
}

static bool keep_some(const struct peer *p, void *arg)
{
    struct filter *f = arg;

    f->asked++;
    f->times[number_of(p)]++;
    return f->modulus > 0 && number_of(p) % f->modulus == 0;
}

static void a_filter_asks_once_about_each_and_keeps_what_it_is_told_to(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= MANY; count += count < 20 ? 1 : 49) {
        for (uint32_t modulus = 0; modulus < 5; modulus++) {
            struct filter f = {.modulus = modulus};
            uint32_t kept = 0;

            for (uint32_t n = 0; n < count; n++)
                note(n, n, MANY);
            peers_filter(&s, keep_some, &f);
            assert_int_equal(f.asked, count);
            for (uint32_t n = 0; n < count; n++) {
                bool keeps = modulus > 0 && n % modulus == 0;

                assert_int_equal(f.times[n], 1);
                assert_int_equal(found(n) != NULL, keeps);
                kept += keeps;
            }
            assert_int_equal(s.count, kept);
            for (uint32_t n = 0; n < count; n++)
                note(n, n, MANY);
            assert_int_equal(s.count, count);
            for (uint32_t n = 0; n < count; n++)
                assert_non_null(found(n));
            peers_fini(&s);
        }
    }
}

static void a_filter_that_keeps_nobody_gives_the_memory_back(void **state)
{
    struct filter f = {0};

    (void)state;
    for (uint32_t n = 0; n < 50; n++)
        note(n, n, MANY);
    peers_filter(&s, keep_some, &f);
    assert_int_equal(peers_octets(&s), 0);
    assert_null(found(1));
    note(1, 1, MANY);
    assert_non_null(found(1));
}

static bool keep_in_order(const struct peer *p, void *arg)
{
    uint32_t **to = arg;

    *(*to)++ = number_of(p);
    return true;
}

static void a_set_of_many_has_an_order_of_its_own(void **state)
{
    static uint32_t first[MANY], second[MANY];
    uint32_t *to = first;

    (void)state;
    for (uint32_t n = 0; n < MANY; n++)
        note(n, n, MANY);
    peers_filter(&s, keep_in_order, &to);
    assert_ptr_equal(to, first + MANY);
    peers_fini(&s);
    for (uint32_t n = 0; n < MANY; n++)
        note(n, n, MANY);
    to = second;
    peers_filter(&s, keep_in_order, &to);
    assert_memory_not_equal(first, second, sizeof(first));
}

/* Networks are what addresses are chosen from: nobody should have to look far. */
static void addresses_of_a_kind_are_spread(void **state)
{
    static const uint8_t varied[] = {0, 1, 2, 3, 7, 8, 12, 15};

    (void)state;
    for (size_t v = 0; v < sizeof(varied); v++) {
        uint32_t far = 0;

        for (uint32_t n = 0; n < 6 * 256; n++) { /* of 2048 places: as full as it gets */
            struct addr a = {.family = ADDR_IPV6, .ip = {[5] = (uint8_t)(n >> 8)}};

            a.ip[varied[v]] = (uint8_t)n;
            assert_true(peers_note(&s, &a, false, 1, 6 * 256));
        }
        assert_int_equal(s.size, 2048);
        for (uint32_t i = 0; i < s.size; i++)
            if (is_taken(&s.table->places[i]))
                far += (i - home_of(&s, s.table->places[i].ip)) & (s.size - 1);
        assert_true(far < 4 * s.count);
        peers_fini(&s);
    }
}

static void without_memory_nothing_has_changed(void **state)
{
    const uint32_t sizes[] = {0, 4, 8, 12, 24, 48};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct addr a = address(500);
        struct peers before;

        for (uint32_t n = 0; n < sizes[i]; n++)
            note(n, n, MANY);
        before = s;
        memory_is_out = true;
        assert_false(peers_note(&s, &a, false, 1, MANY));
        assert_memory_equal(&s, &before, sizeof(s));
        for (uint32_t n = 0; n < sizes[i]; n++) {
            assert_non_null(found(n));
            note(n, n + 1, MANY); /* needs none */
        }
        if (sizes[i] > 0)
            note(500, 1000, sizes[i]); /* takes another's place */
        memory_is_out = false;
        peers_fini(&s);
    }
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, fresh, settled)

int main(void)
{
    const struct CMUnitTest tests[] = {
        case_of(no_peer_is_in_zeroed_memory_and_none_costs_nothing),
        case_of(a_peer_is_found_whatever_its_port),
        case_of(what_was_noted_again_has_the_newer_port_time_and_reason),
        case_of(every_octet_and_the_family_count),
        case_of(an_address_of_no_family_is_never_found),
        case_of(below_the_bound_nobody_is_forgotten),
        case_of(the_set_grows_in_steps_to_little_more_than_its_bound),
        case_of(an_entry_and_a_set_are_as_small_as_the_header_says),
        case_of(a_bound_of_0_counts_as_1),
        case_of(among_a_few_the_least_recently_noted_is_forgotten),
        case_of(within_a_second_the_one_noted_last_is_not_forgotten),
        case_of(the_clock_may_pass_its_end),
        case_of(among_many_an_old_one_is_forgotten),
        case_of(a_bound_that_shrinks_takes_hold_with_the_next_new_peer),
        case_of(a_peer_is_not_found_when_its_time_is_over),
        case_of(a_filter_asks_once_about_each_and_keeps_what_it_is_told_to),
        case_of(a_filter_that_keeps_nobody_gives_the_memory_back),
        case_of(a_set_of_many_has_an_order_of_its_own),
        case_of(addresses_of_a_kind_are_spread),
        case_of(without_memory_nothing_has_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
