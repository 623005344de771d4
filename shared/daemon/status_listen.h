/* A listening socket of the status endpoint: "unix:/path", "192.0.2.1:9080" or
 * "[2001:db8::1]:9080".
 *
 * A file left at /path by a process that is gone is replaced; one that somebody still listens on,
 * or that is no socket, is an error. (Two processes that find the same leftover in the same instant
 * may both replace it; the later one keeps the path.) */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "shared/base/err.h"

struct status_listen {
    int fd; /* -1: closed */
    bool tcp;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "" for TCP */
    dev_t dev; /* of the file at path when it was made */
    ino_t ino;
};

/* Is spec well-formed? Opens nothing; for `--check`. */
int status_listen_check(const char *spec, struct err *e);
/* Non-blocking, close-on-exec. mode is that of the socket file, umask or not; nobody can connect
 * before it has it. On failure nothing is open. */
int status_listen_open(struct status_listen *l, const char *spec, mode_t mode, struct err *e);
/* Closes it and removes the file, if it is still the one that open made. Twice is harmless. */
void status_listen_close(struct status_listen *l);
