/* What this relay never dials, whatever a control server says: its own listeners, those of the
 * servers that drive it, and the configured networks. */
#pragma once

#include "shared/relay/relay.h"

bool protect_forbids(const struct relay *r, const struct addr *to);
