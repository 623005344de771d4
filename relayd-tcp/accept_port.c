#include "relayd-tcp/accept_port.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "relayd-tcp/flow.h"
#include "shared/net/sockaddr.h"

enum {
    ACCEPTS_PER_EVENT = 64,
    BACKLOG = 4096,
    REST_MS = 100, /* without a descriptor; others may give some back */
    SWEEP_MS = 500,
    PORT_UNUSED_MS = 2000,
    FAILURES_MAX = 32, /* ports that others hold, asked of the kernel for one association */
};

struct accept_ports {
    struct tcp_relay *relay;
    uint16_t first, last;
    uint32_t count, max;
    int error;
    uint32_t failures; /* since forgiven */
    bool resting;
    struct wheel_timer sweep, rest;
    struct list open; /* struct accept_port.node */
    struct accept_stats stats;
    struct accept_port **by_port[2]; /* IPv4, IPv6 */
};

#define REFUSAL_WORD(symbol, word) [symbol] = word,
const char *accept_refusal_name(enum accept_refusal why)
{
    static const char *const words[] = {ACCEPT_REFUSALS(REFUSAL_WORD)};

    return words[why];
}
#undef REFUSAL_WORD

static uint64_t now_of(const struct accept_ports *p)
{
    return loop_now(p->relay->base.loop);
}

static struct accept_port **slot(const struct accept_ports *p, enum addr_family family,
                                 uint16_t port)
{
    return &p->by_port[family == ADDR_IPV6][port - p->first];
}

/* ---- closing ---- */

static void close_port(struct accept_port *a)
{
    struct accept_ports *p = a->ports;

    close(hot_remove(p->relay->base.loop, &a->hot));
    list_remove(&a->node);
    *slot(p, (enum addr_family)a->family, a->port) = NULL;
    p->count--;
    free(a);
}

static void close_unused(struct accept_ports *p, uint64_t unused_ms, uint32_t most)
{
    LIST_FOREACH_SAFE (it, &p->open) {
        struct accept_port *a = LIST_ENTRY(it, struct accept_port, node);

        if (most == 0)
            return;
        if (a->users > 0 || now_of(p) - a->unused_since < unused_ms)
            continue;
        close_port(a);
        most--;
    }
}

/* Runs while a port is open. What rests does so no longer than its port is open. */
static void on_sweep(struct wheel_timer *t)
{
    struct accept_ports *p = LIST_ENTRY(t, struct accept_ports, sweep);
    uint64_t rest = p->relay->config.port_rest_ms;

    ports_sweep(p->relay->ports, now_of(p));
    close_unused(p, (rest > PORT_UNUSED_MS ? rest : PORT_UNUSED_MS) + SWEEP_MS, UINT32_MAX);
    if (p->count > 0)
        loop_timer_start(p->relay->base.loop, &p->sweep, SWEEP_MS);
}

/* ---- accepting ---- */

static void set_interest(struct accept_ports *p, uint32_t mask)
{
    LIST_FOREACH (it, &p->open) {
        hot_mask(p->relay->base.loop, &LIST_ENTRY(it, struct accept_port, node)->hot, mask);
    }
}

static void on_rest_over(struct wheel_timer *t)
{
    struct accept_ports *p = LIST_ENTRY(t, struct accept_ports, rest);

    p->resting = false;
    set_interest(p, EPOLLIN);
}

static void rest(struct accept_ports *p)
{
    p->stats.errors++;
    p->resting = true;
    set_interest(p, 0);
    loop_timer_start(p->relay->base.loop, &p->rest, REST_MS);
}

void accept_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

/* Finds out whose it is; false, and why: nobody's. */
static bool hand_over(struct accept_port *a, int fd, const struct addr *from,
                      enum accept_refusal *ret_why)
{
    struct tcp_relay *r = a->ports->relay;
    struct ports_claim *c;

    switch (ports_find(r->ports, from, a->port, &c)) {
    case PORTS_LOCKED:
    case PORTS_UNLOCKED:
        *ret_why = ACCEPT_BUSY;
        return flow_accepted(c, fd, from);
    case PORTS_OTHER_PORT:
        *ret_why = ACCEPT_SOURCE_PORT;
        return false;
    case PORTS_LATE:
        *ret_why = ACCEPT_LATE;
        return false;
    case PORTS_STRANGER:
        break;
    }
    *ret_why = ACCEPT_STRANGER;
    return false;
}

/* False: none is waiting, or it cannot be taken now. */
static bool accept_one(struct accept_port *a)
{
    struct accept_ports *p = a->ports;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    enum accept_refusal why;
    struct addr from;

    int fd = accept4(a->hot.fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM)
            rest(p);
        return err == ECONNABORTED || err == EINTR || err == EPROTO;
    }
    sockaddr_to((struct sockaddr *)&ss, &from);
    if (hand_over(a, fd, &from, &why)) {
        p->stats.accepted++;
    } else {
        p->stats.refused[why]++;
        accept_reset(fd);
    }
    return true;
}

static void on_clients(struct hot *h, uint32_t events)
{
    struct accept_port *a = LIST_ENTRY(h, struct accept_port, hot);
    (void)events;

    for (int i = 0; i < ACCEPTS_PER_EVENT && !a->ports->resting; i++) {
        if (!accept_one(a))
            break;
    }
}

/* ---- opening ---- */

struct addr accept_ports_local(const struct accept_ports *p, enum addr_family family)
{
    const struct relay_keys *k = &p->relay->config.base.relay;
    struct addr at = relay_config_pick(k->bind.items, k->bind.count, family);

    return at.family != ADDR_NONE ? at : addr_any(family, 0);
}

/* Options of a listener are inherited by what it accepts. */
static int listen_at(const struct addr *at)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(at, &ss);
    int one = 1;

    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (at->family == ADDR_IPV6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int open_port(struct accept_ports *p, enum addr_family family, uint16_t port)
{
    struct loop *l = p->relay->base.loop;
    struct addr at = accept_ports_local(p, family);

    if (p->count >= p->max)
        close_unused(p, 0, 1);
    if (p->count >= p->max)
        return -EMFILE;
    at.port = port;
    int fd = listen_at(&at);
    if (fd < 0)
        return fd;
    struct accept_port *a = calloc(1, sizeof(*a));
    int rc = -ENOMEM;
    if (a != NULL) {
        hot_init(&a->hot, on_clients);
        rc = hot_add(l, &a->hot, fd, p->resting ? 0 : EPOLLIN);
    }
    if (rc != 0) {
        close(fd);
        free(a);
        return rc;
    }
    a->ports = p;
    a->family = (uint8_t)family;
    a->port = port;
    a->unused_since = now_of(p);
    list_append(&p->open, &a->node);
    *slot(p, family, port) = a;
    if (p->count++ == 0)
        loop_timer_start(l, &p->sweep, SWEEP_MS);
    return 0;
}

bool accept_ports_open(struct accept_ports *p, enum addr_family family, uint16_t port)
{
    if (*slot(p, family, port) != NULL)
        return true;
    /* Another port would fare no better. */
    if ((p->error != 0 && p->error != EADDRINUSE) || p->failures >= FAILURES_MAX)
        return false;
    int rc = open_port(p, family, port);
    if (rc != 0) {
        p->error = -rc;
        p->failures++;
    }
    return rc == 0;
}

int accept_ports_error(const struct accept_ports *p)
{
    return p->error;
}

void accept_ports_forgive(struct accept_ports *p)
{
    p->error = 0;
    p->failures = 0;
}

struct accept_port *accept_port_use(struct accept_ports *p, enum addr_family family, uint16_t port)
{
    struct accept_port *a = *slot(p, family, port);

    a->users++;
    return a;
}

void accept_port_leave(struct accept_port *a)
{
    if (--a->users == 0)
        a->unused_since = now_of(a->ports);
}

/* ---- all of them ---- */

bool accept_ports_own(const struct accept_ports *p, const struct addr *a)
{
    if (a->port < p->first || a->port > p->last)
        return false;
    /* Connecting to an unspecified address reaches this host, in either family. */
    if (addr_is_any(a))
        return *slot(p, ADDR_IPV4, a->port) != NULL || *slot(p, ADDR_IPV6, a->port) != NULL;
    return *slot(p, (enum addr_family)a->family, a->port) != NULL && sockaddr_is_local(a);
}

const struct accept_stats *accept_ports_stats(const struct accept_ports *p)
{
    return &p->stats;
}

uint32_t accept_ports_count(const struct accept_ports *p)
{
    return p->count;
}

uint32_t accept_ports_max(const struct accept_ports *p)
{
    return p->max;
}

struct accept_ports *accept_ports_new(struct tcp_relay *r, uint32_t max)
{
    struct accept_ports *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    p->relay = r;
    p->max = max;
    p->first = r->config.transparent_ports.first;
    p->last = r->config.transparent_ports.last;
    list_init(&p->open);
    wheel_timer_init(&p->sweep, on_sweep);
    wheel_timer_init(&p->rest, on_rest_over);
    size_t range = (size_t)(p->last - p->first) + 1;
    p->by_port[0] = calloc(range, sizeof(struct accept_port *));
    p->by_port[1] = calloc(range, sizeof(struct accept_port *));
    if (p->by_port[0] != NULL && p->by_port[1] != NULL)
        return p;
    accept_ports_free(p);
    return NULL;
}

void accept_ports_free(struct accept_ports *p)
{
    if (p == NULL)
        return;
    LIST_FOREACH_SAFE (it, &p->open) {
        close_port(LIST_ENTRY(it, struct accept_port, node));
    }
    loop_timer_stop(p->relay->base.loop, &p->sweep);
    loop_timer_stop(p->relay->base.loop, &p->rest);
    free(p->by_port[0]);
    free(p->by_port[1]);
    free(p);
}
