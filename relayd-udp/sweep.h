/* What is done now and then: fragments whose time is up are thrown away, keys that have rested are
 * free again, client ports that nobody uses are closed. */
#pragma once

#include "relayd-udp/udp_relay.h"

void sweep_start(struct udp_relay *r);
/* Harmless when it was never started. */
void sweep_stop(struct udp_relay *r);
