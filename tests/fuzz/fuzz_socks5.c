/* First octet: which message. The rest: the message. What decodes, encodes to the same octets. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/socks/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    const uint8_t *in = data + 1;
    uint8_t out[SOCKS5_REQUEST_MAX]; /* the longest of them */
    struct socks5_greeting greeting;
    uint8_t selection;
    struct socks5_request request;
    struct socks5_reply reply;
    size_t len = size - 1, said = 0;
    int taken = 0;

    switch (data[0] % 4) {
    case 0:
        taken = socks5_greeting_decode(in, len, &greeting);
        if (taken > 0)
            said = socks5_greeting_encode(&greeting, out, sizeof(out));
        break;
    case 1:
        taken = socks5_selection_decode(in, len, &selection);
        if (taken > 0)
            said = socks5_selection_encode(selection, out, sizeof(out));
        break;
    case 2:
        taken = socks5_request_decode(in, len, &request);
        if (taken > 0)
            said = socks5_request_encode(&request, out, sizeof(out));
        break;
    case 3:
        taken = socks5_reply_decode(in, len, &reply);
        if (taken > 0)
            said = socks5_reply_encode(&reply, out, sizeof(out));
        break;
    }
    if (taken > 0) {
        assert(said == (size_t)taken);
        assert(memcmp(in, out, said) == 0);
    }
    return 0;
}
