#include "relayd-tcp/config.h"

#include <stdlib.h>

#include "shared/base/swap.h"

enum { TRANSPARENT_PORT_MIN = 1024 };

static const struct schema_word engine_words[] = {
    {"copy", TCP_COPY},
    {"splice", TCP_SPLICE},
    {NULL, 0},
};

static int check_transparent_ports(const char *text, struct err *e)
{
    return strtoul(text, NULL, 10) >= TRANSPARENT_PORT_MIN
               ? 0
               : err_set(e, "%s: ports below %d are not for this", text, TRANSPARENT_PORT_MIN);
}

static const struct schema_key relay_keys[] = {
    RELAY_ID_KEY(struct tcp_config, base),
    SCHEMA_LIST("bind", IP, struct tcp_config, base.relay.bind,
                .help = "Local address per family for outgoing connections and BIND."),
    SCHEMA_LIST(
        "advertise", IP, struct tcp_config, base.relay.advertise,
        .help = "Address per family that peers are told (BIND), where it is not the local one."),
    SCHEMA_KEY("ports", PORTS, struct tcp_config, base.relay.ports, .preset = "1-65535",
               .given = SCHEMA_GIVEN(struct tcp_config, ports_given),
               .help = "Ports to listen on for BIND; without it the kernel chooses."),
    SCHEMA_KEY("privileged-ports", BOOL, struct tcp_config, privileged_ports, .preset = "false",
               .help = "Let BIND ask for ports below 1024."),
    SCHEMA_KEY("transparent-ports", PORTS, struct tcp_config, transparent_ports,
               .preset = "21024-21055", .check = check_transparent_ports,
               .help =
                   "Ports that clients of TRANSPARENT associations connect to, shared by all of "
                   "them; from 1024, and none of ports."),
    SCHEMA_KEY("port-rest", DURATION, struct tcp_config, port_rest_ms, .preset = "10s",
               .max = 3600000,
               .help = "How long a TRANSPARENT association that has ended keeps its port for that "
                       "client, so that late connections find nobody; 0: not at all."),
    SCHEMA_KEY("unlocked", UINT, struct tcp_config, unlocked, .preset = "16", .max = 16000000,
               .help = "TRANSPARENT associations of one identity whose client's port is not known "
                       "yet, at most; 0: no bound."),
    SCHEMA_KEY("unused-timeout", DURATION, struct tcp_config, unused_ms, .preset = "30s",
               .min = 100, .max = 3600000,
               .help = "A TRANSPARENT association to which nobody has connected ends after so "
                       "long."),
    SCHEMA_KEY("sequential", BOOL, struct tcp_config, sequential, .preset = "false",
               .help = "A TRANSPARENT association waits for the next connection when one has "
                       "ended; false: it ends with its first."),
    SCHEMA_LIST("engines", WORD, struct tcp_config, engines, .words = engine_words,
                .preset = "[splice, copy]", .filled = true,
                .help = "Ways to move data that may be used; copy always is the last resort."),
    RELAY_LIMIT_KEYS(struct tcp_config, base),
    SCHEMA_KEY("connect-timeout", DURATION, struct tcp_config, connect_ms, .preset = "20s",
               .min = 100, .max = 120000, .help = "All attempts of one CONNECT, at most."),
    SCHEMA_KEY("idle-timeout", DURATION, struct tcp_config, base.relay.idle_ms, .preset = "1h",
               .min = 1000, .help = "A stream without an octet for so long is ended."),
    SCHEMA_KEY("half-closed-timeout", DURATION, struct tcp_config, half_closed_ms, .preset = "10m",
               .min = 1000, .help = "The same once one direction has ended."),
    SCHEMA_KEY("pipes", UINT, struct tcp_config, pipes, .preset = "256", .max = 65536,
               .help = "Pipes for splice at most, two descriptors each."),
    SCHEMA_KEY("pipe-size", SIZE, struct tcp_config, pipe_octets, .preset = "256KiB", .min = 65536,
               .max = 1048576, .help = "Capacity of a pipe."),
    {0},
};

static int check_relay(void *object, const struct yaml_node *at, struct err *e)
{
    const struct tcp_config *c = object;
    const struct schema_ports *bind = &c->base.relay.ports, *shared = &c->transparent_ports;

    if (c->ports_given && bind->first <= shared->last && shared->first <= bind->last)
        return yaml_err(
            yaml_find(at, "ports"), e, "ports: %u-%u are in transparent-ports, %u-%u, too",
            bind->first > shared->first ? bind->first : shared->first,
            bind->last < shared->last ? bind->last : shared->last, shared->first, shared->last);
    return 0;
}
static const struct schema relay_part = {sizeof(struct tcp_config), relay_keys, check_relay};

static const struct schema_key keys[] = {
    RELAY_SECTIONS(struct tcp_config, base, &relay_part, "streams"),
    {0},
};
const struct schema tcp_schema = {sizeof(struct tcp_config), keys, NULL};

bool tcp_config_engine(const struct tcp_config *c, enum tcp_engine engine)
{
    for (size_t i = 0; i < c->engines.count; i++) {
        if (c->engines.items[i] == engine)
            return true;
    }
    return false;
}

void tcp_config_reload(struct tcp_config *c, struct tcp_config *fresh)
{
    SWAP(c->base.relay.bind, fresh->base.relay.bind);
    SWAP(c->base.relay.ports, fresh->base.relay.ports);
    SWAP(c->ports_given, fresh->ports_given);
    SWAP(c->privileged_ports, fresh->privileged_ports);
    SWAP(c->connect_ms, fresh->connect_ms);
    SWAP(c->half_closed_ms, fresh->half_closed_ms);
    SWAP(c->unused_ms, fresh->unused_ms);
    SWAP(c->sequential, fresh->sequential);
}
