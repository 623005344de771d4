/* Datagrams that wait until the name they go to is resolved: bounded per association and over all,
 * in their order. */
#pragma once

#include "relayd-udp/association.h"

/* Keeps a copy of the payload until dest's name is known, then sends it. Without a place for it, it
 * is dropped and counted. May call datagram_send later, never before it returns. */
void names_wait(struct association *a, const struct dest *dest, const uint8_t *payload, size_t len);
/* True while datagrams to it wait: further ones go behind them. */
bool names_waited_for(const struct association *a, const struct dest *dest);
/* Throws away what waits. */
void names_abandon(struct association *a);
