/* First octet: which message. The rest: the message. What decodes, encodes to the same octets. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/socks/socks5_userpass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    const uint8_t *in = data + 1;
    uint8_t out[SOCKS5_USERPASS_MAX]; /* the longest of them */
    struct socks5_userpass request;
    uint8_t status;
    size_t len = size - 1, said = 0;
    int taken = 0;

    switch (data[0] % 2) {
    case 0:
        taken = socks5_userpass_decode(in, len, &request);
        if (taken > 0)
            said = socks5_userpass_encode(&request, out, sizeof(out));
        break;
    case 1:
        taken = socks5_userpass_status_decode(in, len, &status);
        if (taken > 0)
            said = socks5_userpass_status_encode(status, out, sizeof(out));
        break;
    }
    if (taken > 0) {
        assert(said == (size_t)taken);
        assert(memcmp(in, out, said) == 0);
    }
    return 0;
}
