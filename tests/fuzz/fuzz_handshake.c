/* First octet: version and command; second: where the answers are cut. The rest: what a proxy says.
 * A handshake ends in the same way however the answers come, and takes nothing behind its end. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/client/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct handshake_request request_of(uint8_t choice)
{
    struct handshake_request r = {
        .version = (enum socksc_version)(choice % 3),
        .command = (enum socksc_command)(1 + choice / 3 % 4),
        .user = "user",
        .password = choice % 3 == SOCKSC_SOCKS5 ? "password" : NULL,
        .protocol = 17,
    };

    r.dest.addr = addr_any(ADDR_IPV4, 53);
    r.source.addr = addr_any(ADDR_IPV6, 53);
    return r;
}

/* Octets that it took. */
static size_t give(struct client_handshake *h, const uint8_t *in, size_t len)
{
    size_t at = 0, n, out_len;

    do {
        handshake_output(h, &out_len);
        assert(out_len <= sizeof(h->out));
        handshake_sent(h, out_len);
        n = handshake_take(h, in + at, len - at);
        at += n;
        assert(at <= len);
    } while (n > 0 && at < len);
    assert(at == len || h->result == SOCKSC_DONE);
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_handshake whole, cut;
    struct handshake_request r;
    size_t first, taken;

    if (size < 2)
        return 0;
    r = request_of(data[0]);
    if (handshake_init(&whole, &r) != SOCKSC_MORE)
        return 0;
    assert(handshake_init(&cut, &r) == SOCKSC_MORE);
    first = data[1] < size - 2 ? data[1] : size - 2;
    data += 2;
    size -= 2;
    taken = give(&whole, data, size);
    if (give(&cut, data, first) == first)
        assert(first + give(&cut, data + first, size - first) == taken);
    assert(whole.result == cut.result && whole.code == cut.code);
    assert(addr_equal(&whole.bound.addr, &cut.bound.addr));
    assert(strcmp(handshake_sentence(&whole), handshake_sentence(&cut)) == 0);
    handshake_fini(&whole);
    handshake_fini(&cut);
    return 0;
}
