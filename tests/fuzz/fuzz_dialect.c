/* A client against a listener: octet 0 chooses the listener, octets 1 to 4 where the input is cut,
 * the rest is what the client says. The cuts must change nothing, nor must single octets. */
#undef NDEBUG
#include <assert.h>

#include "tests/lib/handshake.h"

#define HEAD    5
#define LONGEST 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct dialect_policy policy_from(uint8_t bits)
{
    struct dialect_policy p = {.socks4 = bits & 1, .socks5 = bits & 2};

    if (bits & 4)
        p.methods[p.method_count++] = SOCKS_METHOD_USERPASS;
    if (bits & 8)
        p.methods[p.method_count++] = SOCKS_METHOD_NONE;
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handshake whole, cut, single;
    struct dialect_policy policy;
    size_t cuts[HEAD - 1], each[LONGEST], len = size - HEAD, at = 0;

    if (size < HEAD || len > LONGEST)
        return 0;
    for (size_t i = 0; i < HEAD - 1; i++)
        cuts[i] = at = at + data[1 + i] < len ? at + data[1 + i] : len;
    for (size_t i = 0; i < len; i++)
        each[i] = i;
    policy = policy_from(data[0]);
    handshake_play(&whole, &policy, data[0] & 16, data + HEAD, len, NULL, 0);
    handshake_play(&cut, &policy, data[0] & 16, data + HEAD, len, cuts, HEAD - 1);
    handshake_play(&single, &policy, data[0] & 16, data + HEAD, len, each, len);
    assert(handshake_same(&whole, &cut) && handshake_same(&whole, &single));
    return 0;
}
