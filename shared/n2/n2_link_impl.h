/* What both ends of the link need of nng. Private to n2_link.c, n2_dialer.c and n2_listener.c. */
#pragma once

#include <nng/nng.h>

#include "shared/n2/n2_crossing.h"
#include "shared/n2/n2_link.h"

/* ipc:///path or tcp://address:port. */
bool link_is_url(const char *url);
/* A negative errno for what nng said, or 0. */
int link_errno(int nng);
/* Only ipc knows who the peer is; elsewhere TLS (or `insecure: true`) decides. */
bool link_peer_allowed(nng_pipe p, const uint32_t *uids, size_t n);
