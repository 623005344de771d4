/* relayd-udp/reassembly.c, with a realloc that can be told to fail. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool memory_is_out;
static unsigned memory_asked;

static void *realloc_or_not(void *p, size_t size)
{
    memory_asked++;
    return memory_is_out ? NULL : realloc(p, size);
}

#define realloc realloc_or_not
#include "relayd-udp/reassembly.c"
#undef realloc

#define PLENTY     (1024 * 1024)
#define LAST_OF(n) (0x80 | (n))

static const uint8_t here[] = {1, 192, 0, 2, 7, 0x1f, 0x90};
static const uint8_t there[] = {1, 192, 0, 2, 7, 0x1f, 0x91};
static const uint8_t zeros[ENGINE_PAYLOAD_MAX + 1];

static struct reassembly r;
static struct reassembly_budget b;
static const uint8_t *payload;
static size_t payload_len;
static unsigned lost;

static int fresh(void **state)
{
    (void)state;
    memset(&r, 0, sizeof(r));
    b = (struct reassembly_budget){.max = PLENTY};
    payload = NULL;
    payload_len = 12345;
    memory_is_out = false;
    memory_asked = 0;
    return 0;
}

/* Whatever has happened: all that was held comes back. */
static int settled(void **state)
{
    (void)state;
    reassembly_abandon(&r, &b);
    return b.held == 0 && r.queue == NULL ? 0 : -1;
}

/* A copy of exactly len octets, gone at once: the sanitizer sees any other, and any later use. */
static enum reassembly_result add_to(const uint8_t *dest, size_t dest_len, uint8_t frag,
                                     const void *data, size_t len, uint64_t now)
{
    uint8_t *to = malloc(dest_len), *copy = malloc(len);
    enum reassembly_result result;

    memcpy(to, dest, dest_len);
    memcpy(copy, data, len);
    lost = 99;
    result = reassembly_add(&r, &b, frag, to, dest_len, len > 0 ? copy : NULL, len, now, &payload,
                            &payload_len, &lost);
    free(to);
    free(copy);
    assert_true(b.held <= b.max);
    return result;
}

static enum reassembly_result add(uint8_t frag, const char *text)
{
    return add_to(here, sizeof(here), frag, text, strlen(text), 0);
}

#define assert_added(frag, text, result, lost_now)                                                 \
    do {                                                                                           \
        assert_int_equal(add(frag, text), result);                                                 \
        assert_int_equal(lost, lost_now);                                                          \
    } while (0)

static void assert_payload(const char *text)
{
    assert_int_equal(payload_len, strlen(text));
    assert_memory_equal(payload, text, payload_len);
}

static void fragments_in_order_become_one_datagram(void **state)
{
    (void)state;
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_added(2, "two ", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(3), "three", REASSEMBLY_WHOLE, 0);
    assert_payload("one two three");
}

static void a_first_fragment_that_is_the_last_is_whole(void **state)
{
    (void)state;
    assert_added(LAST_OF(1), "alone", REASSEMBLY_WHOLE, 0);
    assert_payload("alone");
}

static void all_127_numbers_can_be_used(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 127; n++)
        assert_added((uint8_t)n, "x", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(127), "y", REASSEMBLY_WHOLE, 0);
    assert_int_equal(payload_len, 127);
    assert_int_equal(payload[125], 'x');
    assert_int_equal(payload[126], 'y');
}

static void what_is_not_whole_leaves_the_result_alone(void **state)
{
    (void)state;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(1, "one", REASSEMBLY_DUPLICATE, 1);
    assert_added(3, "three", REASSEMBLY_ABANDONED, 2);
    assert_null(payload);
    assert_int_equal(payload_len, 12345);
}

static void a_whole_datagram_stays_until_the_next_call_and_costs_nothing_behind_it(void **state)
{
    (void)state;
    assert_added(LAST_OF(1), "first", REASSEMBLY_WHOLE, 0);
    assert_true(b.held > 0);
    assert_payload("first");
    assert_added(LAST_OF(1), "second", REASSEMBLY_WHOLE, 0);
    assert_payload("second");
    assert_added(LAST_OF(2), "late", REASSEMBLY_ABANDONED, 1);
    assert_int_equal(b.held, 0);
}

static void a_whole_datagram_is_not_lost_when_it_is_thrown_away(void **state)
{
    (void)state;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(2), "two", REASSEMBLY_WHOLE, 0);
    assert_int_equal(reassembly_abandon(&r, &b), 0);
    assert_int_equal(b.held, 0);
    assert_null(r.queue);
}

static void an_abandoned_queue_tells_how_many_were_lost(void **state)
{
    (void)state;
    assert_int_equal(reassembly_abandon(&r, &b), 0);
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(2, "two", REASSEMBLY_KEPT, 0);
    assert_int_equal(reassembly_abandon(&r, &b), 2);
    assert_int_equal(reassembly_abandon(&r, &b), 0);
    assert_int_equal(b.held, 0);
}

static void a_repeated_number_is_dropped_and_the_queue_goes_on(void **state)
{
    (void)state;
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_added(1, "ONE ", REASSEMBLY_DUPLICATE, 1);
    assert_added(2, "two ", REASSEMBLY_KEPT, 0);
    assert_added(2, "TWO ", REASSEMBLY_DUPLICATE, 1);
    assert_added(LAST_OF(3), "three", REASSEMBLY_WHOLE, 0);
    assert_payload("one two three");
}

static void the_last_bit_does_not_count_when_numbers_are_compared(void **state)
{
    (void)state;
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(1), "alone", REASSEMBLY_DUPLICATE, 1);
    assert_added(2, "two ", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(2), "end", REASSEMBLY_DUPLICATE, 1);
    assert_added(LAST_OF(3), "three", REASSEMBLY_WHOLE, 0);
    assert_payload("one two three");
}

static void the_number_0_with_the_last_bit_changes_nothing(void **state)
{
    (void)state;
    assert_added(LAST_OF(0), "nothing", REASSEMBLY_DUPLICATE, 1);
    assert_null(r.queue);
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(0), "nothing", REASSEMBLY_DUPLICATE, 1);
    assert_added(LAST_OF(2), "two", REASSEMBLY_WHOLE, 0);
    assert_payload("one two");
}

static void a_gap_abandons_the_queue_at_once(void **state)
{
    (void)state;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(2, "two", REASSEMBLY_KEPT, 0);
    assert_added(4, "four", REASSEMBLY_ABANDONED, 3);
    assert_int_equal(b.held, 0);
    assert_added(3, "three", REASSEMBLY_ABANDONED, 1);
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(3), "three", REASSEMBLY_ABANDONED, 2);
    assert_int_equal(b.held, 0);
}

static void nothing_begins_but_with_number_1(void **state)
{
    (void)state;
    for (unsigned frag = 2; frag <= 127; frag++) {
        assert_added((uint8_t)frag, "x", REASSEMBLY_ABANDONED, 1);
        assert_added((uint8_t)LAST_OF(frag), "x", REASSEMBLY_ABANDONED, 1);
        assert_int_equal(b.held, 0);
    }
}

static void a_lower_number_abandons_the_queue_and_itself(void **state)
{
    (void)state;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_added(2, "two", REASSEMBLY_KEPT, 0);
    assert_added(3, "three", REASSEMBLY_KEPT, 0);
    assert_added(2, "two", REASSEMBLY_ABANDONED, 4);
    assert_int_equal(b.held, 0);
}

static void number_1_abandons_a_queue_and_begins_another(void **state)
{
    (void)state;
    assert_added(1, "old ", REASSEMBLY_KEPT, 0);
    assert_added(2, "old ", REASSEMBLY_KEPT, 0);
    assert_added(1, "one ", REASSEMBLY_KEPT, 2);
    assert_added(LAST_OF(2), "two", REASSEMBLY_WHOLE, 0);
    assert_payload("one two");
    assert_added(1, "old ", REASSEMBLY_KEPT, 0);
    assert_added(2, "old ", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(1), "alone", REASSEMBLY_WHOLE, 2);
    assert_payload("alone");
}

static void number_127_that_is_not_the_last_abandons_the_queue(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 127; n++)
        assert_added((uint8_t)n, "x", REASSEMBLY_KEPT, 0);
    assert_added(127, "x", REASSEMBLY_ABANDONED, 127);
    assert_int_equal(b.held, 0);
}

static void another_destination_abandons_the_queue(void **state)
{
    (void)state;
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(there, sizeof(there), LAST_OF(2), "two", 3, 0), REASSEMBLY_ABANDONED);
    assert_int_equal(lost, 2);
    assert_int_equal(b.held, 0);
    assert_added(1, "one ", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(here, sizeof(here) - 1, LAST_OF(2), "two", 3, 0), REASSEMBLY_ABANDONED);
    assert_int_equal(lost, 2);
}

/* Not a duplicate: the rest of the first one was lost, and this is the next datagram. */
static void number_1_to_another_destination_begins_another_queue_even_behind_number_1(void **state)
{
    (void)state;
    assert_added(1, "old ", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(there, sizeof(there), 1, "one ", 4, 0), REASSEMBLY_KEPT);
    assert_int_equal(lost, 1);
    assert_int_equal(add_to(there, sizeof(there), LAST_OF(2), "two", 3, 0), REASSEMBLY_WHOLE);
    assert_int_equal(lost, 0);
    assert_payload("one two");
}

static void the_longest_destination_counts_to_its_last_octet(void **state)
{
    uint8_t dest[259] = {3, 255};

    (void)state;
    memset(dest + 2, 'n', sizeof(dest) - 2);
    assert_int_equal(add_to(dest, sizeof(dest), 1, "one ", 4, 0), REASSEMBLY_KEPT);
    assert_int_equal(add_to(dest, sizeof(dest), LAST_OF(2), "two", 3, 0), REASSEMBLY_WHOLE);
    assert_payload("one two");
    assert_int_equal(add_to(dest, sizeof(dest), 1, "one ", 4, 0), REASSEMBLY_KEPT);
    dest[258]++;
    assert_int_equal(add_to(dest, sizeof(dest), LAST_OF(2), "two", 3, 0), REASSEMBLY_ABANDONED);
}

static void fragments_may_be_empty(void **state)
{
    (void)state;
    assert_added(1, "", REASSEMBLY_KEPT, 0);
    assert_added(2, "two", REASSEMBLY_KEPT, 0);
    assert_added(3, "", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(4), "", REASSEMBLY_WHOLE, 0);
    assert_payload("two");
    assert_added(LAST_OF(1), "", REASSEMBLY_WHOLE, 0);
    assert_int_equal(payload_len, 0);
    assert_non_null(payload);
}

static enum reassembly_result add_zeros(uint8_t frag, size_t len)
{
    return add_to(here, sizeof(here), frag, zeros, len, 0);
}

static void a_sum_of_the_largest_datagram_is_whole_and_one_octet_more_abandons(void **state)
{
    (void)state;
    assert_int_equal(add_zeros(1, ENGINE_PAYLOAD_MAX - 1), REASSEMBLY_KEPT);
    assert_int_equal(add_zeros(LAST_OF(2), 1), REASSEMBLY_WHOLE);
    assert_int_equal(payload_len, ENGINE_PAYLOAD_MAX);
    assert_int_equal(add_zeros(1, ENGINE_PAYLOAD_MAX - 1), REASSEMBLY_KEPT);
    assert_int_equal(add_zeros(LAST_OF(2), 2), REASSEMBLY_ABANDONED);
    assert_int_equal(lost, 2);
    assert_int_equal(b.held, 0);
    assert_int_equal(add_zeros(LAST_OF(1), ENGINE_PAYLOAD_MAX), REASSEMBLY_WHOLE);
    assert_int_equal(add_zeros(LAST_OF(1), ENGINE_PAYLOAD_MAX + 1), REASSEMBLY_ABANDONED);
    assert_int_equal(lost, 1);
}

static void a_queue_never_takes_more_than_the_largest_datagram_and_its_keeping(void **state)
{
    (void)state;
    for (uint8_t n = 1; n <= 50; n++) {
        assert_int_equal(add_zeros(n, 1300), REASSEMBLY_KEPT);
        assert_true(b.held >= n * 1300u);
        assert_true(b.held <= 2 * n * 1300u + 64);
        assert_true(b.held <= ENGINE_PAYLOAD_MAX + sizeof(here) + 64);
    }
    assert_true(memory_asked <= 7);
}

static void the_timer_starts_with_the_first_fragment(void **state)
{
    (void)state;
    assert_false(reassembly_expired(&r, 1000000));
    assert_int_equal(add_to(here, sizeof(here), 1, "one", 3, 1000), REASSEMBLY_KEPT);
    assert_int_equal(add_to(here, sizeof(here), 2, "two", 3, 4000), REASSEMBLY_KEPT);
    assert_int_equal(add_to(here, sizeof(here), 2, "two", 3, 5000), REASSEMBLY_DUPLICATE);
    assert_false(reassembly_expired(&r, 1000));
    assert_false(reassembly_expired(&r, 1000 + REASSEMBLY_TIME_MS - 1));
    assert_true(reassembly_expired(&r, 1000 + REASSEMBLY_TIME_MS));
    assert_int_equal(reassembly_abandon(&r, &b), 2);
    assert_false(reassembly_expired(&r, 1000 + REASSEMBLY_TIME_MS));
}

static void five_seconds_is_the_least_the_rfc_allows(void **state)
{
    (void)state;
    assert_true(REASSEMBLY_TIME_MS >= 5000);
}

static void the_time_can_be_another_one(void **state)
{
    (void)state;
    b.time_ms = 20000;
    assert_int_equal(add_to(here, sizeof(here), 1, "one", 3, 1000), REASSEMBLY_KEPT);
    assert_false(reassembly_expired(&r, 20999));
    assert_true(reassembly_expired(&r, 21000));
    assert_int_equal(add_to(here, sizeof(here), 2, "two", 3, 20999), REASSEMBLY_KEPT);
    assert_int_equal(add_to(here, sizeof(here), LAST_OF(3), "three", 5, 21000),
                     REASSEMBLY_ABANDONED);
}

static void a_fragment_behind_the_time_finds_the_queue_abandoned(void **state)
{
    const uint64_t late = REASSEMBLY_TIME_MS;

    (void)state;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(here, sizeof(here), LAST_OF(2), "two", 3, late - 1), REASSEMBLY_WHOLE);
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(here, sizeof(here), LAST_OF(2), "two", 3, late), REASSEMBLY_ABANDONED);
    assert_int_equal(lost, 2);
    assert_added(1, "old", REASSEMBLY_KEPT, 0);
    assert_int_equal(add_to(here, sizeof(here), 1, "new", 3, late), REASSEMBLY_KEPT);
    assert_int_equal(lost, 1);
    assert_int_equal(add_to(here, sizeof(here), LAST_OF(2), "er", 2, late + 1), REASSEMBLY_WHOLE);
    assert_payload("newer");
}

static void a_whole_datagram_does_not_expire(void **state)
{
    (void)state;
    assert_added(LAST_OF(1), "alone", REASSEMBLY_WHOLE, 0);
    assert_false(reassembly_expired(&r, 1000000));
}

static void memory_is_counted_as_it_is_asked_for(void **state)
{
    (void)state;
    assert_added(1, "12345678", REASSEMBLY_KEPT, 0);
    assert_int_equal(b.held, sizeof(struct reassembly_queue) + sizeof(here) + 8);
}

/* Nothing comes behind the last fragment. */
static void the_last_fragment_takes_nothing_to_spare(void **state)
{
    (void)state;
    assert_added(1, "12345678", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(2), "9", REASSEMBLY_WHOLE, 0);
    assert_int_equal(b.held, sizeof(struct reassembly_queue) + sizeof(here) + 9);
}

static void a_fragment_beyond_the_budget_costs_the_queue(void **state)
{
    (void)state;
    b.max = sizeof(struct reassembly_queue) + sizeof(here) + 8;
    assert_added(1, "12345678", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(2), "9", REASSEMBLY_FULL, 2);
    assert_int_equal(b.held, 0);
    assert_null(r.queue);
    assert_added(1, "123456789", REASSEMBLY_FULL, 1);
    assert_int_equal(b.held, 0);
    assert_added(1, "1", REASSEMBLY_KEPT, 0);
    assert_added(2, "2", REASSEMBLY_KEPT, 0);
    assert_added(1, "123456789", REASSEMBLY_FULL, 3);
    assert_int_equal(b.held, 0);
}

/* What would be spare is not taken when the budget has just enough. */
static void the_last_octet_of_the_budget_can_be_used(void **state)
{
    (void)state;
    b.max = sizeof(struct reassembly_queue) + sizeof(here) + 10;
    assert_added(1, "12345678", REASSEMBLY_KEPT, 0);
    assert_added(2, "9", REASSEMBLY_KEPT, 0);
    assert_added(LAST_OF(3), "0", REASSEMBLY_WHOLE, 0);
    assert_int_equal(b.held, b.max);
    assert_payload("1234567890");
}

static void queues_share_a_budget(void **state)
{
    struct reassembly other = {0};

    (void)state;
    b.max = sizeof(struct reassembly_queue) + sizeof(here) + 8;
    assert_int_equal(reassembly_add(&other, &b, 1, here, sizeof(here), (const uint8_t *)"x", 1, 0,
                                    &payload, &payload_len, &lost),
                     REASSEMBLY_KEPT);
    assert_added(1, "1", REASSEMBLY_FULL, 1);
    assert_int_equal(reassembly_abandon(&other, &b), 1);
    assert_added(1, "1", REASSEMBLY_KEPT, 0);
}

static void a_budget_that_shrinks_below_what_is_held_takes_nothing_more(void **state)
{
    struct reassembly other = {0};
    enum reassembly_result result;

    (void)state;
    assert_added(1, "12345678", REASSEMBLY_KEPT, 0);
    b.max = 5;
    result = reassembly_add(&other, &b, 1, here, sizeof(here), (const uint8_t *)"x", 1, 0, &payload,
                            &payload_len, &lost);
    assert_int_equal(result, REASSEMBLY_FULL);
    assert_null(other.queue);
    assert_int_equal(reassembly_abandon(&r, &b), 1);
    assert_int_equal(b.held, 0);
}

static void without_memory_the_queue_is_gone_and_the_budget_is_right(void **state)
{
    (void)state;
    memory_is_out = true;
    assert_added(1, "one", REASSEMBLY_FULL, 1);
    assert_int_equal(b.held, 0);
    memory_is_out = false;
    assert_added(1, "one", REASSEMBLY_KEPT, 0);
    memory_is_out = true;
    assert_added(2, "a fragment that needs more room", REASSEMBLY_FULL, 2);
    assert_int_equal(b.held, 0);
    assert_null(r.queue);
}

#define case_of(f) cmocka_unit_test_setup_teardown(f, fresh, settled)

int main(void)
{
    const struct CMUnitTest tests[] = {
        case_of(fragments_in_order_become_one_datagram),
        case_of(a_first_fragment_that_is_the_last_is_whole),
        case_of(all_127_numbers_can_be_used),
        case_of(what_is_not_whole_leaves_the_result_alone),
        case_of(a_whole_datagram_stays_until_the_next_call_and_costs_nothing_behind_it),
        case_of(a_whole_datagram_is_not_lost_when_it_is_thrown_away),
        case_of(an_abandoned_queue_tells_how_many_were_lost),
        case_of(a_repeated_number_is_dropped_and_the_queue_goes_on),
        case_of(the_last_bit_does_not_count_when_numbers_are_compared),
        case_of(the_number_0_with_the_last_bit_changes_nothing),
        case_of(a_gap_abandons_the_queue_at_once),
        case_of(nothing_begins_but_with_number_1),
        case_of(a_lower_number_abandons_the_queue_and_itself),
        case_of(number_1_abandons_a_queue_and_begins_another),
        case_of(number_127_that_is_not_the_last_abandons_the_queue),
        case_of(another_destination_abandons_the_queue),
        case_of(number_1_to_another_destination_begins_another_queue_even_behind_number_1),
        case_of(the_longest_destination_counts_to_its_last_octet),
        case_of(fragments_may_be_empty),
        case_of(a_sum_of_the_largest_datagram_is_whole_and_one_octet_more_abandons),
        case_of(a_queue_never_takes_more_than_the_largest_datagram_and_its_keeping),
        case_of(the_timer_starts_with_the_first_fragment),
        case_of(five_seconds_is_the_least_the_rfc_allows),
        case_of(the_time_can_be_another_one),
        case_of(a_fragment_behind_the_time_finds_the_queue_abandoned),
        case_of(a_whole_datagram_does_not_expire),
        case_of(memory_is_counted_as_it_is_asked_for),
        case_of(the_last_fragment_takes_nothing_to_spare),
        case_of(a_fragment_beyond_the_budget_costs_the_queue),
        case_of(the_last_octet_of_the_budget_can_be_used),
        case_of(queues_share_a_budget),
        case_of(a_budget_that_shrinks_below_what_is_held_takes_nothing_more),
        case_of(without_memory_the_queue_is_gone_and_the_budget_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
