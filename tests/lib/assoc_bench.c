#include "tests/lib/assoc_bench.h"

#include <stdarg.h>
#include <setjmp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "relayd-udp/routes.h"
#include "relayd-udp/sweep.h"
#include "shared/net/sockaddr.h"
#include "shared/socks/socks5_udp.h"

enum { CAPACITY = 100, LEASE_MS = 60000, LONG_MS = 3600000, DATAGRAM_MAX = 65536 };
enum { RANGES_FROM = 10240, RANGES_TO = 30000 }; /* below what kernels give to port 0 */

static const struct n2_rule all = {
    .allow = true, .any_destination = true, .opens_special = true, .any_port = true};
const struct n2_rules assoc_rules_all = {&all, 1};

struct addr assoc_at(const char *text)
{
    struct addr a;

    assert_true(addr_parse(text, &a));
    return a;
}

/* ---- setting and clearing ---- */

static bool is_free(uint16_t port)
{
    struct addr at = assoc_at("127.0.0.1:0");
    struct sockaddr_storage ss;

    at.port = port;
    socklen_t len = sockaddr_from(&at, &ss);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, (struct sockaddr *)&ss, len);

    close(fd);
    return rc == 0;
}

static struct schema_ports free_range(uint16_t ports)
{
    uint16_t first = (uint16_t)(RANGES_FROM + getpid() * 61 % (RANGES_TO - RANGES_FROM));

    for (uint16_t n = 0; n < ports; n++) {
        if (is_free((uint16_t)(first + n)))
            continue;
        first = (uint16_t)(first + n + 1);
        n = UINT16_MAX;
    }
    return (struct schema_ports){first, (uint16_t)(first + ports - 1)};
}

struct assoc_bench *assoc_bench_new(uint16_t ports)
{
    struct assoc_bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    assert_int_equal(loop_init(&b->loop), 0);
    b->dns = dnsserver_new(&b->loop);
    b->dns_retry_ms = RESOLVER_CONFIG_DEFAULT.timeout_ms;
    b->bind = assoc_at("127.0.0.1:0");
    struct udp_config *c = &b->relay.config;
    c->base.relay.bind.items = &b->bind;
    c->base.relay.bind.count = 1;
    c->base.relay.ports = free_range(ports);
    c->base.relay.idle_ms = LONG_MS;
    c->unused_ms = LONG_MS;
    c->peers = 16;
    c->fragment_octets = 1 << 20;
    c->fragment_ms = 5000;
    c->receive_octets = c->target_octets = 1 << 18;
    c->pending = 16;
    c->pending_octets = 1 << 20;
    return b;
}

static void start_relay(struct assoc_bench *b, uint32_t client_sockets)
{
    struct udp_relay *r = &b->relay;
    const struct addr server = dnsserver_addr(b->dns);
    const struct ports_config ports = {
        .first = r->config.base.relay.ports.first,
        .last = r->config.base.relay.ports.last,
        .rest_ms = (uint32_t)r->config.port_rest_ms,
        .unlocked_max = (uint32_t)r->config.unlocked,
    };
    struct resolver_config resolver = RESOLVER_CONFIG_DEFAULT;
    struct err e;

    resolver.timeout_ms = b->dns_retry_ms;
    resolver.servers = &server;
    resolver.server_count = 1;
    r->base.loop = &b->loop;
    r->base.config = &r->config.base;
    r->base.capacity = CAPACITY;
    strcpy(r->base.id, "relay");
    r->fragments.max = r->config.fragment_octets;
    r->fragments.time_ms = (uint32_t)r->config.fragment_ms;
    r->engine = engine_new(&engine_plain);
    struct ports_config plain = ports;
    plain.first = r->config.transparent_ports.first;
    plain.last = r->config.transparent_ports.last;
    r->ports = ports_new(&ports);
    r->plain_ports = ports_new(&plain);
    r->plain_client_ports = client_ports_new(r, &r->config.transparent_ports, r->plain_ports, 4);
    r->routes = routes_new();
    r->client_ports = client_ports_new(r, &r->config.base.relay.ports, r->ports, client_sockets);
    assert_non_null(r->engine);
    assert_non_null(r->ports);
    assert_non_null(r->plain_ports);
    assert_non_null(r->plain_client_ports);
    assert_non_null(r->routes);
    assert_non_null(r->client_ports);
    sweep_start(r);
    if (resolver_new(&b->loop, &resolver, &r->resolver, &e) != 0)
        fail_msg("%s", e.text);
}

void assoc_bench_start(struct assoc_bench *b, uint32_t client_sockets)
{
    static const enum n2_kind kinds[] = {N2_UDP};
    const char *const urls[] = {b->url};
    const struct n2_server_config c = {.urls = urls,
                                       .url_count = 1,
                                       .relay_id = "relay",
                                       .software = "test",
                                       .kinds = kinds,
                                       .kind_count = 1,
                                       .capacity = CAPACITY,
                                       .quota = CAPACITY,
                                       .lease_ms = LEASE_MS};
    static unsigned benches; /* a test that failed may have left one */
    struct err e;

    snprintf(b->url, sizeof(b->url), "ipc:///tmp/assoc_bench_%d_%u.ipc", (int)getpid(), benches++);
    start_relay(b, client_sockets);
    if (n2_server_open(&b->loop, &c, &association_service, &b->relay, &b->relay.base.n2, &e) != 0)
        fail_msg("%s", e.text);
    asker_open(&b->asker, &b->loop, b->url, "server");
}

void assoc_nothing_is_held(const struct assoc_bench *b)
{
    const struct udp_relay *r = &b->relay;
    struct ports_stats ports = ports_stats(r->ports);

    assert_int_equal(r->stats.associations, 0);
    assert_int_equal(r->stats.used, 0);
    assert_int_equal(r->stats.outer_sockets, 0);
    assert_int_equal(r->stats.names_waiting, 0);
    assert_int_equal(r->stats.names_octets, 0);
    assert_int_equal(r->fragments.held, 0);
    assert_true(list_empty(&r->fragmented));
    assert_int_equal(r->policies.count, 0);
    assert_int_equal(r->policies.octets, 0);
    assert_int_equal(ports.claims, 0);
    assert_int_equal(ports.unlocked, 0);
    assert_int_equal(n2_server_grants(r->base.n2), 0);
}

void assoc_bench_free(struct assoc_bench *b)
{
    struct udp_relay *r = &b->relay;

    asker_close(&b->asker);
    n2_server_close(r->base.n2);
    r->base.n2 = NULL;
    assert_int_equal(r->stats.associations, 0);
    assert_int_equal(r->policies.count, 0);
    resolver_free(r->resolver);
    sweep_stop(r);
    client_ports_free(r->client_ports);
    client_ports_free(r->plain_client_ports);
    ports_free(r->ports);
    ports_free(r->plain_ports);
    routes_free(r->routes);
    engine_free(r->engine);
    policies_fini(&r->policies);
    dnsserver_free(b->dns);
    for (size_t i = 0; i < b->fd_count; i++)
        close(b->fds[i]);
    loop_fini(&b->loop);
    free(b);
}

/* ---- the control server ---- */

struct n2_open assoc_open_of(uint32_t number)
{
    static uint8_t ids[64][ID_LEN];

    assert_true(number < 64);
    memcpy(ids[number], asker_id(number), ID_LEN);
    return (struct n2_open){.association = ids[number],
                            .kind = N2_UDP,
                            .ptcl = 17,
                            .client = assoc_at("127.0.0.1:0"),
                            .client_local = assoc_at("127.0.0.1:1080"),
                            .owner = "",
                            .rules = &assoc_rules_all};
}

const struct n2_answer *assoc_ask_open(struct assoc_bench *b, const struct n2_open *o)
{
    struct n2_call call = {.what = N2_OPEN, .u.open = o};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

struct addr assoc_open(struct assoc_bench *b, uint32_t number, const char *client)
{
    struct n2_open o = assoc_open_of(number);

    assert_true(addr_parse_ip(client, &o.client));
    const struct n2_answer *a = assoc_ask_open(b, &o);
    assert_int_equal(a->what, N2_OPEN);
    assert_true(a->u.open.opened);
    return a->u.open.bound;
}

const struct n2_answer *assoc_release(struct assoc_bench *b, uint32_t number)
{
    struct n2_call call = {.what = N2_RELEASE, .u.release = asker_id(number)};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

const struct n2_answer *assoc_update(struct assoc_bench *b, uint32_t number, uint32_t revision,
                                     struct n2_limits limits, const struct n2_rules *rules)
{
    struct n2_call call = {.what = N2_UPDATE,
                           .u.update = {asker_id(number), revision, limits, rules}};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

struct n2_event assoc_event(struct assoc_bench *b, enum n2_event_type type)
{
    uint64_t until = uv_hrtime() / 1000000 + ASSOC_BENCH_PATIENCE_MS;
    const struct n2_watch_answer *seen = &b->asker.seen;

    do {
        asker_watch(&b->asker, b->seq, 1000);
        ASSOC_WAIT(b, b->asker.watch_replies > 0);
    } while (seen->event_count == 0 && uv_hrtime() / 1000000 < until);
    assert_true(seen->event_count > 0);
    struct n2_event e = seen->events[0];
    assert_int_equal(e.seq, ++b->seq);
    assert_int_equal(e.type, type);
    return e;
}

/* ---- datagrams ---- */

int assoc_socket(struct assoc_bench *b, const char *ip, uint16_t port, struct addr *ret)
{
    struct sockaddr_storage ss;
    struct addr at;

    assert_true(b->fd_count < ASSOC_BENCH_SOCKETS);
    assert_true(addr_parse_ip(ip, &at));
    at.port = port;
    socklen_t len = sockaddr_from(&at, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    b->fds[b->fd_count++] = fd;
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    if (ret != NULL)
        assert_true(sockaddr_local(fd, ret));
    return fd;
}

void assoc_send_raw(int fd, const struct addr *to, const void *octets, size_t len)
{
    struct sockaddr_storage ss;
    socklen_t ss_len = sockaddr_from(to, &ss);

    assert_int_equal(sendto(fd, octets, len, 0, (struct sockaddr *)&ss, ss_len), len);
}

void assoc_send_fragment(int fd, const struct addr *relay, uint8_t frag, const struct addr *dest,
                         const char *text)
{
    uint8_t octets[512];
    size_t n = socks5_udp_encode(dest, octets, sizeof(octets)), len = strlen(text);

    assert_true(n > 0 && n + len <= sizeof(octets));
    octets[2] = frag;
    memcpy(octets + n, text, len);
    assoc_send_raw(fd, relay, octets, n + len);
}

void assoc_send(int fd, const struct addr *relay, const struct addr *dest, const char *text)
{
    assoc_send_fragment(fd, relay, 0, dest, text);
}

void assoc_send_name(int fd, const struct addr *relay, const char *name, uint16_t port,
                     const char *text)
{
    uint8_t octets[1024] = {0, 0, 0, 3};
    size_t n = strlen(name), len = strlen(text);

    octets[4] = (uint8_t)n;
    memcpy(octets + 5, name, n);
    octets[5 + n] = (uint8_t)(port >> 8);
    octets[6 + n] = (uint8_t)port;
    memcpy(octets + 7 + n, text, len);
    assoc_send_raw(fd, relay, octets, 7 + n + len);
}

static size_t receive(struct assoc_bench *b, int fd, uint8_t *octets, struct addr *ret_from)
{
    struct sockaddr_storage ss;
    socklen_t ss_len = sizeof(ss);
    ssize_t n = -1;

    ASSOC_WAIT(b,
               (n = recvfrom(fd, octets, DATAGRAM_MAX, 0, (struct sockaddr *)&ss, &ss_len)) >= 0);
    assert_true(sockaddr_to((struct sockaddr *)&ss, ret_from));
    return (size_t)n;
}

static void is_text(const uint8_t *octets, size_t len, const char *text)
{
    assert_int_equal(len, strlen(text));
    assert_memory_equal(octets, text, len);
}

struct addr assoc_hears(struct assoc_bench *b, int fd, const char *text)
{
    static uint8_t octets[DATAGRAM_MAX];
    struct addr from;

    is_text(octets, receive(b, fd, octets, &from), text);
    return from;
}

void assoc_hears_from(struct assoc_bench *b, int fd, const struct addr *sender, const char *text)
{
    static uint8_t octets[DATAGRAM_MAX];
    struct socks5_udp head;
    struct addr from;
    size_t len = receive(b, fd, octets, &from);
    int n = socks5_udp_decode(octets, len, &head);

    assert_true(n > 0);
    assert_int_equal(head.frag, 0);
    assert_int_equal(head.dest.name[0], '\0');
    assert_true(addr_equal(&head.dest.addr, sender));
    is_text(octets + n, len - (size_t)n, text);
}

bool assoc_silent(int fd)
{
    uint8_t octet;

    return recv(fd, &octet, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

void assoc_dropped(struct assoc_bench *b, enum drop why, uint64_t count)
{
    ASSOC_WAIT(b, b->relay.stats.dropped[why] >= count);
    for (enum drop other = 0; other < DROP_COUNT; other++) {
        uint64_t expected = other == why ? count : 0;
        if (b->relay.stats.dropped[other] != expected)
            fail_msg("%s: %d instead of %d", drop_name(other), (int)b->relay.stats.dropped[other],
                     (int)expected);
    }
}

void assoc_forget_drops(struct assoc_bench *b)
{
    memset(b->relay.stats.dropped, 0, sizeof(b->relay.stats.dropped));
}
