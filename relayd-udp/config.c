#include "relayd-udp/config.h"

#include <stdlib.h>

#include "shared/base/swap.h"

enum { PORT_MIN = 1024, PEER_TIMEOUT_MIN_MS = 1000 };

static const struct schema_word engine_words[] = {
    {"plain", UDP_PLAIN},
    {"batch", UDP_BATCH},
    {NULL, 0},
};

static const struct schema_word filtering_words[] = {
    {"address-dependent", UDP_ADDRESS_DEPENDENT},
    {"endpoint-independent", UDP_ENDPOINT_INDEPENDENT},
    {NULL, 0},
};

static int check_bind(const char *text, struct err *e)
{
    struct addr a, unmapped;

    if (!addr_parse_ip(text, &a))
        return 0;
    unmapped = addr_unmap(&a);
    return addr_equal(&a, &unmapped) ? 0 : err_set(e, "%s is IPv4: write it so", text);
}

/* Clients send there: it goes into replies as it is. */
static int check_advertise(const char *text, struct err *e)
{
    struct addr a;

    if (addr_parse_ip(text, &a) && addr_is_any(&a))
        return err_set(e, "%s is no address that a client can send to", text);
    return check_bind(text, e);
}

static int check_ports(const char *text, struct err *e)
{
    return strtoul(text, NULL, 10) >= PORT_MIN
               ? 0
               : err_set(e, "%s: ports below %d are not for this", text, PORT_MIN);
}

static const struct schema_key relay_keys[] = {
    RELAY_ID_KEY(struct udp_config, base),
    SCHEMA_LIST("bind", IP, struct udp_config, base.relay.bind, .check = check_bind,
                .help = "Local address per family, towards clients and targets; a family without "
                        "one is not used. Without any, both are, at every address."),
    SCHEMA_LIST("advertise", IP, struct udp_config, base.relay.advertise, .check = check_advertise,
                .help = "Address per family that clients are told, where it is not the local one."),
    SCHEMA_KEY("ports", PORTS, struct udp_config, base.relay.ports, .preset = "20000-21023",
               .check = check_ports,
               .help =
                   "Ports towards clients, shared by all associations; from 1024. The same for all "
                   "relays of a host: no relay sends to such a port of its own host."),
    SCHEMA_KEY("transparent-ports", PORTS, struct udp_config, transparent_ports,
               .preset = "21024-21055", .check = check_ports,
               .help = "The same for TRANSPARENT; none of `ports`. Thousands share one."),
    SCHEMA_LIST("engines", WORD, struct udp_config, engines, .words = engine_words,
                .preset = "[batch, plain]", .filled = true,
                .help =
                    "Ways to move datagrams that may be used; plain always is the last resort."),
    RELAY_LIMIT_KEYS(struct udp_config, base),
    SCHEMA_KEY("idle-timeout", DURATION, struct udp_config, base.relay.idle_ms, .preset = "1h",
               .min = 1000, .max = 604800000,
               .help = "An association without a datagram, either way, for so long is ended."),
    SCHEMA_KEY("unused-timeout", DURATION, struct udp_config, unused_ms, .preset = "30s",
               .min = 100, .max = 3600000,
               .help = "An association that its client has never used ends after so long."),
    SCHEMA_KEY("port-rest", DURATION, struct udp_config, port_rest_ms, .preset = "10s",
               .max = 3600000,
               .help = "How long what has ended keeps its port for that client, so that late "
                       "datagrams find nobody; 0: not at all."),
    SCHEMA_KEY("unlocked", UINT, struct udp_config, unlocked, .preset = "64", .max = 16000000,
               .help = "Associations of one identity whose client's port is not known yet, at "
                       "most; 0: no bound."),
    SCHEMA_KEY("relock", DURATION, struct udp_config, relock_ms, .preset = "0", .max = 86400000,
               .help =
                   "A new port of the same client, as a NAT may choose one, is accepted once in "
                   "so long; 0: never."),
    SCHEMA_KEY("filtering", WORD, struct udp_config, filtering, .preset = "address-dependent",
               .words = filtering_words,
               .help = "Who may send to an association from outside: only addresses that it has "
                       "sent to, or anybody whom the rules allow."),
    SCHEMA_KEY("peers", UINT, struct udp_config, peers, .preset = "4096", .min = 1, .max = 65536,
               .help =
                   "Addresses that an association has sent to and that are remembered, at most."),
    SCHEMA_KEY("peer-timeout", DURATION, struct udp_config, peer_timeout_ms, .preset = "5m",
               .max = 604800000,
               .help =
                   "An address that was not sent to for so long may not send any more, at least "
                   "1s; 0: it always may."),
    SCHEMA_KEY("fragments", BOOL, struct udp_config, fragments, .preset = "true",
               .help = "Put the fragments of SOCKS datagrams together; false: drop them."),
    SCHEMA_KEY("fragment-memory", SIZE, struct udp_config, fragment_octets, .preset = "4MiB",
               .min = 131072, .max = 1073741824,
               .help = "Memory for fragments of all associations together."),
    SCHEMA_KEY("fragment-timeout", DURATION, struct udp_config, fragment_ms, .preset = "5s",
               .min = 5000, .max = 60000,
               .help = "How long the first fragment waits for the last one."),
    SCHEMA_KEY("receive-buffer", SIZE, struct udp_config, receive_octets, .preset = "4MiB",
               .min = 65536, .max = 268435456,
               .help =
                   "Asked of the kernel for each socket towards clients, which may grant less."),
    SCHEMA_KEY("target-buffer", SIZE, struct udp_config, target_octets, .preset = "1MiB",
               .min = 65536, .max = 268435456, .help = "The same for each socket towards targets."),
    SCHEMA_KEY("pending", UINT, struct udp_config, pending, .preset = "16", .min = 1, .max = 1024,
               .help = "Datagrams of an association that wait for a name, at most."),
    SCHEMA_KEY("pending-memory", SIZE, struct udp_config, pending_octets, .preset = "4MiB",
               .min = 131072, .max = 1073741824,
               .help = "Memory for what waits of all associations together."),
    {0},
};

/* One address per family is all that is ever used. */
static int check_families(const char *name, const struct addr *list, size_t count,
                          const struct yaml_node *at, struct err *e)
{
    for (size_t i = 1; i < count; i++) {
        struct addr first = relay_config_pick(list, i, list[i].family);
        if (first.family != ADDR_NONE)
            return yaml_err(at, e, "%s: more than one IPv%d address", name, first.family);
    }
    return 0;
}

static int check_relay(void *object, const struct yaml_node *at, struct err *e)
{
    const struct udp_config *c = object;
    const struct relay_keys *k = &c->base.relay;

    if (c->peer_timeout_ms != 0 && c->peer_timeout_ms < PEER_TIMEOUT_MIN_MS)
        return yaml_err(yaml_find(at, "peer-timeout"), e, "peer-timeout: 0, or at least 1s");
    if (c->transparent_ports.first <= k->ports.last && k->ports.first <= c->transparent_ports.last)
        return yaml_err(at, e, "transparent-ports %u-%u: some are in `ports`, too",
                        c->transparent_ports.first, c->transparent_ports.last);
    if (check_families("bind", k->bind.items, k->bind.count, yaml_find(at, "bind"), e) != 0)
        return -1;
    return check_families("advertise", k->advertise.items, k->advertise.count,
                          yaml_find(at, "advertise"), e);
}
static const struct schema relay_part = {sizeof(struct udp_config), relay_keys, check_relay};

static const struct schema_key keys[] = {
    RELAY_SECTIONS(struct udp_config, base, &relay_part, "associations"),
    SCHEMA_SUB("resolver", struct udp_config, resolver, &resolver_schema,
               .help = "Names that datagrams are sent to."),
    {0},
};
const struct schema udp_schema = {sizeof(struct udp_config), keys, NULL};

bool udp_config_engine(const struct udp_config *c, enum udp_engine engine)
{
    for (size_t i = 0; i < c->engines.count; i++) {
        if (c->engines.items[i] == engine)
            return true;
    }
    return false;
}

void udp_config_reload(struct udp_config *c, struct udp_config *fresh)
{
    SWAP(c->unused_ms, fresh->unused_ms);
    SWAP(c->relock_ms, fresh->relock_ms);
    SWAP(c->filtering, fresh->filtering);
    SWAP(c->peers, fresh->peers);
    SWAP(c->peer_timeout_ms, fresh->peer_timeout_ms);
    SWAP(c->fragments, fresh->fragments);
    SWAP(c->fragment_octets, fresh->fragment_octets);
    SWAP(c->fragment_ms, fresh->fragment_ms);
    SWAP(c->receive_octets, fresh->receive_octets);
    SWAP(c->target_octets, fresh->target_octets);
    SWAP(c->pending, fresh->pending);
    SWAP(c->pending_octets, fresh->pending_octets);
}
