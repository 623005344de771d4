/* What is done with datagrams, both ways:
 *
 *   client ─► source rule ─► header ─► FRAG ─► rules, name, rules ─► outer socket ─► target
 *   client ◄─ header with the true sender ◄─ filter (was it sent to?) ◄─ outer socket ◄─ target
 *
 * Nothing is ever answered to whom we do not know, and nothing is told to anybody of what was
 * dropped: it is counted by reason (RFC 1928 section 7: "it drops silently"). */
#pragma once

#include "relayd-udp/association.h"

/* datagram_up.c: a client port is readable. */
void datagrams_from_clients(struct client_port *p);

/* What a client sent, taken apart; its octets are the engine's. */
struct datagram {
    const struct dest *dest;
    const uint8_t *header; /* behind FRAG */
    size_t header_len;
    const uint8_t *payload;
    size_t len;
};
/* Judges and sends it, or drops and counts it: as datagram_send. */
void datagram_take(struct association *a, const struct datagram *d);
/* Sends to an address that was chosen for dest. It is queued: engine_flush has to come before the
 * octets of payload go; or it is dropped and counted. A limit may end a: check its state. */
void datagram_send(struct association *a, const struct dest *dest, const struct addr *to,
                   const uint8_t *payload, size_t len);
/* Of the addresses of a name the one to send to: that the rules allow, that we can reach, and
 * rather one that was sent to before. False with the reason. */
bool datagram_choose(struct association *a, const struct dest *dest, const struct addr *addrs,
                     size_t count, struct addr *ret, enum drop *ret_why);

/* datagram_down.c: an outer socket is readable. */
void datagrams_from_ipv4(struct hot *h, uint32_t events);
void datagrams_from_ipv6(struct hot *h, uint32_t events);
