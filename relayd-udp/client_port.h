/* The sockets that clients send to: one per family and port of the range, opened when the first
 * association needs it, shared by all that use it, closed when nobody has used it for a while. */
#pragma once

#include "shared/base/addr.h"
#include "shared/daemon/schema.h"
#include "shared/net/loop.h"

struct udp_relay;
struct ports;
struct client_ports;

struct client_port {
    struct hot hot;
    struct udp_relay *relay;
    struct ports *ports; /* whose is what comes here */
    uint8_t family;
    uint16_t port;
    uint32_t users;
    uint64_t unused_since; /* loop_now, while users is 0 */
};

/* The sockets of a range, which ports divides among associations. NULL without memory. max: at once. */
struct client_ports *client_ports_new(struct udp_relay *r, const struct schema_ports *range,
                                      struct ports *ports, uint32_t max);
/* Closes them all. NULL is allowed. */
void client_ports_free(struct client_ports *c);

/* Sees to it that there is a socket; false: not to be had, and client_ports_error tells why. Costs
 * nothing where there is one, and where none can be opened any more until forgiven. */
bool client_ports_open(struct client_ports *c, enum addr_family family, uint16_t port);
/* Of the last client_ports_open that failed since client_ports_forgive: an errno; 0: none did. One
 * that would fail for every port makes all further ones fail until forgiven. */
int client_ports_error(const struct client_ports *c);
void client_ports_forgive(struct client_ports *c);

/* The socket of a port that client_ports_open has opened, with one user more. */
struct client_port *client_port_use(struct client_ports *c, enum addr_family family, uint16_t port);
void client_port_leave(struct client_port *p);
/* True for a client port of ours, as a datagram's target or sender: it would be somebody's
 * datagram, or an answer to somebody. */
bool client_ports_own(struct client_ports *c, const struct addr *a);
/* Closes what was not used for so long. */
void client_ports_sweep(struct client_ports *c, uint64_t unused_ms);
/* How many are open, and how many there may be. */
uint32_t client_ports_count(const struct client_ports *c);
uint32_t client_ports_max(const struct client_ports *c);
/* Datagrams of clients that found the socket's buffer full, since the start. */
uint64_t client_ports_overflows(const struct client_ports *c);
