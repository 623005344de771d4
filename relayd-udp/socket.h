/* The relay's UDP sockets, towards clients and towards targets alike. */
#pragma once

#include "relayd-udp/udp_relay.h"

/* The address of ours in a family, as configured: the unspecified one unless `bind` names some.
 * False: it names others only, so that this family is not served. */
bool udp_local_address(const struct udp_relay *r, enum addr_family family, struct addr *ret);
/* A nonblocking socket bound to the configured address of the family, prepared for the engine, with
 * that receive buffer if the kernel grants it. port 0: the kernel chooses one; otherwise clients
 * send to it, and runs tell where they came to. A negative errno; -EAFNOSUPPORT: the family is not
 * served. */
int udp_socket(const struct udp_relay *r, enum addr_family family, uint16_t port,
               uint64_t buffer_octets);
/* Datagrams that the kernel has thrown away because the socket's receive buffer was full. */
uint64_t udp_socket_overflows(int fd);
