/* shared/client/socksc.c: the library as an application sees it, by its header alone. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "shared/client/socksc.h"

static struct socksc *asked(const struct socksc_request *r)
{
    enum socksc_result why = SOCKSC_NO_MEMORY;
    struct socksc *s = socksc_new(r, &why);

    assert_non_null(s);
    assert_int_equal(why, SOCKSC_MORE);
    return s;
}

static void expect_output(struct socksc *s, const void *octets, size_t len)
{
    size_t n;
    const void *out = socksc_output(s, &n);

    assert_int_equal(n, len);
    assert_memory_equal(out, octets, len);
    socksc_sent(s, n);
}

static void a_connection_is_made(void **state)
{
    struct socksc *s = asked(
        &(struct socksc_request){.command = SOCKSC_CONNECT, .host = "example.net", .port = 80});

    (void)state;
    expect_output(s, "\5\1\0", 3);
    assert_int_equal(socksc_take(s, "\5\0", 2), 2);
    expect_output(s, "\5\1\0\3\13example.net\0\120", 18);
    assert_string_equal(socksc_bound(s)->host, "");
    assert_int_equal(socksc_take(s, "\5\0\0\1\300\0\2\7\234\100hello", 15), 10);
    assert_int_equal(socksc_result(s), SOCKSC_DONE);
    assert_string_equal(socksc_bound(s)->host, "192.0.2.7");
    assert_int_equal(socksc_bound(s)->port, 40000);
    assert_string_equal(socksc_peer(s)->host, "");
    socksc_free(s);
}

static void addresses_in_text_go_as_addresses(void **state)
{
    struct socksc *s = asked(
        &(struct socksc_request){.command = SOCKSC_CONNECT, .host = "[2001:db8::7]", .port = 80});

    (void)state;
    expect_output(s, "\5\1\0", 3);
    socksc_take(s, "\5\0", 2);
    expect_output(s, "\5\1\0\4\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\7\0\120", 22);
    socksc_free(s);
}

static void bind_tells_both_addresses(void **state)
{
    struct socksc *s = asked(&(struct socksc_request){
        .version = SOCKSC_SOCKS4, .command = SOCKSC_BIND, .host = "0.0.0.0", .user = "u"});

    (void)state;
    expect_output(s, "\4\2\0\0\0\0\0\0u\0", 10);
    assert_int_equal(socksc_take(s, "\0\132\234\100\300\0\2\7\0\132\0\11\300\0\2\10", 16), 8);
    assert_int_equal(socksc_result(s), SOCKSC_LISTENING);
    assert_string_equal(socksc_bound(s)->host, "192.0.2.7");
    assert_int_equal(socksc_take(s, "\0\132\0\11\300\0\2\10", 8), 8);
    assert_int_equal(socksc_result(s), SOCKSC_DONE);
    assert_string_equal(socksc_peer(s)->host, "192.0.2.8");
    assert_int_equal(socksc_peer(s)->port, 9);
    socksc_free(s);
}

static void transparent_names_protocol_and_source(void **state)
{
    struct socksc *s = asked(&(struct socksc_request){.command = SOCKSC_TRANSPARENT,
                                                      .host = "192.0.2.7",
                                                      .port = 8080,
                                                      .protocol = 6,
                                                      .source_host = "198.51.100.9",
                                                      .source_port = 50000});

    (void)state;
    expect_output(s, "\5\1\0", 3);
    socksc_take(s, "\5\0", 2);
    expect_output(s, "\5\4\0\1\300\0\2\7\37\220\6\1\306\63\144\11\303\120", 18);
    socksc_free(s);
}

static void a_refusal_has_code_and_sentence(void **state)
{
    struct socksc *s =
        asked(&(struct socksc_request){.command = SOCKSC_CONNECT, .host = "192.0.2.7", .port = 80});

    (void)state;
    expect_output(s, "\5\1\0", 3);
    socksc_take(s, "\5\0", 2);
    expect_output(s, "\5\1\0\1\300\0\2\7\0\120", 10);
    socksc_take(s, "\5\2\0\1\0\0\0\0\0\0", 10);
    assert_int_equal(socksc_result(s), SOCKSC_REFUSED);
    assert_int_equal(socksc_code(s), 2);
    assert_string_equal(socksc_sentence(s), "not allowed by ruleset");
    socksc_free(s);
}

static void an_end_in_between_is_told(void **state)
{
    struct socksc *s =
        asked(&(struct socksc_request){.command = SOCKSC_CONNECT, .host = "192.0.2.7", .port = 80});

    (void)state;
    socksc_end(s);
    assert_int_equal(socksc_result(s), SOCKSC_ENDED);
    assert_string_equal(socksc_sentence(s), socksc_result_sentence(SOCKSC_ENDED));
    socksc_free(s);
    socksc_free(NULL);
}

static void hosts_that_cannot_be_said_are_refused(void **state)
{
    static const char too_long[257] = {[0 ... 255] = 'x'};
    static const char *const bad[] = {NULL, "", too_long};
    enum socksc_result why;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct socksc_request r = {.command = SOCKSC_TRANSPARENT, .host = bad[i]};

        assert_null(socksc_new(&r, &why));
        assert_int_equal(why, SOCKSC_BAD_HOST);
        r.host = "192.0.2.7";
        r.source_host = bad[i];
        assert_null(socksc_new(&r, &why));
        assert_int_equal(why, SOCKSC_BAD_SOURCE);
        assert_null(socksc_new(&r, NULL));
    }
}

static void every_result_has_a_sentence(void **state)
{
    (void)state;
    for (int i = SOCKSC_MORE; i <= SOCKSC_NO_MEMORY; i++)
        assert_string_not_equal(socksc_result_sentence((enum socksc_result)i), "unknown");
    assert_string_equal(socksc_result_sentence((enum socksc_result)(SOCKSC_NO_MEMORY + 1)),
                        "unknown");
}

static void datagrams_get_a_header_and_lose_it(void **state)
{
    uint8_t buf[SOCKSC_UDP_HEADER_MAX];
    struct socksc_endpoint sender;

    (void)state;
    assert_int_equal(socksc_udp_encode("192.0.2.7", 53, buf, sizeof(buf)), 10);
    assert_memory_equal(buf, "\0\0\0\1\300\0\2\7\0\65", 10);
    assert_int_equal(socksc_udp_decode(buf, 10, &sender), 10);
    assert_string_equal(sender.host, "192.0.2.7");
    assert_int_equal(sender.port, 53);
    assert_int_equal(socksc_udp_encode("a.example", 53, buf, sizeof(buf)), 16);
    assert_int_equal(socksc_udp_decode(buf, sizeof(buf), &sender), 16);
    assert_string_equal(sender.host, "a.example");
    assert_int_equal(socksc_udp_decode(buf, 16, NULL), 16);
    assert_int_equal(socksc_udp_encode("192.0.2.7", 53, buf, 9), 0);
    assert_int_equal(socksc_udp_encode("", 53, buf, sizeof(buf)), 0);
}

static void datagrams_that_are_cut_or_fragments_are_dropped(void **state)
{
    struct socksc_endpoint sender = {.port = 7};

    (void)state;
    assert_int_equal(socksc_udp_decode("\0\0\0\1\300\0\2\7\0\65", 9, &sender), 0);
    assert_int_equal(socksc_udp_decode("\0\0\1\1\300\0\2\7\0\65", 10, &sender), 0);
    assert_int_equal(socksc_udp_decode("\0\1\0\1\300\0\2\7\0\65", 10, &sender), 0);
    assert_int_equal(socksc_udp_decode("", 0, &sender), 0);
    assert_int_equal(sender.port, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_made),
        cmocka_unit_test(addresses_in_text_go_as_addresses),
        cmocka_unit_test(bind_tells_both_addresses),
        cmocka_unit_test(transparent_names_protocol_and_source),
        cmocka_unit_test(a_refusal_has_code_and_sentence),
        cmocka_unit_test(an_end_in_between_is_told),
        cmocka_unit_test(hosts_that_cannot_be_said_are_refused),
        cmocka_unit_test(every_result_has_a_sentence),
        cmocka_unit_test(datagrams_get_a_header_and_lose_it),
        cmocka_unit_test(datagrams_that_are_cut_or_fragments_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
