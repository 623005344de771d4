/* What relayd-udp says on its status endpoint; ctx: struct udp_relay. */
#pragma once

#include "shared/daemon/status.h"

extern const struct status_pages udp_pages;
