/* One log record as one line of text: what log.c collects and writes. Pure.
 *
 * The line is shorter than LOG_RECORD_MAX and ends in a newline, the only one in it. A field that
 * would not fit is left out, and cut=true stands at the end. */
#pragma once

#include <time.h>

#include "shared/base/log.h"

#define LOG_RECORD_MAX 4096

struct log_head {
    enum log_format format;
    enum log_level level;
    const char *program, *event;
    struct timespec time; /* UTC */
};

extern const char *const log_level_names[]; /* by enum log_level */

/* Returns the length of the line; there is no NUL. */
size_t log_record_format(const struct log_head *head, const struct log_field *fields,
                         char ret_text[LOG_RECORD_MAX]);
