/* A TRANSPARENT request. What decodes, encodes to the same octets; what was refused stays refused.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/socks/socks5_transparent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[SOCKS5_TRANSPARENT_MAX];
    struct socks5_transparent m;
    int taken = socks5_transparent_decode(data, size, &m);

    assert(taken <= (int)sizeof(out));
    for (size_t n = 0; n < size && n <= sizeof(out); n++) {
        struct socks5_transparent part;
        int early = socks5_transparent_decode(data, n, &part);

        assert(early == SOCKS_MORE || early == taken);
    }
    if (taken > 0) {
        assert(socks5_transparent_encode(&m, out, sizeof(out)) == (size_t)taken);
        assert(memcmp(data, out, (size_t)taken) == 0);
    }
    return 0;
}
