/* A local port for ordinary programs. Each of its users is served by a process of its own, so that
 * one of them that waits for the proxy keeps nobody else waiting. */
#pragma once

#include "socksd/cmd/sockscat_carry.h"

enum { LISTEN_USERS_MAX = 256 }; /* at a time; further connections wait, further datagrams drop */

/* TCP: serve gets each connection, in a new process whose exit code is what it returns. Returns
 * only when it cannot listen, after telling why. */
int listen_tcp(const struct options *o, int (*serve)(const struct options *o, int connection));
/* UDP: a user is an address that datagrams come from. */
int listen_udp(const struct options *o,
               int (*serve)(const struct options *o, const struct local *user));
