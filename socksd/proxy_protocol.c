#include "socksd/proxy_protocol.h"

#include <string.h>

#include "shared/base/wire.h"

/* ---- version 1 ---- */

static const char v1_signature[] = "PROXY";
#define V1_SIGNATURE_LEN (sizeof(v1_signature) - 1)
#define V1_IPV4_MAX      15
#define V1_IPV6_MAX      45 /* with a tail written as IPv4 */
#define V1_PORT_MAX      5

/* A cursor over the line. When an operation fails, verdict says what has come of it. */
struct line {
    const uint8_t *buf;
    size_t len, at;
    int verdict;
};

static bool refuse(struct line *l)
{
    l->verdict = PROXY_BAD;
    return false;
}

/* The last but one that a line may have is the CR, behind which nothing but the LF is taken. */
static bool next(struct line *l, char *ret)
{
    if (l->at == l->len) {
        l->verdict = PROXY_MORE;
        return false;
    }
    *ret = (char)l->buf[l->at];
    if (l->at == PROXY_V1_MAX - 2 && *ret != '\r')
        return refuse(l);
    l->at++;
    return true;
}

static bool take(struct line *l, const char *text)
{
    char c;

    for (; *text != '\0'; text++) {
        if (!next(l, &c))
            return false;
        if (c != *text)
            return refuse(l);
    }
    return true;
}

/* One to max octets out of alphabet, and the octet that ends them. */
static bool take_word(struct line *l, const char *alphabet, char end, size_t max, char *ret)
{
    size_t n = 0;
    char c;

    while (next(l, &c)) {
        if (c == end && n > 0) {
            ret[n] = '\0';
            return true;
        }
        if (n == max || c == '\0' || strchr(alphabet, c) == NULL)
            return refuse(l);
        ret[n++] = c;
    }
    return false;
}

static bool take_address(struct line *l, uint8_t family, struct addr *ret)
{
    bool four = family == ADDR_IPV4;
    const char *alphabet = four ? "0123456789." : "0123456789abcdefABCDEF:.";
    char word[V1_IPV6_MAX + 1];

    if (!take_word(l, alphabet, ' ', four ? V1_IPV4_MAX : V1_IPV6_MAX, word))
        return false;
    return (addr_parse_ip(word, ret) && ret->family == family) || refuse(l);
}

static bool take_port(struct line *l, char end, uint16_t *ret)
{
    char word[V1_PORT_MAX + 1];
    unsigned long port = 0;

    if (!take_word(l, "0123456789", end, V1_PORT_MAX, word))
        return false;
    for (const char *c = word; *c != '\0'; c++)
        port = port * 10 + (unsigned long)(*c - '0');
    if (port > UINT16_MAX || (word[0] == '0' && word[1] != '\0'))
        return refuse(l);
    *ret = (uint16_t)port;
    return true;
}

/* "TCP4 ", "TCP6 ", or "UNKNOWN" (no family) up to what stands behind it. */
static bool take_family(struct line *l, uint8_t *ret)
{
    char c;

    if (!next(l, &c))
        return false;
    if (c == 'U') {
        *ret = ADDR_NONE;
        return take(l, "NKNOWN");
    }
    if (c != 'T')
        return refuse(l);
    if (!take(l, "CP") || !next(l, &c))
        return false;
    if (c != '4' && c != '6')
        return refuse(l);
    *ret = c == '4' ? ADDR_IPV4 : ADDR_IPV6;
    return take(l, " ");
}

/* The rest of an UNKNOWN line. */
static bool take_rest(struct line *l)
{
    char c;

    if (!next(l, &c))
        return false;
    if (c != ' ' && c != '\r')
        return refuse(l);
    while (c != '\r') {
        if (!next(l, &c))
            return false;
        if (c == '\n')
            return refuse(l);
    }
    return take(l, "\n");
}

static bool take_endpoints(struct line *l, uint8_t family, struct proxy_header *h)
{
    return take_address(l, family, &h->client) && take_address(l, family, &h->destination) &&
           take_port(l, ' ', &h->client.port) && take_port(l, '\r', &h->destination.port) &&
           take(l, "\n");
}

/* ---- both ---- */

/* Both versions end here. */
static int finish(size_t taken, const struct proxy_header *h, struct proxy_header *ret)
{
    struct proxy_header got = {.version = h->version, .local = h->local};

    if (!h->local) {
        got.client = addr_unmap(&h->client);
        got.destination = addr_unmap(&h->destination);
        if (addr_is_any(&got.client))
            return PROXY_BAD;
    }
    *ret = got;
    return (int)taken;
}

static int decode_v1(const uint8_t *buf, size_t len, struct proxy_header *ret)
{
    struct line l = {.buf = buf, .len = len, .at = V1_SIGNATURE_LEN};
    struct proxy_header h = {.version = 1};
    uint8_t family;

    if (!take(&l, " ") || !take_family(&l, &family))
        return l.verdict;
    h.local = family == ADDR_NONE;
    if (h.local ? !take_rest(&l) : !take_endpoints(&l, family, &h))
        return l.verdict;
    return finish(l.at, &h, ret);
}

/* ---- version 2 ---- */

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_NONE = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX = 0x31 };
enum { TLV_CRC32C = 0x03 };

#define V2_ADDRESSES_UNKNOWN (-1)
static int addresses_len(uint8_t fam)
{
    switch (fam) {
    case V2_NONE:
        return 0;
    case V2_TCP4:
        return 2 * 4 + 2 * 2;
    case V2_TCP6:
        return 2 * 16 + 2 * 2;
    case V2_UNIX:
        return 2 * 108;
    default:
        return V2_ADDRESSES_UNKNOWN;
    }
}

/* Over octets as if those from hole on, four of them, were zeros. One header per connection, mostly
 * without a checksum: a table would not pay. */
static uint32_t crc32c(const uint8_t *octets, size_t len, size_t hole)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0 : octets[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

/* r stands behind the addresses and ends where the header ends. */
static bool tlvs_are_good(struct wire_reader *r)
{
    bool checked = false;

    while (wire_left(r) > 0) {
        uint8_t type = wire_u8(r);
        uint16_t len = wire_u16(r);
        size_t at = r->at;

        if (wire_bytes(r, len) == NULL)
            return false;
        if (type != TLV_CRC32C)
            continue;
        struct wire_reader sum = wire_read(r->base + at, len);
        if (checked || len != 4 || wire_u32(&sum) != crc32c(r->base, r->len, at))
            return false;
        checked = true;
    }
    return true;
}

static void read_endpoints(struct wire_reader *r, uint8_t fam, struct proxy_header *h)
{
    struct addr (*make)(const uint8_t *, uint16_t) = fam == V2_TCP4 ? addr_ipv4 : addr_ipv6;
    size_t ip_len = fam == V2_TCP4 ? 4 : 16;

    h->client = make(wire_bytes(r, ip_len), 0);
    h->destination = make(wire_bytes(r, ip_len), 0);
    h->client.port = wire_u16(r);
    h->destination.port = wire_u16(r);
}

/* The whole header is in r, its cursor behind LEN. */
static int decode_block(struct wire_reader *r, uint8_t fam, struct proxy_header *ret)
{
    struct proxy_header h = {.version = 2};

    if (fam == V2_UNIX) {
        h.local = true;
        wire_bytes(r, (size_t)addresses_len(fam));
    } else {
        read_endpoints(r, fam, &h);
    }
    return tlvs_are_good(r) ? finish(r->len, &h, ret) : PROXY_BAD;
}

static int decode_v2(const uint8_t *buf, size_t len, struct proxy_header *ret)
{
    const struct proxy_header nobody = {.version = 2, .local = true};
    struct wire_reader r = wire_read(buf, len);
    uint8_t command, fam;
    uint16_t block;
    int addresses;

    wire_bytes(&r, sizeof(v2_signature));
    command = wire_u8(&r);
    if (r.ok && command != V2_LOCAL && command != V2_PROXY)
        return PROXY_BAD;
    fam = wire_u8(&r);
    addresses = command == V2_PROXY ? addresses_len(fam) : 0;
    if (r.ok && addresses == V2_ADDRESSES_UNKNOWN)
        return PROXY_BAD;
    block = wire_u16(&r);
    if (r.ok && (block < addresses || block > PROXY_V2_LEN_MAX))
        return PROXY_BAD;
    if (!r.ok || wire_left(&r) < block)
        return PROXY_MORE;
    r.len = r.at + block;
    return addresses > 0 ? decode_block(&r, fam, ret) : finish(r.len, &nobody, ret);
}

/* ---- which ---- */

int proxy_header_decode(const uint8_t *buf, size_t len, struct proxy_header *ret)
{
    bool second = len > 0 && buf[0] == v2_signature[0];
    const void *signature = second ? v2_signature : (const void *)v1_signature;
    size_t signature_len = second ? sizeof(v2_signature) : V1_SIGNATURE_LEN;

    if (len == 0)
        return PROXY_MORE;
    if (memcmp(buf, signature, len < signature_len ? len : signature_len) != 0)
        return PROXY_MISSING;
    if (len < signature_len)
        return PROXY_MORE;
    return second ? decode_v2(buf, len, ret) : decode_v1(buf, len, ret);
}
