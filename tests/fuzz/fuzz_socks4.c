/* First octet: which message. The rest: the message. What decodes, encodes to the same octets. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/socks/socks4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;

    const uint8_t *in = data + 1;
    uint8_t out[SOCKS4_REQUEST_MAX]; /* the longest of them */
    struct socks4_request request;
    struct socks4_reply reply;
    size_t len = size - 1, said = 0;
    int taken = 0;

    switch (data[0] % 2) {
    case 0:
        taken = socks4_request_decode(in, len, &request);
        if (taken > 0)
            said = socks4_request_encode(&request, out, sizeof(out));
        if (taken > 0 && request.dest.name[0] != '\0')
            out[7] = in[7]; /* any x of 0.0.0.x announces a name; we say 1 */
        break;
    case 1:
        taken = socks4_reply_decode(in, len, &reply);
        if (taken > 0)
            said = socks4_reply_encode(&reply, out, sizeof(out));
        break;
    }
    if (taken > 0) {
        assert(said == (size_t)taken);
        assert(memcmp(in, out, said) == 0);
    }
    return 0;
}
