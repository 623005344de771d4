/* What socksd says of itself on its status endpoint. */
#pragma once

#include "shared/daemon/status.h"
#include "socksd/server.h"

extern const struct status_pages server_pages; /* ctx: struct server */
