/* The leg channel for tests of it: a sender and a listener on one loop. Either may be replaced by a
 * hostile hand.
 *
 * What goes wrong on the way fails the test. */
#pragma once

#include <sys/types.h>

#include "shared/n2/n2_legs.h"

enum { LEGS_PATIENCE_MS = 5000, LEGS_QUIET_MS = 300, LEGS_MANY = 300 };

struct leg {
    uint32_t number;
    int fd;
    uint8_t kind;
    uint16_t to_client_len, to_target_len;
    bool intact;
};

/* A sender and a listener on one loop; either may be replaced by a hostile hand. */
struct leg_bench {
    struct loop loop;
    char path[64];
    struct n2_leg_listener *listener;
    struct n2_leg_sender *sender;
    int client, far; /* a connection whose descriptor is handed over, again and again */
    ino_t client_inode;
    unsigned descriptors;
    bool close_when_attached;
    /* what arrived */
    struct leg legs[LEGS_MANY + 100];
    size_t leg_count, expected;
    /* what came back */
    int failed, down;
    bool close_when_down, close_when_failed;
    const void *last_failed;
};

/* For cmocka_unit_test_setup_teardown: both are open and know of each other. */
int legs_bench_set(void **state);
int legs_bench_clear(void **state);

extern const struct n2_leg_listener_ops legs_listener_ops; /* arg: struct leg_bench */
extern const struct n2_leg_sender_ops legs_sender_ops;     /* the same */

void legs_listen(struct leg_bench *b);
void legs_connect(struct leg_bench *b);
/* What the listener does with a leg: keeps it in b->legs. */
void legs_on_attach(void *arg, const struct n2_attach *a, int fd);
/* A leg with that number, and that much of its pattern for both sides; valid until the next call.
 */
struct n2_attach legs_attach(uint32_t number, size_t to_client, size_t to_target);
/* Sends a copy of b->client as such a leg, owned by b->legs[number]; what n2_leg_send says. */
int legs_send(struct leg_bench *b, uint32_t number, size_t to_client, size_t to_target);
/* Until exactly n have come. */
void legs_wait(struct leg_bench *b, size_t n);
/* For loop_run_until: b->expected have come. */
bool legs_all_came(void *arg);
/* A listening socket there that nobody serves. */
int legs_listen_by_hand(const char *path);
/* Closes what came. */
void legs_forget(struct leg_bench *b);
