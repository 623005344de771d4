/* Messages that nobody should send: what is refused as a whole, what is marked, what is let pass.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shared/n2/n2_codec.h"
#include "tests/lib/proto_raw.h"
#include "tests/lib/vectors.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { LIMIT = 1 << 21 };

/* Field numbers of proto/n2.proto. */
enum {
    REQUEST_VERSION = 1,
    REQUEST_SERVER_ID,
    REQUEST_SERVER_EPOCH,
    REQUEST_RELAY_EPOCH,
    REQUEST_ACKED,
    REQUEST_CALLS,
    CALL_ID = 1,
    CALL_REMAINING_MS,
    CALL_MUST,
    CALL_HELLO = 8,
    CALL_OPEN,
    CALL_UPDATE,
    CALL_RELEASE,
    CALL_WATCH,
    CALL_INVENTORY,
    ENDPOINT_IP = 1,
    ENDPOINT_PORT,
    HELLO_SOFTWARE = 1,
    HELLO_FEATURES,
    HELLO_PROTECT,
    OPEN_ASSOCIATION = 1,
    OPEN_KIND,
    OPEN_PTCL,
    OPEN_CLIENT,
    OPEN_CLIENT_LOCAL,
    OPEN_DESTINATIONS,
    OPEN_BIND,
    OPEN_LIMITS,
    OPEN_AUDIT,
    OPEN_OWNER,
    OPEN_PARENT,
    OPEN_SESSION,
    UPDATE_ASSOCIATION = 1,
    UPDATE_REVISION,
    RELEASE_ASSOCIATION = 1,
    INVENTORY_AFTER = 1,
    INVENTORY_LIMIT,
    REPLY_VERSION = 1,
    REPLY_RELAY_EPOCH,
    REPLY_ANSWERS,
    REPLY_REFUSED,
    ANSWER_ID = 1,
    ANSWER_REFUSED = 8,
    ANSWER_HELLO,
    ANSWER_OPEN,
    ANSWER_UPDATE,
    ANSWER_RELEASE,
    ANSWER_WATCH,
    ANSWER_INVENTORY,
    REFUSAL_CODE = 1,
    REFUSAL_CAUSE,
    REFUSAL_TEXT,
    HELLO_ANSWER_RELAY_ID = 1,
    HELLO_ANSWER_KINDS = 4,
    HELLO_ANSWER_ADVERTISE = 8,
    HELLO_ANSWER_LEASE_MS = 10,
    HELLO_ANSWER_PROTECT = 12,
    OPEN_ANSWER_STATE = 1,
    OPEN_ANSWER_BOUND,
    OPEN_ANSWER_ENGINE,
    OPEN_ANSWER_TICKET,
    OPEN_ANSWER_PEER,
    EVENT_SEQ = 1,
    EVENT_TYPE,
    EVENT_ASSOCIATION,
    EVENT_OPENED,
    EVENT_FAILED,
    EVENT_PEER,
    EVENT_END,
    HELD_ASSOCIATION = 1,
    HELD_KIND,
    HELD_STATE,
    LEGS_VERSION = 1,
    LEGS_ATTACHES,
    ATTACH_ASSOCIATION = 1,
    ATTACH_TICKET,
    ATTACH_KIND,
    ATTACH_ROLE,
    ATTACH_TO_CLIENT,
    ATTACH_TO_TARGET,
};

static const uint8_t zeros[N2_TO_TARGET_MAX + 1];
static char many_letters[4097];

static int fill_letters(void **state)
{
    (void)state;
    memset(many_letters, 'a', sizeof(many_letters) - 1);
    return 0;
}

/* n letters */
static const char *letters(size_t n)
{
    return many_letters + sizeof(many_letters) - 1 - n;
}

static struct buf new_buf(void)
{
    struct buf b;

    buf_init(&b, LIMIT);
    return b;
}

/* ---- requests ---- */

/* What is wrong with the only call of a message; the call is given as its field and its octets. */
static enum n2_refusal_code verdict_of(uint64_t id, unsigned field, struct buf *what)
{
    struct n2_arena *a = n2_arena_new();
    struct buf call = new_buf(), message = new_buf();
    struct n2_request r;

    raw_varint(&call, CALL_ID, id);
    raw_varint(&call, CALL_REMAINING_MS, 1);
    if (field != 0)
        raw_message(&call, field, what);
    raw_varint(&message, REQUEST_VERSION, 1);
    raw_text(&message, REQUEST_SERVER_ID, "s");
    raw_fixed64(&message, REQUEST_SERVER_EPOCH, 1);
    raw_message(&message, REQUEST_CALLS, &call);
    assert_false(message.failed);
    assert_int_equal(n2_request_decode(a, message.data, message.len, &r), 0);
    assert_int_equal(r.call_count, 1);
    enum n2_refusal_code code = r.calls[0].invalid;
    assert_true((code == N2_REFUSAL_NONE) == (r.calls[0].invalid_text == NULL));
    assert_int_equal(r.calls[0].id, id);
    buf_fini(&message);
    n2_arena_free(a);
    return code;
}

static struct buf endpoint(size_t ip_len, uint64_t port)
{
    struct buf b = new_buf();

    raw_octets(&b, ENDPOINT_IP, zeros, ip_len);
    raw_varint(&b, ENDPOINT_PORT, port);
    return b;
}

static struct buf good_open(void)
{
    struct buf b = new_buf(), to = endpoint(4, 80);

    raw_message(&b, OPEN_DESTINATIONS, &to);
    raw_octets(&b, OPEN_ASSOCIATION, zeros, ID_LEN);
    raw_varint(&b, OPEN_KIND, N2_CONNECT);
    raw_varint(&b, OPEN_PTCL, 6);
    return b;
}

/* A good Open whose field is n octets. Of fields given twice, protobuf takes the last. */
static enum n2_refusal_code open_with_octets(unsigned field, const void *octets, size_t n)
{
    struct buf b = good_open();

    raw_octets(&b, field, octets, n);
    return verdict_of(1, CALL_OPEN, &b);
}

static enum n2_refusal_code open_with_number(unsigned field, uint64_t n)
{
    struct buf b = good_open();

    raw_varint(&b, field, n);
    return verdict_of(1, CALL_OPEN, &b);
}

static enum n2_refusal_code open_with_endpoint(unsigned field, size_t ip_len, uint64_t port)
{
    struct buf b = good_open(), e = endpoint(ip_len, port);

    raw_message(&b, field, &e);
    return verdict_of(1, CALL_OPEN, &b);
}

static enum n2_refusal_code open_with_audit(size_t count, const char *key, const char *value)
{
    struct buf b = good_open();

    for (size_t i = 0; i < count; i++) {
        struct buf audit = new_buf();
        raw_text(&audit, 1, key);
        raw_text(&audit, 2, value);
        raw_message(&b, OPEN_AUDIT, &audit);
    }
    return verdict_of(1, CALL_OPEN, &b);
}

static enum n2_refusal_code open_with_more_destinations(size_t count, size_t ip_len, uint64_t port)
{
    struct buf b = good_open();

    for (size_t i = 0; i < count; i++) {
        struct buf e = endpoint(ip_len, port);
        raw_message(&b, OPEN_DESTINATIONS, &e);
    }
    return verdict_of(1, CALL_OPEN, &b);
}

static void a_call_needs_an_id_and_something_to_do(void **state)
{
    struct buf watch = new_buf(), unknown = new_buf();
    (void)state;

    assert_int_equal(verdict_of(1, CALL_WATCH, &watch), N2_REFUSAL_NONE);
    watch = new_buf();
    assert_int_equal(verdict_of(0, CALL_WATCH, &watch), N2_BAD);
    assert_int_equal(verdict_of(1, 0, NULL), N2_UNSUPPORTED);
    assert_int_equal(verdict_of(1, 99, &unknown), N2_UNSUPPORTED);
}

static void the_ids_of_an_open_have_their_length(void **state)
{
    static const size_t wrong[] = {0, 1, ID_LEN - 1, ID_LEN + 1, 300};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(open_with_octets(OPEN_ASSOCIATION, zeros, wrong[i]), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_ASSOCIATION, zeros, ID_LEN), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, zeros, 0), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, zeros, ID_LEN), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, zeros, ID_LEN - 1), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_SESSION, zeros, N2_SESSION_MAX), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_SESSION, zeros, N2_SESSION_MAX + 1), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_OWNER, letters(255), 255), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_OWNER, letters(256), 256), N2_BAD);
}

static void a_kind_that_is_none_or_unknown_is_unsupported(void **state)
{
    static const uint64_t wrong[] = {0, N2_KINDS, 99, INT32_MAX, UINT64_MAX, UINT64_C(1) << 40};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(open_with_number(OPEN_KIND, wrong[i]), N2_UNSUPPORTED);
    for (uint64_t kind = N2_CONNECT; kind < N2_KINDS; kind++)
        assert_int_equal(open_with_number(OPEN_KIND, kind), N2_REFUSAL_NONE);
}

static void an_endpoint_has_4_or_16_octets_or_none_and_a_port_of_16_bits(void **state)
{
    static const unsigned fields[] = {OPEN_CLIENT, OPEN_CLIENT_LOCAL, OPEN_BIND, OPEN_DESTINATIONS};
    static const size_t wrong[] = {1, 3, 5, 15, 17, 400};
    (void)state;

    for (size_t f = 0; f < COUNT(fields); f++) {
        for (size_t i = 0; i < COUNT(wrong); i++)
            assert_int_equal(open_with_endpoint(fields[f], wrong[i], 80), N2_BAD);
        assert_int_equal(open_with_endpoint(fields[f], 4, 65536), N2_BAD);
        assert_int_equal(open_with_endpoint(fields[f], 4, UINT32_MAX), N2_BAD);
        assert_int_equal(open_with_endpoint(fields[f], 0, 65536), N2_BAD);
        assert_int_equal(open_with_endpoint(fields[f], 4, 65535), N2_REFUSAL_NONE);
        assert_int_equal(open_with_endpoint(fields[f], 16, 80), N2_REFUSAL_NONE);
        if (fields[f] == OPEN_DESTINATIONS)
            continue;
        assert_int_equal(open_with_endpoint(fields[f], 16, 0), N2_REFUSAL_NONE);
        assert_int_equal(open_with_endpoint(fields[f], 0, 80), N2_REFUSAL_NONE);
    }
}

static void an_open_has_1_to_32_whole_destinations(void **state)
{
    (void)state;
    assert_int_equal(open_with_more_destinations(31, 4, 80), N2_REFUSAL_NONE);
    assert_int_equal(open_with_more_destinations(32, 4, 80), N2_BAD);
    assert_int_equal(open_with_more_destinations(10000, 4, 80), N2_BAD);
    assert_int_equal(open_with_more_destinations(1, 4, 0), N2_BAD);
    assert_int_equal(open_with_more_destinations(1, 0, 80), N2_BAD);

    struct buf b = new_buf();
    raw_octets(&b, OPEN_ASSOCIATION, zeros, ID_LEN);
    raw_varint(&b, OPEN_KIND, N2_CONNECT);
    assert_int_equal(verdict_of(1, CALL_OPEN, &b), N2_BAD);
}

static void a_bind_may_expect_anybody(void **state)
{
    struct buf b = new_buf();
    (void)state;

    raw_octets(&b, OPEN_ASSOCIATION, zeros, ID_LEN);
    raw_varint(&b, OPEN_KIND, N2_BIND);
    assert_int_equal(verdict_of(1, CALL_OPEN, &b), N2_REFUSAL_NONE);
}

static void an_audit_is_bounded_and_its_keys_are_words(void **state)
{
    static const char *const wrong[] = {"", "Key", "a key", "key\n", "k\303\244y", "a=b"};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(open_with_audit(1, wrong[i], "v"), N2_BAD);
    assert_int_equal(open_with_audit(1, "az_09", "any\nthing \"else\""), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(1, letters(64), ""), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(1, letters(65), ""), N2_BAD);
    assert_int_equal(open_with_audit(16, "k", "v"), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(17, "k", "v"), N2_BAD);
    assert_int_equal(open_with_audit(2, "k", letters(1023)), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(2, "k", letters(1024)), N2_BAD);
}

static enum n2_refusal_code hello_with(size_t software, size_t protect, size_t ip_len)
{
    struct buf b = new_buf();

    raw_text(&b, HELLO_SOFTWARE, letters(software));
    for (size_t i = 0; i < protect; i++) {
        struct buf e = endpoint(ip_len, 1080);
        raw_message(&b, HELLO_PROTECT, &e);
    }
    return verdict_of(1, CALL_HELLO, &b);
}

static void a_hello_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(hello_with(200, 32, 4), N2_REFUSAL_NONE);
    assert_int_equal(hello_with(201, 0, 4), N2_BAD);
    assert_int_equal(hello_with(1, 33, 4), N2_BAD);
    assert_int_equal(hello_with(1, 1, 5), N2_BAD);
}

static enum n2_refusal_code call_with_octets(unsigned call, unsigned field, size_t n,
                                             uint64_t limit)
{
    struct buf b = new_buf();

    raw_octets(&b, field, zeros, n);
    if (call == CALL_INVENTORY)
        raw_varint(&b, INVENTORY_LIMIT, limit);
    return verdict_of(1, call, &b);
}

static void the_other_calls_are_checked_too(void **state)
{
    static const unsigned calls[] = {CALL_UPDATE, CALL_RELEASE};
    static const size_t wrong[] = {0, 15, 17};
    (void)state;

    for (size_t i = 0; i < COUNT(calls) * COUNT(wrong); i++)
        assert_int_equal(call_with_octets(calls[i / 3], 1, wrong[i % 3], 0), N2_BAD);
    assert_int_equal(call_with_octets(CALL_UPDATE, 1, 16, 0), N2_REFUSAL_NONE);
    assert_int_equal(call_with_octets(CALL_RELEASE, 1, 16, 0), N2_REFUSAL_NONE);
    assert_int_equal(call_with_octets(CALL_INVENTORY, 1, 15, 10), N2_BAD);
    assert_int_equal(call_with_octets(CALL_INVENTORY, 1, 16, 0), N2_BAD);
    assert_int_equal(call_with_octets(CALL_INVENTORY, 1, 16, 1025), N2_BAD);
    assert_int_equal(call_with_octets(CALL_INVENTORY, 1, 16, 1024), N2_REFUSAL_NONE);
    assert_int_equal(call_with_octets(CALL_INVENTORY, 1, 0, 1), N2_REFUSAL_NONE);
}

/* ---- requests as a whole ---- */

struct shape {
    uint64_t version, epoch;
    const char *server_id;
    size_t releases, watches, hellos;
};

static void put_calls(struct buf *b, unsigned field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf call = new_buf();
        raw_varint(&call, CALL_ID, i + 1);
        raw_octets(&call, field, NULL, 0);
        raw_message(b, REQUEST_CALLS, &call);
    }
}

static int decode_shape(const struct shape *s)
{
    struct n2_arena *a = n2_arena_new();
    struct buf b = new_buf();
    struct n2_request r;

    raw_varint(&b, REQUEST_VERSION, s->version);
    raw_text(&b, REQUEST_SERVER_ID, s->server_id);
    raw_fixed64(&b, REQUEST_SERVER_EPOCH, s->epoch);
    put_calls(&b, CALL_RELEASE, s->releases);
    put_calls(&b, CALL_WATCH, s->watches);
    put_calls(&b, CALL_HELLO, s->hellos);
    assert_false(b.failed);
    int rc = n2_request_decode(a, b.data, b.len, &r);
    if (rc == 0)
        assert_int_equal(r.head.version, s->version);
    buf_fini(&b);
    n2_arena_free(a);
    return rc;
}

static void a_head_out_of_range_is_no_request(void **state)
{
    static const char *const wrong[] = {"", "a b", "a/b", "\303\244", "a\n"};
    struct shape s = {1, 1, "az-AZ.09_", 1, 0, 0};
    (void)state;

    assert_int_equal(decode_shape(&s), 0);
    s.epoch = 0;
    assert_int_equal(decode_shape(&s), -1);
    s.epoch = UINT64_MAX;
    assert_int_equal(decode_shape(&s), 0);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        s.server_id = wrong[i];
        assert_int_equal(decode_shape(&s), -1);
    }
    s.server_id = letters(N2_NAME_MAX);
    assert_int_equal(decode_shape(&s), 0);
    s.server_id = letters(N2_NAME_MAX + 1);
    assert_int_equal(decode_shape(&s), -1);
}

static void a_request_has_1_to_1024_calls(void **state)
{
    struct shape s = {1, 1, "s", 0, 0, 0};
    (void)state;

    assert_int_equal(decode_shape(&s), -1);
    s.releases = 1024;
    assert_int_equal(decode_shape(&s), 0);
    s.releases = 1025;
    assert_int_equal(decode_shape(&s), -1);
}

static void a_hello_or_a_watch_stands_alone(void **state)
{
    static const struct shape wrong[] = {
        {1, 1, "s", 1, 1, 0}, {1, 1, "s", 1, 0, 1}, {1, 1, "s", 0, 2, 0}, {1, 1, "s", 0, 1, 1}};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(decode_shape(&wrong[i]), -1);
    assert_int_equal(decode_shape(&(struct shape){1, 1, "s", 0, 1, 0}), 0);
    assert_int_equal(decode_shape(&(struct shape){1, 1, "s", 0, 0, 1}), 0);
}

static void of_another_version_only_the_version_is_read(void **state)
{
    (void)state;
    assert_int_equal(decode_shape(&(struct shape){2, 0, "a b", 0, 0, 0}), 0);
    assert_int_equal(decode_shape(&(struct shape){0, 0, "", 0, 0, 0}), 0);
}

static void a_deadline_beyond_the_longest_counts_as_the_longest(void **state)
{
    struct n2_arena *a = n2_arena_new();
    const struct n2_call call = {.id = 1, .remaining_ms = UINT32_MAX, .what = N2_WATCH};
    struct buf b = new_buf();
    struct n2_request r;
    (void)state;

    n2_put_request_head(&b, &(struct n2_head){1, "s", 1, 1, 0});
    n2_put_call(&b, &call);
    assert_int_equal(n2_request_decode(a, b.data, b.len, &r), 0);
    assert_int_equal(r.calls[0].remaining_ms, N2_DEADLINE_MAX_MS);
    buf_fini(&b);
    n2_arena_free(a);
}

static void an_ipv4_mapped_address_is_its_ipv4_address(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct addr mapped;
    struct n2_open open = {.association = zeros, .kind = N2_CONNECT, .destination_count = 1};
    const struct n2_call call = {.id = 1, .what = N2_OPEN, .u.open = &open};
    struct buf b = new_buf();
    struct n2_request r;
    char text[ADDR_TEXT_MAX];
    (void)state;

    assert_true(addr_parse("[::ffff:127.0.0.1]:80", &mapped));
    assert_int_equal(mapped.family, ADDR_IPV6);
    open.destinations = &mapped;
    open.client = open.bind = mapped;
    n2_put_request_head(&b, &(struct n2_head){1, "s", 1, 1, 0});
    n2_put_call(&b, &call);
    assert_int_equal(n2_request_decode(a, b.data, b.len, &r), 0);
    assert_string_equal(addr_format(&r.calls[0].u.open->destinations[0], text), "127.0.0.1:80");
    assert_string_equal(addr_format(&r.calls[0].u.open->client, text), "127.0.0.1:80");
    assert_string_equal(addr_format(&r.calls[0].u.open->bind, text), "127.0.0.1:80");
    buf_fini(&b);
    n2_arena_free(a);
}

/* ---- replies ---- */

/* Decodes a reply of one answer; *ret lives in a. */
static int decode_answer(struct n2_arena *a, unsigned field, struct buf *what,
                         struct n2_answer *ret)
{
    struct buf answer = new_buf(), message = new_buf();
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
    struct buf b = new_buf(), unknown = new_buf();
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
        struct buf answer = new_buf();
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
    struct buf refusal = new_buf();
    (void)state;

    raw_varint(&refusal, REFUSAL_CODE, 99);
    raw_varint(&refusal, REFUSAL_CAUSE, 99);
    raw_text(&refusal, REFUSAL_TEXT, letters(N2_TEXT_MAX + 1));
    assert_int_equal(decode_answer(a, ANSWER_REFUSED, &refusal, &answer), 0);
    assert_int_equal(answer.what, N2_NONE);
    assert_int_equal(answer.refused.code, N2_BAD);
    assert_int_equal(answer.refused.cause, N2_CAUSE_GENERAL);
    assert_string_equal(answer.refused.text, "");
    refusal = new_buf();
    assert_int_equal(decode_answer(a, ANSWER_REFUSED, &refusal, &answer), 0);
    assert_int_equal(answer.refused.code, N2_BAD);
    n2_arena_free(a);
}

static struct buf hello_answer(const char *relay_id, uint32_t lease)
{
    struct buf b = new_buf();

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
        struct buf e = endpoint(5, 80);
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
    struct buf b = new_buf(), bound = endpoint(ip_len, 80);

    raw_varint(&b, OPEN_ANSWER_STATE, state);
    raw_octets(&b, OPEN_ANSWER_TICKET, zeros, ticket);
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
    struct buf e = new_buf(), watch = new_buf();

    raw_varint(&e, EVENT_TYPE, type);
    raw_octets(&e, EVENT_ASSOCIATION, zeros, association);
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
    struct buf list = new_buf();

    for (size_t i = 0; i < count; i++) {
        struct buf item = new_buf();
        if (field == ANSWER_WATCH) {
            raw_octets(&item, EVENT_ASSOCIATION, zeros, ID_LEN);
        } else {
            raw_octets(&item, HELD_ASSOCIATION, zeros, ID_LEN);
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
    struct buf b = new_buf();

    raw_varint(&b, LEGS_VERSION, s.version);
    for (size_t i = 0; i < s.attaches; i++) {
        struct buf attach = new_buf();
        raw_octets(&attach, ATTACH_ASSOCIATION, zeros, s.association);
        raw_octets(&attach, ATTACH_TICKET, zeros, s.ticket);
        raw_octets(&attach, ATTACH_TO_CLIENT, zeros, s.to_client);
        raw_octets(&attach, ATTACH_TO_TARGET, zeros, s.to_target);
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

/* The neighbours in the message are good: they keep their descriptors. */
static void an_id_or_a_ticket_of_another_length_is_none(void **state)
{
    static const size_t wrong[] = {0, 1, 15, 17, 31, 33};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(decode_legs((struct leg_shape){1, 2, wrong[i], wrong[i], 0, 0}), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_needs_an_id_and_something_to_do),
        cmocka_unit_test(the_ids_of_an_open_have_their_length),
        cmocka_unit_test(a_kind_that_is_none_or_unknown_is_unsupported),
        cmocka_unit_test(an_endpoint_has_4_or_16_octets_or_none_and_a_port_of_16_bits),
        cmocka_unit_test(an_open_has_1_to_32_whole_destinations),
        cmocka_unit_test(a_bind_may_expect_anybody),
        cmocka_unit_test(an_audit_is_bounded_and_its_keys_are_words),
        cmocka_unit_test(a_hello_is_bounded),
        cmocka_unit_test(the_other_calls_are_checked_too),
        cmocka_unit_test(a_head_out_of_range_is_no_request),
        cmocka_unit_test(a_request_has_1_to_1024_calls),
        cmocka_unit_test(a_hello_or_a_watch_stands_alone),
        cmocka_unit_test(of_another_version_only_the_version_is_read),
        cmocka_unit_test(a_deadline_beyond_the_longest_counts_as_the_longest),
        cmocka_unit_test(an_ipv4_mapped_address_is_its_ipv4_address),
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

    return cmocka_run_group_tests(tests, fill_letters, NULL);
}
