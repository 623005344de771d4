#include "socksd/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/net/sockaddr.h"
#include "socksd/front.h"

enum {
    DRAIN_MS = 5000, /* RFC 1928 section 6 allows 10 s */
    DRAIN_KIB_MAX = 256,
};

static const struct sm_state states[] = {
    [SESSION_PROXY] = {"proxy", SM_TO(SESSION_HANDSHAKE) | SM_TO(SESSION_GONE)},
    [SESSION_HANDSHAKE] = {"handshake", SM_TO(SESSION_AUTH) | SM_TO(SESSION_RESOLVING) |
                                            SM_TO(SESSION_PLACING) | SM_TO(SESSION_FAILING) |
                                            SM_TO(SESSION_GONE)},
    [SESSION_AUTH] = {"auth", SM_TO(SESSION_HANDSHAKE) | SM_TO(SESSION_FAILING) | SM_TO(SESSION_GONE)},
    [SESSION_RESOLVING] = {"resolving",
                           SM_TO(SESSION_PLACING) | SM_TO(SESSION_FAILING) | SM_TO(SESSION_GONE)},
    [SESSION_PLACING] = {"placing",
                         SM_TO(SESSION_OPENING) | SM_TO(SESSION_FAILING) | SM_TO(SESSION_GONE)},
    [SESSION_OPENING] = {"opening", SM_TO(SESSION_PLACING) | SM_TO(SESSION_LISTENING) |
                                        SM_TO(SESSION_HANDING) | SM_TO(SESSION_FAILING) |
                                        SM_TO(SESSION_GONE)},
    [SESSION_LISTENING] = {"listening",
                           SM_TO(SESSION_HANDING) | SM_TO(SESSION_FAILING) | SM_TO(SESSION_GONE)},
    [SESSION_HANDING] = {"handing",
                         SM_TO(SESSION_PLACING) | SM_TO(SESSION_FAILING) | SM_TO(SESSION_GONE)},
    [SESSION_FAILING] = {"failing", SM_TO(SESSION_GONE)},
    [SESSION_GONE] = {"gone", 0},
};

#define END_WORD(symbol, word) word,
static const char *const end_words[] = {SESSION_ENDS(END_WORD)};

const char *session_end_name(enum session_end end)
{
    return end_words[end];
}

/* ---- the one way out ---- */

static void session_free(struct loop_grave *g)
{
    struct session *x = LIST_ENTRY(g, struct session, grave);

    secret_wipe(&x->dialect.credentials, sizeof(x->dialect.credentials));
    secret_wipe(x->in, sizeof(x->in));
    free(x);
}

void session_end(struct session *x, enum session_end why)
{
    struct server *s = x->server;

    sm_move(&x->sm, SESSION_GONE);
    session_request_release(x);
    verify_cancel(&x->verify);
    loop_timer_stop(s->loop, &x->timer);
    int fd = hot_remove(s->loop, &x->hot);
    if (fd >= 0)
        close(fd);
    list_remove(&x->node);
    s->stats.ended[why]++;
    s->stats.sessions--;
    loop_bury(s->loop, &x->grave, session_free);
    s->on_session_end(s);
}

/* ---- talking to the client ---- */

/* Replies are a few octets into an empty socket buffer: what does not fit at once never will. */
static bool say(struct session *x, const uint8_t *octets, size_t len)
{
    return len == 0 || send(x->hot.fd, octets, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
}

/* Reads and throws away until the client has read our reply and gone. */
static void drain(struct session *x)
{
    uint8_t waste[4096];
    ssize_t n;

    while ((n = recv(x->hot.fd, waste, sizeof(waste), MSG_DONTWAIT)) > 0) {
        x->drained += (uint16_t)((n + 1023) / 1024);
        if (x->drained > DRAIN_KIB_MAX)
            break;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    session_end(x, x->dialect.word == REPLY_SUCCEEDED ? SESSION_BAD_HANDSHAKE : SESSION_FAILED);
}

static void say_and_drain(struct session *x, const uint8_t *octets, size_t len)
{
    sm_move(&x->sm, SESSION_FAILING);
    if (!say(x, octets, len)) {
        session_end(x, SESSION_CLIENT_GONE);
        return;
    }
    shutdown(x->hot.fd, SHUT_WR);
    loop_timer_start(x->server->loop, &x->timer, DRAIN_MS);
    drain(x);
}

void session_count(struct session *x, enum reply_word word)
{
    const struct request *r = &x->dialect.request;

    if (r->version < VERSIONS && (unsigned)r->command < COMMANDS)
        x->server->stats.requests[r->version][r->command][word]++;
}

void session_fail(struct session *x, enum reply_word word, const char *why)
{
    uint8_t reply[DIALECT_OUT_MAX];

    session_count(x, word);
    session_log_access(x, word, why);
    session_request_release(x);
    x->dialect.word = word;
    say_and_drain(x, reply, dialect_reply(&x->dialect, word, NULL, reply));
}

/* ---- handshake ---- */

static void feed(struct session *x);

static void on_verified(struct verify_request *v, enum verify_outcome outcome)
{
    struct session *x = LIST_ENTRY(v, struct session, verify);
    struct server *s = x->server;
    struct dialect_credentials *c = &x->dialect.credentials;

    s->stats.auth_right += outcome == VERIFY_RIGHT;
    s->stats.auth_wrong += outcome == VERIFY_WRONG;
    s->stats.auth_busy += outcome == VERIFY_BUSY;
    if (outcome == VERIFY_RIGHT) {
        memcpy(x->user, c->user, c->user_len);
        x->user[c->user_len] = '\0';
        x->authenticated = true;
    } else {
        session_log_auth_failed(x);
    }
    enum dialect_want want = dialect_auth_done(&x->dialect, outcome == VERIFY_RIGHT);
    if (want == DIALECT_CLOSE) {
        say_and_drain(x, x->dialect.out, x->dialect.out_len);
        return;
    }
    if (!say(x, x->dialect.out, x->dialect.out_len)) {
        session_end(x, SESSION_CLIENT_GONE);
        return;
    }
    x->dialect.out_len = 0;
    sm_move(&x->sm, SESSION_HANDSHAKE);
    feed(x);
}

static void start_verify(struct session *x)
{
    const struct dialect_credentials *c = &x->dialect.credentials;

    sm_move(&x->sm, SESSION_AUTH);
    verify_start(x->server->verify, &x->verify, &x->client, c->user, c->user_len, c->password,
                 c->password_len, on_verified);
}

static void close_handshake(struct session *x)
{
    log_info("handshake_failed", LOG_ADDR("client", &x->client), LOG_STR("reason", x->dialect.why),
             LOG_U64("version", x->dialect.version), LOG_ADDR("listener", &x->listener));
    say_and_drain(x, x->dialect.out, x->dialect.out_len);
}

static void take_in(struct session *x, size_t used)
{
    memmove(x->in, x->in + used, x->in_len - used);
    /* The octets may have held a password. */
    secret_wipe(x->in + x->in_len - used, used);
    x->in_len -= used;
}

enum progress { PROGRESS_WAIT, PROGRESS_READ_ON, PROGRESS_DONE };

static enum progress step_proxy(struct session *x)
{
    int used = session_proxy_header(x);

    if (used < 0)
        return PROGRESS_DONE;
    take_in(x, (size_t)used);
    return used > 0 && x->in_len > 0 ? PROGRESS_READ_ON : PROGRESS_WAIT;
}

/* Gives the dialect what there is. */
static enum progress step(struct session *x)
{
    size_t used = 0;

    if (x->sm.state == SESSION_PROXY)
        return step_proxy(x);
    enum dialect_want want = dialect_feed(&x->dialect, x->in, x->in_len, &used);

    take_in(x, used);
    if (want == DIALECT_CLOSE) {
        close_handshake(x);
        return PROGRESS_DONE;
    }
    if (!say(x, x->dialect.out, x->dialect.out_len)) {
        session_end(x, SESSION_CLIENT_GONE);
        return PROGRESS_DONE;
    }
    x->dialect.out_len = 0;
    if (want == DIALECT_AUTH) {
        start_verify(x);
        return PROGRESS_DONE;
    }
    if (want == DIALECT_REQUEST) {
        loop_timer_stop(x->server->loop, &x->timer);
        session_request(x);
        return PROGRESS_DONE;
    }
    return used > 0 && x->in_len > 0 ? PROGRESS_READ_ON : PROGRESS_WAIT;
}

static void feed(struct session *x)
{
    for (;;) {
        enum progress p = x->in_len > 0 ? step(x) : PROGRESS_WAIT;
        if (p == PROGRESS_DONE)
            return;
        if (p == PROGRESS_READ_ON)
            continue;
        ssize_t n = recv(x->hot.fd, x->in + x->in_len, sizeof(x->in) - x->in_len, MSG_DONTWAIT);
        if (n > 0) {
            x->in_len += (size_t)n;
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        session_end(x, SESSION_CLIENT_GONE);
        return;
    }
}

/* ---- events ---- */

/* A request that was being carried out leaves a record, an unfinished handshake does not. */
static void client_gone(struct session *x)
{
    enum session_state state = (enum session_state)x->sm.state;

    if (state == SESSION_LISTENING)
        session_log_access(x, REPLY_SUCCEEDED, "client_gone");
    else if (state == SESSION_RESOLVING || state == SESSION_PLACING || state == SESSION_OPENING)
        session_log_access(x, REPLY_GENERAL_FAILURE, "client_gone");
    session_end(x, SESSION_CLIENT_GONE);
}

static void on_client(struct hot *h, uint32_t events)
{
    struct session *x = LIST_ENTRY(h, struct session, hot);

    if (events & (EPOLLERR | EPOLLHUP))
        client_gone(x);
    else if (x->sm.state == SESSION_HANDSHAKE || x->sm.state == SESSION_PROXY)
        feed(x);
    else if (x->sm.state == SESSION_FAILING)
        drain(x);
    else if (x->sm.state == SESSION_LISTENING && (events & EPOLLRDHUP))
        client_gone(x); /* while BIND waits, the control connection is all that keeps it */
    /* Otherwise: early payload, or the end of it; the relay finds it in the socket. */
}

static void on_timer(struct wheel_timer *t)
{
    struct session *x = LIST_ENTRY(t, struct session, timer);

    switch ((enum session_state)x->sm.state) {
    case SESSION_PROXY:
        session_proxy_timeout(x);
        break;
    case SESSION_HANDSHAKE:
    case SESSION_AUTH:
        log_info("handshake_failed", LOG_ADDR("client", &x->client), LOG_STR("reason", "timeout"),
                 LOG_ADDR("listener", &x->listener));
        session_end(x, SESSION_HANDSHAKE_TIMEOUT);
        break;
    case SESSION_FAILING:
        session_end(x, SESSION_FAILED);
        break;
    default:
        session_request_timeout(x);
        break;
    }
}

void session_start(struct server *s, int fd, const struct addr *peer,
                   const struct listener_keys *keys, const struct addr *listener)
{
    struct session *x = malloc(sizeof(*x));
    uint64_t deadline = s->config.timeouts.handshake_ms;
    bool header = session_proxy_expected(keys, peer);

    if (x == NULL) {
        close(fd);
        return;
    }
    memset(x, 0, offsetof(struct session, in));
    x->server = s;
    x->keys = keys;
    x->client = *peer;
    x->listener = *listener;
    x->started = loop_now(s->loop);
    hot_init(&x->hot, on_client);
    sm_init(&x->sm, states, sizeof(states) / sizeof(states[0]),
            header ? SESSION_PROXY : SESSION_HANDSHAKE);
    wheel_timer_init(&x->timer, on_timer);
    session_request_init(x);
    verify_request_init(&x->verify);
    dialect_init(&x->dialect, &keys->policy);
    list_append(&s->sessions, &x->node);
    s->stats.sessions++;
    if (hot_add(s->loop, &x->hot, fd, EPOLLIN | EPOLLRDHUP | EPOLLET) != 0) {
        close(fd);
        session_end(x, SESSION_STOPPED);
        return;
    }
    if (header && keys->proxy.timeout_ms < deadline)
        deadline = keys->proxy.timeout_ms;
    loop_timer_start(s->loop, &x->timer, deadline);
    feed(x);
}
