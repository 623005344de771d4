#include "socksd/dialect.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/socks/socks4.h"
#include "shared/socks/socks5.h"
#include "socksd/dialect_impl.h"

static dialect_take take_first;

static const struct sm_state states[DIALECT_STATES] = {
    [DIALECT_FIRST] = {"first", SM_TO(DIALECT_SOCKS4_REQUEST) | SM_TO(DIALECT_SOCKS5_GREETING) |
                                    SM_TO(DIALECT_CLOSED)},
    [DIALECT_SOCKS4_REQUEST] = {"socks4-request", SM_TO(DIALECT_ASKED) | SM_TO(DIALECT_CLOSED)},
    [DIALECT_SOCKS5_GREETING] = {"socks5-greeting", SM_TO(DIALECT_SOCKS5_USERPASS) |
                                                        SM_TO(DIALECT_SOCKS5_REQUEST) |
                                                        SM_TO(DIALECT_CLOSED)},
    [DIALECT_SOCKS5_USERPASS] = {"socks5-userpass",
                                 SM_TO(DIALECT_SOCKS5_AUTH) | SM_TO(DIALECT_CLOSED)},
    [DIALECT_SOCKS5_AUTH] = {"socks5-auth", SM_TO(DIALECT_SOCKS5_REQUEST) | SM_TO(DIALECT_CLOSED)},
    [DIALECT_SOCKS5_REQUEST] = {"socks5-request", SM_TO(DIALECT_ASKED) | SM_TO(DIALECT_CLOSED)},
    [DIALECT_ASKED] = {"asked", 0},
    [DIALECT_CLOSED] = {"closed", 0},
};

/* What a state reads (NULL: nothing), and what the session is told while it lasts. */
static const struct phase {
    dialect_take *take;
    enum dialect_want want;
} phases[DIALECT_STATES] = {
    [DIALECT_FIRST] = {take_first, DIALECT_MORE},
    [DIALECT_SOCKS4_REQUEST] = {dialect_socks4_request, DIALECT_MORE},
    [DIALECT_SOCKS5_GREETING] = {dialect_socks5_greeting, DIALECT_MORE},
    [DIALECT_SOCKS5_USERPASS] = {dialect_socks5_userpass, DIALECT_MORE},
    [DIALECT_SOCKS5_AUTH] = {NULL, DIALECT_AUTH},
    [DIALECT_SOCKS5_REQUEST] = {dialect_socks5_request, DIALECT_MORE},
    [DIALECT_ASKED] = {NULL, DIALECT_REQUEST},
    [DIALECT_CLOSED] = {NULL, DIALECT_CLOSE},
};

void dialect_init(struct dialect *d, const struct dialect_policy *policy)
{
    memset(d, 0, sizeof(*d));
    d->policy = policy;
    sm_init(&d->sm, states, DIALECT_STATES, DIALECT_FIRST);
}

enum dialect_want dialect_feed(struct dialect *d, const uint8_t *in, size_t len, size_t *ret_used)
{
    size_t used = 0;
    uint8_t before;

    do {
        before = d->sm.state;
        if (phases[before].take != NULL && used < len)
            used += phases[before].take(d, in + used, len - used);
    } while (d->sm.state != before);
    *ret_used = d->sm.state == DIALECT_CLOSED ? len : used;
    return phases[d->sm.state].want;
}

/* Only looks: the octet belongs to the message that starts with it. */
static size_t take_first(struct dialect *d, const uint8_t *in, size_t len)
{
    (void)len;
    d->version = in[0];
    switch (d->version) {
    case SOCKS4_VERSION:
        if (d->policy->socks4 && dialect_allows(d, SOCKS_METHOD_NONE))
            sm_move(&d->sm, DIALECT_SOCKS4_REQUEST);
        else
            dialect_reject(d, REPLY_DENIED, "dialect_disabled");
        break;
    case SOCKS5_VERSION:
        if (d->policy->socks5)
            sm_move(&d->sm, DIALECT_SOCKS5_GREETING);
        else
            dialect_socks5_no_method(d, "dialect_disabled");
        break;
    default:
        dialect_close(d, "bad_version");
    }
    return 0;
}

enum dialect_want dialect_auth_done(struct dialect *d, bool ok)
{
    if (d->sm.state == DIALECT_SOCKS5_AUTH) {
        secret_wipe(&d->credentials, sizeof(d->credentials));
        dialect_socks5_authenticated(d, ok, "auth_failed");
    }
    return phases[d->sm.state].want;
}

size_t dialect_reply(const struct dialect *d, enum reply_word word, const struct addr *bound,
                     uint8_t ret[DIALECT_OUT_MAX])
{
    struct addr said = addr_any(ADDR_IPV4, 0);

    if (bound != NULL && bound->family != ADDR_NONE)
        said = addr_unmap(bound);
    switch (d->version) {
    case SOCKS4_VERSION:
        return dialect_socks4_reply(word, &said, ret);
    case SOCKS5_VERSION:
        return dialect_socks5_reply(word, &said, ret);
    default:
        return 0; /* a client whose tongue we do not know */
    }
}

bool dialect_allows(const struct dialect *d, enum socks_method method)
{
    return memchr(d->policy->methods, method, d->policy->method_count) != NULL;
}

void dialect_say(struct dialect *d, const uint8_t *octets, size_t len)
{
    if (len > sizeof(d->out) - d->out_len)
        abort(); /* DIALECT_OUT_MAX is too small for a handshake */
    memcpy(d->out + d->out_len, octets, len);
    d->out_len += (uint8_t)len;
}

void dialect_close(struct dialect *d, const char *why)
{
    d->why = why;
    sm_move(&d->sm, DIALECT_CLOSED);
}

void dialect_reject(struct dialect *d, enum reply_word word, const char *why)
{
    uint8_t reply[DIALECT_OUT_MAX];

    dialect_say(d, reply, dialect_reply(d, word, NULL, reply));
    d->word = word;
    dialect_close(d, why);
}

void dialect_reject_bad(struct dialect *d, int bad)
{
    switch (bad) {
    case SOCKS_BAD_COMMAND:
        dialect_reject(d, REPLY_COMMAND_UNSUPPORTED, "bad_command");
        break;
    case SOCKS_BAD_ATYP:
        dialect_reject(d, REPLY_ADDRESS_UNSUPPORTED, "bad_address_type");
        break;
    case SOCKS_TOO_LONG:
        dialect_reject(d, REPLY_GENERAL_FAILURE, "too_long");
        break;
    default:
        dialect_reject(d, REPLY_GENERAL_FAILURE, "bad_message");
    }
}

void dialect_ask(struct dialect *d)
{
    if (request_normalise(&d->request))
        sm_move(&d->sm, DIALECT_ASKED);
    else
        dialect_reject(d, REPLY_GENERAL_FAILURE, "bad_message");
}
