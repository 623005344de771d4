/* An error as a sentence for a person, filled by whoever knows what went wrong, prefixed on its way
 * up by whoever knows where. Functions that take one return 0, or -1 with the sentence set. */
#pragma once

struct err {
    char text[512];
};

/* Sets the sentence; returns -1, so that `return err_set(e, ...)` reads well. e may be NULL. */
int err_set(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts "prefix: " in front of the sentence; returns -1. */
int err_wrap(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
