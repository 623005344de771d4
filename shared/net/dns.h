/* c-ares on our loop: a name in, addresses and their TTL out. The only door to <ares.h>.
 *
 * Questions are spread over channels, each with sockets of its own, and a channel takes
 * DNS_CHANNEL_ASKS of them: source ports change even when there is never a quiet moment, so that
 * forged answers have to guess more than the 16 bits of the id (RFC 5452 section 9.2).
 *
 * Sorting by RFC 6724 looks up a source address for each destination, in the kernel. A hostile
 * answer holds thousands of them: those behind the first DNS_SORT_PROBES go last unseen.
 *
 * No cache and no limit on how many are asked: see resolve.c. */
#pragma once

#include "shared/net/resolve.h"

#define DNS_CHANNEL_ASKS 100
#define DNS_CHANNELS_MAX 8 /* when as many wait for stragglers, the last one goes on */
#define DNS_SORT_PROBES  128

struct dns;

struct dns_answer {
    enum resolve_status status;
    bool from_file; /* /etc/hosts: there is no TTL */
    uint32_t ttl;   /* seconds; the smallest of all records, aliases too */
    uint8_t count;
    struct addr addrs[RESOLVE_MAX]; /* port 0 */
};

/* Embedded by the caller, who keeps it until its answer comes or dns_free. */
struct dns_question {
    struct dns_channel *channel;
    void (*answered)(struct dns_question *q, const struct dns_answer *answer);
};

/* The servers, timeout_ms and tries of config, all set. 0; or -1 with the sentence in e. */
int dns_new(struct loop *l, const struct resolver_config *config, struct dns **ret, struct err *e);
/* Questions are forgotten; not from inside `answered`. */
void dns_free(struct dns *d);
/* `answered` is called once, possibly before this returns. It must not call dns_ask or dns_free. */
void dns_ask(struct dns *d, struct dns_question *q, const char *name);
size_t dns_server_count(const struct dns *d);
