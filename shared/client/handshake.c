#include "shared/client/handshake.h"

#include <string.h>

#include "shared/base/secret.h"
#include "shared/socks/socks4.h"

_Static_assert((int)SOCKSC_CONNECT == SOCKS_CONNECT && (int)SOCKSC_BIND == SOCKS_BIND &&
                   (int)SOCKSC_UDP_ASSOCIATE == SOCKS_UDP_ASSOCIATE &&
                   (int)SOCKSC_TRANSPARENT == SOCKS_TRANSPARENT,
               "commands have one number");
_Static_assert(SOCKS4_REQUEST_MAX <= HANDSHAKE_OUT_MAX && SOCKS4_REPLY_LEN <= SOCKS5_REPLY_MAX,
               "SOCKS 4 needs less room");

enum state { GREETED, AUTHENTICATING, ASKED, LISTENING, DONE, FAILED, STATES };

static const struct sm_state states[STATES] = {
    [GREETED] = {"greeted", SM_TO(AUTHENTICATING) | SM_TO(ASKED) | SM_TO(FAILED)},
    [AUTHENTICATING] = {"authenticating", SM_TO(ASKED) | SM_TO(FAILED)},
    [ASKED] = {"asked", SM_TO(LISTENING) | SM_TO(DONE) | SM_TO(FAILED)},
    [LISTENING] = {"listening", SM_TO(DONE) | SM_TO(FAILED)},
    [DONE] = {"done", 0},
    [FAILED] = {"failed", 0},
};

/* ---- what will be said ---- */

static bool is_socks5(const struct client_handshake *h)
{
    return h->version == SOCKSC_SOCKS5;
}

/* False when it cannot be said. */
static bool put(struct client_handshake *h, size_t octets)
{
    h->out_len += octets;
    return octets > 0;
}

static uint8_t *end_of(struct client_handshake *h)
{
    return h->out + h->out_len;
}

static size_t room(const struct client_handshake *h)
{
    return sizeof(h->out) - h->out_len;
}

static bool is_host(const struct dest *d)
{
    return d->name[0] != '\0' || d->addr.family != ADDR_NONE;
}

static enum socksc_result put_socks4(struct client_handshake *h, const struct handshake_request *r)
{
    struct socks4_request m = {.command = (enum socks_command)r->command, .dest = r->dest};
    size_t user_len = r->user != NULL ? strlen(r->user) : 0;

    if (r->command != SOCKSC_CONNECT && r->command != SOCKSC_BIND)
        return SOCKSC_BAD_COMMAND;
    if (r->password != NULL)
        return SOCKSC_BAD_PASSWORD;
    if (user_len > SOCKS4_FIELD_MAX)
        return SOCKSC_BAD_USER;
    if (r->version == SOCKSC_SOCKS4 && r->dest.name[0] != '\0')
        return SOCKSC_BAD_HOST;
    m.dest.addr = addr_unmap(&r->dest.addr);
    m.userid = (const uint8_t *)r->user;
    m.userid_len = (uint8_t)user_len;
    return put(h, socks4_request_encode(&m, end_of(h), room(h))) ? SOCKSC_MORE : SOCKSC_BAD_HOST;
}

static enum socksc_result put_login(struct client_handshake *h, const struct handshake_request *r)
{
    size_t user_len = r->user != NULL ? strlen(r->user) : 0;
    size_t password_len = r->password != NULL ? strlen(r->password) : 0;
    struct socks5_userpass m = {.user = (const uint8_t *)r->user,
                                .password = (const uint8_t *)r->password};

    if (r->user == NULL)
        return r->password == NULL ? SOCKSC_MORE : SOCKSC_BAD_PASSWORD;
    if (user_len == 0 || user_len > UINT8_MAX)
        return SOCKSC_BAD_USER;
    if (password_len == 0 || password_len > UINT8_MAX)
        return SOCKSC_BAD_PASSWORD;
    m.user_len = (uint8_t)user_len;
    m.password_len = (uint8_t)password_len;
    put(h, socks5_userpass_encode(&m, end_of(h), room(h)));
    return SOCKSC_MORE;
}

static enum socksc_result put_request(struct client_handshake *h, const struct handshake_request *r)
{
    struct socks5_request m = {.command = (enum socks_command)r->command, .dest = r->dest};
    struct socks5_transparent t = {.dest = r->dest, .protocol = r->protocol, .source = r->source};

    if (!is_host(&r->dest))
        return SOCKSC_BAD_HOST;
    switch (r->command) {
    case SOCKSC_CONNECT:
    case SOCKSC_BIND:
    case SOCKSC_UDP_ASSOCIATE:
        put(h, socks5_request_encode(&m, end_of(h), room(h)));
        return SOCKSC_MORE;
    case SOCKSC_TRANSPARENT:
        if (!is_host(&r->source))
            return SOCKSC_BAD_SOURCE;
        put(h, socks5_transparent_encode(&t, end_of(h), room(h)));
        return SOCKSC_MORE;
    }
    return SOCKSC_BAD_COMMAND;
}

static enum socksc_result put_socks5(struct client_handshake *h, const struct handshake_request *r)
{
    static const uint8_t methods[] = {SOCKS_METHOD_NONE, SOCKS_METHOD_USERPASS};
    struct socks5_greeting greeting = {.methods = methods, .method_count = r->user != NULL ? 2 : 1};
    enum socksc_result bad;

    put(h, socks5_greeting_encode(&greeting, end_of(h), room(h)));
    h->login_at = h->out_len;
    bad = put_login(h, r);
    if (bad != SOCKSC_MORE)
        return bad;
    h->request_at = h->out_len;
    return put_request(h, r);
}

enum socksc_result handshake_init(struct client_handshake *h, const struct handshake_request *r)
{
    enum socksc_result bad;

    *h = (struct client_handshake){.version = r->version, .command = r->command};
    sm_init(&h->sm, states, STATES, is_socks5(h) ? GREETED : ASKED);
    bad = is_socks5(h) ? put_socks5(h, r) : put_socks4(h, r);
    if (bad != SOCKSC_MORE)
        handshake_fini(h);
    h->may_send = is_socks5(h) ? h->login_at : h->out_len;
    return bad;
}

void handshake_fini(struct client_handshake *h)
{
    secret_wipe(h->out, sizeof(h->out));
}

const uint8_t *handshake_output(const struct client_handshake *h, size_t *ret_len)
{
    *ret_len = h->may_send - h->sent;
    return h->out + h->sent;
}

void handshake_sent(struct client_handshake *h, size_t n)
{
    if (n > h->may_send - h->sent)
        n = h->may_send - h->sent;
    secret_wipe(h->out + h->sent, n);
    h->sent += n;
}

/* ---- what is answered ---- */

/* An outcome that is final and no success; nothing more is said. */
static void fail(struct client_handshake *h, enum socksc_result result, const char *detail)
{
    sm_move(&h->sm, FAILED);
    h->result = result;
    h->detail = detail;
    h->may_send = h->sent;
    handshake_fini(h);
}

/* The next message is the one from there to there. */
static void say(struct client_handshake *h, enum state next, size_t from, size_t to)
{
    secret_wipe(h->out + h->sent, from - h->sent);
    h->sent = from;
    h->may_send = to;
    sm_move(&h->sm, (uint8_t)next);
}

static struct dest unmapped(struct dest d)
{
    d.addr = addr_unmap(&d.addr);
    return d;
}

static void granted(struct client_handshake *h, const struct dest *bound)
{
    if (h->sm.state == LISTENING) {
        h->peer = unmapped(*bound);
    } else {
        h->bound = unmapped(*bound);
        if (h->command == SOCKSC_BIND) {
            sm_move(&h->sm, LISTENING);
            h->result = SOCKSC_LISTENING;
            return;
        }
    }
    sm_move(&h->sm, DONE);
    h->result = SOCKSC_DONE;
}

static void refused(struct client_handshake *h, uint8_t code)
{
    h->code = code;
    fail(h, SOCKSC_REFUSED, NULL);
}

/* Each of these looks at the octets in h->in and returns what a decoder returns; when it took a
 * message or refused it, it has moved the machine. */

static int on_selection(struct client_handshake *h)
{
    uint8_t method;
    int taken = socks5_selection_decode(h->in, h->in_len, &method);

    if (taken < 0)
        fail(h, SOCKSC_NOT_SOCKS, NULL);
    if (taken <= 0)
        return taken;
    if (method == SOCKS_METHOD_NONE)
        say(h, ASKED, h->request_at, h->out_len);
    else if (method == SOCKS_METHOD_USERPASS && h->request_at > h->login_at)
        say(h, AUTHENTICATING, h->login_at, h->request_at);
    else if (method == SOCKS_METHOD_NO_ACCEPTABLE)
        fail(h, SOCKSC_NO_METHOD, NULL);
    else
        fail(h, SOCKSC_MISBEHAVED, "the proxy chose a method that was not offered");
    return taken;
}

static int on_status(struct client_handshake *h)
{
    uint8_t status;
    int taken = socks5_userpass_status_decode(h->in, h->in_len, &status);

    if (taken < 0)
        fail(h, SOCKSC_MISBEHAVED, "the proxy's answer to the password is none of RFC 1929");
    else if (taken > 0 && status == 0)
        say(h, ASKED, h->request_at, h->out_len);
    else if (taken > 0)
        fail(h, SOCKSC_BAD_LOGIN, NULL);
    return taken;
}

static int on_reply5(struct client_handshake *h)
{
    struct socks5_reply m;
    int taken = socks5_reply_decode(h->in, h->in_len, &m);

    if (taken < 0)
        fail(h, SOCKSC_MISBEHAVED, "the proxy's reply is none of RFC 1928");
    else if (taken > 0 && m.code == 0)
        granted(h, &m.bound);
    else if (taken > 0)
        refused(h, m.code);
    return taken;
}

static int on_reply4(struct client_handshake *h)
{
    struct socks4_reply m;
    int taken = socks4_reply_decode(h->in, h->in_len, &m);

    if (taken < 0)
        fail(h, SOCKSC_NOT_SOCKS, NULL);
    else if (taken > 0 && m.code == 90)
        granted(h, &(struct dest){.addr = m.bound});
    else if (taken > 0)
        refused(h, m.code);
    return taken;
}

static int on_answer(struct client_handshake *h)
{
    switch (h->sm.state) {
    case GREETED:
        return on_selection(h);
    case AUTHENTICATING:
        return on_status(h);
    default:
        return is_socks5(h) ? on_reply5(h) : on_reply4(h);
    }
}

size_t handshake_take(struct client_handshake *h, const uint8_t *in, size_t len)
{
    size_t had = h->in_len, n = len < sizeof(h->in) - had ? len : sizeof(h->in) - had;
    int taken;

    if (h->sm.state == DONE || len == 0)
        return 0;
    if (h->sm.state == FAILED)
        return len;
    if (h->sent < h->may_send) {
        fail(h, SOCKSC_MISBEHAVED, "the proxy answered before it was asked");
        return len;
    }
    memcpy(h->in + had, in, n);
    h->in_len += n;
    taken = on_answer(h);
    if (taken == SOCKS_MORE)
        return n;
    h->in_len = 0;
    return h->sm.state == FAILED ? len : (size_t)taken - had;
}

void handshake_end(struct client_handshake *h)
{
    if (h->sm.state != DONE && h->sm.state != FAILED)
        fail(h, SOCKSC_ENDED, NULL);
}

static const char *refusal_sentence(const struct client_handshake *h)
{
    static const char *const socks5[] = {
        [1] = "general failure",       [2] = "not allowed by ruleset",
        [3] = "network unreachable",   [4] = "host unreachable",
        [5] = "connection refused",    [6] = "timed out",
        [7] = "command not supported", [8] = "address type not supported",
        [9] = "invalid address",
    };
    static const char *const socks4[] = {
        "rejected or failed",
        "the proxy cannot reach our identd",
        "our identd tells another user",
    };

    if (!is_socks5(h))
        return h->code >= 91 && h->code <= 93 ? socks4[h->code - 91] : "for no known reason";
    if (h->command == SOCKSC_TRANSPARENT && h->code == SOCKS5_REP_PROTOCOL_NOT_SERVED)
        return "protocol not supported";
    return h->code < sizeof(socks5) / sizeof(socks5[0]) ? socks5[h->code] : "for no known reason";
}

const char *handshake_sentence(const struct client_handshake *h)
{
    if (h->result == SOCKSC_REFUSED)
        return refusal_sentence(h);
    return h->detail != NULL ? h->detail : socksc_result_sentence(h->result);
}
