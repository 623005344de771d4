/* The client's handshake of SOCKS 4, 4a and 5 as a machine: octets in, octets out. Pure: no
 * sockets, no clock, no allocation. socksc.h is the same for applications; its words are used here.
 *
 *             user:                           BIND:
 *   GREETED ---------> AUTHENTICATING    +--> LISTENING --+
 *      |                     |           |                |
 *      +-------> ASKED <-----+           |                v
 *   SOCKS 4: ----^  |  ------------------+  ---------->  DONE
 *                                any of them ----------> FAILED
 *
 *   GREETED         waits for the choice of a method      (RFC 1928 section 3)
 *   AUTHENTICATING  waits for the status                  (RFC 1929 section 2)
 *   ASKED           waits for the reply                   (RFC 1928 section 6, SOCKS 4)
 *   LISTENING       waits for the second reply of BIND
 *
 * Nothing is sent before the answer to what was sent last. An answer may come in any pieces; octets
 * are judged in their order, and the outcome is the same however they were split. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/base/sm.h"
#include "shared/client/socksc.h"
#include "shared/socks/socks5.h"
#include "shared/socks/socks5_transparent.h"
#include "shared/socks/socks5_userpass.h"

struct handshake_request {
    enum socksc_version version;
    enum socksc_command command;
    struct dest dest;
    const char *user, *password; /* as in socksc.h; not kept: said at once, into out */
    uint8_t protocol;            /* TRANSPARENT */
    struct dest source;          /* TRANSPARENT */
};

#define HANDSHAKE_GREETING_MAX 4
#define HANDSHAKE_OUT_MAX      (HANDSHAKE_GREETING_MAX + SOCKS5_USERPASS_MAX + SOCKS5_TRANSPARENT_MAX)

struct client_handshake {
    enum socksc_version version;
    enum socksc_command command;
    struct sm sm;
    enum socksc_result result;
    uint8_t code;       /* REFUSED: as it came */
    struct dest bound;  /* LISTENING, DONE: a name, or an address (IPv4-mapped is given as IPv4) */
    struct dest peer;   /* BIND that is DONE */
    const char *detail; /* NOT_SOCKS, MISBEHAVED: a constant sentence */
    /* All that will be said, one message behind the other, and how far: */
    uint8_t out[HANDSHAKE_OUT_MAX];
    size_t login_at, request_at, out_len; /* where the later messages begin, and the end */
    size_t sent, may_send;
    /* The beginning of an answer. */
    uint8_t in[SOCKS5_REPLY_MAX];
    size_t in_len;
};

/* SOCKSC_MORE, or the BAD_ that the request is; then h needs no fini. */
enum socksc_result handshake_init(struct client_handshake *h,
                                  const struct handshake_request *request);
/* Wipes. */
void handshake_fini(struct client_handshake *h);

/* The contracts of socksc_output, socksc_sent, socksc_take, socksc_end. What was sent is wiped. */
const uint8_t *handshake_output(const struct client_handshake *h, size_t *ret_len);
void handshake_sent(struct client_handshake *h, size_t n);
size_t handshake_take(struct client_handshake *h, const uint8_t *in, size_t len);
void handshake_end(struct client_handshake *h);

const char *handshake_sentence(const struct client_handshake *h);
