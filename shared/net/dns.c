#include "shared/net/dns.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"

enum { TICK_MIN_MS = 32, TICK_MAX_MS = 250 };

struct dns_channel {
    struct list node;
    struct dns *dns;
    ares_channel ares;
    struct list sockets;
    uint32_t asked, in_flight;
    uint32_t probes;                   /* left before the next answer */
    const struct dns_question *asking; /* the one that dns_ask is at */
};

struct dns_socket {
    struct loop_grave grave;
    struct list node;
    struct hot hot;
    struct dns_channel *channel;
};

struct dns {
    struct loop *loop;
    struct wheel_timer tick;
    uint32_t tick_ms;
    int timeout_ms, tries;
    struct ares_addr_port_node *servers;
    size_t server_count;
    struct list channels;
    size_t channel_count;
    struct dns_channel *current; /* takes the questions; the others wait for their answers */
};

/* ---- what c-ares wants of the kernel ---- */

static int open_socket(int family, int type, int protocol, void *arg)
{
    struct dns_channel *c = arg;

    /* To c-ares this address has no route. */
    if (c->probes == 0) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    c->probes--;
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int close_socket(int fd, void *arg)
{
    (void)arg;
    return close(fd);
}

static int connect_socket(int fd, const struct sockaddr *sa, socklen_t len, void *arg)
{
    (void)arg;
    return connect(fd, sa, len);
}

static ssize_t receive(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
                       socklen_t *from_len, void *arg)
{
    (void)arg;
    return recvfrom(fd, buf, len, flags, from, from_len);
}

static ssize_t send_parts(int fd, const struct iovec *parts, int count, void *arg)
{
    struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count};

    (void)arg;
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static const struct ares_socket_functions kernel = {
    .asocket = open_socket,
    .aclose = close_socket,
    .aconnect = connect_socket,
    .arecvfrom = receive,
    .asendv = send_parts,
};

/* ---- its sockets on our loop ---- */

static void socket_free(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct dns_socket, grave));
}

static void on_socket(struct hot *h, uint32_t events)
{
    struct dns_channel *c = LIST_ENTRY(h, struct dns_socket, hot)->channel;
    int fd = h->fd;
    bool readable = events & (EPOLLIN | EPOLLERR | EPOLLHUP);

    c->probes = DNS_SORT_PROBES;
    ares_process_fd(c->ares, readable ? fd : ARES_SOCKET_BAD,
                    events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
}

static struct dns_socket *socket_find(struct dns_channel *c, int fd)
{
    LIST_FOREACH (it, &c->sockets) {
        struct dns_socket *s = LIST_ENTRY(it, struct dns_socket, node);
        if (s->hot.fd == fd)
            return s;
    }
    return NULL;
}

static struct dns_socket *socket_watch(struct dns_channel *c, int fd, uint32_t mask)
{
    struct dns_socket *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    s->channel = c;
    hot_init(&s->hot, on_socket);
    if (hot_add(c->dns->loop, &s->hot, fd, mask) != 0) {
        free(s);
        return NULL;
    }
    list_append(&c->sockets, &s->node);
    return s;
}

static void socket_unwatch(struct dns_channel *c, struct dns_socket *s)
{
    hot_remove(c->dns->loop, &s->hot);
    list_remove(&s->node);
    loop_bury(c->dns->loop, &s->grave, socket_free);
}

/* c-ares tells what it waits for; nothing, just before it closes. A socket that cannot be watched
 * is like a server that does not answer: the tries run out. */
static void on_interest(void *arg, int fd, int readable, int writable)
{
    struct dns_channel *c = arg;
    struct dns_socket *s = socket_find(c, fd);
    uint32_t mask = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);

    if (mask == 0 && s != NULL)
        socket_unwatch(c, s);
    else if (mask != 0 && s != NULL)
        hot_mask(c->dns->loop, &s->hot, mask);
    else if (mask != 0)
        socket_watch(c, fd, mask);
}

/* ---- channels ---- */

static void channel_free(struct dns_channel *c)
{
    if (c->ares != NULL)
        ares_destroy(c->ares);
    list_remove(&c->node);
    c->dns->channel_count--;
    free(c);
}

/* No search list, no aliases: a name means itself. No EDNS: a name of more than some 28 addresses
 * costs a connection, and no server is confused. */
static int channel_open(struct dns_channel *c)
{
    struct dns *d = c->dns;
    char lookups[] = "fb"; /* hosts file, then servers */
    struct ares_options o = {
        .flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOSEARCH,
        .timeout = d->timeout_ms,
        .tries = d->tries,
        .ndomains = 0,
        .lookups = lookups,
        .sock_state_cb = on_interest,
        .sock_state_cb_data = c,
    };
    int rc = ares_init_options(&c->ares, &o,
                               ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                   ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);

    if (rc != ARES_SUCCESS)
        return rc;
    ares_set_socket_functions(c->ares, &kernel, c);
    return d->servers == NULL ? ARES_SUCCESS : ares_set_servers_ports(c->ares, d->servers);
}

static struct dns_channel *channel_new(struct dns *d, int *ret_rc)
{
    struct dns_channel *c = calloc(1, sizeof(*c));

    *ret_rc = ARES_ENOMEM;
    if (c == NULL)
        return NULL;
    c->dns = d;
    c->probes = DNS_SORT_PROBES;
    list_init(&c->sockets);
    list_append(&d->channels, &c->node);
    d->channel_count++;
    *ret_rc = channel_open(c);
    if (*ret_rc != ARES_SUCCESS) {
        channel_free(c);
        return NULL;
    }
    return c;
}

/* The current one, or its successor. One without questions in flight has closed its sockets. */
static struct dns_channel *channel_take(struct dns *d)
{
    struct dns_channel *next;
    int rc;

    if (d->current->in_flight == 0)
        d->current->asked = 0;
    if (d->current->asked >= DNS_CHANNEL_ASKS && d->channel_count < DNS_CHANNELS_MAX &&
        (next = channel_new(d, &rc)) != NULL)
        d->current = next;
    return d->current;
}

/* Looks for time-outs, and buries channels that have had all their answers. */
static void on_tick(struct wheel_timer *t)
{
    struct dns *d = LIST_ENTRY(t, struct dns, tick);
    bool busy = false;

    LIST_FOREACH_SAFE (it, &d->channels) {
        struct dns_channel *c = LIST_ENTRY(it, struct dns_channel, node);
        c->probes = DNS_SORT_PROBES;
        ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        if (c->in_flight > 0)
            busy = true;
        else if (c != d->current)
            channel_free(c);
    }
    if (busy)
        loop_timer_start(d->loop, &d->tick, d->tick_ms);
}

/* ---- answers ---- */

static enum resolve_status status_from(int rc)
{
    switch (rc) {
    case ARES_SUCCESS:
        return RESOLVE_OK;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return RESOLVE_NOT_FOUND;
    case ARES_ETIMEOUT:
        return RESOLVE_TIMED_OUT;
    case ARES_ENOMEM:
        return RESOLVE_NO_MEMORY;
    default:
        return RESOLVE_FAILED;
    }
}

static bool answer_has(const struct dns_answer *a, const struct addr *addr)
{
    for (uint8_t i = 0; i < a->count; i++)
        if (addr_ip_equal(&a->addrs[i], addr))
            return true;
    return false;
}

/* The family that has the most must leave room for the other one's. */
static size_t share(size_t others)
{
    return RESOLVE_MAX - (others < RESOLVE_MAX / 2 ? others : RESOLVE_MAX / 2);
}

static void take_addresses(struct dns_answer *a, const struct ares_addrinfo_node *nodes)
{
    size_t all4 = 0, all6 = 0, kept4 = 0, kept6 = 0;
    struct addr addr;

    for (const struct ares_addrinfo_node *n = nodes; n != NULL; n = n->ai_next)
        if (sockaddr_to(n->ai_addr, &addr))
            ++*(addr.family == ADDR_IPV4 ? &all4 : &all6);
    for (const struct ares_addrinfo_node *n = nodes; n != NULL; n = n->ai_next) {
        if (!sockaddr_to(n->ai_addr, &addr))
            continue;
        addr.port = 0;
        bool is4 = addr.family == ADDR_IPV4;
        if (answer_has(a, &addr) || (is4 ? kept4 >= share(all6) : kept6 >= share(all4)))
            continue;
        a->addrs[a->count++] = addr;
        ++*(is4 ? &kept4 : &kept6);
    }
}

/* RFC 2181 section 8: a TTL with the highest bit set is 0. */
static void take_ttl(struct dns_answer *a, int ttl)
{
    uint32_t seconds = ttl > 0 ? (uint32_t)ttl : 0;

    if (seconds < a->ttl)
        a->ttl = seconds;
}

static void on_addrinfo(void *arg, int rc, int timeouts, struct ares_addrinfo *info)
{
    struct dns_answer a = {.status = status_from(rc), .ttl = UINT32_MAX};
    struct dns_question *q = arg;
    (void)timeouts;

    if (rc == ARES_EDESTRUCTION) /* dns_free: q may be gone */
        return;
    if (info != NULL) {
        take_addresses(&a, info->nodes);
        for (const struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next)
            take_ttl(&a, n->ai_ttl);
        for (const struct ares_addrinfo_cname *n = info->cnames; n != NULL; n = n->next)
            take_ttl(&a, n->ttl);
        ares_freeaddrinfo(info);
    }
    if (a.status == RESOLVE_OK && a.count == 0)
        a.status = RESOLVE_NOT_FOUND;
    q->channel->in_flight--;
    q->channel->probes = DNS_SORT_PROBES;
    /* Servers do not answer that fast. */
    a.from_file = q->channel->asking == q;
    q->answered(q, &a);
}

void dns_ask(struct dns *d, struct dns_question *q, const char *name)
{
    const struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_ENVHOSTS};
    struct dns_channel *c = channel_take(d);

    q->channel = c;
    c->asked++;
    c->in_flight++;
    c->probes = DNS_SORT_PROBES;
    c->asking = q;
    ares_getaddrinfo(c->ares, name, NULL, &hints, on_addrinfo, q);
    c->asking = NULL;
    if (c->in_flight > 0 && !wheel_running(&d->tick))
        loop_timer_start(d->loop, &d->tick, d->tick_ms);
}

/* ---- life ---- */

static void node_from(struct ares_addr_port_node *n, const struct addr *server)
{
    n->family = server->family == ADDR_IPV4 ? AF_INET : AF_INET6;
    memcpy(&n->addr, server->ip, addr_ip_len(server->family));
    n->udp_port = n->tcp_port = server->port;
}

/* The first channel, with the servers of config, or with those that it finds itself. */
static int first_channel(struct dns *d, const struct resolver_config *config)
{
    struct ares_addr_port_node *nodes = NULL;
    int rc = ARES_ENOMEM;

    if (config->server_count > 0) {
        nodes = calloc(config->server_count, sizeof(*nodes));
        if (nodes == NULL)
            return ARES_ENOMEM;
        for (size_t i = 0; i < config->server_count; i++) {
            node_from(&nodes[i], &config->servers[i]);
            nodes[i].next = i + 1 < config->server_count ? &nodes[i + 1] : NULL;
        }
    }
    d->servers = nodes;
    d->current = channel_new(d, &rc);
    d->servers = NULL;
    free(nodes);
    return d->current == NULL ? rc : ares_get_servers_ports(d->current->ares, &d->servers);
}

static struct dns *dns_alloc(struct loop *l, const struct resolver_config *config)
{
    struct dns *d = calloc(1, sizeof(*d));
    uint32_t tick = config->timeout_ms / 8;

    if (d == NULL)
        return NULL;
    d->loop = l;
    d->timeout_ms = (int)config->timeout_ms;
    d->tries = (int)config->tries;
    d->tick_ms = tick < TICK_MIN_MS ? TICK_MIN_MS : tick > TICK_MAX_MS ? TICK_MAX_MS : tick;
    list_init(&d->channels);
    wheel_timer_init(&d->tick, on_tick);
    return d;
}

int dns_new(struct loop *l, const struct resolver_config *config, struct dns **ret, struct err *e)
{
    struct dns *d = dns_alloc(l, config);
    int rc;

    if (d == NULL)
        return err_set(e, "resolver: out of memory");
    rc = ares_library_init(ARES_LIB_INIT_ALL);
    if (rc != ARES_SUCCESS) {
        free(d);
        return err_set(e, "resolver: %s", ares_strerror(rc));
    }
    rc = first_channel(d, config);
    if (rc != ARES_SUCCESS) {
        dns_free(d);
        return err_set(e, "resolver: %s", ares_strerror(rc));
    }
    for (const struct ares_addr_port_node *n = d->servers; n != NULL; n = n->next)
        d->server_count++;
    *ret = d;
    return 0;
}

void dns_free(struct dns *d)
{
    loop_timer_stop(d->loop, &d->tick);
    while (!list_empty(&d->channels))
        channel_free(LIST_ENTRY(d->channels.next, struct dns_channel, node));
    if (d->servers != NULL)
        ares_free_data(d->servers);
    ares_library_cleanup();
    free(d);
}

size_t dns_server_count(const struct dns *d)
{
    return d->server_count;
}
