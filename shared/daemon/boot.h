/* What every main does before and around its loop.
 *
 *   SIGTERM, SIGINT   the first asks to drain, the second to stop now
 *   SIGHUP            asks to reload
 *   SIGPIPE           ignored
 *
 * A daemon that was started by another one gets a descriptor of which its parent holds the other
 * end. End of file there means that the parent is gone, however it went, and asks to drain too. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/base/err.h"
#include "shared/net/loop.h"

/* Exit codes of all programs. */
enum { EXIT_DONE = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

enum boot_ask { BOOT_DRAIN, BOOT_STOP, BOOT_RELOAD };

struct boot {
    struct loop *loop;
    void (*asked)(void *arg, enum boot_ask what, const char *why); /* on the loop */
    void *arg;
    uv_signal_t term, interrupt, hangup;
    uv_poll_t parent;
    int parent_fd;
    bool draining, has_parent;
};

/* Before the first thread is started: SIGPIPE, SCHED_BATCH if wanted (threads inherit it), soft limit
 * of descriptors up to the hard one. Nothing of it is fatal. */
void boot_process(bool batch);
/* Signals and parent (-1: none). Active handles do not keep the loop alive. */
int boot_start(struct boot *b, struct loop *l, int parent_fd,
               void (*asked)(void *arg, enum boot_ask what, const char *why), void *arg,
               struct err *e);
/* The handles close in the loop's next iterations. */
void boot_stop(struct boot *b);

/* Somebody was our parent and is gone. */
bool boot_parent_gone(const struct boot *b);

/* The soft limit of descriptors. */
uint32_t boot_descriptor_limit(void);
/* How many are open. */
uint32_t boot_descriptors_open(void);
