/* What relayd-tcp says of itself on its status endpoint. */
#pragma once

#include "relayd-tcp/tcp_relay.h"
#include "shared/daemon/status.h"

extern const struct status_pages tcp_pages; /* ctx: struct tcp_relay */
