/* Inside shared/nat: what nat.c, nat_commit.c and nat_watch.c share. */
#pragma once

#include "shared/nat/conntrack.h"
#include "shared/nat/house.h"
#include "shared/nat/nat.h"
#include "shared/nat/nat_table.h"
#include "shared/nat/netlink.h"

/* Elements in one transaction, requests about connections in one call. */
enum { COMMIT_MAX = 1000, REQUESTS_MAX = 256 };
/* Between the end of a connection and the second look for it. */
enum { CLEAR_MS = 50 };

enum sweep_phase {
    SWEEP_WAITS, /* for its time */
    SWEEP_DUMPS, /* reads what conntrack holds */
    SWEEP_LOOKS, /* at the entries that conntrack did not mention */
};

struct sweep {
    enum sweep_phase phase;
    uint32_t number;
    uint32_t few; /* entries; fewer are asked for by name */
    bool by_name; /* this time */
    bool again;   /* events were lost after it began */
    uint64_t started, ticked;
    uint64_t entered, left; /* the kernel's counters at the last one, for NAT_PACKETS_STUCK */
    bool stuck;
    struct wheel_timer timer;
};

struct nat {
    struct loop *loop;
    struct nat_config config;
    struct house house;
    char relay_id[NAT_ID_MAX + 1];
    struct netlink rules;   /* transactions; the owner of the tables: they end when it closes */
    struct netlink tracker; /* requests about single connections */
    struct netlink samples; /* dumps */
    struct netlink events;
    struct hot events_hot;
    struct nat_table table;
    struct nat_held held;
    uint64_t *leases; /* by tag: when it ends; 0: this tag has no chain yet */

    struct list adding, removing; /* for the next transaction */
    struct list answered;         /* ADDING, and refused without asking the kernel */
    struct list cancelled;        /* removed before the kernel knew them */
    struct list clearing;         /* in order of due */
    struct list live;             /* in order of seen */
    struct loop_task flush;
    uv_timer_t gap;
    uint64_t committed; /* when */
    bool stalled;       /* the kernel refused to delete: not before the gap is over */
    struct wheel_timer clear;
    struct sweep sweep;
    struct nat_stats stats;
    uint8_t send[160 * 1024];
    uint8_t receive[64 * 1024];
    uint8_t watch[64 * 1024]; /* callbacks come from within what it holds */
};

/* ---- nat.c ---- */

/* Sends a transaction (without its end, which is added) and takes the answers. 0, or -errno of the
 * first refusal; *ret_seq, unless NULL, is then the number of the message refused. */
int nat_transact(struct nat *n, struct nl_buf *b, uint32_t *ret_seq);
struct nl_buf nat_begin(struct nat *n);
enum nat_result nat_result_of(int rc);
void nat_trouble(struct nat *n, enum nat_trouble what, const char *sentence);
/* Reads the kernel's counters into stats. */
void nat_counters_read(struct nat *n);

/* ---- nat_suits.c ---- */

bool nat_offers(const struct nat *n, uint8_t ptcl);

/* ---- nat_commit.c ---- */

void nat_commit_init(struct nat *n);
void nat_commit_fini(struct nat *n);

/* ---- nat_request.c ---- */

/* Asks about connections, at most REQUESTS_MAX: to forget them, or (ret_states) to tell about them.
 * Sets ret_results[i] to 0 or -errno; -EAGAIN: nothing was heard. */
void nat_request(struct nat *n, const struct ct_name *names, size_t count, int *ret_results,
                 struct ct_state *ret_states);
/* Forgets all connections to a triple. */
void nat_purge(struct nat *n, uint8_t ptcl, const struct addr *bound);
/* Forgets all of our mark. 0 or -errno. */
int nat_purge_all(struct nat *n);
void nat_name(const struct nat_entry *e, struct ct_name *ret);

/* ---- nat_watch.c ---- */

int nat_watch_init(struct nat *n);
void nat_watch_fini(struct nat *n);
/* Takes the events that wait. */
void nat_watch_drain(struct nat *n);
/* e is LIVE now. */
void nat_watch_begin(struct nat *n, struct nat_entry *e);
