#include "socksd/config.h"

#include <stdlib.h>
#include <string.h>

#include "socksd/config_rules.h"

static const struct schema_word method_words[] = {
    {"none", METHOD_NONE}, {"username-password", METHOD_USERPASS}, {NULL, 0},
};
static const struct schema_word dialect_words[] = {
    {"socks4", DIALECT_SOCKS4}, {"socks5", DIALECT_SOCKS5}, {NULL, 0},
};

/* ---- listeners ---- */

static const struct schema_key proxy_keys[] = {
    SCHEMA_LIST("from", PREFIX, struct proxy_keys, from, .required = true, .filled = true,
                .help = "Balancers: what connects from here must begin with a header, and is "
                        "believed. Others are clients and may not send one."),
    SCHEMA_KEY("timeout", DURATION, struct proxy_keys, timeout_ms, .preset = "3s", .min = 100,
               .max = 60000, .help = "From accept to the whole header."),
    {0},
};
static const struct schema proxy_schema = {sizeof(struct proxy_keys), proxy_keys, NULL};

static const struct schema_word udp_source_words[] = {
    {"learn", UDP_SOURCE_LEARN},
    {"strict", UDP_SOURCE_STRICT},
    {NULL, 0},
};

static const struct schema_key listener_keys[] = {
    SCHEMA_KEY("listen", ADDR, struct listener_keys, listen, .required = true,
               .help = "Address and port for clients."),
    SCHEMA_LIST("methods", WORD, struct listener_keys, methods, .words = method_words,
                .preset = "[none]", .filled = true,
                .help = "Authentication methods, the preferred one first. SOCKS 4 knows only none."),
    SCHEMA_LIST("dialects", WORD, struct listener_keys, dialects, .words = dialect_words,
                .preset = "[socks4, socks5]", .filled = true, .help = "Dialects that are spoken."),
    SCHEMA_KEY("insecure", BOOL, struct listener_keys, insecure, .preset = "false",
               .help = "Allow method none on an address that is not loopback."),
    SCHEMA_KEY("defer-accept", BOOL, struct listener_keys, defer_accept, .preset = "true",
               .help = "Let the kernel hold a connection back until its client has spoken."),
    SCHEMA_KEY("udp-source", WORD, struct listener_keys, udp_source, .preset = "learn",
               .words = udp_source_words,
               .help = "Where a client's datagrams may come from. learn: its address, the port of the "
                       "first one. strict: the address and port in UDP ASSOCIATE, which must be its "
                       "own; others are refused."),
    SCHEMA_SUB("proxy-protocol", struct listener_keys, proxy, &proxy_schema,
               .help = "The PROXY protocol, versions 1 and 2: the client's address from a balancer."),
    {0},
};

static void derive_policy(struct listener_keys *k)
{
    struct dialect_policy *p = &k->policy;

    *p = (struct dialect_policy){0};
    for (size_t i = 0; i < k->methods.count && p->method_count < sizeof(p->methods); i++)
        p->methods[p->method_count++] =
            k->methods.items[i] == METHOD_NONE ? SOCKS_METHOD_NONE : SOCKS_METHOD_USERPASS;
    for (size_t i = 0; i < k->dialects.count; i++) {
        p->socks4 |= k->dialects.items[i] == DIALECT_SOCKS4;
        p->socks5 |= k->dialects.items[i] == DIALECT_SOCKS5;
    }
}

static bool offers(const struct listener_keys *k, enum config_method m)
{
    for (size_t i = 0; i < k->methods.count; i++) {
        if (k->methods.items[i] == m)
            return true;
    }
    return false;
}

static int check_listener(void *object, const struct yaml_node *at, struct err *e)
{
    struct listener_keys *k = object;

    if (offers(k, METHOD_NONE) && !addr_is_loopback(&k->listen) && !k->insecure)
        return yaml_err(at, e, "method none on an address that is not loopback opens a proxy to "
                               "everybody: needs `insecure: true`");
    if (offers(k, METHOD_NONE) && k->proxy.from.count > 0 && !k->insecure)
        return yaml_err(at, e, "method none behind a balancer opens a proxy to everybody: needs "
                               "`insecure: true`");
    derive_policy(k);
    return 0;
}
static const struct schema listener_schema = {sizeof(struct listener_keys), listener_keys, check_listener};

/* ---- users, relays, timeouts ---- */

static const struct schema_key users_keys[] = {
    SCHEMA_KEY("file", PATH, struct users_keys, file,
               .help = "htpasswd-style file: name:hash per line, hashes of crypt(5)."),
    SCHEMA_KEY("cache", DURATION, struct users_keys, cache_ms, .preset = "60s", .max = 3600000,
               .help = "How long a right password is remembered; 0: not at all."),
    SCHEMA_KEY("concurrent", UINT, struct users_keys, concurrent, .preset = "4", .min = 1, .max = 64,
               .help = "Passwords that are hashed at once."),
    {0},
};
static const struct schema users_schema = {sizeof(struct users_keys), users_keys, NULL};

static const struct schema_key spawn_keys[] = {
    SCHEMA_KEY("program", STRING, struct spawn_keys, program, .required = true, .min = 1,
               .help = "relayd-tcp, relayd-udp, or a path. Looked for beside socksd, then in PATH."),
    SCHEMA_KEY("count", UINT, struct spawn_keys, count, .preset = "1", .min = 1, .max = 64,
               .help = "How many of them."),
    SCHEMA_KEY("config", PATH, struct spawn_keys, config,
               .help = "Its configuration; addresses and id are set by us."),
    {0},
};
static const struct schema spawn_schema = {sizeof(struct spawn_keys), spawn_keys, NULL};

static const struct schema_key relay_keys[] = {
    SCHEMA_SUB("spawn", struct relay_source, spawn, &spawn_schema,
               .given = SCHEMA_GIVEN(struct relay_source, spawn_given),
               .help = "A relay as a child of ours on this host."),
    SCHEMA_KEY("url", STRING, struct relay_source, url,
               .help = "A relay that runs by itself: ipc:///path, tcp://address:port."),
    SCHEMA_KEY("insecure", BOOL, struct relay_source, insecure, .preset = "false",
               .help = "Allow tcp://."),
    {0},
};

static int check_relay(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay_source *r = object;

    if ((r->url != NULL) == r->spawn_given)
        return yaml_err(at, e, "a relay has either `spawn` or `url`");
    if (r->url == NULL || strncmp(r->url, "ipc:///", 7) == 0)
        return 0;
    if (strncmp(r->url, "tcp://", 6) != 0)
        return yaml_err(at, e, "%s is neither ipc:///path nor tcp://address:port", r->url);
    return r->insecure ? 0 : yaml_err(at, e, "%s needs `insecure: true`", r->url);
}
static const struct schema relay_schema = {sizeof(struct relay_source), relay_keys, check_relay};

static const struct schema_key timeout_keys[] = {
    SCHEMA_KEY("handshake", DURATION, struct timeout_keys, handshake_ms, .preset = "10s",
               .min = 100, .max = 600000,
               .help = "From accept to the whole request, authentication included."),
    SCHEMA_KEY("connect", DURATION, struct timeout_keys, connect_ms, .preset = "20s", .min = 100,
               .max = 120000, .help = "From the request to the reply, names and retries included."),
    SCHEMA_KEY("bind", DURATION, struct timeout_keys, bind_ms, .preset = "2m", .min = 100,
               .max = 1200000, .help = "How long BIND waits for its peer."),
    SCHEMA_KEY("idle", DURATION, struct timeout_keys, idle_ms, .preset = "0", .max = 604800000,
               .help = "A stream or association without an octet for so long is ended; 0: as the relay has it."),
    SCHEMA_KEY("drain", DURATION, struct timeout_keys, drain_ms, .preset = "10m",
               .help = "After SIGTERM, what runs in us and our children gets so long; 0: no limit."),
    {0},
};
static const struct schema timeout_schema = {sizeof(struct timeout_keys), timeout_keys, NULL};

/* ---- the whole ---- */

static int check_id(const char *text, struct err *e)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n > 0 && n <= 64 && text[n] == '\0'
               ? 0
               : err_set(e, "1 to 64 letters, digits, '.', '_' and '-'");
}

static const struct schema_key keys[] = {
    SCHEMA_KEY("id", STRING, struct config, id, .check = check_id,
               .help = "Name of this control server towards relays; without it, one is drawn."),
    SCHEMA_SUBS("listeners", struct config, listeners, &listener_schema, .required = true,
                .filled = true, .help = "Where clients connect."),
    SCHEMA_SUB("users", struct config, users, &users_schema, .help = "Who may authenticate."),
    SCHEMA_SUBS("relays", struct config, relays, &relay_schema, .required = true, .filled = true,
                .help = "Who moves the traffic."),
    CONFIG_RULES_KEYS(struct config, rules),
    SCHEMA_SUB("resolver", struct config, resolver, &resolver_schema, .help = "Names."),
    SCHEMA_SUB("timeouts", struct config, timeouts, &timeout_schema, .help = "How long things may take."),
    SCHEMA_KEY("sessions", UINT, struct config, sessions, .preset = "0", .max = 16000000,
               .help = "Clients in their handshake or waiting, at most; 0: as descriptors allow."),
    SCHEMA_KEY("run-dir", PATH, struct config, run_dir,
               .help = "Where the sockets of our children live; without it, a private temporary one."),
    SCHEMA_SUB("status", struct config, status, &status_schema, .help = "Status endpoint."),
    SCHEMA_SUB("log", struct config, log, &log_schema, .help = "Records on stderr."),
    SCHEMA_KEY("scheduler", WORD, struct config, scheduler, .preset = "batch",
               .words = scheduler_words, .help = "batch: wake-ups do not pre-empt; cheaper under load."),
    {0},
};

static int check_config(void *object, const struct yaml_node *at, struct err *e)
{
    struct config *c = object;

    for (size_t i = 0; i < c->listeners.count; i++) {
        if (offers(&c->listeners.items[i], METHOD_USERPASS) && c->users.file == NULL)
            return yaml_err(at, e, "username-password needs `users: {file: ...}`");
    }
    return config_rules_load(at, e, &c->rules);
}
const struct schema config_schema = {sizeof(struct config), keys, check_config};

int config_load(const char *file, struct err *e, struct config *ret)
{
    if (daemon_config_load(file, &config_schema, e, ret) != 0)
        return -1;
    if (ret->users.file == NULL || users_load(ret->users.file, e, &ret->user_list) == 0)
        return 0;
    schema_fini(&config_schema, ret);
    return -1;
}

int config_standalone(const char *listen, struct err *e, struct config *ret)
{
    static const char *const programs[] = {"relayd-tcp", "relayd-udp"};
    struct addr at;

    if (!addr_parse(listen != NULL ? listen : "127.0.0.1:1080", &at))
        return err_set(e, "--listen %s: not an address and a port", listen);
    if (!addr_is_loopback(&at))
        return err_set(e, "--listen %s: without authentication only a loopback address is served; "
                          "for others write a configuration file", listen);
    if (schema_load(&config_schema, NULL, e, ret) != 0)
        return -1;
    ret->standalone = true;
    ret->listeners.items = calloc(1, sizeof(*ret->listeners.items));
    ret->relays.items = calloc(2, sizeof(*ret->relays.items));
    ret->rules = rules_new_standalone();
    struct listener_keys *l = ret->listeners.items;
    struct relay_source *r = ret->relays.items;
    bool whole = l != NULL && r != NULL && ret->rules != NULL;
    for (size_t i = 0; whole && i < 2; i++) {
        ret->relays.count++;
        r[i].spawn = (struct spawn_keys){.program = strdup(programs[i]), .count = 1};
        r[i].spawn_given = true;
        whole = r[i].spawn.program != NULL;
    }
    if (!whole) {
        config_fini(ret);
        return err_set(e, "out of memory");
    }
    ret->listeners.count = 1;
    l->listen = at;
    l->defer_accept = true;
    l->policy = (struct dialect_policy){.method_count = 1, .socks4 = true, .socks5 = true};
    return 0;
}

void config_fini(struct config *c)
{
    users_unref(c->user_list);
    c->user_list = NULL;
    schema_fini(&config_schema, c);
}
