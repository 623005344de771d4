/* Child processes that are kept running: the relays of the embedded default.
 *
 *                    exits                         children_drain
 *   RUNNING ──────────────────► WAITING ───────────────────────────► GONE
 *    │  ▲   (or cannot start)     │ 100 ms, doubling to 5 s, ±25 %;    ▲
 *    │  └────────────────────────┘ from the start after 10 s of life  │
 *    └──────────────► STOPPING ───────────────────────────────────────┘
 *    children_drain:   SIGTERM; SIGKILL when      exits
 *                      the time is up
 *
 * A child gets
 *   - descriptor 3, one end of a pipe of which nothing is ever written: end of file there means
 * that we are gone, however we went. `--parent-fd 3` is appended to its arguments to tell it so. No
 *     other child has our end;
 *   - /dev/null as standard input; our standard output and error; our environment; no other
 *     descriptor (all of ours are close-on-exec);
 *   - default signal dispositions and an empty mask;
 *   - a session of its own, so that what a terminal sends on Ctrl-C reaches us alone, and we
 * decide.
 *
 * Each exit is logged once, with its cause. A running child keeps the loop alive. All of it is for
 * the loop's thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/base/err.h"
#include "shared/net/loop.h"

#define CHILDREN_PARENT_FD 3

struct children;

struct child_config {
    const char *program;     /* with a '/': a path. Without: looked for beside our own executable,
                                then in PATH */
    const char *const *args; /* after argv[0], NULL-terminated; NULL: none */
    const char *name;        /* for people: "relayd-tcp-0" */
};

enum child_state { CHILD_RUNNING, CHILD_WAITING, CHILD_STOPPING, CHILD_GONE };

/* What children_each shows; valid during the call. */
struct child_info {
    const char *name;
    const char *program; /* as found */
    enum child_state state;
    const char *state_name; /* "running", "waiting", "stopping", "gone" */
    pid_t pid;              /* 0: no process */
    uint64_t restarts;      /* times that it was started again */
    uint64_t since;         /* when it came into this state, as loop_now */
};

/* 0, or -ENOMEM. */
int children_new(struct loop *l, struct children **ret);
/* Forgets the children without a callback; those that still run learn it by their descriptor 3, and
 * end by themselves. Memory returns in the loop's next iterations. NULL is allowed. */
void children_free(struct children *c);

/* Starts a child at once and keeps it running; config is copied. 0; or -1 with the sentence in e
 * and nothing started: the program is not there, cannot be executed, or there are no resources. Not
 * after children_drain. */
int children_add(struct children *c, const struct child_config *config, struct err *e);

/* How many were added. */
size_t children_count(const struct children *c);
/* In the order in which they were added. fn must not add or free. */
void children_each(const struct children *c, void (*fn)(void *arg, const struct child_info *child),
                   void *arg);

/* SIGTERM to all, no restarts any more; SIGKILL to those that are left after deadline_ms (0: at
 * once). gone (may be NULL) is called once, later and from the loop, when no process is left; it
 * may call children_free. Called again before that, it sets a new deadline and a new callback, and
 * sends no second SIGTERM. */
void children_drain(struct children *c, uint64_t deadline_ms, void (*gone)(void *arg), void *arg);
