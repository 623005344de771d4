/* The relays that socksd knows: a client of each (shared/n2/n2_client.h), the children among them, and
 * who waits for one to become ready. */
#pragma once

#include "shared/daemon/json.h"
#include "shared/daemon/prom.h"
#include "shared/n2/n2_client.h"
#include "socksd/server.h"

struct relays;

/* Starts children and dials everybody. -1 with *e set; nothing is left then. */
int relays_open(struct server *s, struct err *e);
/* Asks children to drain; they end by themselves. */
void relays_drain_children(struct server *s, uint64_t deadline_ms, void (*gone)(void *arg), void *arg);
/* The same, but what runs in them is ended and recorded now: their second SIGTERM. */
void relays_stop_children(struct server *s, void (*gone)(void *arg), void *arg);
void relays_close(struct relays *r);

/* A relay for this kind, or NULL. tried: bit per relay that has been tried (by relays_bit). */
struct n2_client *relays_choose(struct relays *r, enum n2_kind kind, uint32_t ptcl,
                                uint64_t tried);
uint64_t relays_bit(const struct relays *r, const struct n2_client *c);
const char *relays_name(const struct n2_client *c);
/* Some relay, ready or not, is or may be of this kind: waiting can help. */
bool relays_may_serve(const struct relays *r, enum n2_kind kind, uint32_t ptcl);
/* At least one is ready; otherwise the reason is put into reason. */
bool relays_ready(const struct relays *r, char *reason, size_t cap);

/* Called (posted, once per iteration) when a relay has become ready: sessions that wait try again. */
struct relays_waiter {
    struct list node;
    void (*ready)(struct relays_waiter *w);
};
void relays_wait(struct relays *r, struct relays_waiter *w);

void relays_metrics(const struct relays *r, struct prom *p);
void relays_json(const struct relays *r, struct json *j);
