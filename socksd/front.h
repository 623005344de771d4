/* The listeners: accept, and stop accepting before descriptors run out.
 *
 * Each client that is in its handshake or waits costs us one descriptor. When sessions_max is
 * reached (or accept says that there is none left) all listeners rest: the kernel's queue holds
 * further clients, nothing spins and nothing is refused. It is said once per period in the log, and
 * accepting goes on with the next session that ends. */
#pragma once

#include "shared/base/err.h"
#include "socksd/server.h"

/* Binds all listeners of the configuration. -1 with *e set and nothing open. */
int front_open(struct server *s, struct err *e);
/* From now on connections are accepted. */
void front_start(struct front *f);
/* No more clients; what is accepted stays. */
void front_stop(struct front *f);
void front_close(struct front *f);
/* The address that listener i has, its port filled in. */
size_t front_count(const struct front *f);
const struct addr *front_address(const struct front *f, size_t i);
bool front_resting(const struct front *f);
/* A session has ended: go on if resting. */
void front_session_ended(struct front *f);
