/* shared/client/handshake.c: conversations with a proxy that is played from golden octets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shared/client/handshake.h"
#include "tests/lib/vectors.h"

static const struct addr target = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 8080};
static const struct addr target6 = {
    .family = ADDR_IPV6, .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 7}, .port = 8080};

static struct dest dest_of(const struct addr *a)
{
    return (struct dest){.addr = *a};
}

static struct dest name_of(const char *name, uint16_t port)
{
    struct dest d = {.addr.port = port};

    strcpy(d.name, name);
    return d;
}

/* What the proxy will say, from golden messages; and what it should hear. */
struct script {
    uint8_t says[VECTOR_MAX], hears[2 * VECTOR_MAX];
    size_t says_len, hears_len;
};

static void says(struct script *s, const char *vector)
{
    vector_append(vector, s->says, &s->says_len);
}

static void hears(struct script *s, const char *vector)
{
    vector_append(vector, s->hears, &s->hears_len);
}

/* Takes what there is to send. */
static void send_all(struct client_handshake *h, uint8_t *to, size_t *len)
{
    size_t n;
    const uint8_t *out = handshake_output(h, &n);

    memcpy(to + *len, out, n);
    *len += n;
    handshake_sent(h, n);
    handshake_output(h, &n);
    assert_int_equal(n, 0);
}

/* Gives it a piece, copied so that the sanitizer sees reads outside; false once it takes no more.
 */
static bool give(struct client_handshake *h, const uint8_t *piece, size_t len, size_t *at,
                 uint8_t *heard, size_t *heard_len)
{
    uint8_t *copy = malloc(len);
    size_t done = 0, n;

    memcpy(copy, piece, len);
    do {
        n = handshake_take(h, copy + done, len - done);
        assert_true(n <= len - done);
        done += n;
        send_all(h, heard, heard_len);
    } while (n > 0 && done < len);
    free(copy);
    *at += done;
    return done == len;
}

/* Plays the script, cut at two places; returns how many octets were taken. The proxy answers as
 * soon as it was heard from. */
static size_t play_cut(struct client_handshake *h, const struct handshake_request *r,
                       const struct script *s, size_t first, size_t second)
{
    const size_t ends[] = {first, second, s->says_len};
    uint8_t heard[2 * VECTOR_MAX];
    size_t heard_len = 0, at = 0;

    assert_int_equal(handshake_init(h, r), SOCKSC_MORE);
    send_all(h, heard, &heard_len);
    for (size_t i = 0; i < 3; i++)
        if (ends[i] > at && !give(h, s->says + at, ends[i] - at, &at, heard, &heard_len))
            break;
    assert_int_equal(heard_len, s->hears_len);
    assert_memory_equal(heard, s->hears, heard_len);
    return at;
}

static void same(const struct client_handshake *a, const struct client_handshake *b)
{
    assert_int_equal(a->result, b->result);
    assert_int_equal(a->code, b->code);
    assert_true(addr_equal(&a->bound.addr, &b->bound.addr));
    assert_string_equal(a->bound.name, b->bound.name);
    assert_true(addr_equal(&a->peer.addr, &b->peer.addr));
    assert_string_equal(handshake_sentence(a), handshake_sentence(b));
}

/* Plays it in one piece, then in every three. *ret is how it ended; returns what was taken. */
static size_t play(const struct handshake_request *r, const struct script *s,
                   struct client_handshake *ret)
{
    size_t taken = play_cut(ret, r, s, 0, 0);
    struct client_handshake h;

    for (size_t first = 0; first <= s->says_len; first++)
        for (size_t second = first; second <= s->says_len; second++) {
            size_t n = play_cut(&h, r, s, first, second);

            same(&h, ret);
            if (ret->result == SOCKSC_DONE)
                assert_int_equal(n, taken);
            handshake_fini(&h);
        }
    handshake_fini(ret);
    return taken;
}

static void connect_without_login_is_granted(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_CONNECT,
                                        .dest = name_of("www.example.net", 80)};
    const struct addr bound = addr_ipv4((const uint8_t[]){198, 51, 100, 1}, 40000);
    struct script s = {0};
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_greeting_none");
    says(&s, "socks5_selection_none");
    hears(&s, "socks5_request_connect_name");
    says(&s, "socks5_reply_succeeded_ipv4");
    assert_int_equal(play(&r, &s, &h), s.says_len);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_true(addr_equal(&h.bound.addr, &bound));
    assert_string_equal(handshake_sentence(&h), "granted");
}

static void what_follows_the_reply_is_payload_and_left_alone(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};
    struct script s = {0};
    struct client_handshake h;
    size_t whole;

    (void)state;
    hears(&s, "socks5_greeting_none");
    says(&s, "socks5_selection_none");
    hears(&s, "socks5_request_connect_ipv4");
    says(&s, "socks5_reply_succeeded_ipv6");
    whole = s.says_len;
    says(&s, "socks5_reply_succeeded_ipv6"); /* looks like another one */
    assert_int_equal(play(&r, &s, &h), whole);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_int_equal(handshake_take(&h, s.says, s.says_len), 0);
}

static const struct handshake_request alice = {
    .command = SOCKSC_CONNECT,
    .dest = {.addr = {.family = ADDR_IPV4, .ip = {192, 0, 2, 7}, .port = 8080}},
    .user = "alice",
    .password = "secret",
};

static struct script login_script(const char *selection)
{
    struct script s = {.hears = {5, 2, 0, 2}, .hears_len = 4};

    says(&s, selection);
    return s;
}

static void a_login_is_made_when_the_proxy_wants_it(void **state)
{
    struct script s = login_script("socks5_selection_userpass");
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_userpass_request");
    says(&s, "socks5_userpass_status_success");
    hears(&s, "socks5_request_connect_ipv4");
    says(&s, "socks5_reply_succeeded_ipv4");
    assert_int_equal(play(&alice, &s, &h), s.says_len);
    assert_int_equal(h.result, SOCKSC_DONE);
}

static void a_login_is_not_told_when_the_proxy_wants_none(void **state)
{
    struct script s = login_script("socks5_selection_none");
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_request_connect_ipv4");
    says(&s, "socks5_reply_succeeded_ipv4");
    play(&alice, &s, &h);
    assert_int_equal(h.result, SOCKSC_DONE);
}

static void a_wrong_login_ends_it(void **state)
{
    struct script s = login_script("socks5_selection_userpass");
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_userpass_request");
    says(&s, "socks5_userpass_status_failure");
    play(&alice, &s, &h);
    assert_int_equal(h.result, SOCKSC_BAD_LOGIN);
}

/* Whatever was sent, skipped, refused or thrown away. */
static void passwords_do_not_stay_in_memory(void **state)
{
    static const char *const endings[] = {"socks5_selection_userpass", "socks5_selection_none",
                                          "socks5_selection_no_acceptable", NULL};

    (void)state;
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        struct client_handshake h;
        uint8_t rubbish[2 * VECTOR_MAX];
        size_t len = 0, at = 0;
        struct script s = {0};

        assert_int_equal(handshake_init(&h, &alice), SOCKSC_MORE);
        assert_non_null(memmem(&h, sizeof(h), "secret", 6));
        send_all(&h, rubbish, &len);
        if (endings[i] != NULL) {
            says(&s, endings[i]);
            give(&h, s.says, s.says_len, &at, rubbish, &len);
        } else {
            handshake_end(&h);
        }
        assert_null(memmem(&h, sizeof(h), "secret", 6));
    }
}

static void bind_has_two_replies(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_BIND, .dest = dest_of(&target)};
    const struct addr bound = addr_ipv4((const uint8_t[]){198, 51, 100, 1}, 40000);
    struct script s = {.hears = {5, 1, 0, 5, 2, 0, 1, 192, 0, 2, 7, 0x1f, 0x90}, .hears_len = 13};
    uint8_t rubbish[64];
    struct client_handshake h;
    size_t len = 0, at = 0;

    (void)state;
    says(&s, "socks5_selection_none");
    says(&s, "socks5_reply_succeeded_ipv4");
    assert_int_equal(handshake_init(&h, &r), SOCKSC_MORE);
    send_all(&h, rubbish, &len);
    give(&h, s.says, s.says_len, &at, rubbish, &len);
    assert_int_equal(h.result, SOCKSC_LISTENING);
    assert_true(addr_equal(&h.bound.addr, &bound));
    says(&s, "socks5_reply_succeeded_ipv6");
    assert_int_equal(play(&r, &s, &h), s.says_len);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_true(addr_equal(&h.bound.addr, &bound));
    assert_int_equal(h.peer.addr.family, ADDR_IPV6);
}

static void bind_may_fail_at_its_second_reply(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_BIND, .dest = dest_of(&target)};
    struct script s = {.hears = {5, 1, 0, 5, 2, 0, 1, 192, 0, 2, 7, 0x1f, 0x90}, .hears_len = 13};
    struct client_handshake h;

    (void)state;
    says(&s, "socks5_selection_none");
    says(&s, "socks5_reply_succeeded_ipv4");
    says(&s, "socks5_reply_refused");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_REFUSED);
    assert_int_equal(h.code, 5);
}

static void udp_associate_is_asked(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_UDP_ASSOCIATE,
                                        .dest.addr = {.family = ADDR_IPV4}};
    struct script s = {0};
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_greeting_none");
    says(&s, "socks5_selection_none");
    hears(&s, "socks5_request_udp_associate");
    says(&s, "socks5_reply_succeeded_ipv4");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_int_equal(h.bound.addr.port, 40000);
}

static struct handshake_request transparent(void)
{
    return (struct handshake_request){
        .command = SOCKSC_TRANSPARENT,
        .dest = dest_of(&target),
        .protocol = 6,
        .source.addr = {.family = ADDR_IPV4, .ip = {198, 51, 100, 9}, .port = 50000}};
}

static void transparent_is_asked(void **state)
{
    const struct handshake_request r = transparent();
    struct script s = {0};
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_greeting_none");
    says(&s, "socks5_selection_none");
    hears(&s, "socks5_transparent_ipv4");
    says(&s, "socks5_reply_succeeded_ipv4");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_DONE);
}

static void code_9_is_about_the_protocol_for_transparent_only(void **state)
{
    struct handshake_request r = transparent();
    struct script s = {0};
    struct client_handshake h;

    (void)state;
    hears(&s, "socks5_greeting_none");
    says(&s, "socks5_selection_none");
    hears(&s, "socks5_transparent_ipv4");
    says(&s, "socks5_reply_protocol_not_served");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_REFUSED);
    assert_int_equal(h.code, 9);
    assert_string_equal(handshake_sentence(&h), "protocol not supported");

    r.command = SOCKSC_CONNECT;
    s.hears_len = 0;
    hears(&s, "socks5_greeting_none");
    hears(&s, "socks5_request_connect_ipv4");
    play(&r, &s, &h);
    assert_string_equal(handshake_sentence(&h), "invalid address");
}

static void every_code_has_a_sentence(void **state)
{
    const struct handshake_request r5 = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};
    const struct handshake_request r4 = {
        .version = SOCKSC_SOCKS4, .command = SOCKSC_CONNECT, .dest = dest_of(&target)};

    (void)state;
    for (unsigned code = 1; code <= 255; code++) {
        const uint8_t five[] = {5, 0, 5, (uint8_t)code, 0, 1, 0, 0, 0, 0, 0, 0};
        const uint8_t four[] = {0, (uint8_t)code, 0, 0, 0, 0, 0, 0};
        uint8_t rubbish[VECTOR_MAX];
        struct client_handshake h;
        size_t len = 0, at = 0;

        handshake_init(&h, &r5);
        send_all(&h, rubbish, &len);
        give(&h, five, sizeof(five), &at, rubbish, &len);
        assert_int_equal(h.result, SOCKSC_REFUSED);
        assert_int_equal(h.code, code);
        assert_non_null(handshake_sentence(&h));
        handshake_init(&h, &r4);
        len = 0;
        send_all(&h, rubbish, &len);
        give(&h, four, sizeof(four), &at, rubbish, &len);
        assert_int_equal(h.result, code == 90 ? SOCKSC_DONE : SOCKSC_REFUSED);
        assert_non_null(handshake_sentence(&h));
    }
}

static void socks4_is_one_question_and_one_answer(void **state)
{
    struct handshake_request r = {
        .version = SOCKSC_SOCKS4, .command = SOCKSC_CONNECT, .dest.addr = {.family = ADDR_IPV4}};
    struct script s = {.hears = {4, 1, 0, 80, 192, 0, 2, 7, 'F', 'r', 'e', 'd', 0},
                       .hears_len = 13};
    struct client_handshake h;

    (void)state;
    r.dest.addr = addr_ipv4((const uint8_t[]){192, 0, 2, 7}, 80);
    r.user = "Fred";
    says(&s, "socks4_reply_granted");
    assert_int_equal(play(&r, &s, &h), s.says_len);
    assert_int_equal(h.result, SOCKSC_DONE);
    s.says_len = 0;
    says(&s, "socks4_reply_rejected");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_REFUSED);
    assert_int_equal(h.code, 91);
    assert_string_equal(handshake_sentence(&h), "rejected or failed");
}

static void socks4_bind_has_two_replies_too(void **state)
{
    const struct handshake_request r = {
        .version = SOCKSC_SOCKS4, .command = SOCKSC_BIND, .dest = dest_of(&target)};
    struct script s = {.hears = {4, 2, 0x1f, 0x90, 192, 0, 2, 7, 0}, .hears_len = 9};
    struct client_handshake h;

    (void)state;
    says(&s, "socks4_reply_bind");
    says(&s, "socks4_reply_granted");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_int_not_equal(h.bound.addr.port, 0);
}

static void socks4a_carries_a_name(void **state)
{
    const struct handshake_request r = {
        .version = SOCKSC_SOCKS4A, .command = SOCKSC_CONNECT, .dest = name_of("a.b", 80)};
    struct script s = {.hears = {4, 1, 0, 80, 0, 0, 0, 1, 0, 'a', '.', 'b', 0}, .hears_len = 13};
    struct client_handshake h;

    (void)state;
    says(&s, "socks4_reply_granted");
    play(&r, &s, &h);
    assert_int_equal(h.result, SOCKSC_DONE);
}

static struct client_handshake after(const struct handshake_request *r, const char *octets,
                                     size_t len)
{
    struct script s = {.says_len = len};
    struct client_handshake h;
    uint8_t rubbish[2 * VECTOR_MAX];
    size_t rubbish_len = 0, at = 0;

    memcpy(s.says, octets, len);
    assert_int_equal(handshake_init(&h, r), SOCKSC_MORE);
    send_all(&h, rubbish, &rubbish_len);
    give(&h, s.says, len, &at, rubbish, &rubbish_len);
    assert_int_equal(at, len);
    handshake_output(&h, &rubbish_len);
    assert_int_equal(rubbish_len, 0);
    return h;
}

static void what_is_no_socks_is_told_from_its_first_octet(void **state)
{
    const struct handshake_request r5 = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};
    const struct handshake_request r4 = {
        .version = SOCKSC_SOCKS4, .command = SOCKSC_CONNECT, .dest = dest_of(&target)};

    (void)state;
    assert_int_equal(after(&r5, "H", 1).result, SOCKSC_NOT_SOCKS);
    assert_int_equal(after(&r5, "HTTP/1.0 400 Bad Request\r\n\r\n", 28).result, SOCKSC_NOT_SOCKS);
    assert_int_equal(after(&r4, "H", 1).result, SOCKSC_NOT_SOCKS);
    assert_int_equal(after(&r4, "\5", 1).result, SOCKSC_NOT_SOCKS);
}

static void a_proxy_that_breaks_the_rules_is_told_as_that(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};

    (void)state;
    assert_int_equal(after(&r, "\5\377", 2).result, SOCKSC_NO_METHOD);
    assert_int_equal(after(&r, "\5\2", 2).result, SOCKSC_MISBEHAVED); /* was not offered */
    assert_int_equal(after(&alice, "\5\1", 2).result, SOCKSC_MISBEHAVED);
    assert_int_equal(after(&alice, "\5\2\5", 3).result, SOCKSC_MISBEHAVED);
    assert_int_equal(after(&r, "\5\0\4", 3).result, SOCKSC_MISBEHAVED);
    assert_int_equal(after(&r, "\5\0\5\0\0\2", 6).result, SOCKSC_MISBEHAVED);
    assert_int_equal(after(&r, "\5\0\5\0\0\3\0", 7).result, SOCKSC_MISBEHAVED);
}

static void an_answer_to_nothing_ends_it(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};
    struct client_handshake h;
    size_t len;

    (void)state;
    assert_int_equal(handshake_init(&h, &r), SOCKSC_MORE);
    handshake_sent(&h, 2);
    handshake_output(&h, &len);
    assert_int_equal(len, 1);
    assert_int_equal(handshake_take(&h, (const uint8_t[]){5, 0}, 2), 2);
    assert_int_equal(h.result, SOCKSC_MISBEHAVED);
    handshake_output(&h, &len);
    assert_int_equal(len, 0);
}

static void the_end_of_the_connection_is_the_end_unless_it_was_over(void **state)
{
    const struct handshake_request r = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)};
    struct client_handshake h;

    (void)state;
    h = after(&r, "\5\0\5", 3);
    handshake_end(&h);
    handshake_end(&h);
    assert_int_equal(h.result, SOCKSC_ENDED);
    h = after(&r, "\5\0\5\0\0\1\0\0\0\0\0\0", 12);
    handshake_end(&h);
    assert_int_equal(h.result, SOCKSC_DONE);
    h = after(&r, "\5\377", 2);
    handshake_end(&h);
    assert_int_equal(h.result, SOCKSC_NO_METHOD);
}

static void mapped_addresses_of_the_proxy_are_given_as_ipv4(void **state)
{
    static const char reply[] = "\5\0\5\0\0\4\0\0\0\0\0\0\0\0\0\0\377\377\177\0\0\1\0\120";
    const struct handshake_request r = {.command = SOCKSC_CONNECT, .dest = dest_of(&target6)};
    const struct addr loopback = addr_ipv4((const uint8_t[]){127, 0, 0, 1}, 80);
    struct client_handshake h = after(&r, reply, sizeof(reply) - 1);

    (void)state;
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_true(addr_equal(&h.bound.addr, &loopback));
}

/* The longest of everything fits. */
static void the_longest_conversation_fits(void **state)
{
    char text[256] = {0};
    struct handshake_request r = {
        .command = SOCKSC_TRANSPARENT, .user = text, .password = text, .protocol = 6};
    struct script s = {0};
    uint8_t heard[2 * VECTOR_MAX];
    struct client_handshake h;
    size_t len = 0, at = 0;

    (void)state;
    memset(text, 'x', 255);
    memcpy(r.dest.name, text, 256);
    memcpy(r.source.name, text, 256);
    says(&s, "socks5_selection_userpass");
    says(&s, "socks5_userpass_status_success");
    memcpy(s.says + s.says_len, "\5\0\0\3\377", 5);
    memset(s.says + s.says_len + 5, 'y', 255 + 2);
    s.says_len += SOCKS5_REPLY_MAX;
    assert_int_equal(handshake_init(&h, &r), SOCKSC_MORE);
    send_all(&h, heard, &len);
    give(&h, s.says, s.says_len, &at, heard, &len);
    assert_int_equal(at, s.says_len);
    assert_int_equal(h.result, SOCKSC_DONE);
    assert_int_equal(len, HANDSHAKE_OUT_MAX);
    assert_int_equal(strlen(h.bound.name), 255);
}

static void socks4_says_a_mapped_address_as_ipv4(void **state)
{
    struct handshake_request r = {.version = SOCKSC_SOCKS4, .command = SOCKSC_CONNECT};
    struct client_handshake h;
    size_t len;

    (void)state;
    r.dest.addr = addr_ipv6((const uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 7}, 80);
    assert_int_equal(handshake_init(&h, &r), SOCKSC_MORE);
    assert_memory_equal(handshake_output(&h, &len), "\4\1\0\120\300\0\2\7", 9);
    assert_int_equal(len, 9);
}

static void more_cannot_be_sent_than_there_was(void **state)
{
    struct client_handshake h;
    size_t len;

    (void)state;
    assert_int_equal(handshake_init(&h, &alice), SOCKSC_MORE);
    handshake_sent(&h, 5);
    handshake_output(&h, &len);
    assert_int_equal(len, 0);
    assert_int_equal(handshake_take(&h, (const uint8_t[]){5, 2}, 2), 2);
    assert_int_equal(handshake_output(&h, &len)[0], 1);
    assert_int_equal(len, 3 + 5 + 6);
}

static void what_cannot_be_said_is_refused_at_once(void **state)
{
    static const char longest[257] = {[0 ... 255] = 'x'}; /* one too many */
    struct client_handshake h;
    struct handshake_request good = {.command = SOCKSC_CONNECT, .dest = dest_of(&target)}, r;

    (void)state;
#define REFUSES(why, ...)                                                                          \
    do {                                                                                           \
        r = good;                                                                                  \
        __VA_ARGS__;                                                                               \
        assert_int_equal(handshake_init(&h, &r), why);                                             \
    } while (0)
    REFUSES(SOCKSC_MORE, );
    REFUSES(SOCKSC_BAD_COMMAND, r.command = 0);
    REFUSES(SOCKSC_BAD_COMMAND, r.command = 5);
    REFUSES(SOCKSC_BAD_HOST, r.dest = (struct dest){0});
    REFUSES(SOCKSC_BAD_SOURCE, r.command = SOCKSC_TRANSPARENT);
    REFUSES(SOCKSC_BAD_PASSWORD, r.user = "u");
    REFUSES(SOCKSC_BAD_PASSWORD, r.password = "p");
    REFUSES(SOCKSC_BAD_PASSWORD, r.user = "u"; r.password = "");
    REFUSES(SOCKSC_BAD_PASSWORD, r.user = "u"; r.password = longest);
    REFUSES(SOCKSC_BAD_USER, r.user = ""; r.password = "p");
    REFUSES(SOCKSC_BAD_USER, r.user = longest; r.password = "p");
    good.version = SOCKSC_SOCKS4;
    REFUSES(SOCKSC_MORE, );
    REFUSES(SOCKSC_MORE, r.user = "");
    REFUSES(SOCKSC_BAD_USER, r.user = longest);
    REFUSES(SOCKSC_BAD_PASSWORD, r.user = "u"; r.password = "p");
    REFUSES(SOCKSC_BAD_COMMAND, r.command = SOCKSC_UDP_ASSOCIATE);
    REFUSES(SOCKSC_BAD_COMMAND, r.command = SOCKSC_TRANSPARENT);
    REFUSES(SOCKSC_BAD_HOST, r.dest.addr = target6);
    REFUSES(SOCKSC_BAD_HOST, r.dest = name_of("a.b", 80));
    REFUSES(SOCKSC_BAD_HOST, r.dest.addr = addr_ipv4((const uint8_t[]){0, 0, 0, 7}, 80));
    good.version = SOCKSC_SOCKS4A;
    REFUSES(SOCKSC_MORE, r.dest = name_of("a.b", 80));
    REFUSES(SOCKSC_BAD_HOST, r.dest.addr = target6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_without_login_is_granted),
        cmocka_unit_test(what_follows_the_reply_is_payload_and_left_alone),
        cmocka_unit_test(a_login_is_made_when_the_proxy_wants_it),
        cmocka_unit_test(a_login_is_not_told_when_the_proxy_wants_none),
        cmocka_unit_test(a_wrong_login_ends_it),
        cmocka_unit_test(passwords_do_not_stay_in_memory),
        cmocka_unit_test(bind_has_two_replies),
        cmocka_unit_test(bind_may_fail_at_its_second_reply),
        cmocka_unit_test(udp_associate_is_asked),
        cmocka_unit_test(transparent_is_asked),
        cmocka_unit_test(code_9_is_about_the_protocol_for_transparent_only),
        cmocka_unit_test(every_code_has_a_sentence),
        cmocka_unit_test(socks4_is_one_question_and_one_answer),
        cmocka_unit_test(socks4_bind_has_two_replies_too),
        cmocka_unit_test(socks4a_carries_a_name),
        cmocka_unit_test(what_is_no_socks_is_told_from_its_first_octet),
        cmocka_unit_test(a_proxy_that_breaks_the_rules_is_told_as_that),
        cmocka_unit_test(an_answer_to_nothing_ends_it),
        cmocka_unit_test(the_end_of_the_connection_is_the_end_unless_it_was_over),
        cmocka_unit_test(mapped_addresses_of_the_proxy_are_given_as_ipv4),
        cmocka_unit_test(the_longest_conversation_fits),
        cmocka_unit_test(socks4_says_a_mapped_address_as_ipv4),
        cmocka_unit_test(more_cannot_be_sent_than_there_was),
        cmocka_unit_test(what_cannot_be_said_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
