#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "tests/lib/dnsserver.h"

enum {
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_AAAA = 28,
    RCODE_SERVFAIL = 2,
    RCODE_NXDOMAIN = 3,
    RCODE_REFUSED = 5,
    HEADER_LEN = 12,
    MESSAGE_MAX = 16384,
    NAMES_MAX = 512,
    RECORDS_MAX = 1024,
    ALIASES_MAX = 16, /* in one answer */
    PORTS = 256,
    CONNECTIONS_MAX = 8,
};

struct record {
    char name[256], target[256]; /* target: of an alias */
    uint16_t type;
    uint32_t ttl;
    struct addr addr;
};

struct name {
    char name[256];
    enum dnsserver_way ways[2];
    unsigned asked[2]; /* A, AAAA */
};

struct connection {
    struct hot hot;
    struct dnsserver *server;
    uint8_t in[2 + 512];
    size_t len;
};

struct dnsserver {
    struct loop *loop;
    struct hot udp, listener;
    struct addr addr;
    struct record records[RECORDS_MAX];
    struct name names[NAMES_MAX];
    size_t record_count, name_count;
    unsigned asked_tcp;
    uint16_t ports[PORTS];
    unsigned port_count;
    struct connection connections[CONNECTIONS_MAX];
};

/* A message being written. */
struct message {
    uint8_t octets[MESSAGE_MAX];
    size_t len;
    uint16_t answers;
};

struct question {
    uint16_t id, type;
    char name[256];
    const uint8_t *octets; /* name, type and class, as they came */
    size_t octets_len;
};

/* ---- words ---- */

static void put(struct message *m, const void *octets, size_t len)
{
    assert_true(len <= sizeof(m->octets) - m->len);
    memcpy(m->octets + m->len, octets, len);
    m->len += len;
}

static void put16(struct message *m, uint16_t n)
{
    put(m, (const uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, 2);
}

static void put32(struct message *m, uint32_t n)
{
    put16(m, (uint16_t)(n >> 16));
    put16(m, (uint16_t)n);
}

static void put_name(struct message *m, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        put(m, (const uint8_t[]){(uint8_t)len}, 1);
        put(m, name, len);
        name += len + (name[len] == '.');
    }
    put(m, "", 1);
}

static void put_record(struct message *m, const struct record *r)
{
    put_name(m, r->name);
    put16(m, r->type);
    put16(m, 1);
    put32(m, r->ttl);
    if (r->type == TYPE_CNAME) {
        put16(m, (uint16_t)(strlen(r->target) + 2));
        put_name(m, r->target);
    } else {
        put16(m, (uint16_t)addr_ip_len(r->addr.family));
        put(m, r->addr.ip, addr_ip_len(r->addr.family));
    }
    m->answers++;
}

static void begin(struct message *m, uint16_t id, const struct question *q)
{
    memset(m, 0, sizeof(*m));
    put16(m, id);
    put16(m, 0x8180); /* a response, recursion asked for and available */
    put16(m, 1);
    put(m, (const uint8_t[6]){0}, 6);
    put(m, q->octets, q->octets_len);
}

static void finish(struct message *m, bool truncated, unsigned rcode)
{
    m->octets[2] |= truncated ? 2 : 0;
    m->octets[3] |= (uint8_t)rcode;
    m->octets[6] = (uint8_t)(m->answers >> 8);
    m->octets[7] = (uint8_t)m->answers;
}

static bool question_read(const uint8_t *in, size_t len, struct question *ret)
{
    size_t at = HEADER_LEN, name_len = 0;

    if (len < HEADER_LEN + 5)
        return false;
    while (at < len && in[at] != 0) {
        size_t label = in[at++];
        if (label > 63 || at + label + 5 > len || name_len + label + 1 >= sizeof(ret->name))
            return false;
        memcpy(ret->name + name_len, in + at, label);
        name_len += label;
        ret->name[name_len++] = '.';
        at += label;
    }
    ret->name[name_len > 0 ? name_len - 1 : 0] = '\0';
    at++;
    if (at + 4 > len)
        return false;
    ret->id = (uint16_t)(in[0] << 8 | in[1]);
    ret->type = (uint16_t)(in[at] << 8 | in[at + 1]);
    ret->octets = in + HEADER_LEN;
    ret->octets_len = at + 4 - HEADER_LEN;
    return true;
}

/* ---- what it knows ---- */

static struct name *name_find(const struct dnsserver *s, const char *name)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (strcasecmp(s->names[i].name, name) == 0)
            return (struct name *)&s->names[i];
    return NULL;
}

static struct name *name_take(struct dnsserver *s, const char *name)
{
    struct name *n = name_find(s, name);

    if (n != NULL)
        return n;
    assert_true(s->name_count < NAMES_MAX);
    n = &s->names[s->name_count++];
    strcpy(n->name, name);
    return n;
}

static bool has_records(const struct dnsserver *s, const char *name)
{
    for (size_t i = 0; i < s->record_count; i++)
        if (strcasecmp(s->records[i].name, name) == 0)
            return true;
    return false;
}

static const struct record *alias_of(const struct dnsserver *s, const char *name)
{
    for (size_t i = 0; i < s->record_count; i++)
        if (s->records[i].type == TYPE_CNAME && strcasecmp(s->records[i].name, name) == 0)
            return &s->records[i];
    return NULL;
}

static void right_answer(const struct dnsserver *s, const struct question *q, struct message *m)
{
    const struct record *alias;
    const char *name = q->name;

    begin(m, q->id, q);
    while (m->answers < ALIASES_MAX && (alias = alias_of(s, name)) != NULL) {
        put_record(m, alias);
        name = alias->target;
    }
    for (size_t i = 0; i < s->record_count; i++)
        if (s->records[i].type == q->type && strcasecmp(s->records[i].name, name) == 0)
            put_record(m, &s->records[i]);
    finish(m, false, has_records(s, name) ? 0 : RCODE_NXDOMAIN);
}

static void failure(const struct question *q, unsigned rcode, bool truncated, struct message *m)
{
    begin(m, q->id, q);
    finish(m, truncated, rcode);
}

static void forged_answer(const struct question *q, uint16_t id, struct message *m)
{
    struct record r = {.type = TYPE_A, .ttl = 3600};

    assert_true(addr_parse_ip("203.0.113.66", &r.addr));
    strcpy(r.name, q->name);
    begin(m, id, q);
    put_record(m, &r);
    finish(m, false, 0);
}

/* ---- how it answers ---- */

/* By UDP to `to`, or on a connection. */
struct answer_to {
    int fd;
    bool tcp;
    struct sockaddr_storage to;
    socklen_t to_len;
};

static void reply(const struct answer_to *a, const struct message *m)
{
    uint8_t head[2] = {(uint8_t)(m->len >> 8), (uint8_t)m->len};
    struct iovec parts[] = {{head, 2}, {(void *)m->octets, m->len}};
    struct msghdr h = {.msg_iov = a->tcp ? parts : parts + 1, .msg_iovlen = a->tcp ? 2 : 1};

    if (!a->tcp) {
        h.msg_name = (void *)&a->to;
        h.msg_namelen = a->to_len;
    }
    sendmsg(a->fd, &h, MSG_NOSIGNAL); /* the client may have gone */
}

static void reply_wrong_name(const struct answer_to *a, const struct question *q, struct message *m)
{
    uint8_t octets[512];
    struct question other = *q;

    assert_true(q->octets_len <= sizeof(octets));
    memcpy(octets, q->octets, q->octets_len);
    octets[1] ^= 1;
    other.octets = octets;
    forged_answer(&other, q->id, m);
    reply(a, m);
}

static void reply_broken(const struct answer_to *a, const struct question *q, struct message *m)
{
    begin(m, q->id, q);
    put_name(m, q->name);
    put16(m, q->type);
    put16(m, 1);
    put32(m, 60);
    put16(m, 9999);
    put32(m, 0);
    m->answers = 1;
    finish(m, false, 0);
    reply(a, m);
}

/* What comes before the right answer, or instead of it: then false. */
static bool reply_first(const struct answer_to *a, enum dnsserver_way way, const struct question *q,
                        struct message *m)
{
    switch (way) {
    case DNSSERVER_SILENT:
        return false;
    case DNSSERVER_SERVFAIL:
    case DNSSERVER_REFUSED:
        failure(q, way == DNSSERVER_SERVFAIL ? RCODE_SERVFAIL : RCODE_REFUSED, false, m);
        reply(a, m);
        return false;
    case DNSSERVER_TRUNCATED:
        failure(q, 0, true, m);
        if (!a->tcp)
            reply(a, m);
        return a->tcp;
    case DNSSERVER_BROKEN_RECORD:
        reply_broken(a, q, m);
        return false;
    case DNSSERVER_WRONG_ID:
        forged_answer(q, q->id ^ 1, m);
        reply(a, m);
        return true;
    case DNSSERVER_WRONG_NAME:
        reply_wrong_name(a, q, m);
        return true;
    case DNSSERVER_GARBAGE:
        memset(m, 0xff, sizeof(*m));
        for (m->len = 1; m->len < 64; m->len += 9)
            reply(a, m);
        return true;
    case DNSSERVER_NOTHING:
        m->len = 0;
        reply(a, m);
        return true;
    default:
        return true;
    }
}

static void answer(struct dnsserver *s, const struct answer_to *a, const uint8_t *in, size_t len)
{
    struct message m;
    struct question q;

    assert_true(question_read(in, len, &q));
    struct name *n = name_take(s, q.name);
    unsigned kind = q.type == TYPE_AAAA;
    n->asked[kind]++;
    if (!reply_first(a, n->ways[kind], &q, &m))
        return;
    right_answer(s, &q, &m);
    if (!a->tcp && m.len > 512)
        failure(&q, 0, true, &m);
    reply(a, &m);
}

/* ---- sockets ---- */

static void on_udp(struct hot *h, uint32_t events)
{
    struct dnsserver *s = LIST_ENTRY(h, struct dnsserver, udp);
    struct answer_to a = {.fd = h->fd, .to_len = sizeof(a.to)};
    uint8_t in[512];
    struct addr from;
    (void)events;

    ssize_t n = recvfrom(h->fd, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&a.to, &a.to_len);
    if (n < 0)
        return;
    sockaddr_to((struct sockaddr *)&a.to, &from);
    s->ports[s->port_count++ % PORTS] = from.port;
    answer(s, &a, in, (size_t)n);
}

static void connection_close(struct connection *c)
{
    int fd = hot_remove(c->server->loop, &c->hot);

    if (fd >= 0)
        close(fd);
}

static void on_connection(struct hot *h, uint32_t events)
{
    struct connection *c = LIST_ENTRY(h, struct connection, hot);
    struct answer_to a = {.fd = h->fd, .tcp = true};
    ssize_t n = recv(h->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);
    (void)events;

    if (n <= 0) {
        connection_close(c);
        return;
    }
    c->len += (size_t)n;
    for (size_t len; c->len >= 2 && c->len >= 2 + (len = (size_t)(c->in[0] << 8 | c->in[1]));) {
        c->server->asked_tcp++;
        answer(c->server, &a, c->in + 2, len);
        c->len -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->len);
    }
}

static void on_listener(struct hot *h, uint32_t events)
{
    struct dnsserver *s = LIST_ENTRY(h, struct dnsserver, listener);
    int fd = accept4(h->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    (void)events;

    for (int i = 0; i < CONNECTIONS_MAX && fd >= 0; i++) {
        struct connection *c = &s->connections[i];
        if (c->hot.fd >= 0)
            continue;
        c->len = 0;
        assert_int_equal(hot_add(s->loop, &c->hot, fd, EPOLLIN), 0);
        return;
    }
    if (fd >= 0)
        close(fd);
}

/* TCP, then UDP on the port that TCP got. False when UDP's is taken. */
static bool bind_both(struct dnsserver *s, const struct addr *at)
{
    struct sockaddr_storage ss;
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sockaddr_from(at, &ss);
    int one = 1;

    assert_true(tcp >= 0 && udp >= 0);
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(tcp, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(tcp, 16), 0);
    assert_true(sockaddr_local(tcp, &s->addr));
    sockaddr_from(&s->addr, &ss);
    if (bind(udp, (struct sockaddr *)&ss, len) != 0) {
        close(tcp);
        close(udp);
        return false;
    }
    assert_int_equal(hot_add(s->loop, &s->listener, tcp, EPOLLIN), 0);
    assert_int_equal(hot_add(s->loop, &s->udp, udp, EPOLLIN), 0);
    return true;
}

struct dnsserver *dnsserver_new(struct loop *l)
{
    struct dnsserver *s = calloc(1, sizeof(*s));
    struct addr any_port;
    int tries = 100;

    assert_non_null(s);
    assert_true(addr_parse("127.0.0.1:0", &any_port));
    s->loop = l;
    hot_init(&s->udp, on_udp);
    hot_init(&s->listener, on_listener);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        s->connections[i].server = s;
        hot_init(&s->connections[i].hot, on_connection);
    }
    while (!bind_both(s, &any_port))
        assert_true(--tries > 0);
    return s;
}

void dnsserver_down(struct dnsserver *s)
{
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        connection_close(&s->connections[i]);
    close(hot_remove(s->loop, &s->udp));
    close(hot_remove(s->loop, &s->listener));
}

void dnsserver_up(struct dnsserver *s)
{
    assert_true(bind_both(s, &s->addr));
}

void dnsserver_free(struct dnsserver *s)
{
    if (s->udp.fd >= 0)
        dnsserver_down(s);
    free(s);
}

struct addr dnsserver_addr(const struct dnsserver *s)
{
    return s->addr;
}

/* ---- what it is told, and what it tells ---- */

static struct record *record_new(struct dnsserver *s, const char *name, uint16_t type, uint32_t ttl)
{
    struct record *r = &s->records[s->record_count++];

    assert_true(s->record_count <= RECORDS_MAX);
    strcpy(r->name, name);
    r->type = type;
    r->ttl = ttl;
    return r;
}

void dnsserver_address(struct dnsserver *s, const char *name, uint32_t ttl, const char *address)
{
    struct addr a;

    assert_true(addr_parse_ip(address, &a));
    record_new(s, name, a.family == ADDR_IPV4 ? TYPE_A : TYPE_AAAA, ttl)->addr = a;
}

void dnsserver_alias(struct dnsserver *s, const char *name, uint32_t ttl, const char *target)
{
    strcpy(record_new(s, name, TYPE_CNAME, ttl)->target, target);
}

void dnsserver_behave(struct dnsserver *s, const char *name, uint16_t type, enum dnsserver_way way)
{
    struct name *n = name_take(s, name);

    if (type != TYPE_AAAA)
        n->ways[0] = way;
    if (type != TYPE_A)
        n->ways[1] = way;
}

unsigned dnsserver_asked(const struct dnsserver *s, const char *name, uint16_t type)
{
    unsigned asked = 0;

    for (size_t i = 0; i < s->name_count; i++) {
        const struct name *n = &s->names[i];
        if (name != NULL && strcasecmp(n->name, name) != 0)
            continue;
        asked += type != TYPE_AAAA ? n->asked[0] : 0;
        asked += type != TYPE_A ? n->asked[1] : 0;
    }
    return asked;
}

unsigned dnsserver_asked_tcp(const struct dnsserver *s)
{
    return s->asked_tcp;
}

unsigned dnsserver_source_ports(const struct dnsserver *s)
{
    unsigned count = s->port_count < PORTS ? s->port_count : PORTS, different = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned j = 0;
        while (s->ports[j] != s->ports[i])
            j++;
        different += j == i;
    }
    return different;
}
