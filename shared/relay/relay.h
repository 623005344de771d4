/* A relay's life, the same for every relay: options and configuration, listening, announcing
 * itself, draining, leaving. What it moves is the program's (struct relay_program).
 *
 *   relay_main:  options ─► configuration ─► loop, status ─► program.start ─► N2 ─► run
 *   SIGTERM, or the parent is gone:  drain, and leave when nothing is held any more
 *   SIGTERM again:                   end what is held, tell the servers, leave
 *   SIGHUP:                          configuration anew, all or nothing
 *
 * A program's own state begins with a struct relay, which is handed to all of its functions; so
 * does its configuration with a struct relay_config (shared/relay/relay_config.h). */
#pragma once

#include "shared/daemon/status.h"
#include "shared/n2/n2_server.h"
#include "shared/relay/relay_config.h"
#include "shared/relay/relay_counts.h"

#define RELAY_OWN_MAX 32

struct relay {
    const struct relay_program *program;
    struct loop *loop;
    struct relay_config *config; /* the program's, which begins with it */
    struct n2_server *n2;
    char id[N2_NAME_MAX + 1];
    uint64_t started;               /* loop_now */
    struct addr own[RELAY_OWN_MAX]; /* our TCP listeners: never a destination */
    size_t own_count;
    uint32_t capacity; /* associations at most */
    bool ipv4, ipv6;   /* families served: both, but for what program.start clears */
    bool draining;
    struct relay_counts counts;
};

struct relay_program {
    const char *name;    /* "relayd-tcp" */
    const char *summary; /* for --help, one line */
    const enum n2_kind *kinds;
    size_t kind_count;
    const uint32_t *ptcls;
    size_t ptcl_count;
    const struct schema *schema;      /* of the struct that r->config begins */
    const char *kept;                 /* of it, what a reload leaves as it was; a sentence */
    const struct n2_service *service; /* its argument is the struct relay */
    const struct status_pages *pages; /* so is theirs */
    /* What configuration allows, in order of preference; constants. Returns how many. */
    size_t (*engines)(const struct relay *r, const char *ret[4]);
    /* Divides this many free descriptors between what the program opens for itself, which it keeps
     * in r, and its associations. Returns the associations. */
    uint32_t (*divide)(struct relay *r, uint32_t descriptors);
    /* Before N2 listens. -1 with *e set. */
    int (*start)(struct relay *r, struct err *e);
    /* Swaps what the program itself can change at run time (SWAP) with fresh, a whole configuration
     * that is freed behind it; the common part has been swapped. May be NULL. */
    void (*reload)(struct relay *r, struct relay_config *fresh);
    /* After the last association is gone; the loop turns no more, but is there. start may have
     * failed. */
    void (*stop)(struct relay *r);
};

/* The whole program; returns its exit code. r is zero but for r->config and what follows struct
 * relay; *r->config is a zeroed object of program->schema, static or at least as long-lived. */
int relay_main(int argc, char **argv, const struct relay_program *program, struct relay *r);

/* For n2_service.drained: nothing is held any more, so the loop has nothing to live for. */
void relay_drained(void *relay);
