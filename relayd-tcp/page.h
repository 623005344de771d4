/* What relayd-tcp says of itself on its status endpoint. */
#pragma once

#include "relayd-tcp/relay.h"
#include "shared/daemon/status.h"

extern const struct status_pages relay_pages; /* ctx: struct relay */
