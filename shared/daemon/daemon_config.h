/* The part of a configuration that every daemon has: log, status, scheduling, descriptors. */
#pragma once

#include "shared/base/log.h"
#include "shared/daemon/schema.h"
#include "shared/daemon/status.h"

struct log_config {
    enum log_level level;
    enum log_format format;
};

struct status_keys {
    SCHEMA_ITEMS(char *) listen;
    SCHEMA_ITEMS(char *) hosts;
    bool detail;
};

extern const struct schema log_schema, status_schema;

/* batch is SCHED_BATCH: a wake-up then does not pre-empt whoever is running, so that work collects into
 * batches; measured, it is worth a fifth of the CPU of a connection. */
extern const struct schema_word scheduler_words[];
enum scheduler { SCHEDULER_OTHER, SCHEDULER_BATCH };

/* What status_open takes; points into k. */
struct status_config status_config_of(const struct status_keys *k);

/* Reads FILE (NULL: presets only) into *ret by s. */
int daemon_config_load(const char *file, const struct schema *s, struct err *e, void *ret);
