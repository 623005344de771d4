#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/unit/relay/ports_fixture.h"

static void an_unlocked_claim_is_found_from_any_port_of_its_address(void **state)
{
    struct ports *p = ports_of(20000, 21023, 0);
    struct ports_claim c, *found;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
    assert_in_range(c.port, 20000, 21023);
    assert_false(c.locked);
    assert_int_equal(c.client.port, 0);
    assert_int_equal(find(p, v4(1, 5), c.port, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &c);
    assert_int_equal(find(p, v4(1, 65535), c.port, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &c);
    assert_int_equal(find(p, v4(2, 5), c.port, &found), PORTS_STRANGER);
    assert_null(found);
    assert_int_equal(find(p, v4(1, 5), (uint16_t)(c.port ^ 1), &found), PORTS_STRANGER);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void locking_leaves_one_port_to_it(void **state)
{
    struct ports *p = ports_of(20000, 20000, 0);
    struct ports_claim c, *found;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
    assert_true(ports_lock(p, &c, 5000, 0));
    assert_true(c.locked);
    assert_int_equal(c.client.port, 5000);
    assert_int_equal(find(p, v4(1, 5000), 20000, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &c);
    assert_int_equal(find(p, v4(1, 5001), 20000, &found), PORTS_OTHER_PORT);
    assert_ptr_equal(found, &c);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void a_hint_locks_at_once(void **state)
{
    struct ports *p = ports_of(20000, 20000, 1);
    struct ports_claim c, *found;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 7), "", 0), PORTS_OK);
    assert_true(c.locked);
    assert_int_equal(c.client.port, 7);
    assert_int_equal(ports_stats(p).unlocked, 0);
    assert_int_equal(find(p, v4(1, 7), 20000, &found), PORTS_LOCKED);
    assert_ptr_equal(found, &c);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void a_datagram_from_port_zero_is_a_strangers(void **state)
{
    struct ports *p = ports_of(20000, 20000, 0);
    struct ports_claim c, *found = &c;

    (void)state;
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(find(p, v4(1, 0), 20000, &found), PORTS_STRANGER);
    assert_null(found);
    assert_false(ports_lock(p, &c, 0, 0));
    assert_false(c.locked);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void one_range_for_each_family(void **state)
{
    struct ports *p = ports_of(300, 300, 0);
    struct ports_claim four, six, *found;
    struct addr mixed = v6(1, 9);

    (void)state;
    assert_int_equal(take(p, &four, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(find(p, v6(1, 9), 300, &found), PORTS_STRANGER);
    /* The same octets in another family are another address. */
    memcpy(mixed.ip, four.client.ip, sizeof(mixed.ip));
    assert_int_equal(ports_find(p, &mixed, 300, &found), PORTS_STRANGER);
    mixed.port = 0;
    assert_int_equal(take(p, &six, mixed, "", 0), PORTS_OK);
    assert_int_equal(six.port, 300);
    assert_int_equal(find(p, v4(1, 9), 300, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &four);
    mixed.port = 9;
    assert_int_equal(ports_find(p, &mixed, 300, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &six);
    ports_release(p, &four, 0);
    ports_release(p, &six, 0);
    ports_free(p);
}

static void every_octet_of_an_address_counts(void **state)
{
    struct ports *p = ports_of(300, 300, 0);
    struct ports_claim c[16], *found;

    (void)state;
    for (int i = 0; i < 16; i++) {
        struct addr a = v6(0, 0);
        a.ip[i] ^= 0x80;
        assert_int_equal(take(p, &c[i], a, "", 0), PORTS_OK);
    }
    for (int i = 0; i < 16; i++) {
        struct addr a = v6(0, 77);
        a.ip[i] ^= 0x80;
        assert_int_equal(ports_find(p, &a, 300, &found), PORTS_UNLOCKED);
        assert_ptr_equal(found, &c[i]);
        ports_release(p, &c[i], 0);
    }
    ports_free(p);
}

static void thousands_of_clients_share_one_port(void **state)
{
    enum { CLIENTS = 5000 };
    struct ports *p = ports_of(300, 300, 1);
    struct ports_claim *c = calloc(CLIENTS, sizeof(*c)), *found;

    (void)state;
    assert_non_null(c);
    for (uint32_t i = 0; i < CLIENTS; i++)
        assert_int_equal(take(p, &c[i], i % 2 ? v4(i, 0) : v6(i, 0), "", i), PORTS_OK);
    assert_int_equal(ports_stats(p).sites, CLIENTS);
    for (uint32_t i = 0; i < CLIENTS; i += 3)
        assert_true(ports_lock(p, &c[i], 4000, 5000));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(find(p, i % 2 ? v4(i, 4000) : v6(i, 4000), 300, &found),
                         i % 3 ? PORTS_UNLOCKED : PORTS_LOCKED);
        assert_ptr_equal(found, &c[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        ports_release(p, &c[i], 6000);
    assert_int_equal(ports_stats(p).resting, CLIENTS);
    ports_sweep(p, 6000 + REST_MS);
    assert_true(is_empty(p));
    free(c);
    ports_free(p);
}

static void the_unlocked_of_a_name_are_capped_wherever_it_comes_from(void **state)
{
    struct ports *p = ports_of(20000, 21023, 2);
    struct ports_claim a, b, c, other;

    (void)state;
    assert_int_equal(take(p, &a, v4(1, 0), "alice", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v6(2, 0), "alice", 0), PORTS_OK);
    assert_int_equal(take(p, &c, v4(3, 0), "alice", 0), PORTS_CAPPED);
    assert_int_equal(take(p, &other, v4(1, 0), "alicf", 0), PORTS_OK);
    assert_int_equal(ports_stats(p).owners, 2);
    assert_true(ports_lock(p, &a, 9, 0));
    assert_int_equal(take(p, &c, v4(3, 0), "alice", 0), PORTS_OK);
    assert_int_equal(ports_stats(p).unlocked, 3);
    ports_release(p, &a, 0);
    ports_release(p, &b, 0);
    ports_release(p, &c, 0);
    ports_release(p, &other, 0);
    assert_int_equal(ports_stats(p).owners, 0);
    ports_free(p);
}

static void without_a_name_the_address_is_capped(void **state)
{
    struct ports *p = ports_of(20000, 21023, 2);
    struct ports_claim a, b, c, named, hinted, other;

    (void)state;
    assert_int_equal(take(p, &a, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(take(p, &b, v4(1, 0), "", 0), PORTS_OK);
    assert_int_equal(ports_stats(p).owners, 1);
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_CAPPED);
    assert_int_equal(take(p, &named, v4(1, 0), "bob", 0), PORTS_OK);
    assert_int_equal(take(p, &hinted, v4(1, 9), "", 0), PORTS_OK);
    assert_int_equal(take(p, &other, v4(2, 0), "", 0), PORTS_OK);
    assert_int_equal(ports_stats(p).owners, 3);
    ports_release(p, &a, 0);
    assert_int_equal(take(p, &c, v4(1, 0), "", 0), PORTS_OK);
    ports_release(p, &b, 0);
    ports_release(p, &c, 0);
    ports_release(p, &named, 0);
    ports_release(p, &hinted, 0);
    ports_release(p, &other, 0);
    assert_int_equal(ports_stats(p).owners, 0);
    ports_free(p);
}

static void a_full_range_is_told_and_recovers(void **state)
{
    struct ports *p = ports_of(400, 403, 0);
    struct ports_claim c[4], more, *found;
    unsigned seen = 0;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(take(p, &c[i], v4(1, 0), "", 0), PORTS_OK);
        assert_in_range(c[i].port, 400, 403);
        seen |= 1U << (c[i].port - 400);
    }
    assert_int_equal(seen, 15);
    assert_int_equal(take(p, &more, v4(1, 0), "", 0), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &more, v4(1, 9), "", 0), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &more, v4(2, 0), "", 0), PORTS_OK);
    ports_release(p, &more, 0);
    ports_release(p, &c[2], 100);
    assert_int_equal(take(p, &more, v4(1, 0), "", 100 + REST_MS - 1), PORTS_NONE_LEFT);
    assert_int_equal(take(p, &more, v4(1, 0), "", 100 + REST_MS), PORTS_OK);
    assert_int_equal(more.port, c[2].port);
    assert_int_equal(find(p, v4(1, 1), more.port, &found), PORTS_UNLOCKED);
    assert_ptr_equal(found, &more);
    ports_release(p, &more, 0);
    for (int i = 0; i < 4; i++)
        if (i != 2)
            ports_release(p, &c[i], 0);
    ports_free(p);
}

/* Counts how often it was asked, and about which ports. */
struct asked {
    unsigned times, twice;
    uint16_t only; /* 0: none is usable */
    enum addr_family family;
    uint8_t ports[65536];
};

static bool usable_only(void *arg, enum addr_family family, uint16_t port)
{
    struct asked *a = arg;

    a->times++;
    a->family = family;
    a->twice += a->ports[port]++;
    return port == a->only;
}

static void ports_that_cannot_be_bound_are_passed_over(void **state)
{
    struct ports *p = ports_of(500, 531, 0);
    struct addr client = v6(1, 0), hinted = v6(1, 3);
    struct asked asked = {.only = 517};
    struct ports_claim c, d;

    (void)state;
    assert_int_equal(ports_claim(p, &c, &client, "", 0, usable_only, &asked), PORTS_OK);
    assert_int_equal(c.port, 517);
    assert_in_range(asked.times, 1, 32);
    assert_int_equal(asked.twice, 0);
    assert_int_equal(asked.family, ADDR_IPV6);
    assert_int_equal(ports_claim(p, &d, &hinted, "", 0, usable_only, &asked), PORTS_NONE_LEFT);
    assert_int_equal(asked.ports[517], 1);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void one_claim_asks_a_bounded_number_of_times(void **state)
{
    struct ports *p = ports_of(1, 65535, 0);
    struct addr client = v4(1, 0);
    struct asked asked = {0};
    struct ports_claim c;

    (void)state;
    assert_int_equal(ports_claim(p, &c, &client, "x", 0, usable_only, &asked), PORTS_NONE_LEFT);
    assert_int_equal(asked.times, PORTS_TRIES_MAX);
    assert_int_equal(asked.twice, 0);
    assert_true(is_empty(p));
    ports_free(p);
}

static void a_full_range_is_not_even_asked_about(void **state)
{
    struct ports *p = ports_of(500, 500, 0);
    struct addr client = v4(1, 0);
    struct asked asked = {.only = 500};
    struct ports_claim c, d;

    (void)state;
    assert_int_equal(ports_claim(p, &c, &client, "", 0, usable_only, &asked), PORTS_OK);
    assert_int_equal(ports_claim(p, &d, &client, "", 0, usable_only, &asked), PORTS_NONE_LEFT);
    client.port = 4;
    assert_int_equal(ports_claim(p, &d, &client, "", 0, usable_only, &asked), PORTS_NONE_LEFT);
    assert_int_equal(asked.times, 1);
    ports_release(p, &c, 0);
    ports_free(p);
}

static void the_whole_range_can_be_held_by_one_address(void **state)
{
    struct ports *p = ports_of(1, 65535, 0);
    struct ports_claim *c = calloc(65536, sizeof(*c)), *found;

    (void)state;
    assert_non_null(c);
    for (int i = 0; i < 65535; i++) {
        assert_int_equal(take(p, &c[i], v4(1, 0), "", 0), PORTS_OK);
        if (i % 1000 == 0) {
            assert_int_equal(find(p, v4(1, 6), c[i].port, &found), PORTS_UNLOCKED);
            assert_ptr_equal(found, &c[i]);
        }
    }
    assert_int_equal(take(p, &c[65535], v4(1, 0), "", 0), PORTS_NONE_LEFT);
    for (int i = 0; i < 65535; i++)
        ports_release(p, &c[i], 0);
    ports_sweep(p, REST_MS);
    assert_true(is_empty(p));
    free(c);
    ports_free(p);
}

/* Each of 16 ports 1000 times on the average; less than 800 or more than 1200 (over six deviations)
 * would be no chance. */
static void the_choice_is_even(void **state)
{
    struct ports *p = ports_of(640, 655, 0);
    unsigned times[16] = {0};

    (void)state;
    for (uint32_t i = 0; i < 16000; i++) {
        struct ports_claim c;
        assert_int_equal(take(p, &c, v4(i, 0), "", i), PORTS_OK);
        times[c.port - 640]++;
        ports_release(p, &c, i);
    }
    for (int i = 0; i < 16; i++)
        assert_in_range(times[i], 800, 1200);
    ports_free(p);
}

static void freeing_nothing_is_harmless(void **state)
{
    (void)state;
    ports_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unlocked_claim_is_found_from_any_port_of_its_address),
        cmocka_unit_test(locking_leaves_one_port_to_it),
        cmocka_unit_test(a_hint_locks_at_once),
        cmocka_unit_test(a_datagram_from_port_zero_is_a_strangers),
        cmocka_unit_test(one_range_for_each_family),
        cmocka_unit_test(every_octet_of_an_address_counts),
        cmocka_unit_test(thousands_of_clients_share_one_port),
        cmocka_unit_test(the_unlocked_of_a_name_are_capped_wherever_it_comes_from),
        cmocka_unit_test(without_a_name_the_address_is_capped),
        cmocka_unit_test(a_full_range_is_told_and_recovers),
        cmocka_unit_test(ports_that_cannot_be_bound_are_passed_over),
        cmocka_unit_test(one_claim_asks_a_bounded_number_of_times),
        cmocka_unit_test(a_full_range_is_not_even_asked_about),
        cmocka_unit_test(the_whole_range_can_be_held_by_one_address),
        cmocka_unit_test(the_choice_is_even),
        cmocka_unit_test(freeing_nothing_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
