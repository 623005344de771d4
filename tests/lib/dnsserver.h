/* A name server to be tested with: UDP and TCP on a port of 127.0.0.1, driven by the test's loop.
 *
 * It knows the names it was told, and nothing else: other names do not exist. An answer holds the
 * records of the question's type, behind the aliases that lead there. Anything that goes wrong here
 * fails the test. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/net/loop.h"

struct dnsserver;

/* How a name is answered. */
enum dnsserver_way {
    DNSSERVER_RIGHT,
    DNSSERVER_SERVFAIL,
    DNSSERVER_REFUSED,
    DNSSERVER_SILENT,
    DNSSERVER_TRUNCATED,     /* by UDP: the flag and nothing else; by TCP: right */
    DNSSERVER_WRONG_ID,      /* a forged address (203.0.113.66) under another id, then right */
    DNSSERVER_WRONG_NAME,    /* the same with the right id, for a question that was not asked */
    DNSSERVER_GARBAGE,       /* octets, then right */
    DNSSERVER_NOTHING,       /* a datagram of no octets, then right */
    DNSSERVER_BROKEN_RECORD, /* right up to the first record, whose length leads out of the message
                              */
};

struct dnsserver *dnsserver_new(struct loop *l);
/* Not from a callback of the loop. */
void dnsserver_free(struct dnsserver *s);
/* Nobody listens any more; and at the same address again. */
void dnsserver_down(struct dnsserver *s);
void dnsserver_up(struct dnsserver *s);
struct addr dnsserver_addr(const struct dnsserver *s);

/* An A or AAAA record. */
void dnsserver_address(struct dnsserver *s, const char *name, uint32_t ttl, const char *address);
void dnsserver_alias(struct dnsserver *s, const char *name, uint32_t ttl, const char *target);
/* For questions of this type (1 A, 28 AAAA, 0 both). */
void dnsserver_behave(struct dnsserver *s, const char *name, uint16_t type, enum dnsserver_way way);

/* Questions that came for a name (NULL: all) and type (0: all), by UDP and TCP. */
unsigned dnsserver_asked(const struct dnsserver *s, const char *name, uint16_t type);
unsigned dnsserver_asked_tcp(const struct dnsserver *s);
/* How many different ports of the client sent the last 256 datagrams. */
unsigned dnsserver_source_ports(const struct dnsserver *s);
