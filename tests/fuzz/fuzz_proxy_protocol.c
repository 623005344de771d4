/* A header and whatever follows it. Each beginning of the input is judged by itself: it wants more
 * until there is a verdict, which then stays. What was understood, said again in version 2 by us,
 * is understood in the same way. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/base/wire.h"
#include "socksd/proxy_protocol.h"

#define LONGEST (PROXY_HEADER_MAX + 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void say_addresses(struct wire_writer *w, const struct proxy_header *h)
{
    size_t len = addr_ip_len(h->client.family);

    wire_put_u8(w, 0x21);
    wire_put_u8(w, len == 4 ? 0x11 : 0x21);
    wire_put_u16(w, (uint16_t)(2 * len + 4));
    wire_put_bytes(w, h->client.ip, len);
    wire_put_bytes(w, h->destination.ip, len);
    wire_put_u16(w, h->client.port);
    wire_put_u16(w, h->destination.port);
}

static void check_meaning(const struct proxy_header *h)
{
    uint8_t octets[52];
    struct wire_writer w = wire_write(octets, sizeof(octets));
    struct proxy_header again;

    assert(h->version == 1 || h->version == 2);
    if (h->local) {
        assert(h->client.family == ADDR_NONE && h->destination.family == ADDR_NONE);
        return;
    }
    assert(!addr_is_any(&h->client) && h->destination.family != ADDR_NONE);
    if (h->client.family != h->destination.family)
        return; /* one of them was mapped */
    wire_put_bytes(&w, "\r\n\r\n\0\r\nQUIT\n", 12);
    say_addresses(&w, h);
    assert(w.ok && proxy_header_decode(octets, w.at, &again) == (int)w.at);
    assert(addr_equal(&again.client, &h->client));
    assert(addr_equal(&again.destination, &h->destination));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h;
    int verdict = PROXY_MORE;
    size_t n;

    if (size > LONGEST)
        return 0;
    for (n = 0; n <= size && verdict == PROXY_MORE; n++)
        verdict = proxy_header_decode(data, n, &h);
    assert(verdict == proxy_header_decode(data, size, &h));
    assert(verdict <= 0 || (size_t)verdict == n - 1);
    assert(verdict <= PROXY_HEADER_MAX);
    if (verdict > 0)
        check_meaning(&h);
    return 0;
}
