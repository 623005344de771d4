/* Replies and legs that nobody should send, and octets that are no message at all. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/lib/n2_fields.h"
#include "tests/lib/vectors.h"

/* ---- replies ---- */

/* Decodes a reply of one answer; *ret lives in a. */
static int decode_answer(struct n2_arena *a, unsigned field, struct buf *what,
                         struct n2_answer *ret)
{
    struct buf answer = fields_buf(), message = fields_buf();
    struct n2_reply r;

    raw_varint(&answer, ANSWER_ID, 1);
    if (field != 0)
        raw_message(&answer, field, what);
    raw_varint(&message, REPLY_VERSION, 1);
    raw_message(&message, REPLY_ANSWERS, &answer);
    int rc = n2_reply_decode(a, message.data, message.len, &r);
    if (rc == 0)
        *ret = r.answers[0];
    buf_fini(&message);
    return rc;
}

static int decodes(unsigned field, struct buf *what)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_answer answer;
    int rc = decode_answer(a, field, what, &answer);

    n2_arena_free(a);
    return rc;
}

static void a_reply_of_another_version_or_without_a_known_answer_is_refused(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_reply r;
    struct buf b = fields_buf(), unknown = fields_buf();
    (void)state;

    raw_varint(&b, REPLY_VERSION, 2);
    assert_int_equal(n2_reply_decode(a, b.data, b.len, &r), -1);
    assert_int_equal(n2_reply_decode(a, NULL, 0, &r), -1);
    assert_int_equal(decodes(0, NULL), -1);
    assert_int_equal(decodes(99, &unknown), -1);
    buf_reset(&b);
    raw_varint(&b, REPLY_VERSION, 1);
    for (int i = 0; i <= N2_CALLS_MAX; i++) {
        assert_int_equal(n2_reply_decode(a, b.data, b.len, &r), 0);
        struct buf answer = fields_buf();
        raw_octets(&answer, ANSWER_UPDATE, NULL, 0);
        raw_message(&b, REPLY_ANSWERS, &answer);
        n2_arena_reset(a);
    }
    assert_int_equal(n2_reply_decode(a, b.data, b.len, &r), -1);
    buf_fini(&b);
    n2_arena_free(a);
}

static void an_unknown_refusal_is_still_a_refusal(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_answer answer;
    struct buf refusal = fields_buf();
    (void)state;

    raw_varint(&refusal, REFUSAL_CODE, 99);
    raw_varint(&refusal, REFUSAL_CAUSE, 99);
    raw_text(&refusal, REFUSAL_TEXT, fields_letters(N2_TEXT_MAX + 1));
    assert_int_equal(decode_answer(a, ANSWER_REFUSED, &refusal, &answer), 0);
    assert_int_equal(answer.what, N2_NONE);
    assert_int_equal(answer.refused.code, N2_BAD);
    assert_int_equal(answer.refused.cause, N2_CAUSE_GENERAL);
    assert_string_equal(answer.refused.text, "");
    refusal = fields_buf();
    assert_int_equal(decode_answer(a, ANSWER_REFUSED, &refusal, &answer), 0);
    assert_int_equal(answer.refused.code, N2_BAD);
    n2_arena_free(a);
}

static struct buf hello_answer(const char *relay_id, uint32_t lease)
{
    struct buf b = fields_buf();

    raw_text(&b, HELLO_ANSWER_RELAY_ID, relay_id);
    raw_varint(&b, HELLO_ANSWER_LEASE_MS, lease);
    return b;
}

static void a_hello_answer_needs_a_name_and_a_lease(void **state)
{
    struct buf b = hello_answer("r", 5000);
    (void)state;

    assert_int_equal(decodes(ANSWER_HELLO, &b), 0);
    b = hello_answer("", 5000);
    assert_int_equal(decodes(ANSWER_HELLO, &b), -1);
    b = hello_answer("r r", 5000);
    assert_int_equal(decodes(ANSWER_HELLO, &b), -1);
    b = hello_answer("r", 0);
    assert_int_equal(decodes(ANSWER_HELLO, &b), -1);
    for (unsigned field = HELLO_ANSWER_ADVERTISE; field <= HELLO_ANSWER_PROTECT; field += 4) {
        struct buf e = fields_endpoint(5, 80);
        b = hello_answer("r", 5000);
        raw_message(&b, field, &e);
        assert_int_equal(decodes(ANSWER_HELLO, &b), -1);
    }
}

static void a_kind_that_only_a_newer_relay_knows_is_left_out(void **state)
{
    static const uint8_t kinds[] = {N2_BIND, 99, N2_CONNECT};
    struct n2_arena *a = n2_arena_new();
    struct n2_answer answer;
    struct buf b = hello_answer("r", 5000);
    (void)state;

    raw_octets(&b, HELLO_ANSWER_KINDS, kinds, sizeof(kinds));
    assert_int_equal(decode_answer(a, ANSWER_HELLO, &b, &answer), 0);
    assert_int_equal(answer.u.hello.kind_count, 2);
    assert_int_equal(answer.u.hello.kinds[0], N2_BIND);
    assert_int_equal(answer.u.hello.kinds[1], N2_CONNECT);
    n2_arena_free(a);
}

static struct buf open_answer(uint64_t state, size_t ticket, size_t ip_len)
{
    struct buf b = fields_buf(), bound = fields_endpoint(ip_len, 80);

    raw_varint(&b, OPEN_ANSWER_STATE, state);
    raw_octets(&b, OPEN_ANSWER_TICKET, fields_zeros, ticket);
    raw_message(&b, OPEN_ANSWER_BOUND, &bound);
    return b;
}

static void an_opened_association_has_a_ticket_and_an_address(void **state)
{
    struct buf b = open_answer(1, N2_TICKET_LEN, 4);
    (void)state;

    assert_int_equal(decodes(ANSWER_OPEN, &b), 0);
    b = open_answer(1, N2_TICKET_LEN - 1, 4);
    assert_int_equal(decodes(ANSWER_OPEN, &b), -1);
    b = open_answer(1, 0, 4);
    assert_int_equal(decodes(ANSWER_OPEN, &b), -1);
    b = open_answer(1, N2_TICKET_LEN, 3);
    assert_int_equal(decodes(ANSWER_OPEN, &b), -1);
    b = open_answer(2, N2_TICKET_LEN, 4);
    assert_int_equal(decodes(ANSWER_OPEN, &b), -1);
    b = open_answer(0, 0, 4);
    assert_int_equal(decodes(ANSWER_OPEN, &b), 0);
}

static struct buf event(uint64_t type, size_t association, uint64_t end)
{
    struct buf e = fields_buf(), watch = fields_buf();

    raw_varint(&e, EVENT_TYPE, type);
    raw_octets(&e, EVENT_ASSOCIATION, fields_zeros, association);
    raw_varint(&e, EVENT_END, end);
    raw_message(&watch, 1, &e);
    return watch;
}

static void an_event_carries_what_its_type_says(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_answer answer;
    struct buf b = event(N2_EVENT_ENDED, ID_LEN, N2_END_IDLE);
    (void)state;

    assert_int_equal(decodes(ANSWER_WATCH, &b), 0);
    b = event(N2_EVENT_ENDED, ID_LEN - 1, N2_END_IDLE);
    assert_int_equal(decodes(ANSWER_WATCH, &b), -1);
    b = event(N2_EVENT_TYPES, ID_LEN, N2_END_IDLE);
    assert_int_equal(decodes(ANSWER_WATCH, &b), -1);
    b = event(N2_EVENT_OPENED, ID_LEN, 0);
    assert_int_equal(decodes(ANSWER_WATCH, &b), -1);
    b = event(N2_EVENT_FAILED, ID_LEN, 0);
    assert_int_equal(decodes(ANSWER_WATCH, &b), -1);
    b = event(N2_EVENT_ENDED, ID_LEN, 99);
    assert_int_equal(decode_answer(a, ANSWER_WATCH, &b, &answer), 0);
    assert_int_equal(answer.u.watch.events[0].end, N2_END_RELAY_ERROR);
    n2_arena_free(a);
}

static int decode_page(unsigned field, size_t count, uint64_t kind, uint64_t held_state)
{
    struct buf list = fields_buf();

    for (size_t i = 0; i < count; i++) {
        struct buf item = fields_buf();
        if (field == ANSWER_WATCH) {
            raw_octets(&item, EVENT_ASSOCIATION, fields_zeros, ID_LEN);
        } else {
            raw_octets(&item, HELD_ASSOCIATION, fields_zeros, ID_LEN);
            raw_varint(&item, HELD_KIND, kind);
            raw_varint(&item, HELD_STATE, held_state);
        }
        raw_message(&list, 1, &item);
    }
    return decodes(field, &list);
}

static void pages_of_events_and_of_what_is_held_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(decode_page(ANSWER_WATCH, 1024, 0, 0), 0);
    assert_int_equal(decode_page(ANSWER_WATCH, 1025, 0, 0), -1);
    assert_int_equal(decode_page(ANSWER_INVENTORY, 1024, N2_CONNECT, N2_HELD_OPENED), 0);
    assert_int_equal(decode_page(ANSWER_INVENTORY, 1025, N2_CONNECT, N2_HELD_OPENED), -1);
    assert_int_equal(decode_page(ANSWER_INVENTORY, 1, N2_KINDS, N2_HELD_OPENED), -1);
    assert_int_equal(decode_page(ANSWER_INVENTORY, 1, N2_CONNECT, N2_HELD_STATES), -1);
}

/* ---- legs ---- */

struct leg_shape {
    uint64_t version;
    size_t attaches, association, ticket, to_client, to_target;
};

static int decode_legs(struct leg_shape s)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_attach got[N2_LEGS_MAX];
    struct buf b = fields_buf();

    raw_varint(&b, LEGS_VERSION, s.version);
    for (size_t i = 0; i < s.attaches; i++) {
        struct buf attach = fields_buf();
        raw_octets(&attach, ATTACH_ASSOCIATION, fields_zeros, s.association);
        raw_octets(&attach, ATTACH_TICKET, fields_zeros, s.ticket);
        raw_octets(&attach, ATTACH_TO_CLIENT, fields_zeros, s.to_client);
        raw_octets(&attach, ATTACH_TO_TARGET, fields_zeros, s.to_target);
        raw_message(&b, LEGS_ATTACHES, &attach);
    }
    int n = n2_legs_decode(a, b.data, b.len, got);
    for (int i = 0; i < n; i++) {
        assert_true((got[i].association == NULL) == (s.association != ID_LEN));
        assert_true((got[i].ticket == NULL) == (s.ticket != N2_TICKET_LEN));
    }
    buf_fini(&b);
    n2_arena_free(a);
    return n;
}

static void legs_out_of_range_are_refused_together(void **state)
{
    (void)state;
    assert_int_equal(decode_legs((struct leg_shape){1, 1, 16, 32, 1024, 16384}), 1);
    assert_int_equal(decode_legs((struct leg_shape){1, 64, 16, 32, 0, 0}), 64);
    assert_int_equal(decode_legs((struct leg_shape){1, 65, 16, 32, 0, 0}), -1);
    assert_int_equal(decode_legs((struct leg_shape){1, 0, 16, 32, 0, 0}), -1);
    assert_int_equal(decode_legs((struct leg_shape){2, 1, 16, 32, 0, 0}), -1);
    assert_int_equal(decode_legs((struct leg_shape){1, 1, 16, 32, 1025, 0}), -1);
    assert_int_equal(decode_legs((struct leg_shape){1, 1, 16, 32, 0, 16385}), -1);
}

/* The neighbours in the message are good: they keep their descriptors. */
static void an_id_or_a_ticket_of_another_length_is_none(void **state)
{
    static const size_t wrong[] = {0, 1, 15, 17, 31, 33};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(decode_legs((struct leg_shape){1, 2, wrong[i], wrong[i], 0, 0}), 2);
}

/* ---- anything at all ---- */

static void run_all(struct n2_arena *a, const uint8_t *octets, size_t len)
{
    struct n2_attach got[N2_LEGS_MAX];
    struct n2_request request;
    struct n2_reply reply;
    uint8_t *copy = malloc(len + 1);

    /* Right up to the end of the block: the sanitizer sees a read beyond. */
    memcpy(copy + 1, octets, len);
    n2_request_decode(a, copy + 1, len, &request);
    n2_reply_decode(a, copy + 1, len, &reply);
    n2_legs_decode(a, copy + 1, len, got);
    n2_arena_reset(a);
    free(copy);
}

static void cut_and_spoilt_messages_are_read_within_their_bounds(void **state)
{
    static const char *const vectors[] = {"n2_request_open_connect", "n2_request_batch",
                                          "n2_reply_hello",          "n2_reply_watch",
                                          "n2_reply_inventory",      "n2_legs"};
    struct n2_arena *a = n2_arena_new();
    (void)state;

    for (size_t v = 0; v < COUNT(vectors); v++) {
        uint8_t golden[VECTOR_MAX];
        size_t len = vector_read(vectors[v], golden);
        for (size_t n = 0; n < len; n++)
            run_all(a, golden, n);
        for (size_t i = 0; i < len; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                golden[i] ^= (uint8_t)(1u << bit);
                run_all(a, golden, len);
                golden[i] ^= (uint8_t)(1u << bit);
            }
        }
    }
    n2_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_of_another_version_or_without_a_known_answer_is_refused),
        cmocka_unit_test(an_unknown_refusal_is_still_a_refusal),
        cmocka_unit_test(a_hello_answer_needs_a_name_and_a_lease),
        cmocka_unit_test(a_kind_that_only_a_newer_relay_knows_is_left_out),
        cmocka_unit_test(an_opened_association_has_a_ticket_and_an_address),
        cmocka_unit_test(an_event_carries_what_its_type_says),
        cmocka_unit_test(pages_of_events_and_of_what_is_held_are_bounded),
        cmocka_unit_test(legs_out_of_range_are_refused_together),
        cmocka_unit_test(an_id_or_a_ticket_of_another_length_is_none),
        cmocka_unit_test(cut_and_spoilt_messages_are_read_within_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
