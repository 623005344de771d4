#include "shared/rules/special.h"

#include <string.h>

/* The first row that holds the address wins: inner ranges stand before outer ones. */
#define V4(a, b, c, d, bits, name)                                                                 \
    {                                                                                              \
        {ADDR_IPV4, (bits), {(a), (b), (c), (d)}}, (name)                                          \
    }
#define V6(bits, name, ...)                                                                        \
    {                                                                                              \
        {ADDR_IPV6, (bits), {__VA_ARGS__}}, (name)                                                 \
    }

static const struct special ranges_ipv4[] = {
    V4(0, 0, 0, 0, 8, "this_network"),           /* RFC 791 */
    V4(10, 0, 0, 0, 8, "private"),               /* RFC 1918 */
    V4(100, 64, 0, 0, 10, "shared"),             /* RFC 6598, carrier-grade NAT */
    V4(127, 0, 0, 0, 8, "loopback"),             /* RFC 1122 */
    V4(169, 254, 0, 0, 16, "link_local"),        /* RFC 3927; cloud metadata */
    V4(172, 16, 0, 0, 12, "private"),            /* RFC 1918 */
    V4(192, 0, 0, 0, 24, "protocol_assignment"), /* RFC 6890 */
    V4(192, 0, 2, 0, 24, "documentation"),       /* RFC 5737 */
    V4(192, 88, 99, 0, 24, "6to4_relay"),        /* RFC 7526, deprecated */
    V4(192, 168, 0, 0, 16, "private"),           /* RFC 1918 */
    V4(198, 18, 0, 0, 15, "benchmarking"),       /* RFC 2544 */
    V4(198, 51, 100, 0, 24, "documentation"),    /* RFC 5737 */
    V4(203, 0, 113, 0, 24, "documentation"),     /* RFC 5737 */
    V4(224, 0, 0, 0, 4, "multicast"),            /* RFC 5771 */
    V4(255, 255, 255, 255, 32, "broadcast"),     /* RFC 8190 */
    V4(240, 0, 0, 0, 4, "reserved"),             /* RFC 1112 */
};

static const struct special ranges_ipv6[] = {
    V6(128, "unspecified", 0),                                           /* RFC 4291 */
    V6(128, "loopback", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), /* RFC 4291 */
    V6(48, "local_nat64", 0, 0x64, 0xff, 0x9b, 0, 1),                    /* RFC 8215 */
    V6(64, "discard", 1),                                                /* RFC 6666 */
    V6(48, "benchmarking", 0x20, 0x01, 0, 2),                            /* RFC 5180 */
    V6(32, "teredo", 0x20, 0x01, 0, 0),                                  /* RFC 4380 */
    V6(23, "protocol_assignment", 0x20, 0x01),                           /* RFC 2928 */
    V6(32, "documentation", 0x20, 0x01, 0x0d, 0xb8),                     /* RFC 3849 */
    V6(20, "documentation", 0x3f, 0xff),                                 /* RFC 9637 */
    V6(16, "segment_routing", 0x5f),                                     /* RFC 9602 */
    V6(7, "unique_local", 0xfc),                                         /* RFC 4193 */
    V6(10, "link_local", 0xfe, 0x80),                                    /* RFC 4291 */
    V6(10, "site_local", 0xfe, 0xc0),                                    /* RFC 3879, deprecated */
    V6(8, "multicast", 0xff),                                            /* RFC 4291 */
    V6(3, "reserved", 0),                                                /* outside 2000::/3 */
    V6(2, "reserved", 0x40),
    V6(1, "reserved", 0x80),
};

static const struct special no_family = {{ADDR_NONE, 0, {0}}, "none"};

/* Where an IPv6 address carries an IPv4 address. */
struct carrier {
    struct prefix prefix;
    uint8_t offset;
    uint8_t invert;   /* 0xff: the octets stand inverted */
    bool transparent; /* globally reachable as long as the IPv4 address is */
};

static const struct carrier carriers[] = {
    {{ADDR_IPV6, 96, {[10] = 0xff, [11] = 0xff}}, 12, 0, true},
    {{ADDR_IPV6, 96, {0, 0x64, 0xff, 0x9b}}, 12, 0, true},
    {{ADDR_IPV6, 16, {0x20, 0x02}}, 2, 0, true},
    {{ADDR_IPV6, 32, {0x20, 0x01, 0, 0}}, 12, 0xff, false}, /* Teredo: the client */
    {{ADDR_IPV6, 32, {0x20, 0x01, 0, 0}}, 4, 0, false},     /* Teredo: the server */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct special *find_in(const struct special *ranges, size_t count,
                                     const struct prefix *p)
{
    for (size_t i = 0; i < count; i++)
        if (prefix_within(p, &ranges[i].prefix))
            return &ranges[i];
    return NULL;
}

/* The IPv4 network that p carries: p is within c's prefix. */
static struct prefix carried(const struct carrier *c, const struct prefix *p)
{
    unsigned first = c->offset * 8u;
    struct prefix v4 = {.family = ADDR_IPV4};

    v4.bits = p->bits <= first ? 0 : p->bits >= first + 32 ? 32 : (uint8_t)(p->bits - first);
    for (unsigned i = 0; i < v4.bits; i++) {
        unsigned bit = 0x80u >> i % 8;
        if ((p->ip[c->offset + i / 8] ^ c->invert) & bit)
            v4.ip[i / 8] |= (uint8_t)bit;
    }
    return v4;
}

static const struct special *find_ipv6(const struct prefix *p)
{
    for (size_t i = 0; i < COUNT(carriers); i++) {
        const struct carrier *c = &carriers[i];

        if (prefix_within(p, &c->prefix)) {
            struct prefix v4 = carried(c, p);
            const struct special *s = find_in(ranges_ipv4, COUNT(ranges_ipv4), &v4);

            if (s || c->transparent)
                return s;
        } else if (c->transparent && prefix_within(&c->prefix, p)) {
            return NULL; /* some of its addresses are globally reachable */
        }
    }
    return find_in(ranges_ipv6, COUNT(ranges_ipv6), p);
}

const struct special *special_find_prefix(const struct prefix *p)
{
    switch (p->family) {
    case ADDR_IPV4:
        return find_in(ranges_ipv4, COUNT(ranges_ipv4), p);
    case ADDR_IPV6:
        return find_ipv6(p);
    default:
        return &no_family;
    }
}

static struct prefix whole(const struct addr *a)
{
    struct prefix p = {.family = a->family, .bits = (uint8_t)(addr_ip_len(a->family) * 8)};

    memcpy(p.ip, a->ip, p.bits / 8);
    return p;
}

const struct special *special_find(const struct addr *a)
{
    struct prefix p = whole(a);

    return special_find_prefix(&p);
}

size_t special_carried(const struct addr *a, struct addr ret[SPECIAL_CARRIED_MAX])
{
    struct prefix p = whole(a);
    size_t n = 0;

    if (a->family != ADDR_IPV6)
        return 0;
    for (size_t i = 0; i < COUNT(carriers) && n < SPECIAL_CARRIED_MAX; i++)
        if (prefix_within(&p, &carriers[i].prefix)) {
            struct prefix v4 = carried(&carriers[i], &p);
            ret[n++] = addr_ipv4(v4.ip, 0);
        }
    return n;
}
