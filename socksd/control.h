/* The control connection of an out-of-band association: it carries nothing, and the association
 * lives as long as it (RFC 1928 section 7).
 *
 *   session ──reply sent──► control ──► the client closes, resets, or sends too much: Release
 *                              └──────► the relay says that it is over, or is lost: closed
 *
 * Either way one access record is written, with the final counters if the relay can still be asked.
 * What the client sends is thrown away, up to a small cap. */
#pragma once

#include "socksd/association.h"

/* Takes fd (nonblocking), on which the reply has been sent, and a (OPENED, its session gone with
 * the caller). sent_ahead: octets that the client sent behind its request. bound: where the client
 * was told to send. a may be gone when it returns. */
void control_start(struct association *a, int fd, const struct addr *bound, size_t sent_ahead);
/* Rules or limits have changed: the relay of every association that was given rules (UDP) is told
 * the present ones; what TRANSPARENT was decided by stays. */
void control_refresh_all(struct server *s);
/* Ends all of them because we stop; each is gone, and stats.controls less, when its relay has
 * answered or is lost. */
void control_stop_all(struct server *s);
/* Ends it without waiting for anybody. a has a control connection. */
void control_abandon(struct association *a);

/* What n2_assoc_open sends for a UDP association of this client: the rules that its datagrams are
 * judged by. The caller frees ret->items. False without memory. */
bool control_rules(const struct server *s, const struct addr *client, const char *user,
                   struct n2_rules *ret);
