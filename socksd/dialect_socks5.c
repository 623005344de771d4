#include <string.h>

#include "shared/socks/socks5.h"
#include "shared/socks/socks5_transparent.h"
#include "shared/socks/socks5_userpass.h"
#include "socksd/dialect_impl.h"

/* The methods we can carry out, and what a client does after each. */
static const struct method {
    uint8_t id;
    uint8_t next; /* enum dialect_state */
} methods[] = {
    {SOCKS_METHOD_NONE, DIALECT_SOCKS5_REQUEST},
    {SOCKS_METHOD_USERPASS, DIALECT_SOCKS5_USERPASS},
};

static const struct method *method_find(uint8_t id)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (methods[i].id == id)
            return &methods[i];
    return NULL;
}

/* Our order counts, not the client's. NULL: none in common. */
static const struct method *method_choose(const struct dialect_policy *policy,
                                          const struct socks5_greeting *offer)
{
    for (size_t i = 0; i < policy->method_count; i++) {
        const struct method *m = method_find(policy->methods[i]);
        if (m != NULL && memchr(offer->methods, m->id, offer->method_count) != NULL)
            return m;
    }
    return NULL;
}

static void say_selection(struct dialect *d, uint8_t method)
{
    uint8_t out[SOCKS5_SELECTION_LEN];

    dialect_say(d, out, socks5_selection_encode(method, out, sizeof(out)));
}

void dialect_socks5_no_method(struct dialect *d, const char *why)
{
    say_selection(d, SOCKS_METHOD_NO_ACCEPTABLE);
    dialect_close(d, why);
}

size_t dialect_socks5_greeting(struct dialect *d, const uint8_t *in, size_t len)
{
    struct socks5_greeting offer;
    int taken = socks5_greeting_decode(in, len, &offer);
    const struct method *chosen;

    if (taken <= 0)
        return 0; /* more: it cannot be bad, its only check is the first octet */
    chosen = method_choose(d->policy, &offer);
    if (chosen == NULL) {
        dialect_socks5_no_method(d, "no_acceptable_method");
        return (size_t)taken;
    }
    d->method = chosen->id;
    say_selection(d, chosen->id);
    sm_move(&d->sm, chosen->next);
    return (size_t)taken;
}

size_t dialect_socks5_userpass(struct dialect *d, const uint8_t *in, size_t len)
{
    struct dialect_credentials *c = &d->credentials;
    struct socks5_userpass said;
    int taken = socks5_userpass_decode(in, len, &said);

    if (taken < 0)
        dialect_socks5_authenticated(d, false, "bad_message");
    if (taken <= 0)
        return 0;
    memcpy(c->user, said.user, said.user_len);
    memcpy(c->password, said.password, said.password_len);
    c->user_len = said.user_len;
    c->password_len = said.password_len;
    sm_move(&d->sm, DIALECT_SOCKS5_AUTH);
    return (size_t)taken;
}

void dialect_socks5_authenticated(struct dialect *d, bool ok, const char *why)
{
    uint8_t out[SOCKS5_USERPASS_STATUS_LEN];

    dialect_say(d, out, socks5_userpass_status_encode(ok ? 0 : 1, out, sizeof(out)));
    if (ok)
        sm_move(&d->sm, DIALECT_SOCKS5_REQUEST);
    else
        dialect_close(d, why);
}

/* draft-lucioni-a-socks-transparent-proxy-method-00, section 3.1. */
static size_t transparent(struct dialect *d, const uint8_t *in, size_t len)
{
    struct socks5_transparent said;
    int taken = socks5_transparent_decode(in, len, &said);

    if (taken < 0)
        dialect_reject_bad(d, taken);
    if (taken <= 0)
        return 0;
    d->request = (struct request){
        .version = SOCKS5_VERSION,
        .command = SOCKS_TRANSPARENT,
        .dest = said.dest,
        .ptcl = said.protocol,
        .source = said.source,
    };
    dialect_ask(d);
    return (size_t)taken;
}

size_t dialect_socks5_request(struct dialect *d, const uint8_t *in, size_t len)
{
    struct socks5_request said;

    if (len >= 2 && in[0] == SOCKS5_VERSION && in[1] == SOCKS_TRANSPARENT)
        return transparent(d, in, len);
    int taken = socks5_request_decode(in, len, &said);

    if (taken < 0)
        dialect_reject_bad(d, taken);
    if (taken <= 0)
        return 0;
    d->request = (struct request){
        .version = SOCKS5_VERSION,
        .command = said.command,
        .dest = said.dest,
    };
    dialect_ask(d);
    return (size_t)taken;
}

size_t dialect_socks5_reply(enum reply_word word, const struct addr *bound, uint8_t *ret)
{
    const struct socks5_reply reply = {.code = reply_socks5(word), .bound.addr = *bound};

    return socks5_reply_encode(&reply, ret, DIALECT_OUT_MAX);
}
