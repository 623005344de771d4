/* A dialect: octets in, octets out, one request up. Pure: no sockets, no clock, no allocation.
 *
 * The session feeds what it has; the machine takes whole messages from the front and says what it
 * wants next. It accepts any split of the input, and pipelined input: after MORE the session feeds
 * again when octets have come; after any other want the rest of the input is kept by the session.
 * Octets behind the request are payload (early data).
 *
 *   dialect_init ── feed ──► MORE ◄─┐
 *                            AUTH ──┤ dialect_auth_done(ok)
 *                            REQUEST ── dialect_reply(word, bound) once (BIND: twice) ──► done
 *                            CLOSE: send what is in out, drain, close
 *
 * AUTH, REQUEST and CLOSE are lasting: feeding again takes nothing (CLOSE: takes all), sends
 * nothing and gives the same want. The outcome is decided by the octets in their order, as early as
 * they allow, and is the same however they were split.
 *
 * The first octet tells the dialects apart (4, 5; anything else: CLOSE, nothing is sent). A dialect
 * that is not served is closed at once, in its own words: 91 for SOCKS 4, "no acceptable method"
 * for SOCKS 5. SOCKS 4 has no authentication: it is served only where `none` is among the methods.
 *
 * Methods (RFC 1928 section 3): the first of the listener's list that the client offers and that is
 * implemented here (none, username/password). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/sm.h"
#include "shared/socks/reply.h"
#include "socksd/request.h"

enum dialect_want { DIALECT_MORE, DIALECT_AUTH, DIALECT_REQUEST, DIALECT_CLOSE };

/* What a listener allows; immutable while dialects use it. */
struct dialect_policy {
    uint8_t methods[8]; /* enum socks_method, in order of preference */
    uint8_t method_count;
    bool socks4, socks5; /* dialects served */
};

#define DIALECT_USER_MAX 255
struct dialect_credentials {
    uint8_t user[DIALECT_USER_MAX];
    uint8_t password[DIALECT_USER_MAX];
    uint8_t user_len, password_len; /* either may be 0 */
};

/* The longest message we send: a SOCKS 5 reply with an IPv6 address is 22 octets; selection and
 * authentication replies of a pipelined burst may stand before it. */
#define DIALECT_OUT_MAX 64
/* No message of a handshake is longer than this; a session's buffer must hold at least as much. */
#define DIALECT_IN_MAX 1024

struct dialect {
    const struct dialect_policy *policy;
    struct sm sm;    /* private to dialect*.c: states in dialect_impl.h */
    uint8_t version; /* the first octet, whatever it was; 0 until it was seen */
    uint8_t method;  /* enum socks_method, once chosen; NONE for SOCKS 4 */
    /* Octets for the client, to be sent (and out_len set to 0) after every call. */
    uint8_t out[DIALECT_OUT_MAX];
    uint8_t out_len;
    /* After CLOSE: a constant word for logs and metrics ("bad_version", "no_acceptable_method",
     * "auth_failed", "bad_command", "bad_address_type", "bad_message", "dialect_disabled",
     * "too_long"), and the reply that was encoded (SUCCEEDED if none). */
    const char *why;
    enum reply_word word;
    /* Set with AUTH; wiped by dialect_auth_done. */
    struct dialect_credentials credentials;
    /* Set with REQUEST. */
    struct request request;
};

/* policy must outlive d. */
void dialect_init(struct dialect *d, const struct dialect_policy *policy);
/* Takes messages from the front of [in, in + len) and sets *ret_used to the octets taken; with
 * CLOSE everything counts as taken. A want other than MORE leaves the rest untouched. After MORE
 * the rest is the beginning of a message: feed it again with what follows it. in may be NULL when
 * len is 0. */
enum dialect_want dialect_feed(struct dialect *d, const uint8_t *in, size_t len, size_t *ret_used);
/* The answer to AUTH, given once. ok: MORE (feed again); otherwise CLOSE. The credentials are
 * wiped; whoever gives a dialect up while it waits here wipes them himself. */
enum dialect_want dialect_auth_done(struct dialect *d, bool ok);
/* Encodes the reply to REQUEST into ret, returns its length. bound may be NULL or of no family:
 * zeros, as IPv4. IPv4-mapped is said as IPv4. Never ATYP 3; a family that the dialect cannot say
 * (IPv6 in SOCKS 4) becomes zeros with the same port. May be called again for BIND's second reply.
 * Does not touch d->out. */
size_t dialect_reply(const struct dialect *d, enum reply_word word, const struct addr *bound,
                     uint8_t ret[DIALECT_OUT_MAX]);
