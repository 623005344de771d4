/* socksd/proxy_protocol.c */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "socksd/proxy_protocol.h"
#include "tests/lib/vectors.h"

#define INPUT_MAX (PROXY_HEADER_MAX + 64)

/* ---- helpers ---- */

/* Decodes a copy of exactly len octets: the sanitizer sees a look at any other. */
static int decode_exactly(const uint8_t *in, size_t len, struct proxy_header *ret)
{
    uint8_t *copy = malloc(len);
    int taken;

    memcpy(copy, in, len);
    taken = proxy_header_decode(copy, len, ret);
    free(copy);
    return taken;
}

static bool same(const struct proxy_header *a, const struct proxy_header *b)
{
    return a->version == b->version && a->local == b->local && addr_equal(&a->client, &b->client) &&
           addr_equal(&a->destination, &b->destination);
}

/* The verdict on in, which must be the same with every split, and with anything behind it: each
 * beginning wants more until there is a verdict, and then it stays. */
static int verdict(const uint8_t *in, size_t len, struct proxy_header *ret)
{
    uint8_t more[INPUT_MAX + 64];
    struct proxy_header first, again;
    int found = PROXY_MORE;

    memcpy(more, in, len);
    memset(more + len, 0x0a, 64);
    for (size_t n = 0; n <= len + 64; n++) {
        int now = decode_exactly(more, n, found == PROXY_MORE ? &first : &again);
        if (found != PROXY_MORE)
            assert_int_equal(now, found);
        if (now > 0 && found == PROXY_MORE)
            assert_int_equal(now, n);
        if (now > 0 && found > 0)
            assert_true(same(&first, &again));
        if (n <= len)
            found = now;
        else if (found == PROXY_MORE)
            break;
    }
    if (found > 0 && ret != NULL)
        *ret = first;
    return found;
}

static int line_verdict(const char *line, struct proxy_header *ret)
{
    return verdict((const uint8_t *)line, strlen(line), ret);
}

static void assert_addr(const struct addr *a, const char *want)
{
    char text[ADDR_TEXT_MAX];

    assert_string_equal(addr_format(a, text), want);
}

static void assert_said(const struct proxy_header *h, uint8_t version, const char *client,
                        const char *destination)
{
    assert_int_equal(h->version, version);
    assert_false(h->local);
    assert_addr(&h->client, client);
    assert_addr(&h->destination, destination);
}

static void assert_local(const struct proxy_header *h, uint8_t version)
{
    assert_int_equal(h->version, version);
    assert_true(h->local);
    assert_int_equal(h->client.family, ADDR_NONE);
    assert_int_equal(h->destination.family, ADDR_NONE);
    assert_int_equal(h->client.port + h->destination.port, 0);
}

static struct proxy_header golden(const char *name)
{
    uint8_t in[VECTOR_MAX];
    struct proxy_header h;
    size_t len = vector_read(name, in);

    assert_int_equal(verdict(in, len, &h), len);
    return h;
}

/* ---- golden headers ---- */

static void golden_headers_are_read(void **state)
{
    struct proxy_header h;

    (void)state;
    h = golden("proxy_v1_tcp4");
    assert_said(&h, 1, "198.51.100.7:56324", "203.0.113.1:1080");
    h = golden("proxy_v1_tcp6");
    assert_said(&h, 1, "[2001:db8::7]:56324", "[2001:db8:1::1]:1080");
    h = golden("proxy_v2_tcp4");
    assert_said(&h, 2, "198.51.100.7:56324", "203.0.113.1:1080");
    h = golden("proxy_v2_tcp6");
    assert_said(&h, 2, "[2001:db8::7]:56324", "[2001:db8:1::1]:1080");
    h = golden("proxy_v2_tcp4_crc32c");
    assert_said(&h, 2, "127.0.0.1:42152", "127.0.0.1:42995");
    h = golden("proxy_v1_unknown");
    assert_local(&h, 1);
    h = golden("proxy_v2_local");
    assert_local(&h, 2);
}

static void the_octets_behind_a_header_are_left(void **state)
{
    const char *in = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\5\1\0\5\1";
    struct proxy_header h;

    (void)state;
    assert_int_equal(decode_exactly((const uint8_t *)in, 41, &h), 36);
}

/* ---- what is no header at all ---- */

static void a_wrong_first_octet_is_missing_at_once(void **state)
{
    struct proxy_header h;

    (void)state;
    for (unsigned c = 0; c <= 255; c++) {
        int want = c == 'P' || c == 0x0d ? PROXY_MORE : PROXY_MISSING;
        assert_int_equal(decode_exactly((const uint8_t[]){(uint8_t)c}, 1, &h), want);
    }
}

static void the_first_octet_that_leaves_the_signature_decides(void **state)
{
    static const char *const signatures[] = {"PROXY", "\r\n\r\n\0\r\nQUIT\n"};
    static const size_t lens[] = {5, 12};
    struct proxy_header h;

    (void)state;
    for (size_t s = 0; s < 2; s++) {
        for (size_t at = 0; at < lens[s]; at++) {
            uint8_t in[12];
            memcpy(in, signatures[s], lens[s]);
            assert_int_equal(decode_exactly(in, at, &h), PROXY_MORE);
            in[at] ^= 0x20;
            assert_int_equal(decode_exactly(in, at + 1, &h), PROXY_MISSING);
            assert_int_equal(verdict(in, lens[s], &h), PROXY_MISSING);
        }
    }
}

static void socks_and_http_are_missing_headers(void **state)
{
    (void)state;
    assert_int_equal(verdict((const uint8_t *)"\5\1\0", 3, NULL), PROXY_MISSING);
    assert_int_equal(verdict((const uint8_t *)"\4\1\0\x50", 4, NULL), PROXY_MISSING);
    assert_int_equal(line_verdict("POST / HTTP/1.1\r\n", NULL), PROXY_MISSING);
    assert_int_equal(line_verdict("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", NULL), PROXY_MISSING);
}

/* ---- version 1 ---- */

static void lines_that_are_right(void **state)
{
    static const struct {
        const char *line, *client, *destination;
    } table[] = {
        {"PROXY TCP4 0.0.0.1 255.255.255.255 0 65535\r\n", "0.0.0.1:0", "255.255.255.255:65535"},
        {"PROXY TCP4 192.0.2.1 0.0.0.0 10 9\r\n", "192.0.2.1:10", "0.0.0.0:9"},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
         "255.255.255.255:65535"},
        {"PROXY TCP6 ::1 :: 1 2\r\n", "[::1]:1", "[::]:2"},
        {"PROXY TCP6 2001:DB8::A 2001:0db8:0000:0000:0000:0000:0000:000b 1 2\r\n",
         "[2001:db8::a]:1", "[2001:db8::b]:2"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct proxy_header h;
        assert_int_equal(line_verdict(table[i].line, &h), strlen(table[i].line));
        assert_said(&h, 1, table[i].client, table[i].destination);
    }
}

static void mapped_addresses_become_ipv4(void **state)
{
    struct proxy_header h;
    uint8_t in[52] = "\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24";

    (void)state;
    assert_true(line_verdict("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n", &h) > 0);
    assert_said(&h, 1, "192.0.2.1:1", "192.0.2.2:2");
    memcpy(in + 16, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, 16);
    memcpy(in + 32, (const uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2}, 16);
    assert_int_equal(verdict(in, sizeof(in), &h), sizeof(in));
    assert_said(&h, 2, "192.0.2.1:0", "192.0.2.2:0");
}

static void lines_that_are_wrong(void **state)
{
    static const char *const table[] = {
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXYTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2  1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        /* addresses */
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1. 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 0xc0.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 3221225985 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 host.example 1 2\r\n",
        "PROXY TCP6 2001:db8:::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 1::2::3 2001:db8::2 1 2\r\n",
        "PROXY TCP6 2001:db8::12345 2001:db8::2 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 2001:db8::2 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::2 1 2\r\n",
        "PROXY TCP6 [2001:db8::1] [2001:db8::2] 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        "PROXY TCP6 2001:db8::g 2001:db8::2 1 2\r\n",
        /* nobody */
        "PROXY TCP4 0.0.0.0 192.0.2.2 1 2\r\n",
        "PROXY TCP6 :: 2001:db8::2 1 2\r\n",
        "PROXY TCP6 ::ffff:0.0.0.0 2001:db8::2 1 2\r\n",
        /* ports */
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 00\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 0x2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 100000 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 99999 2\r\n",
        /* unknown */
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rX",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\t\r\n",
        "PROXY UNKNOWN a\nb\r\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY unknown\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (line_verdict(table[i], NULL) != PROXY_BAD)
            fail_msg("not refused: %s", table[i]);
    }
}

static void a_nul_is_wrong_anywhere_in_a_line_with_addresses(void **state)
{
    static const char line[] = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    uint8_t in[sizeof(line) - 1];
    struct proxy_header h;

    (void)state;
    for (size_t at = 5; at < sizeof(in); at++) {
        memcpy(in, line, sizeof(in));
        in[at] = 0;
        assert_int_equal(verdict(in, sizeof(in), NULL), PROXY_BAD);
        assert_int_equal(decode_exactly(in, at + 1, &h), PROXY_BAD); /* by itself, at once */
    }
}

static void a_wrong_field_is_refused_at_its_end_at_the_latest(void **state)
{
    struct proxy_header h;
    static const char *const beginnings[] = {
        "PROXYX",
        "PROXY X",
        "PROXY TCP5",
        "PROXY TCP4 300.0.2.1 ",
        "PROXY TCP4 1.2.3.4/",
        "PROXY TCP4 1111111111111111",
        "PROXY TCP6 1111111111111111111111111111111111111111111111",
        "PROXY TCP4 192.0.2.1 192.0.2.2 123456",
        "PROXY TCP4 192.0.2.1 192.0.2.2 70000 ",
        "PROXY UNKNOWNX",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        const char *b = beginnings[i];
        assert_int_equal(decode_exactly((const uint8_t *)b, strlen(b), &h), PROXY_BAD);
    }
}

static void unknown_may_say_anything_else_or_nothing(void **state)
{
    static const char *const table[] = {
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN \r\n",
        "PROXY UNKNOWN   \r\n",
        "PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWN \xff\x01 TCP4\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct proxy_header h;
        assert_int_equal(line_verdict(table[i], &h), strlen(table[i]));
        assert_local(&h, 1);
    }
}

static void a_line_has_107_octets_at_most(void **state)
{
    uint8_t in[PROXY_V1_MAX + 16] = "PROXY UNKNOWN ";
    struct proxy_header h;

    (void)state;
    memset(in + 14, 'x', sizeof(in) - 14);
    assert_int_equal(decode_exactly(in, PROXY_V1_MAX - 2, &h), PROXY_MORE);
    /* Its end would have to begin here. */
    assert_int_equal(decode_exactly(in, PROXY_V1_MAX - 1, &h), PROXY_BAD);
    in[PROXY_V1_MAX - 2] = '\r';
    assert_int_equal(decode_exactly(in, PROXY_V1_MAX - 1, &h), PROXY_MORE);
    assert_int_equal(verdict(in, PROXY_V1_MAX, &h), PROXY_BAD);
    in[PROXY_V1_MAX - 1] = '\n';
    assert_int_equal(verdict(in, PROXY_V1_MAX, &h), PROXY_V1_MAX);
    assert_local(&h, 1);
    memcpy(in + PROXY_V1_MAX - 2, "x\r\n", 3);
    assert_int_equal(verdict(in, PROXY_V1_MAX + 1, &h), PROXY_BAD);
}

static void addresses_with_long_tails_cannot_make_a_line_longer(void **state)
{
    static const char line[] = "PROXY TCP6 0000:0000:0000:0000:0000:ffff:192.100.100.100 "
                               "0000:0000:0000:0000:0000:ffff:192.100.100.100 65535 65535\r\n";

    (void)state;
    assert_true(strlen(line) > PROXY_V1_MAX);
    assert_int_equal(line_verdict(line, NULL), PROXY_BAD);
}

/* ---- version 2 ---- */

struct block {
    uint8_t octets[INPUT_MAX];
    size_t len;
};

/* A header of LEN octets behind its head, all of them zero. */
static struct block block(uint8_t command, uint8_t fam, uint16_t len)
{
    struct block b = {.octets = "\r\n\r\n\0\r\nQUIT\n", .len = 16u + len};

    b.octets[12] = command;
    b.octets[13] = fam;
    b.octets[14] = (uint8_t)(len >> 8);
    b.octets[15] = (uint8_t)len;
    return b;
}

static void put(struct block *b, size_t at, const void *octets, size_t n)
{
    memcpy(b->octets + at, octets, n);
}

/* A client in TCP4, and room for n octets of TLVs, which begin at octet 28. */
#define TLVS_AT 28
static struct block with_tlvs(uint16_t n)
{
    struct block b = block(0x21, 0x11, (uint16_t)(12 + n));

    put(&b, 16, (const uint8_t[]){192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2}, 12);
    return b;
}

static int block_verdict(const struct block *b, struct proxy_header *ret)
{
    return verdict(b->octets, b->len, ret);
}

static void only_two_commands_of_version_2_are_known(void **state)
{
    (void)state;
    for (unsigned c = 0; c <= 255; c++) {
        struct block b = block((uint8_t)c, 0, 0);
        struct proxy_header h;
        int want = c == 0x20 || c == 0x21 ? 16 : PROXY_BAD;

        assert_int_equal(block_verdict(&b, NULL), want);
        assert_int_equal(decode_exactly(b.octets, 13, &h), want > 0 ? PROXY_MORE : PROXY_BAD);
    }
}

static void only_streams_and_nothing_are_known_families_of_a_client(void **state)
{
    (void)state;
    for (unsigned fam = 0; fam <= 255; fam++) {
        struct block b = block(0x21, (uint8_t)fam, 216);
        bool known = fam == 0x00 || fam == 0x11 || fam == 0x21 || fam == 0x31;
        struct proxy_header h;

        b.octets[16] = 1; /* somebody */
        assert_int_equal(decode_exactly(b.octets, 14, &h), known ? PROXY_MORE : PROXY_BAD);
        assert_int_equal(block_verdict(&b, NULL), known ? 232 : PROXY_BAD);
    }
}

static void a_block_must_hold_the_addresses_of_its_family(void **state)
{
    static const struct {
        uint8_t fam;
        uint16_t len;
    } table[] = {{0x11, 12}, {0x21, 36}, {0x31, 216}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct block b = block(0x21, table[i].fam, table[i].len);
        struct proxy_header h;

        b.octets[16] = 1;
        assert_int_equal(block_verdict(&b, NULL), b.len);
        b = block(0x21, table[i].fam, (uint16_t)(table[i].len - 1));
        b.octets[16] = 1;
        assert_int_equal(decode_exactly(b.octets, 16, &h), PROXY_BAD);
        assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
    }
}

static void a_block_has_1024_octets_at_most(void **state)
{
    (void)state;
    for (unsigned command = 0x20; command <= 0x21; command++) {
        struct block b = block((uint8_t)command, 0, PROXY_V2_LEN_MAX);
        struct proxy_header h;

        assert_int_equal(block_verdict(&b, &h), PROXY_HEADER_MAX);
        assert_local(&h, 2);
        b = block((uint8_t)command, 0, PROXY_V2_LEN_MAX + 1);
        assert_int_equal(decode_exactly(b.octets, 16, &h), PROXY_BAD);
        b = block((uint8_t)command, 0, 0);
        b.octets[14] = b.octets[15] = 0xff;
        assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
    }
}

static void local_passes_over_whatever_it_carries(void **state)
{
    (void)state;
    for (unsigned fam = 0; fam <= 255; fam++) {
        struct block b = block(0x20, (uint8_t)fam, 7);
        struct proxy_header h;

        memset(b.octets + 16, 0xff, 7);
        assert_int_equal(block_verdict(&b, &h), 23);
        assert_local(&h, 2);
    }
}

static void a_unix_client_is_no_client(void **state)
{
    struct block b = block(0x21, 0x31, 216 + 4);
    struct proxy_header h;

    (void)state;
    memset(b.octets + 16, '/', 216);
    put(&b, 232, "\4\0\1x", 4);
    assert_int_equal(block_verdict(&b, &h), b.len);
    assert_local(&h, 2);
    b.octets[234] = 2; /* the TLV would end outside */
    assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
}

static void the_unspecified_address_is_no_client(void **state)
{
    struct block four = block(0x21, 0x11, 12), six = block(0x21, 0x21, 36);

    (void)state;
    assert_int_equal(block_verdict(&four, NULL), PROXY_BAD);
    assert_int_equal(block_verdict(&six, NULL), PROXY_BAD);
}

static void tlvs_are_passed_over(void **state)
{
    struct block b = with_tlvs(3 + 5 + 3 + 3 + 1);
    struct proxy_header h;

    (void)state;
    put(&b, TLVS_AT, "\5\0\5abcde", 8);
    put(&b, TLVS_AT + 8, "\4\0\0", 3);
    put(&b, TLVS_AT + 11, "\xe0\0\1z", 4);
    assert_int_equal(block_verdict(&b, &h), b.len);
    assert_said(&h, 2, "192.0.2.1:1", "192.0.2.2:2");
}

static void the_longest_header_is_taken(void **state)
{
    struct block b = with_tlvs(PROXY_V2_LEN_MAX - 12);
    uint16_t len = PROXY_V2_LEN_MAX - 12 - 3;
    struct proxy_header h;

    (void)state;
    put(&b, TLVS_AT, (const uint8_t[]){2, (uint8_t)(len >> 8), (uint8_t)len}, 3);
    assert_int_equal(block_verdict(&b, &h), PROXY_HEADER_MAX);
    assert_said(&h, 2, "192.0.2.1:1", "192.0.2.2:2");
}

static void a_tlv_must_end_inside(void **state)
{
    struct block b;

    (void)state;
    for (uint16_t n = 1; n <= 2; n++) { /* not even a length */
        b = with_tlvs(n);
        assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
    }
    b = with_tlvs(4);
    put(&b, TLVS_AT, "\1\0\2h", 4);
    assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
    put(&b, TLVS_AT, "\1\1\1h", 4);
    assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
    put(&b, TLVS_AT, "\1\0\1h", 4);
    assert_int_equal(block_verdict(&b, NULL), b.len);
}

/* ---- checksum ---- */

static void a_changed_bit_breaks_the_checksum(void **state)
{
    uint8_t in[VECTOR_MAX];
    size_t len = vector_read("proxy_v2_tcp4_crc32c", in);

    (void)state;
    for (size_t at = 16; at < len; at++) {
        if (at == TLVS_AT)
            continue; /* its type: then it is another TLV */
        for (unsigned bit = 0; bit < 8; bit++) {
            in[at] ^= (uint8_t)(1u << bit);
            assert_int_equal(verdict(in, len, NULL), PROXY_BAD);
            in[at] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(verdict(in, len, NULL), len);
}

static void a_checksum_has_four_octets(void **state)
{
    (void)state;
    for (uint8_t n = 0; n <= 8; n++) {
        struct block b = with_tlvs((uint16_t)(3 + n));

        put(&b, TLVS_AT, (const uint8_t[]){3, 0, n}, 3);
        assert_int_equal(block_verdict(&b, NULL), PROXY_BAD); /* too short, too long, wrong */
    }
    /* Right, computed elsewhere, and one octet too many. */
    struct block b = with_tlvs(8);
    put(&b, TLVS_AT, (const uint8_t[]){3, 0, 5, 0xea, 0xbf, 0xbf, 0x98, 'x'}, 8);
    assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
}

static void a_checksum_may_stand_anywhere_but_only_once(void **state)
{
    /* Computed elsewhere; of two, each is right for itself. */
    static const uint8_t one[] = {3, 0, 4, 0xdc, 0x22, 0xe0, 0x2c, 4, 0, 1, 'x'};
    static const uint8_t two[] = {3, 0, 4, 0xa3, 0xfd, 0x7b, 0x64, 3, 0, 4, 0xa1, 0xbe, 0xb7, 0xbb};
    struct block b = with_tlvs(sizeof(one));

    (void)state;
    put(&b, TLVS_AT, one, sizeof(one));
    assert_int_equal(block_verdict(&b, NULL), b.len);
    b = with_tlvs(sizeof(two));
    put(&b, TLVS_AT, two, sizeof(two));
    assert_int_equal(block_verdict(&b, NULL), PROXY_BAD);
}

/* ---- in general ---- */

static void a_refused_header_leaves_the_result_alone(void **state)
{
    struct proxy_header h, before;
    struct block b = with_tlvs(1);

    (void)state;
    memset(&h, 0x5a, sizeof(h));
    before = h;
    proxy_header_decode((const uint8_t *)"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r", 35, &h);
    proxy_header_decode((const uint8_t *)"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", 36, &h);
    proxy_header_decode((const uint8_t *)"\5\1\0", 3, &h);
    proxy_header_decode(b.octets, b.len, &h);
    proxy_header_decode(b.octets, 16, &h);
    assert_memory_equal(&h, &before, sizeof(h));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_headers_are_read),
        cmocka_unit_test(the_octets_behind_a_header_are_left),
        cmocka_unit_test(a_wrong_first_octet_is_missing_at_once),
        cmocka_unit_test(the_first_octet_that_leaves_the_signature_decides),
        cmocka_unit_test(socks_and_http_are_missing_headers),
        cmocka_unit_test(lines_that_are_right),
        cmocka_unit_test(mapped_addresses_become_ipv4),
        cmocka_unit_test(lines_that_are_wrong),
        cmocka_unit_test(a_nul_is_wrong_anywhere_in_a_line_with_addresses),
        cmocka_unit_test(a_wrong_field_is_refused_at_its_end_at_the_latest),
        cmocka_unit_test(unknown_may_say_anything_else_or_nothing),
        cmocka_unit_test(a_line_has_107_octets_at_most),
        cmocka_unit_test(addresses_with_long_tails_cannot_make_a_line_longer),
        cmocka_unit_test(only_two_commands_of_version_2_are_known),
        cmocka_unit_test(only_streams_and_nothing_are_known_families_of_a_client),
        cmocka_unit_test(a_block_must_hold_the_addresses_of_its_family),
        cmocka_unit_test(a_block_has_1024_octets_at_most),
        cmocka_unit_test(local_passes_over_whatever_it_carries),
        cmocka_unit_test(a_unix_client_is_no_client),
        cmocka_unit_test(the_unspecified_address_is_no_client),
        cmocka_unit_test(tlvs_are_passed_over),
        cmocka_unit_test(the_longest_header_is_taken),
        cmocka_unit_test(a_tlv_must_end_inside),
        cmocka_unit_test(a_changed_bit_breaks_the_checksum),
        cmocka_unit_test(a_checksum_has_four_octets),
        cmocka_unit_test(a_checksum_may_stand_anywhere_but_only_once),
        cmocka_unit_test(a_refused_header_leaves_the_result_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
