/* What dialect.c and the dialects say to each other; nobody else includes this.
 *
 *   FIRST ─┬─► SOCKS4_REQUEST ──────────────────────────────────────┬─► ASKED
 *          └─► SOCKS5_GREETING ─┬────────────────► SOCKS5_REQUEST ──┘
 *                               └─► USERPASS ─► AUTH ──▲
 *
 * and CLOSED from everywhere but ASKED. dialect_feed leaves FIRST and the reading states, with the
 * function of the same name below; dialect_auth_done leaves AUTH; ASKED and CLOSED are final. */
#pragma once

#include "socksd/dialect.h"

enum dialect_state {
    DIALECT_FIRST,           /* not an octet seen */
    DIALECT_SOCKS4_REQUEST,  /* reading it */
    DIALECT_SOCKS5_GREETING, /* reading it */
    DIALECT_SOCKS5_USERPASS, /* method chosen and said; reading credentials */
    DIALECT_SOCKS5_AUTH,     /* credentials raised; waiting for the judgement */
    DIALECT_SOCKS5_REQUEST,  /* may ask; reading the request */
    DIALECT_ASKED,           /* request raised */
    DIALECT_CLOSED,          /* why is set */
    DIALECT_STATES
};

/* Takes the message of its state from the front of in (len > 0), acts on it and leaves the state.
 * Returns the octets taken; 0 in the same state: more are needed. */
typedef size_t dialect_take(struct dialect *d, const uint8_t *in, size_t len);

dialect_take dialect_socks4_request;
dialect_take dialect_socks5_greeting;
dialect_take dialect_socks5_userpass;
dialect_take dialect_socks5_request;

/* Says that no method is acceptable, and closes. */
void dialect_socks5_no_method(struct dialect *d, const char *why);
/* Says how the authentication ended, and goes on or closes. */
void dialect_socks5_authenticated(struct dialect *d, bool ok, const char *why);

/* For dialect_reply; bound always has a family. */
size_t dialect_socks4_reply(enum reply_word word, const struct addr *bound, uint8_t *ret);
size_t dialect_socks5_reply(enum reply_word word, const struct addr *bound, uint8_t *ret);

bool dialect_allows(const struct dialect *d, enum socks_method method);
/* Appends to d->out, where a whole handshake fits. */
void dialect_say(struct dialect *d, const uint8_t *octets, size_t len);
/* Closes without a word. why is a constant. */
void dialect_close(struct dialect *d, const char *why);
/* Says a reply with a bound address of zeros, and closes. */
void dialect_reject(struct dialect *d, enum reply_word word, const char *why);
/* The same with what fits a decoder's SOCKS_BAD, SOCKS_BAD_COMMAND, ... */
void dialect_reject_bad(struct dialect *d, int bad);
/* d->request is filled: raises it in its one form, or rejects it. */
void dialect_ask(struct dialect *d);
