/* nng <-> the loop: whole messages in, whole messages out, everything delivered on the loop's
 * thread. Behind this header, and nowhere else, stands nng; it calls back on threads of its own,
 * which hand over in n2_crossing.h.
 *
 * No function here calls back before it returns. Bytes given to a callback are valid until it
 * returns; bytes given to a function are copied. Bytes beyond N2_BODY_MAX may cost the connection
 * they came on. On ipc:// a peer whose user id is neither ours, nor 0, nor listed is refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/err.h"
#include "shared/net/loop.h"

/* ---- asking side: an nng REQ socket to one relay ---- */

struct n2_dialer;
struct n2_exchange; /* one request in flight and its reply */

struct n2_dialer_ops {
    /* The connection stands (it may come again after down), is gone. The reply to a request that
     * waited for the connection may come before up. */
    void (*up)(void *arg);
    void (*down)(void *arg);
};

/* Dials in the background, and again (50 ms to 1 s between tries) until closed. -1 with *e set when
 * the URL is none of ours or nng has no memory. ops and arg must live until close. */
int n2_dialer_open(struct loop *l, const char *url, const struct n2_dialer_ops *ops, void *arg,
                   struct n2_dialer **ret, struct err *e);
/* Ends everything, exchanges included: no callback comes any more. Takes up to half a second if nng
 * is unlucky (n2_link.c). NULL is allowed. */
void n2_dialer_close(struct n2_dialer *d);

/* status 0: reply in bytes. Otherwise a negative errno (-ETIMEDOUT, -ECONNRESET, -ECANCELED): the
 * request may or may not have been carried out. */
typedef void (*n2_exchange_cb)(void *arg, int status, const uint8_t *bytes, size_t len);

/* Lives as long as its dialer. NULL without memory. */
struct n2_exchange *n2_exchange_new(struct n2_dialer *d, n2_exchange_cb cb, void *arg);
bool n2_exchange_busy(const struct n2_exchange *x);
/* x is not busy. 0: cb will be called once, within timeout_ms. -ENOMEM otherwise. */
int n2_exchange_send(struct n2_exchange *x, const void *bytes, size_t len, uint32_t timeout_ms);

/* ---- answering side: an nng REP socket ---- */

struct n2_listener;
struct n2_inbound; /* one request that waits for its reply */

struct n2_listener_ops {
    /* A request. Reply to it exactly once with n2_inbound_reply, now or later. overloaded: so many
     * requests are held that this one must be replied to before returning. */
    void (*request)(void *arg, struct n2_inbound *in, uint32_t pipe, const uint8_t *bytes,
                    size_t len, bool overloaded);
    /* The connection is gone. Requests that came on it are still replied to (to nobody). */
    void (*gone)(void *arg, uint32_t pipe);
};

struct n2_listener_config {
    const char *const *urls; /* ipc:///path, tcp://addr:port */
    size_t url_count;
    const uint32_t *uids; /* further user ids that may connect by ipc */
    size_t uid_count;
    uint32_t contexts_max; /* requests held at once, all peers together; at least 2 */
};

int n2_listener_open(struct loop *l, const struct n2_listener_config *config,
                     const struct n2_listener_ops *ops, void *arg, struct n2_listener **ret,
                     struct err *e);
/* No callback comes any more; requests that were not replied to are dropped. As slow as
 * n2_dialer_close. NULL is allowed. */
void n2_listener_close(struct n2_listener *l);
void n2_inbound_reply(struct n2_inbound *in, const void *bytes, size_t len);
