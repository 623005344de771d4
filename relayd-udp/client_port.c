#include "relayd-udp/client_port.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "relayd-udp/datagram.h"
#include "relayd-udp/socket.h"
#include "shared/net/sockaddr.h"

enum {
    ASKED_MS = 1000,
    FAILURES_MAX = 32, /* ports that others hold, asked of the kernel for one association */
};

struct client_ports {
    struct udp_relay *relay;
    struct ports *ports;
    uint16_t first, last;
    uint32_t count, max;
    int error;
    uint32_t failures;  /* since forgiven */
    uint64_t overflows; /* of sockets that are closed */
    struct addr asked;  /* whether it is of this host */
    bool asked_local;
    uint64_t asked_until;
    struct client_port **by_port[2]; /* IPv4, IPv6 */
};

static struct client_port **slot(struct client_ports *c, enum addr_family family, uint16_t port)
{
    return &c->by_port[family == ADDR_IPV6][port - c->first];
}

struct client_ports *client_ports_new(struct udp_relay *r, const struct schema_ports *ports_range,
                                      struct ports *ports, uint32_t max)
{
    struct client_ports *c = calloc(1, sizeof(*c));
    size_t range;

    if (c == NULL)
        return NULL;
    c->relay = r;
    c->max = max;
    c->ports = ports;
    c->first = ports_range->first;
    c->last = ports_range->last;
    range = (size_t)(c->last - c->first) + 1;
    c->by_port[0] = calloc(range, sizeof(*c->by_port[0]));
    c->by_port[1] = calloc(range, sizeof(*c->by_port[1]));
    if (c->by_port[0] != NULL && c->by_port[1] != NULL)
        return c;
    client_ports_free(c);
    return NULL;
}

static void close_port(struct client_ports *c, struct client_port **at)
{
    struct client_port *p = *at;

    c->overflows += udp_socket_overflows(p->hot.fd);
    close(hot_remove(c->relay->base.loop, &p->hot));
    *at = NULL;
    c->count--;
    free(p);
}

static void each(struct client_ports *c, bool (*wanted)(const struct client_port *p, uint64_t arg),
                 uint64_t arg, uint32_t most)
{
    size_t range = (size_t)(c->last - c->first) + 1;

    for (size_t f = 0; f < 2 && c->by_port[f] != NULL; f++) {
        for (size_t i = 0; i < range && most > 0; i++) {
            if (c->by_port[f][i] == NULL || !wanted(c->by_port[f][i], arg))
                continue;
            close_port(c, &c->by_port[f][i]);
            most--;
        }
    }
}

static bool any(const struct client_port *p, uint64_t arg)
{
    (void)p;
    (void)arg;
    return true;
}

static bool unused_before(const struct client_port *p, uint64_t when)
{
    return p->users == 0 && p->unused_since <= when;
}

void client_ports_free(struct client_ports *c)
{
    if (c == NULL)
        return;
    each(c, any, 0, UINT32_MAX);
    free(c->by_port[0]);
    free(c->by_port[1]);
    free(c);
}

void client_ports_sweep(struct client_ports *c, uint64_t unused_ms)
{
    uint64_t now = udp_now(c->relay);

    if (now >= unused_ms)
        each(c, unused_before, now - unused_ms, UINT32_MAX);
}

static void on_clients(struct hot *h, uint32_t events)
{
    struct client_port *p = LIST_ENTRY(h, struct client_port, hot);
    (void)events;

    datagrams_from_clients(p);
}

/* Asking the kernel costs system calls, and who sends once sends again. */
static bool is_local(struct client_ports *c, const struct addr *a)
{
    uint64_t now = udp_now(c->relay);

    if (now >= c->asked_until || !addr_ip_equal(a, &c->asked)) {
        c->asked = *a;
        c->asked_local = sockaddr_is_local(a);
        c->asked_until = now + ASKED_MS;
    }
    return c->asked_local;
}

bool client_ports_own(struct client_ports *c, const struct addr *a)
{
    return a->port >= c->first && a->port <= c->last && (addr_is_any(a) || is_local(c, a));
}

static int open_port(struct client_ports *c, enum addr_family family, uint16_t port)
{
    struct client_port *p;
    int rc;

    if (c->count >= c->max)
        each(c, unused_before, udp_now(c->relay), 1);
    if (c->count >= c->max)
        return -EMFILE;
    int fd = udp_socket(c->relay, family, port, c->relay->config.receive_octets);
    if (fd < 0)
        return fd;
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        close(fd);
        return -ENOMEM;
    }
    p->relay = c->relay;
    p->ports = c->ports;
    p->family = (uint8_t)family;
    p->port = port;
    p->unused_since = udp_now(c->relay);
    hot_init(&p->hot, on_clients);
    rc = hot_add(c->relay->base.loop, &p->hot, fd, EPOLLIN);
    if (rc != 0) {
        close(fd);
        free(p);
        return rc;
    }
    *slot(c, family, port) = p;
    c->count++;
    return 0;
}

bool client_ports_open(struct client_ports *c, enum addr_family family, uint16_t port)
{
    if (*slot(c, family, port) != NULL)
        return true;
    /* Another port would fare no better. */
    if ((c->error != 0 && c->error != EADDRINUSE) || c->failures >= FAILURES_MAX)
        return false;
    int rc = open_port(c, family, port);
    if (rc != 0) {
        c->error = -rc;
        c->failures++;
    }
    return rc == 0;
}

int client_ports_error(const struct client_ports *c)
{
    return c->error;
}

void client_ports_forgive(struct client_ports *c)
{
    c->error = 0;
    c->failures = 0;
}

struct client_port *client_port_use(struct client_ports *c, enum addr_family family, uint16_t port)
{
    struct client_port *p = *slot(c, family, port);

    p->users++;
    return p;
}

void client_port_leave(struct client_port *p)
{
    if (--p->users == 0)
        p->unused_since = udp_now(p->relay);
}

uint32_t client_ports_count(const struct client_ports *c)
{
    return c->count;
}

uint32_t client_ports_max(const struct client_ports *c)
{
    return c->max;
}

uint64_t client_ports_overflows(const struct client_ports *c)
{
    size_t range = (size_t)(c->last - c->first) + 1;
    uint64_t sum = c->overflows;

    for (size_t f = 0; f < 2; f++) {
        for (size_t i = 0; i < range; i++) {
            if (c->by_port[f][i] != NULL)
                sum += udp_socket_overflows(c->by_port[f][i]->hot.fd);
        }
    }
    return sum;
}
