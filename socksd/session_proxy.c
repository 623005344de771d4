/* The header of the PROXY protocol in front of a handshake, from the sources that must send one. */
#include "shared/base/log.h"
#include "shared/net/sockaddr.h"
#include "socksd/proxy_protocol.h"
#include "socksd/session.h"

_Static_assert(PROXY_HEADER_MAX <= SESSION_IN_MAX, "a header must fit into the buffer");

#define OUTCOME_WORD(symbol, word) word,
static const char *const outcome_words[] = {PROXY_OUTCOMES(OUTCOME_WORD)};

const char *proxy_outcome_name(enum proxy_outcome outcome)
{
    return outcome_words[outcome];
}

bool session_proxy_expected(const struct listener_keys *keys, const struct addr *peer)
{
    for (size_t i = 0; i < keys->proxy.from.count; i++) {
        if (prefix_contains(&keys->proxy.from.items[i], peer))
            return true;
    }
    return false;
}

/* A sender that gets this wrong has no use for an answer in a dialect that it does not speak. */
static void refuse(struct session *x, enum proxy_outcome outcome, const char *reason,
                   enum session_end end)
{
    x->server->stats.proxy_headers[outcome]++;
    log_info("handshake_failed", LOG_ADDR("client", &x->client), LOG_STR("reason", reason),
             LOG_ADDR("listener", &x->listener));
    session_end(x, end);
}

static void believe(struct session *x, const struct proxy_header *h)
{
    struct server *s = x->server;

    if (h->local) {
        s->stats.proxy_headers[PROXY_OUTCOME_LOCAL]++;
        return;
    }
    s->stats.proxy_headers[h->version == 1 ? PROXY_OUTCOME_V1 : PROXY_OUTCOME_V2]++;
    x->via = x->client;
    x->client = h->client;
    x->reached = h->destination;
}

int session_proxy_header(struct session *x)
{
    struct server *s = x->server;
    uint64_t now = loop_now(s->loop), until = x->started + s->config.timeouts.handshake_ms;
    struct proxy_header h;
    int taken = proxy_header_decode(x->in, x->in_len, &h);

    if (taken == PROXY_MISSING)
        refuse(x, PROXY_OUTCOME_MISSING, "proxy_header_missing", SESSION_BAD_HANDSHAKE);
    else if (taken == PROXY_BAD)
        refuse(x, PROXY_OUTCOME_BAD, "proxy_header_bad", SESSION_BAD_HANDSHAKE);
    if (taken <= 0)
        return taken;
    believe(x, &h);
    sm_move(&x->sm, SESSION_HANDSHAKE);
    loop_timer_start(s->loop, &x->timer, until > now ? until - now : 0);
    return taken;
}

void session_proxy_timeout(struct session *x)
{
    refuse(x, PROXY_OUTCOME_TIMEOUT, "proxy_timeout", SESSION_HANDSHAKE_TIMEOUT);
}

void session_client_local(const struct session *x, struct addr *ret)
{
    if (addr_is_any(&x->reached))
        sockaddr_local(x->hot.fd, ret);
    else
        *ret = x->reached;
}
