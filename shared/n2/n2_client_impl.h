/* Private to n2_client.c (the conversation), n2_client_watch.c (what the relay tells by itself) and
 * n2_assoc.c (the associations). */
#pragma once

#include "shared/base/sm.h"
#include "shared/n2/n2_client.h"
#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_legs.h"
#include "shared/n2/n2_link.h"

enum n2_client_state { CLIENT_DOWN, CLIENT_HELLO, CLIENT_SYNC, CLIENT_READY };

/* A call in flight, or waiting to be. */
struct flight {
    uint64_t id;
    enum n2_what what;
    uint8_t association[ID_LEN];
};

struct n2_client {
    struct loop *loop;
    struct n2_client_config config;
    char *url;
    const struct n2_client_ops *ops;
    void *arg;
    struct sm sm;
    bool connected, known, draining, watch_stale;
    struct n2_relay_info info;
    struct n2_load load;
    struct n2_client_stats stats;

    struct n2_dialer *dialer;
    struct n2_exchange *calls, *watch;
    struct n2_arena *arena;
    uint64_t next_call;

    struct buf batch; /* encoded calls that wait */
    struct flight *waiting, *flying, *given_up;
    size_t waiting_count, flying_count;
    uint64_t calls_sent_at, watch_sent_at, watch_call, after_seq;
    struct loop_task flush;
    struct wheel_timer lease, retry;

    uint32_t inventory;        /* its number; assocs that it listed carry it */
    uint64_t inventory_before; /* assocs with lower call ids must be listed */
    uint64_t inventory_seq;
    bool inventory_first; /* page */
    bool page_owed;       /* there was no room to ask for it */
    bool events_lost;     /* the inventory is there to make up for them */
    bool missing_owed;    /* what it did not list is gone; how, events up to inventory_seq may tell */
    uint8_t inventory_after[ID_LEN];

    struct n2_leg_sender *legs;
    char legs_path[108];

    struct idmap assocs;
    struct list all;
    struct list stale; /* struct n2_assoc.stale */
    uint32_t assoc_count;
    bool unreleased; /* Releases did not fit: an Inventory shall find what they were for */
};

/* ---- n2_client.c ---- */

/* Queues a call and gives it its id; false when too many wait. association may be NULL. */
bool n2_client_call(struct n2_client *c, struct n2_call *call, const uint8_t *association);
/* Moves the state; tells the owner, and the log when it makes a difference. */
void n2_client_enter(struct n2_client *c, enum n2_client_state to);
/* The conversation is over; the lease may still run. */
void n2_client_down(struct n2_client *c);
/* Something sent at that time was answered: the lease runs from then. */
void n2_client_believe(struct n2_client *c, uint64_t sent_at);
void n2_client_connect_legs(struct n2_client *c);
/* c->info, but for the epoch, and c->legs_path become what it answered to Hello; its lists are
 * bounded by what they are kept in, and the lease from below. */
void n2_client_keep_info(struct n2_client *c, const struct n2_hello_answer *h);
void n2_client_put_head(struct n2_client *c, struct buf *b, bool hello);

/* ---- n2_client_watch.c ---- */

/* Parks a Watch at the relay, if it is READY and none is. */
void n2_client_watch(struct n2_client *c);
/* For the exchange that carries them. */
void n2_client_on_watch(void *arg, int status, const uint8_t *bytes, size_t len);
/* Asks for everything that the relay holds; SYNC ends with the last page. */
void n2_client_inventory(struct n2_client *c);
/* Its next page; when there is no room for that call, page_owed stays set. */
void n2_client_ask_page(struct n2_client *c);
void n2_client_take_inventory(struct n2_client *c, const struct n2_inventory_answer *inv);

/* ---- n2_assoc.c ---- */

void n2_assoc_take_answer(struct n2_client *c, const struct flight *f, const struct n2_answer *a);
void n2_assoc_take_event(struct n2_client *c, const struct n2_event *e);
/* Lets associations queue Updates that they owe, as long as there is room for other calls. */
void n2_assoc_refresh(struct n2_client *c);
/* No answer came to this call; left: it may have reached the relay. */
void n2_assoc_unanswered(struct n2_client *c, const struct flight *f, bool left);
/* The inventory is complete: what it did not list is gone. */
void n2_assoc_missing(struct n2_client *c);
enum n2_loss {
    N2_LOSS_CONNECTION, /* what can be tried elsewhere at once */
    N2_LOSS_LEASE,      /* all that the relay has torn down by now */
    N2_LOSS_EPOCH,      /* everything */
};
void n2_assoc_lose(struct n2_client *c, enum n2_loss how);
extern const struct n2_leg_sender_ops n2_assoc_leg_ops; /* arg: struct n2_client */
