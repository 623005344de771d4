/* The messages against golden octets that Python's protobuf made from n2.proto. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/n2/n2_codec.h"
#include "tests/lib/vectors.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- what stands in the vectors ---- */

static const uint8_t id1[ID_LEN] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
                                    0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};
static const uint8_t id2[ID_LEN] = {0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
                                    0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f};
static const uint8_t ticket[N2_TICKET_LEN] = {
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf};

static const uint64_t relay_epoch = UINT64_C(0x99aabbccddeeff01);
static const struct n2_limits limits = {15000, 3600000, 600000, UINT64_C(1) << 40};
static const struct n2_counters counters = {
    .octets_up = 150, .octets_down = UINT64_C(5000000000), .duration_ms = 61000};
/* Of datagrams as well. */
static const struct n2_counters all_counters = {
    .octets_up = 150,
    .octets_down = UINT64_C(5000000000),
    .duration_ms = 61000,
    .datagrams_up = 3,
    .datagrams_down = UINT64_C(1) << 33,
    .dropped = 300,
};
static const char *const features[] = {"bind-port", "octet-limit"};

static struct addr at(const char *text)
{
    struct addr a;

    assert_true(addr_parse(text, &a));
    return a;
}

static struct n2_head head(void)
{
    return (struct n2_head){1, "socksd-1.example_x", UINT64_C(0x1122334455667788), relay_epoch,
                            300};
}

/* ---- both ways ---- */

static void assert_octets(const struct buf *b, const char *vector)
{
    uint8_t golden[VECTOR_MAX];
    size_t len = vector_read(vector, golden);

    assert_false(b->failed);
    assert_int_equal(b->len, len);
    assert_memory_equal(b->data, golden, len);
}

/* A copy of exactly that many octets: the sanitizer sees any read beyond. */
static int decode_request(struct n2_arena *a, const char *vector, struct n2_request *ret)
{
    uint8_t golden[VECTOR_MAX];
    struct buf b;

    buf_init(&b, VECTOR_MAX);
    buf_append(&b, golden, vector_read(vector, golden));
    int rc = n2_request_decode(a, b.data, b.len, ret);
    buf_fini(&b);
    return rc;
}

static void put_request(struct buf *b, const struct n2_head *h, const struct n2_call *calls,
                        size_t n)
{
    n2_put_request_head(b, h);
    for (size_t i = 0; i < n; i++)
        n2_put_call(b, &calls[i]);
}

/* The calls are encoded to the vector's octets, and what the vector is decoded to as well. */
static void request_is(const char *vector, const struct n2_head *h, const struct n2_call *calls,
                       size_t n)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_request r;
    struct buf b;

    buf_init(&b, N2_MESSAGE_MAX);
    put_request(&b, h, calls, n);
    assert_octets(&b, vector);

    assert_int_equal(decode_request(a, vector, &r), 0);
    assert_int_equal(r.call_count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r.calls[i].invalid, N2_REFUSAL_NONE);
        assert_int_equal(r.calls[i].what, calls[i].what);
    }
    buf_reset(&b);
    put_request(&b, &r.head, r.calls, r.call_count);
    assert_octets(&b, vector);
    buf_fini(&b);
    n2_arena_free(a);
}

static void put_reply(struct buf *b, const struct n2_refusal *refused,
                      const struct n2_answer *answers, size_t n)
{
    n2_put_reply_head(b, relay_epoch, refused);
    for (size_t i = 0; i < n; i++)
        n2_put_answer(b, &answers[i]);
}

static void reply_is(const char *vector, const struct n2_refusal *refused,
                     const struct n2_answer *answers, size_t n)
{
    struct n2_arena *a = n2_arena_new();
    uint8_t golden[VECTOR_MAX];
    size_t len = vector_read(vector, golden);
    struct n2_reply r;
    struct buf b;

    buf_init(&b, N2_MESSAGE_MAX);
    put_reply(&b, refused, answers, n);
    assert_octets(&b, vector);

    assert_int_equal(n2_reply_decode(a, golden, len, &r), 0);
    assert_int_equal(r.version, N2_VERSION);
    assert_int_equal(r.relay_epoch, relay_epoch);
    assert_int_equal(r.answer_count, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r.answers[i].id, answers[i].id);
        assert_int_equal(r.answers[i].what, answers[i].what);
    }
    buf_reset(&b);
    put_reply(&b, &r.refused, r.answers, r.answer_count);
    assert_octets(&b, vector);
    buf_fini(&b);
    n2_arena_free(a);
}

/* ---- requests ---- */

static void a_hello_is_as_python_encodes_it(void **state)
{
    const struct addr protect[] = {at("127.0.0.1:1080"), at("[::]:1080")};
    const struct n2_call call = {
        .id = 1,
        .remaining_ms = 5000,
        .what = N2_HELLO,
        .u.hello = {"socksd 0.1.0", features, COUNT(features), protect, COUNT(protect)},
    };
    struct n2_head h = head();
    (void)state;

    h.relay_epoch = h.acked = 0;
    request_is("n2_request_hello", &h, &call, 1);
}

static void an_open_with_every_field_is_as_python_encodes_it(void **state)
{
    const struct addr to[] = {at("[2001:db8::1]:443"), at("198.51.100.9:443")};
    const struct n2_audit audit[] = {{"user", "alice"}, {"dest_name", "www.example.net"}};
    const struct n2_open open = {
        .association = id1,
        .kind = N2_CONNECT,
        .ptcl = 6,
        .client = at("192.0.2.7:50000"),
        .client_local = at("127.0.0.1:1080"),
        .bind = at("203.0.113.7:0"),
        .destinations = to,
        .destination_count = COUNT(to),
        .limits = limits,
        .audit = audit,
        .audit_count = COUNT(audit),
        .owner = "alice",
    };
    const struct n2_call call = {.id = 301,
                                 .remaining_ms = 120000,
                                 .what = N2_OPEN,
                                 .must_understand = &features[1],
                                 .must_count = 1,
                                 .u.open = &open};
    const struct n2_head h = head();
    (void)state;

    request_is("n2_request_open_connect", &h, &call, 1);
}

static const struct n2_open open_bind = {
    .association = id2, .kind = N2_BIND, .ptcl = 6, .bind.port = 20000, .owner = ""};

static void an_open_of_bind_with_a_port_and_no_address_is_as_python_encodes_it(void **state)
{
    const struct n2_call call = {.id = 302,
                                 .remaining_ms = 1,
                                 .what = N2_OPEN,
                                 .must_understand = features,
                                 .must_count = 1,
                                 .u.open = &open_bind};
    const struct n2_head h = head();
    (void)state;

    request_is("n2_request_open_bind", &h, &call, 1);
}

static void update_release_watch_and_inventory_are_as_python_encodes_them(void **state)
{
    const struct n2_head h = head();
    const struct n2_call update = {
        .id = 303, .remaining_ms = 2000, .what = N2_UPDATE, .u.update = {id1, 3, limits, NULL}};
    const struct n2_call release = {
        .id = 304, .remaining_ms = 2000, .what = N2_RELEASE, .u.release = id1};
    const struct n2_call watch = {
        .id = 305, .remaining_ms = 6000, .what = N2_WATCH, .u.watch = {70000, 1666}};
    const struct n2_call inventory = {
        .id = 306, .remaining_ms = 2000, .what = N2_INVENTORY, .u.inventory = {id1, 1024}};
    (void)state;

    request_is("n2_request_update", &h, &update, 1);
    request_is("n2_request_release", &h, &release, 1);
    request_is("n2_request_watch", &h, &watch, 1);
    request_is("n2_request_inventory", &h, &inventory, 1);
}

static struct prefix network(const char *text)
{
    struct prefix p;

    assert_true(prefix_parse(text, &p));
    return p;
}

static void an_open_and_an_update_with_rules_are_as_python_encodes_them(void **state)
{
    static const char *const datagram_rules[] = {"datagram-rules"};
    static const char *const names[] = {"ntp.example.net", ".pool.example.org"};
    static const struct port_span ports[] = {{53, 53}, {1024, 65535}};
    const struct prefix denied[] = {network("192.0.2.0/24"), network("2001:db8::/32")};
    const struct prefix allowed[] = {network("0.0.0.0/0"), network("10.1.0.0/16")};
    const struct n2_rule items[] = {
        {.networks = denied, .network_count = 2, .any_port = true},
        {.allow = true, .names = names, .name_count = 2, .ports = ports, .port_count = 2},
        {.allow = true,
         .networks = allowed,
         .network_count = 2,
         .special = &allowed[1],
         .special_count = 1,
         .any_port = true},
        {.allow = true, .any_destination = true, .opens_special = true, .any_port = true},
    };
    const struct n2_rules rules = {items, COUNT(items)};
    const struct addr to = at("192.0.2.7:40000");
    const struct n2_open open = {.association = id2,
                                 .kind = N2_UDP,
                                 .ptcl = 17,
                                 .client = at("192.0.2.7:0"),
                                 .client_local = at("127.0.0.1:1080"),
                                 .destinations = &to,
                                 .destination_count = 1,
                                 .limits = limits,
                                 .owner = "alice",
                                 .rules = &rules};
    const struct n2_call opened = {.id = 310,
                                   .remaining_ms = 2000,
                                   .what = N2_OPEN,
                                   .must_understand = datagram_rules,
                                   .must_count = 1,
                                   .u.open = &open};
    const struct n2_call updated = {
        .id = 311, .remaining_ms = 2000, .what = N2_UPDATE, .u.update = {id2, 4, limits, &rules}};
    const struct n2_head h = head();
    (void)state;

    request_is("n2_request_open_udp", &h, &opened, 1);
    request_is("n2_request_update_rules", &h, &updated, 1);
}

static void calls_appended_one_by_one_are_one_message(void **state)
{
    const struct n2_head h = head();
    const struct n2_call calls[] = {
        {.id = 307, .remaining_ms = 2000, .what = N2_OPEN, .u.open = &open_bind},
        {.id = 308, .remaining_ms = 2000, .what = N2_RELEASE, .u.release = id1},
        {.id = 309, .remaining_ms = 2000, .what = N2_INVENTORY, .u.inventory = {NULL, 1}},
    };
    (void)state;

    request_is("n2_request_batch", &h, calls, COUNT(calls));
}

static void fields_that_nobody_uses_yet_do_no_harm(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_request r;
    (void)state;

    assert_int_equal(decode_request(a, "n2_request_open_seats", &r), 0);
    assert_int_equal(r.calls[0].invalid, N2_REFUSAL_NONE);
    assert_memory_equal(r.calls[0].u.open->association, id2, ID_LEN);
    n2_arena_free(a);
}

/* ---- replies ---- */

static void a_hello_answer_is_as_python_encodes_it(void **state)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_BIND};
    static const uint32_t ptcls[] = {6, 132}, families[] = {4, 6};
    static const char *const engines[] = {"splice", "copy"};
    const struct addr advertise[] = {at("203.0.113.7:0"), at("[2001:db8::1]:0")};
    const struct addr protect[] = {at("127.0.0.1:9080")};
    const struct n2_answer answer = {
        .id = 1,
        .what = N2_HELLO,
        .u.hello = {.relay_id = "relay-a",
                    .software = "relayd-tcp 0.1.0",
                    .legs = "unix:/run/relayd-tcp/legs.sock",
                    .features = features,
                    .feature_count = 2,
                    .kinds = kinds,
                    .kind_count = 2,
                    .ptcls = ptcls,
                    .ptcl_count = 2,
                    .engines = engines,
                    .engine_count = 2,
                    .families = families,
                    .family_count = 2,
                    .advertise = advertise,
                    .advertise_count = 2,
                    .protect = protect,
                    .protect_count = 1,
                    .capacity = 10000,
                    .quota = 5000,
                    .lease_ms = 5000},
    };
    (void)state;

    reply_is("n2_reply_hello", NULL, &answer, 1);
}

static struct n2_open_answer opened(void)
{
    return (struct n2_open_answer){true, at("203.0.113.7:40001"), at("[2001:db8::1]:443"), "copy",
                                   ticket};
}

static void the_answers_of_an_open_are_as_python_encodes_them(void **state)
{
    const struct n2_answer at_once = {.id = 301, .what = N2_OPEN, .u.open = opened()};
    const struct n2_answer pending = {.id = 301, .what = N2_OPEN};
    (void)state;

    reply_is("n2_reply_open_opened", NULL, &at_once, 1);
    reply_is("n2_reply_open_pending", NULL, &pending, 1);
}

static void the_answers_of_update_and_release_are_as_python_encodes_them(void **state)
{
    const struct n2_answer update = {.id = 303, .what = N2_UPDATE, .u.update_revision = 3};
    const struct n2_answer known = {
        .id = 304, .what = N2_RELEASE, .u.release = {.known = true, .counters = counters}};
    const struct n2_answer unknown = {.id = 304, .what = N2_RELEASE};
    (void)state;

    reply_is("n2_reply_update", NULL, &update, 1);
    reply_is("n2_reply_release", NULL, &known, 1);
    reply_is("n2_reply_release_unknown", NULL, &unknown, 1);
}

static void refusals_of_a_call_and_of_a_message_are_as_python_encodes_them(void **state)
{
    const struct n2_answer answers[] = {
        {.id = 301, .refused = {N2_UNREACHABLE, N2_CAUSE_TIMED_OUT, "no answer"}},
        {.id = 302, .what = N2_OPEN},
    };
    const struct n2_refusal bad = {N2_BAD, N2_CAUSE_NONE, "not a Request"};
    (void)state;

    reply_is("n2_reply_refused_call", NULL, answers, 2);
    reply_is("n2_reply_refused_message", &bad, NULL, 0);
}

static void a_watch_answer_with_every_event_is_as_python_encodes_it(void **state)
{
    struct n2_event events[] = {
        {.seq = 70001, .type = N2_EVENT_OPENED, .opened = opened()},
        {.seq = 70002, .type = N2_EVENT_FAILED, .failed = {N2_UNREACHABLE, N2_CAUSE_REFUSED, NULL}},
        {.seq = 70003, .type = N2_EVENT_PEER, .peer = at("192.0.2.7:50001")},
        {.seq = 70004, .type = N2_EVENT_LOCKED, .peer = at("[2001:db8::1]:50002")},
        {.seq = 70005,
         .type = N2_EVENT_ENDED,
         .end = N2_END_HALF_CLOSED_IDLE,
         .counters = counters},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(events); i++)
        memcpy(events[i].association, i % 2 == 0 ? id1 : id2, ID_LEN);
    const struct n2_answer busy = {
        .id = 305,
        .what = N2_WATCH,
        .u.watch = {events, COUNT(events), true, true, {3, 10000, 19994, 1}, 70009},
    };
    const struct n2_answer quiet = {
        .id = 305,
        .what = N2_WATCH,
        .u.watch = {NULL, 0, false, false, {0, 10000, 20000, 0}, 70009}};
    reply_is("n2_reply_watch", NULL, &busy, 1);
    reply_is("n2_reply_watch_quiet", NULL, &quiet, 1);
}

static void an_inventory_is_as_python_encodes_it(void **state)
{
    struct n2_held held[] = {
        {.kind = N2_BIND, .state = N2_HELD_PENDING, .server_epoch = 5},
        {.kind = N2_CONNECT,
         .state = N2_HELD_ATTACHED,
         .server_epoch = UINT64_C(0x1122334455667788),
         .counters = counters},
    };
    const struct n2_answer answer = {
        .id = 306, .what = N2_INVENTORY, .u.inventory = {held, 2, true, 70009}};
    (void)state;

    memcpy(held[0].association, id1, ID_LEN);
    memcpy(held[1].association, id2, ID_LEN);
    reply_is("n2_reply_inventory", NULL, &answer, 1);
}

/* ---- what datagrams add ---- */

static void the_release_of_a_udp_association_is_as_python_encodes_it(void **state)
{
    const struct n2_answer answer = {
        .id = 304,
        .what = N2_RELEASE,
        .u.release = {.known = true, .counters = all_counters, .client = at("192.0.2.7:50001")},
    };
    (void)state;

    reply_is("n2_reply_release_udp", NULL, &answer, 1);
}

static void the_events_of_a_udp_association_are_as_python_encodes_them(void **state)
{
    struct n2_event events[] = {
        {.seq = 70001, .type = N2_EVENT_LOCKED, .peer = at("192.0.2.7:50001")},
        {.seq = 70002,
         .type = N2_EVENT_ENDED,
         .peer = at("[2001:db8::1]:50002"),
         .end = N2_END_UNUSED,
         .counters = all_counters},
    };
    const struct n2_answer answer = {
        .id = 305,
        .what = N2_WATCH,
        .u.watch = {events, COUNT(events), false, false, {1, 10000, 19998, 9999}, 70002},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(events); i++)
        memcpy(events[i].association, id2, ID_LEN);
    reply_is("n2_reply_watch_udp", NULL, &answer, 1);
}

static void a_held_udp_association_is_as_python_encodes_it(void **state)
{
    struct n2_held held = {.kind = N2_UDP,
                           .state = N2_HELD_OPENED,
                           .server_epoch = UINT64_C(0x1122334455667788),
                           .counters = all_counters};
    const struct n2_answer answer = {
        .id = 306, .what = N2_INVENTORY, .u.inventory = {&held, 1, false, 70002}};
    (void)state;

    memcpy(held.association, id2, ID_LEN);
    reply_is("n2_reply_inventory_udp", NULL, &answer, 1);
}

/* Every counter has a field of its own, and each comes back as far as it goes. */
static void counters_come_back_each_as_it_was(void **state)
{
    struct n2_arena *a = n2_arena_new();
    (void)state;

    for (size_t which = 0; which < 6; which++) {
        uint64_t values[6] = {0};
        values[which] = UINT64_MAX - which;
        const struct n2_counters c = {values[0], values[1], values[2],
                                      values[3], values[4], values[5]};
        const struct n2_answer answer = {
            .id = 1, .what = N2_RELEASE, .u.release = {.known = true, .counters = c}};
        struct n2_reply r;
        struct buf b;

        buf_init(&b, N2_MESSAGE_MAX);
        put_reply(&b, NULL, &answer, 1);
        assert_int_equal(n2_reply_decode(a, b.data, b.len, &r), 0);
        const struct n2_counters *got = &r.answers[0].u.release.counters;
        assert_true(r.answers[0].u.release.known);
        assert_int_equal(got->octets_up, values[0]);
        assert_int_equal(got->octets_down, values[1]);
        assert_int_equal(got->duration_ms, values[2]);
        assert_int_equal(got->datagrams_up, values[3]);
        assert_int_equal(got->datagrams_down, values[4]);
        assert_int_equal(got->dropped, values[5]);
        assert_int_equal(r.answers[0].u.release.client.family, ADDR_NONE);
        buf_fini(&b);
        n2_arena_reset(a);
    }
    n2_arena_free(a);
}

/* ---- legs ---- */

static void legs_are_as_python_encodes_them(void **state)
{
    static const uint8_t reply[] = {5, 0, 0, 1, 203, 0, 113, 7, 5, 220};
    static const char early[] = "GET / HTTP/1.0\r\n\r\n";
    uint8_t reversed[N2_TICKET_LEN];
    for (size_t i = 0; i < N2_TICKET_LEN; i++)
        reversed[i] = ticket[N2_TICKET_LEN - 1 - i];
    const struct n2_attach attaches[] = {
        {.association = id1, .ticket = ticket, .kind = N2_LEG_PLAIN_FD},
        {id2, reversed, N2_LEG_TICKET, N2_ROLE_HANDSHAKE, reply, (const uint8_t *)early,
         sizeof(reply), sizeof(early) - 1},
    };
    struct n2_arena *a = n2_arena_new();
    struct n2_attach got[N2_LEGS_MAX];
    uint8_t golden[VECTOR_MAX];
    size_t len = vector_read("n2_legs", golden);
    struct buf b;
    (void)state;

    buf_init(&b, N2_LEG_MESSAGE_MAX);
    n2_put_legs_head(&b);
    for (size_t i = 0; i < COUNT(attaches); i++)
        n2_put_attach(&b, &attaches[i]);
    assert_octets(&b, "n2_legs");

    assert_int_equal(n2_legs_decode(a, golden, len, got), 2);
    buf_reset(&b);
    n2_put_legs_head(&b);
    for (size_t i = 0; i < COUNT(attaches); i++)
        n2_put_attach(&b, &got[i]);
    assert_octets(&b, "n2_legs");
    buf_fini(&b);
    n2_arena_free(a);
}

/* ---- the buffer's end, the arena's ---- */

static void a_message_that_does_not_fit_is_marked_and_nothing_is_written_beyond(void **state)
{
    const struct n2_head h = head();
    const struct n2_event event = {.seq = 1, .type = N2_EVENT_ENDED};
    const struct n2_answer watch = {
        .id = 1, .what = N2_WATCH, .u.watch = {.events = &event, .event_count = 1}};
    const struct n2_held held = {.kind = N2_BIND};
    const struct n2_answer page = {
        .id = 1, .what = N2_INVENTORY, .u.inventory = {&held, 1, false, 1}};
    const struct n2_answer pending = {.id = 1, .what = N2_OPEN};
    const struct n2_answer *answers[] = {&watch, &page, &pending};
    struct buf b;
    (void)state;

    for (size_t i = 0; i < COUNT(answers); i++) {
        buf_init(&b, N2_MESSAGE_MAX);
        n2_put_answer(&b, answers[i]);
        assert_false(b.failed);
        size_t whole = b.len;
        buf_fini(&b);
        for (size_t room = 0; room < whole; room++) {
            buf_init(&b, room);
            n2_put_answer(&b, answers[i]);
            assert_true(b.failed);
            assert_true(b.len <= room);
            buf_fini(&b);
        }
    }
    buf_init(&b, 10);
    n2_put_request_head(&b, &h);
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void an_arena_serves_message_after_message(void **state)
{
    struct n2_arena *a = n2_arena_new();
    struct n2_request r;
    (void)state;

    for (int i = 0; i < 1000; i++) {
        assert_int_equal(decode_request(a, "n2_request_batch", &r), 0);
        assert_memory_equal(r.calls[1].u.release, id1, ID_LEN);
        if (i % 100 == 99)
            n2_arena_reset(a);
    }
    n2_arena_free(a);
    n2_arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_is_as_python_encodes_it),
        cmocka_unit_test(an_open_with_every_field_is_as_python_encodes_it),
        cmocka_unit_test(an_open_of_bind_with_a_port_and_no_address_is_as_python_encodes_it),
        cmocka_unit_test(update_release_watch_and_inventory_are_as_python_encodes_them),
        cmocka_unit_test(an_open_and_an_update_with_rules_are_as_python_encodes_them),
        cmocka_unit_test(calls_appended_one_by_one_are_one_message),
        cmocka_unit_test(fields_that_nobody_uses_yet_do_no_harm),
        cmocka_unit_test(a_hello_answer_is_as_python_encodes_it),
        cmocka_unit_test(the_answers_of_an_open_are_as_python_encodes_them),
        cmocka_unit_test(the_answers_of_update_and_release_are_as_python_encodes_them),
        cmocka_unit_test(refusals_of_a_call_and_of_a_message_are_as_python_encodes_them),
        cmocka_unit_test(a_watch_answer_with_every_event_is_as_python_encodes_it),
        cmocka_unit_test(an_inventory_is_as_python_encodes_it),
        cmocka_unit_test(the_release_of_a_udp_association_is_as_python_encodes_it),
        cmocka_unit_test(the_events_of_a_udp_association_are_as_python_encodes_them),
        cmocka_unit_test(a_held_udp_association_is_as_python_encodes_it),
        cmocka_unit_test(counters_come_back_each_as_it_was),
        cmocka_unit_test(legs_are_as_python_encodes_them),
        cmocka_unit_test(a_message_that_does_not_fit_is_marked_and_nothing_is_written_beyond),
        cmocka_unit_test(an_arena_serves_message_after_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
