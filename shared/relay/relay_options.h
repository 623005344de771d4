/* The command line of a relay. Options come before what the file says, and go through the same
 * table, so that they are refused alike. */
#pragma once

#include "shared/relay/relay.h"

struct relay_options {
    const char *config, *n2, *legs, *status, *id, *lease;
    int parent_fd;          /* -1: none */
    const char *parent_dir; /* of our sockets; removed at the end if our parent is gone */
    bool check, insecure;
};

/* Exits for --help and the like, and for what cannot be understood. */
void relay_options_parse(int argc, char **argv, const struct relay_program *program,
                         struct relay_options *ret);
/* File and options. ret is the beginning of a struct of s->size octets; on success the caller ends
 * it with schema_fini(s, ret). */
int relay_options_load(const struct relay_options *o, const struct schema *s, struct err *e,
                       struct relay_config *ret);
