/* The waiting side of BIND: where to listen, what to tell the peer, whom to accept. */
#pragma once

#include "relayd-tcp/config.h"
#include "shared/n2/n2_server.h"

/* A listening socket for o, nonblocking. -1 with the refusal set. *ret_bound is what the peer shall
 * be told: the advertised address of the family, or the local one that routes towards the expected
 * peer, never the unspecified one when a better is known. */
int bind_listen(const struct tcp_config *c, const struct n2_open *o, struct addr *ret_bound,
                struct n2_refusal *ret_refused);
/* Accepts one connection from an expected peer (none, or an unspecified address: any). -EAGAIN:
 * none so far; others were reset and counted in *refused. Another negative errno: there is one, and
 * no descriptor or memory for it. Otherwise the descriptor and its peer. */
int bind_accept(int listening, const struct addr *expected, size_t expected_count,
                uint64_t *refused, struct addr *ret_peer);
