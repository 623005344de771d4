#include "shared/relay/relay_config.h"

#include <string.h>

static const struct schema_word engine_words[] = {
    {"copy", RELAY_COPY},
    {"splice", RELAY_SPLICE},
    {NULL, 0},
};

static int check_legs(const char *text, struct err *e)
{
    if (strncmp(text, "unix:/", 6) != 0)
        return err_set(e, "not of the form unix:/path");
    return 0;
}

static const struct schema_key n2_keys[] = {
    SCHEMA_LIST("listen", STRING, struct relay_n2_keys, listen,
                .help = "Where control servers reach this relay: ipc:///path, tcp://address:port."),
    SCHEMA_KEY("insecure", BOOL, struct relay_n2_keys, insecure, .preset = "false",
               .help = "Allow tcp://: nobody is authenticated there and nothing is encrypted."),
    SCHEMA_LIST("uids", UINT, struct relay_n2_keys, uids, .max = UINT32_MAX,
                .help = "User ids that may connect by ipc and send legs, beside our own and 0."),
    SCHEMA_KEY("lease", DURATION, struct relay_n2_keys, lease_ms, .preset = "5s", .min = 300,
               .max = 600000, .help = "How long a silent control server is believed in."),
    SCHEMA_KEY("quota", UINT, struct relay_n2_keys, quota, .preset = "0", .max = 16000000,
               .help = "Associations of one control server at most; 0: as many as of all."),
    {0},
};

static int check_n2(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay_n2_keys *k = object;

    for (size_t i = 0; i < k->listen.count; i++) {
        const char *url = k->listen.items[i];
        if (strncmp(url, "ipc:///", 7) == 0)
            continue;
        if (strncmp(url, "tcp://", 6) != 0)
            return yaml_err(at, e, "n2: %s is neither ipc:///path nor tcp://address:port", url);
        if (!k->insecure)
            return yaml_err(at, e, "n2: %s needs `insecure: true`", url);
    }
    return 0;
}
static const struct schema n2_schema = {sizeof(struct relay_n2_keys), n2_keys, check_n2};

static const struct schema_key legs_keys[] = {
    SCHEMA_LIST("listen", STRING, struct relay_legs_keys, listen, .check = check_legs,
                .help = "Where clients' sockets arrive: unix:/path. One at most."),
    {0},
};

static int check_one_leg(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay_legs_keys *k = object;

    return k->listen.count <= 1 ? 0 : yaml_err(at, e, "legs: one address at most");
}
static const struct schema legs_schema = {sizeof(struct relay_legs_keys), legs_keys, check_one_leg};

static int check_id(const char *text, struct err *e)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (n == 0 || n > 64 || text[n] != '\0')
        return err_set(e, "1 to 64 letters, digits, '.', '_' and '-'");
    return 0;
}

static const struct schema_key relay_keys[] = {
    SCHEMA_KEY("id", STRING, struct relay_keys, id, .check = check_id,
               .help = "Name of this relay in logs and metrics; without it, the host's."),
    SCHEMA_LIST("bind", IP, struct relay_keys, bind,
                .help = "Local address per family for outgoing connections and BIND."),
    SCHEMA_LIST(
        "advertise", IP, struct relay_keys, advertise,
        .help = "Address per family that peers are told (BIND), where it is not the local one."),
    SCHEMA_KEY("ports", PORTS, struct relay_keys, ports, .preset = "1-65535",
               .given = SCHEMA_GIVEN(struct relay_keys, ports_given),
               .help = "Ports to listen on for BIND; without it the kernel chooses."),
    SCHEMA_KEY("privileged-ports", BOOL, struct relay_keys, privileged_ports, .preset = "false",
               .help = "Let BIND ask for ports below 1024."),
    SCHEMA_LIST("engines", WORD, struct relay_keys, engines, .words = engine_words,
                .preset = "[splice, copy]", .filled = true,
                .help = "Ways to move data that may be used; copy always is the last resort."),
    SCHEMA_LIST("protect", PREFIX, struct relay_keys, protect,
                .help = "Networks that are never dialled, whatever a control server says."),
    SCHEMA_KEY("associations", UINT, struct relay_keys, associations, .preset = "0",
               .max = 16000000, .help = "Associations at most; 0: as many as descriptors allow."),
    SCHEMA_KEY("connect-timeout", DURATION, struct relay_keys, connect_ms, .preset = "20s",
               .min = 100, .max = 120000, .help = "All attempts of one CONNECT, at most."),
    SCHEMA_KEY("idle-timeout", DURATION, struct relay_keys, idle_ms, .preset = "1h", .min = 1000,
               .help = "A stream without an octet for so long is ended."),
    SCHEMA_KEY("half-closed-timeout", DURATION, struct relay_keys, half_closed_ms, .preset = "10m",
               .min = 1000, .help = "The same once one direction has ended."),
    SCHEMA_KEY("pipes", UINT, struct relay_keys, pipes, .preset = "256", .max = 65536,
               .help = "Pipes for splice at most, two descriptors each."),
    SCHEMA_KEY("pipe-size", SIZE, struct relay_keys, pipe_octets, .preset = "256KiB", .min = 65536,
               .max = 1048576, .help = "Capacity of a pipe."),
    {0},
};
static const struct schema relay_sub = {sizeof(struct relay_keys), relay_keys, NULL};

static const struct schema_key keys[] = {
    SCHEMA_SUB("n2", struct relay_config, n2, &n2_schema, .help = "The control interface."),
    SCHEMA_SUB("legs", struct relay_config, legs, &legs_schema, .help = "Clients' sockets."),
    SCHEMA_SUB("relay", struct relay_config, relay, &relay_sub, .help = "What is moved, and how."),
    SCHEMA_SUB("status", struct relay_config, status, &status_schema, .help = "Status endpoint."),
    SCHEMA_SUB("log", struct relay_config, log, &log_schema, .help = "Records on stderr."),
    SCHEMA_KEY("scheduler", WORD, struct relay_config, scheduler, .preset = "batch",
               .words = scheduler_words,
               .help = "batch: wake-ups do not pre-empt; cheaper under load."),
    SCHEMA_KEY("drain-timeout", DURATION, struct relay_config, drain_ms, .preset = "10m",
               .help = "After SIGTERM, running streams get so long. 0: as long as they take."),
    {0},
};
const struct schema relay_schema = {sizeof(struct relay_config), keys, NULL};

struct addr relay_config_pick(const struct addr *list, size_t count, enum addr_family family)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].family == family)
            return list[i];
    }
    return (struct addr){0};
}

bool relay_config_engine(const struct relay_config *c, enum relay_engine engine)
{
    for (size_t i = 0; i < c->relay.engines.count; i++) {
        if (c->relay.engines.items[i] == engine)
            return true;
    }
    return false;
}
