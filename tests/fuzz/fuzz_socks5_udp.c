/* Any octets as a datagram. The header of an address is written again, to octets that mean the
 * same; what is refused as too short is refused otherwise or taken once enough follows. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "shared/socks/socks5_udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* From a block of exactly len octets. */
static int decode(const uint8_t *data, size_t len, struct socks5_udp *ret)
{
    uint8_t *copy = malloc(len);
    int taken;

    if (len > 0)
        memcpy(copy, data, len);
    taken = socks5_udp_decode(copy, len, ret);
    free(copy);
    return taken;
}

static void check_address(const uint8_t *data, int taken, const struct socks5_udp *m)
{
    uint8_t out[SOCKS5_UDP_ADDR_MAX];
    size_t said = socks5_udp_encode(&m->dest.addr, out, sizeof(out));
    struct socks5_udp again;

    assert(said == 6 + addr_ip_len(m->dest.addr.family));
    assert(decode(out, said, &again) == (int)said);
    assert(again.frag == 0 && again.dest.name[0] == '\0');
    assert(addr_equal(&again.dest.addr, &m->dest.addr));
    if (said == (size_t)taken) /* it was not a mapped one */
        assert(memcmp(out + 3, data + 3, said - 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct socks5_udp m;
    int taken = decode(data, size, &m), before;

    assert(taken > 0 ? (size_t)taken <= size && taken <= SOCKS5_UDP_HEADER_MAX
                     : taken == SOCKS_BAD || taken == SOCKS_BAD_ATYP || taken == SOCKS_TOO_SHORT);
    if (taken > 0) {
        assert((m.dest.name[0] != '\0') == (m.dest.addr.family == ADDR_NONE));
        if (m.dest.name[0] != '\0')
            assert(strlen(m.dest.name) + 7 == (size_t)taken);
        else
            check_address(data, taken, &m);
        size = (size_t)taken;
    }
    if (size == 0)
        return 0;
    before = decode(data, size - 1, &m);
    assert(before == SOCKS_TOO_SHORT || (taken < 0 && before == taken));
    return 0;
}
