/* What every relay says of itself on its status endpoint; its own figures follow. */
#pragma once

#include "shared/relay/relay.h"

/* For status_pages.ready; ctx: struct relay. Not while draining, and not when full. */
bool relay_page_ready(void *ctx, char *reason, size_t cap);
/* Build, process, draining, log, N2. */
void relay_page_metrics(const struct relay *r, struct prom *p);
/* Program, version, id, epoch, uptime, state, engines. */
void relay_page_status(const struct relay *r, struct json *j);
