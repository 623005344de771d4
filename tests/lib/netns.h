/* A network of this process's own, where a test may make routes and devices as it needs them.
 * Sockets made before stay where they were. */
#pragma once

/* Loopback is up, with ::2 beside ::1. NULL, or why it cannot be had: then nothing has changed.
 * Single-threaded programs only. */
const char *netns_enter(void);
/* The reason netns_enter gave, for tests that cannot do without; NULL: this is our own network. */
const char *netns_missing(void);
/* Runs "ip WORDS"; fails the test unless that succeeds. Only in our own network. */
void netns_ip(const char *words);
