/* What a child is executed with: the program, found, and its arguments. */
#pragma once

#include "socksd/children.h"

struct child_command {
    char *program; /* with a '/', or left to PATH */
    char **argv;   /* argv[0], the configured ones, --parent-fd and its number, NULL */
};

/* A program without a '/' is taken from beside our own executable, if there is one that can be
 * executed. 0; or -1 when memory is short, and *ret is empty. */
int child_command_init(struct child_command *ret, const struct child_config *config);
/* Harmless for an empty one. */
void child_command_fini(struct child_command *c);
/* Why it could not be executed (a positive errno), as a sentence; returns -1. */
int child_command_error(const struct child_command *c, int error, struct err *e);
