#include "shared/base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_head[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct addr addr_ipv4(const uint8_t ip[4], uint16_t port)
{
    struct addr a = {.family = ADDR_IPV4, .port = port};
    memcpy(a.ip, ip, 4);
    return a;
}

struct addr addr_ipv6(const uint8_t ip[16], uint16_t port)
{
    struct addr a = {.family = ADDR_IPV6, .port = port};
    memcpy(a.ip, ip, 16);
    return a;
}

struct addr addr_any(enum addr_family family, uint16_t port)
{
    return (struct addr){.family = (uint8_t)family, .port = port};
}

size_t addr_ip_len(enum addr_family family)
{
    return family == ADDR_IPV4 ? 4 : family == ADDR_IPV6 ? 16 : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return addr_ip_equal(a, b) && a->port == b->port;
}

bool addr_ip_equal(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, addr_ip_len(a->family)) == 0;
}

bool addr_is_any(const struct addr *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, addr_ip_len(a->family)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    if (a->family == ADDR_IPV4)
        return a->ip[0] == 127;
    return a->family == ADDR_IPV6 && memcmp(a->ip, one, sizeof(one)) == 0;
}

struct addr addr_unmap(const struct addr *a)
{
    if (a->family == ADDR_IPV6 && memcmp(a->ip, mapped_head, sizeof(mapped_head)) == 0)
        return addr_ipv4(a->ip + sizeof(mapped_head), a->port);
    return *a;
}

/* The len octets at text, which need not end in a NUL, as an address without brackets. */
static bool parse_ip_span(const char *text, size_t len, struct addr *ret)
{
    char copy[INET6_ADDRSTRLEN];
    struct addr a = {0};

    if (len == 0 || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (inet_pton(AF_INET, copy, a.ip) == 1)
        a.family = ADDR_IPV4;
    else if (inet_pton(AF_INET6, copy, a.ip) == 1)
        a.family = ADDR_IPV6;
    else
        return false;
    *ret = a;
    return true;
}

/* Digits only and no leading zero, so that one number has one spelling. */
static bool parse_number(const char *text, unsigned max, unsigned *ret)
{
    unsigned value = 0;

    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9')
            return false;
        value = value * 10 + (unsigned)(*c - '0');
        if (value > max)
            return false;
    }
    *ret = value;
    return true;
}

bool addr_parse_ip(const char *text, struct addr *ret)
{
    size_t len = strlen(text);
    struct addr a;

    if (text[0] != '[')
        return parse_ip_span(text, len, ret);
    if (len < 2 || text[len - 1] != ']' || !parse_ip_span(text + 1, len - 2, &a) ||
        a.family != ADDR_IPV6)
        return false;
    *ret = a;
    return true;
}

bool addr_parse(const char *text, struct addr *ret)
{
    const char *colon = strrchr(text, ':');
    unsigned port;
    struct addr a;

    if (colon == NULL || !parse_number(colon + 1, UINT16_MAX, &port))
        return false;
    if (text[0] == '[') {
        if (colon - text < 2 || colon[-1] != ']' ||
            !parse_ip_span(text + 1, (size_t)(colon - text) - 2, &a) || a.family != ADDR_IPV6)
            return false;
    } else if (!parse_ip_span(text, (size_t)(colon - text), &a) || a.family != ADDR_IPV4) {
        return false; /* an IPv6 address needs brackets: "::1:80" is an address of its own */
    }
    a.port = (uint16_t)port;
    *ret = a;
    return true;
}

const char *addr_format_ip(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    int family = a->family == ADDR_IPV4 ? AF_INET : AF_INET6;

    if (addr_ip_len(a->family) == 0)
        snprintf(buf, ADDR_TEXT_MAX, "-");
    else
        inet_ntop(family, a->ip, buf, ADDR_TEXT_MAX);
    return buf;
}

const char *addr_format(const struct addr *a, char buf[ADDR_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX];
    const char *form = a->family == ADDR_IPV6 ? "[%.45s]:%u" : "%.45s:%u";

    addr_format_ip(a, ip);
    if (addr_ip_len(a->family) == 0)
        snprintf(buf, ADDR_TEXT_MAX, "-");
    else
        snprintf(buf, ADDR_TEXT_MAX, form, ip, (unsigned)a->port);
    return buf;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool host_bits_are_zero(const struct addr *a, unsigned bits)
{
    for (unsigned i = bits; i < addr_ip_len(a->family) * 8; i++)
        if (a->ip[i / 8] & (0x80u >> (i % 8)))
            return false;
    return true;
}

bool prefix_parse(const char *text, struct prefix *ret)
{
    size_t len = strcspn(text, "/");
    struct addr a;
    unsigned bits;

    if (!parse_ip_span(text, len, &a))
        return false;
    bits = (unsigned)addr_ip_len(a.family) * 8;
    if (text[len] == '/' && !parse_number(text + len + 1, bits, &bits))
        return false;
    if (!host_bits_are_zero(&a, bits))
        return false;
    *ret = (struct prefix){.family = a.family, .bits = (uint8_t)bits};
    memcpy(ret->ip, a.ip, sizeof(ret->ip));
    return true;
}

bool prefix_contains(const struct prefix *p, const struct addr *a)
{
    return p->family != ADDR_NONE && p->family == a->family && same_bits(p->ip, a->ip, p->bits);
}

bool prefix_within(const struct prefix *inner, const struct prefix *outer)
{
    return outer->family != ADDR_NONE && inner->family == outer->family &&
           inner->bits >= outer->bits && same_bits(inner->ip, outer->ip, outer->bits);
}

/* The next one at or after `from` that is, or is not, of this family. */
static size_t next_of(const struct addr *list, size_t count, size_t from, uint8_t family, bool same)
{
    while (from < count && (list[from].family == family) != same)
        from++;
    return from;
}

void addr_interleave(struct addr *list, size_t count)
{
    struct addr sorted[64];
    size_t n = 0, first = 0, other = 0;

    if (count < 3 || count > 64)
        return;
    uint8_t family = list[0].family;
    while (n < count) {
        first = next_of(list, count, first, family, true);
        if (first < count)
            sorted[n++] = list[first++];
        other = next_of(list, count, other, family, false);
        if (other < count)
            sorted[n++] = list[other++];
    }
    memcpy(list, sorted, count * sizeof(*list));
}

bool prefix_is_mapped(const struct prefix *p)
{
    return p->family == ADDR_IPV6 && p->bits >= 8 * sizeof(mapped_head) &&
           memcmp(p->ip, mapped_head, sizeof(mapped_head)) == 0;
}
