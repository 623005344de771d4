/* struct addr <-> the kernel's socket addresses. */
#pragma once

#include <sys/socket.h>

#include "shared/base/addr.h"

/* Fills ss, returns its length; 0 for an address without a family. */
socklen_t sockaddr_from(const struct addr *a, struct sockaddr_storage *ss);
/* IPv4-mapped addresses come back as IPv4. False for other families; *ret is then zero. */
bool sockaddr_to(const struct sockaddr *sa, struct addr *ret);
/* getsockname, getpeername. False when there is none. */
bool sockaddr_local(int fd, struct addr *ret);
bool sockaddr_peer(int fd, struct addr *ret);
/* True when a is an address of this host: it can be bound. Also when it cannot be told, for want of a
 * descriptor: who asks wants to keep away from it. Costs three system calls. */
bool sockaddr_is_local(const struct addr *a);
/* The local address that packets to `to` would carry, as the routing table has it (port undefined);
 * nothing is sent. False: unspecified, or there is no way. Costs three system calls. */
bool sockaddr_towards(const struct addr *to, struct addr *ret);
