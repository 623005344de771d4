/* The connection to the proxy: dialled, asked, and kept. Everything here waits. */
#pragma once

#include "socksd/cmd/sockscat.h"

struct proxy {
    int fd;
    struct addr local, remote; /* of the connection */
    struct socksc *handshake;
    uint64_t deadline_ms; /* for what is waited for until the proxy has answered */
};

/* Connects to the proxy, over all its addresses in turn. 0, or -1 after telling why; p needs
 * proxy_close either way. */
int proxy_dial(const struct options *o, struct proxy *p);
/* Asks, and waits until that is DONE or LISTENING. request need not say version and user. 0, or -1
 * after telling why. */
int proxy_ask(const struct options *o, struct proxy *p, struct socksc_request request);
/* BIND that is LISTENING: waits for the second answer, as long as the proxy does. The same. */
int proxy_wait_peer(const struct options *o, struct proxy *p);
void proxy_close(struct proxy *p);

/* The bound address; a zero address is the one by which the proxy was reached. False after telling
 * that it is a name. */
bool proxy_bound(const struct proxy *p, struct addr *ret);

/* True while the proxy keeps the association: call when its connection is readable. Octets that
 * come are dropped. */
bool proxy_holds(int fd);

/* Sockets for what comes beside it. */

/* A socket of this family (SOCK_STREAM, ...) and protocol, bound to that address. -1 after telling
 * why. */
int socket_bound(int type, int protocol, const struct addr *local);
/* Connects; -1 after telling why. The socket blocks afterwards as it did before. */
int socket_connect(int fd, const struct addr *to, uint64_t deadline_ms);
uint64_t now_ms(void);
