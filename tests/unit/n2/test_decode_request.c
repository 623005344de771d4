/* Requests that nobody should send: what is refused as a whole, what is marked, what may pass. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/lib/n2_fields.h"

/* ---- requests ---- */

/* What is wrong with the only call of a message; the call is given as its field and its octets. */
static enum n2_refusal_code verdict_of(uint64_t id, unsigned field, struct buf *what)
{
    struct n2_arena *a = n2_arena_new();
    struct buf call = fields_buf(), message = fields_buf();
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

static struct buf good_open(void)
{
    struct buf b = fields_buf(), to = fields_endpoint(4, 80);

    raw_message(&b, OPEN_DESTINATIONS, &to);
    raw_octets(&b, OPEN_ASSOCIATION, fields_zeros, ID_LEN);
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
    struct buf b = good_open(), e = fields_endpoint(ip_len, port);

    raw_message(&b, field, &e);
    return verdict_of(1, CALL_OPEN, &b);
}

static enum n2_refusal_code open_with_audit(size_t count, const char *key, const char *value)
{
    struct buf b = good_open();

    for (size_t i = 0; i < count; i++) {
        struct buf audit = fields_buf();
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
        struct buf e = fields_endpoint(ip_len, port);
        raw_message(&b, OPEN_DESTINATIONS, &e);
    }
    return verdict_of(1, CALL_OPEN, &b);
}

static void a_call_needs_an_id_and_something_to_do(void **state)
{
    struct buf watch = fields_buf(), unknown = fields_buf();
    (void)state;

    assert_int_equal(verdict_of(1, CALL_WATCH, &watch), N2_REFUSAL_NONE);
    watch = fields_buf();
    assert_int_equal(verdict_of(0, CALL_WATCH, &watch), N2_BAD);
    assert_int_equal(verdict_of(1, 0, NULL), N2_UNSUPPORTED);
    assert_int_equal(verdict_of(1, 99, &unknown), N2_UNSUPPORTED);
}

static void the_ids_of_an_open_have_their_length(void **state)
{
    static const size_t wrong[] = {0, 1, ID_LEN - 1, ID_LEN + 1, 300};
    (void)state;

    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(open_with_octets(OPEN_ASSOCIATION, fields_zeros, wrong[i]), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_ASSOCIATION, fields_zeros, ID_LEN), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, fields_zeros, 0), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, fields_zeros, ID_LEN), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_PARENT, fields_zeros, ID_LEN - 1), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_SESSION, fields_zeros, N2_SESSION_MAX), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_SESSION, fields_zeros, N2_SESSION_MAX + 1), N2_BAD);
    assert_int_equal(open_with_octets(OPEN_OWNER, fields_letters(255), 255), N2_REFUSAL_NONE);
    assert_int_equal(open_with_octets(OPEN_OWNER, fields_letters(256), 256), N2_BAD);
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

    struct buf b = fields_buf();
    raw_octets(&b, OPEN_ASSOCIATION, fields_zeros, ID_LEN);
    raw_varint(&b, OPEN_KIND, N2_CONNECT);
    assert_int_equal(verdict_of(1, CALL_OPEN, &b), N2_BAD);
}

static void a_bind_may_expect_anybody(void **state)
{
    struct buf b = fields_buf();
    (void)state;

    raw_octets(&b, OPEN_ASSOCIATION, fields_zeros, ID_LEN);
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
    assert_int_equal(open_with_audit(1, fields_letters(64), ""), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(1, fields_letters(65), ""), N2_BAD);
    assert_int_equal(open_with_audit(16, "k", "v"), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(17, "k", "v"), N2_BAD);
    assert_int_equal(open_with_audit(2, "k", fields_letters(1023)), N2_REFUSAL_NONE);
    assert_int_equal(open_with_audit(2, "k", fields_letters(1024)), N2_BAD);
}

static enum n2_refusal_code hello_with(size_t software, size_t protect, size_t ip_len)
{
    struct buf b = fields_buf();

    raw_text(&b, HELLO_SOFTWARE, fields_letters(software));
    for (size_t i = 0; i < protect; i++) {
        struct buf e = fields_endpoint(ip_len, 1080);
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
    struct buf b = fields_buf();

    raw_octets(&b, field, fields_zeros, n);
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
        struct buf call = fields_buf();
        raw_varint(&call, CALL_ID, i + 1);
        raw_octets(&call, field, NULL, 0);
        raw_message(b, REQUEST_CALLS, &call);
    }
}

static int decode_shape(const struct shape *s)
{
    struct n2_arena *a = n2_arena_new();
    struct buf b = fields_buf();
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
    s.server_id = fields_letters(N2_NAME_MAX);
    assert_int_equal(decode_shape(&s), 0);
    s.server_id = fields_letters(N2_NAME_MAX + 1);
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
    struct buf b = fields_buf();
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
    struct n2_open open = {.association = fields_zeros, .kind = N2_CONNECT, .destination_count = 1};
    const struct n2_call call = {.id = 1, .what = N2_OPEN, .u.open = &open};
    struct buf b = fields_buf();
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
