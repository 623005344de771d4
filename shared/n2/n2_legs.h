/* The leg channel: clients' sockets pass from socksd to a relay on the same host, many per message.
 *
 *   sender:   n2_leg_send ──► batch ──(end of the iteration)──► sendmsg: Legs + SCM_RIGHTS ──► close
 *   listener: recvmsg ──► credentials, truncation, count and type checked ──► attach(fd)
 *
 * proto/N2.md section 1. Descriptors are closed here unless a callback took them. */
#pragma once

#include "shared/base/err.h"
#include "shared/n2/n2.h"
#include "shared/net/loop.h"

/* ---- sending side ---- */

struct n2_leg_sender;

struct n2_leg_sender_ops {
    /* This leg did not go out; the caller owns fd again. */
    void (*failed)(void *arg, void *owner, int fd);
    /* The channel is gone; failed was called for all that waited. Close the sender. */
    void (*down)(void *arg);
};

/* path without "unix:". The listener must run as us, as root, or we are root. */
int n2_leg_sender_open(struct loop *l, const char *path, const struct n2_leg_sender_ops *ops,
                       void *arg, struct n2_leg_sender **ret, struct err *e);
/* Legs that wait are handed back through failed before it returns. NULL is allowed. */
void n2_leg_sender_close(struct n2_leg_sender *s);
/* Queues a leg; a is copied, fd is taken. -1: it cannot be queued (too long, too many wait); fd is
 * still the caller's. fd must be in no epoll set any more. Never calls back before it returns. */
int n2_leg_send(struct n2_leg_sender *s, const struct n2_attach *a, int fd, void *owner);
/* The owner is gone: its leg, should it still wait, is closed without a callback. */
void n2_leg_forget(struct n2_leg_sender *s, const void *owner);

/* ---- receiving side ---- */

struct n2_leg_listener;

struct n2_leg_listener_ops {
    /* One leg; fd is the callee's. fd is -1 when the descriptor was lost or is not what kind says:
     * end the association. a lives until the callback returns. */
    void (*attach)(void *arg, const struct n2_attach *a, int fd);
};

struct n2_leg_listener_stats {
    uint64_t messages, legs, refused_peers, bad_messages, bad_descriptors;
};

int n2_leg_listener_open(struct loop *l, const char *path, const uint32_t *uids, size_t uid_count,
                         const struct n2_leg_listener_ops *ops, void *arg,
                         struct n2_leg_listener **ret, struct err *e);
/* Removes the socket file. NULL is allowed. */
void n2_leg_listener_close(struct n2_leg_listener *l);
const struct n2_leg_listener_stats *n2_leg_listener_stats(const struct n2_leg_listener *l);
