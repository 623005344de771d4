/* Connecting to the first of several addresses that answers (RFC 8305, section 5): in the order given, a
 * further attempt every 250 ms or as soon as one fails, the first established one wins.
 *
 * The happy path costs three system calls and no memory: on a loopback destination a second
 * connect() after EINPROGRESS succeeds at once, and the caller has its socket before dial_start
 * returns. */
#pragma once

#include "shared/base/addr.h"
#include "shared/net/loop.h"

#define DIAL_MAX        32
#define DIAL_ATTEMPT_MS 250

struct dial_config {
    const struct addr *to; /* in order of preference */
    size_t count;          /* 1 to DIAL_MAX */
    struct addr from4, from6; /* local addresses and ports to use; no family = the kernel's choice */
    uint32_t timeout_ms;   /* all attempts together */
};

struct dial;

/* status 0: fd is the callee's, connected to *peer and in no epoll set. Otherwise a negative errno.
 * The dial is gone when it is called. */
typedef void (*dial_cb)(void *arg, int status, int fd, const struct addr *peer);

/* Returns a descriptor (connected; in no epoll set; *ret_peer is set), or -EINPROGRESS: cb will be
 * called, not before this returns, and *ret is the handle to cancel; or another negative errno when
 * every attempt failed at once. */
int dial_start(struct loop *l, const struct dial_config *config, dial_cb cb, void *arg,
               struct dial **ret, struct addr *ret_peer);
/* cb is not called any more. NULL is allowed. */
void dial_cancel(struct dial *d);
