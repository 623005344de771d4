/* Fragments of an association's client that wait for more of them: what reassembly.h decides, for
 * an association. */
#pragma once

#include "relayd-udp/datagram.h"

/* A datagram with FRAG other than 0: kept, or dropped and counted; when it makes a whole, that is
 * taken (datagram_take) and has left when this returns. */
void fragments_take(struct association *a, uint8_t frag, const struct datagram *d);
/* Drops and counts what waits, if anything does. */
void fragments_abandon(struct association *a);
/* Abandons everywhere what has waited too long. */
void fragments_expire(struct udp_relay *r);
