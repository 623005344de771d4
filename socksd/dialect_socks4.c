#include <string.h>

#include "shared/socks/socks4.h"
#include "socksd/dialect_impl.h"

size_t dialect_socks4_request(struct dialect *d, const uint8_t *in, size_t len)
{
    struct socks4_request said;
    int taken = socks4_request_decode(in, len, &said);

    if (taken < 0)
        dialect_reject_bad(d, taken);
    if (taken <= 0)
        return 0;
    d->request = (struct request){
        .version = SOCKS4_VERSION,
        .command = said.command,
        .dest = said.dest,
        .userid_len = said.userid_len,
    };
    memcpy(d->request.userid, said.userid, said.userid_len);
    dialect_ask(d);
    return (size_t)taken;
}

size_t dialect_socks4_reply(enum reply_word word, const struct addr *bound, uint8_t *ret)
{
    struct socks4_reply reply = {.code = reply_socks4(word), .bound = *bound};

    if (bound->family != ADDR_IPV4)
        reply.bound = addr_any(ADDR_IPV4, bound->port);
    return socks4_reply_encode(&reply, ret, DIALECT_OUT_MAX);
}
