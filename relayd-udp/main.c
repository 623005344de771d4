/* relayd-udp: moves datagrams for associations that somebody else allowed. Wiring only. */
#include <netinet/in.h>

#include "relayd-udp/association.h"
#include "relayd-udp/page.h"
#include "relayd-udp/socket.h"
#include "relayd-udp/sweep.h"

static struct udp_relay *udp_of(struct relay *r)
{
    return (struct udp_relay *)r;
}

static const struct udp_config *config_of(const struct relay *r)
{
    return &((const struct udp_relay *)r)->config;
}

static size_t engines(const struct relay *r, const char *ret[4])
{
    size_t n = 0;

    if (udp_config_engine(config_of(r), UDP_BATCH))
        ret[n++] = engine_batch.name;
    else
        ret[n++] = engine_plain.name;
    return n;
}

/* One for each port and family. */
static uint32_t sockets_of(const struct schema_ports *range)
{
    return 2 * ((uint32_t)range->last - range->first + 1);
}

/* A quarter of the descriptors at most is for what clients send to, and of that a quarter for
 * TRANSPARENT where it is not enough for all; an association has one towards IPv4 targets and one
 * towards IPv6 targets. */
static uint32_t divide(struct relay *r, uint32_t descriptors)
{
    struct udp_relay *u = (struct udp_relay *)r;
    uint32_t all = descriptors / 4, ports = sockets_of(&u->config.base.relay.ports),
             plain = sockets_of(&u->config.transparent_ports);

    if (ports + plain > all) {
        plain = plain < all / 4 ? plain : all / 4;
        ports = ports < all - plain ? ports : all - plain;
    }
    u->client_sockets = ports;
    u->plain_client_sockets = plain;
    return (descriptors - ports - plain) / 2;
}

static void set_fragments(struct udp_relay *u)
{
    u->fragments.max = u->config.fragment_octets;
    u->fragments.time_ms = (uint32_t)u->config.fragment_ms;
}

static int out_of_memory(struct err *e)
{
    return err_set(e, "out of memory");
}

static int start(struct relay *r, struct err *e)
{
    struct udp_relay *u = udp_of(r);
    const struct udp_config *c = &u->config;
    const struct ports_config ports = {
        .first = c->base.relay.ports.first,
        .last = c->base.relay.ports.last,
        .rest_ms = (uint32_t)c->port_rest_ms,
        .unlocked_max = (uint32_t)c->unlocked,
    };
    struct ports_config plain = ports;
    const struct resolver_config resolver = resolver_config_of(&c->resolver);
    struct addr local;

    plain.first = c->transparent_ports.first;
    plain.last = c->transparent_ports.last;
    r->ipv4 = udp_local_address(u, ADDR_IPV4, &local);
    r->ipv6 = udp_local_address(u, ADDR_IPV6, &local);
    set_fragments(u);
    u->engine = engine_new(udp_config_engine(c, UDP_BATCH) ? &engine_batch : &engine_plain);
    u->ports = ports_new(&ports);
    u->plain_ports = ports_new(&plain);
    u->client_ports = client_ports_new(u, &c->base.relay.ports, u->ports, u->client_sockets);
    u->plain_client_ports =
        client_ports_new(u, &c->transparent_ports, u->plain_ports, u->plain_client_sockets);
    u->routes = routes_new();
    if (u->engine == NULL || u->ports == NULL || u->client_ports == NULL || u->routes == NULL ||
        u->plain_ports == NULL || u->plain_client_ports == NULL)
        return out_of_memory(e);
    sweep_start(u);
    return resolver_new(r->loop, &resolver, &u->resolver, e);
}

static void reload(struct relay *r, struct relay_config *fresh)
{
    struct udp_relay *u = udp_of(r);

    udp_config_reload(&u->config, (struct udp_config *)fresh);
    set_fragments(u);
}

static void stop(struct relay *r)
{
    struct udp_relay *u = udp_of(r);

    resolver_free(u->resolver);
    sweep_stop(u);
    client_ports_free(u->client_ports);
    client_ports_free(u->plain_client_ports);
    ports_free(u->ports);
    ports_free(u->plain_ports);
    engine_free(u->engine);
    routes_free(u->routes);
    policies_fini(&u->policies);
}

int main(int argc, char **argv)
{
    static const enum n2_kind kinds[] = {N2_UDP, N2_TRANSPARENT};
    static const uint32_t ptcls[] = {IPPROTO_UDP};
    static const struct relay_program program = {
        .name = "relayd-udp",
        .summary = "Moves datagrams for associations that a control server opens over N2.",
        .kinds = kinds,
        .kind_count = 2,
        .ptcls = ptcls,
        .ptcl_count = 1,
        .schema = &udp_schema,
        .kept = UDP_CONFIG_KEPT,
        .service = &association_service,
        .pages = &udp_pages,
        .engines = engines,
        .divide = divide,
        .start = start,
        .reload = reload,
        .stop = stop,
    };
    static struct udp_relay relay = {.base.config = &relay.config.base};

    return relay_main(argc, argv, &program, &relay.base);
}
