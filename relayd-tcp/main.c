/* relayd-tcp: moves octets for associations that somebody else allowed. Wiring only. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relayd-tcp/page.h"
#include "relayd-tcp/relay.h"
#include "shared/daemon/boot.h"
#include "shared/net/sockaddr.h"

/* Descriptors that are not associations: status readers, pipes in the making, files. */
enum { DESCRIPTORS_KEPT = 32 };

struct arguments {
    const char *config, *n2, *legs, *status, *id, *lease;
    int parent_fd;
    bool check, insecure;
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},  {"check", no_argument, NULL, 'k'},
    {"version", no_argument, NULL, 'V'},       {"help", no_argument, NULL, 'h'},
    {"help-config", no_argument, NULL, 'H'},   {"n2", required_argument, NULL, 'n'},
    {"legs", required_argument, NULL, 'l'},    {"status", required_argument, NULL, 's'},
    {"id", required_argument, NULL, 'i'},      {"lease", required_argument, NULL, 'L'},
    {"parent-fd", required_argument, NULL, 'p'}, {"insecure", no_argument, NULL, 'I'},
    {NULL, 0, NULL, 0},
};

static void usage(FILE *out)
{
    fputs("usage: relayd-tcp [-c FILE] [--check] [--n2 URL] [--legs unix:PATH] [--status ADDRESS]\n"
          "                  [--id NAME] [--lease DURATION] [--insecure] [--parent-fd N]\n"
          "       relayd-tcp --version | --help | --help-config\n"
          "Moves TCP for associations that a control server opens over N2. Options come before\n"
          "what the file says.\n",
          out);
}

/* Exits for what needs no daemon. */
static void parse_arguments(int argc, char **argv, struct arguments *a)
{
    int c;

    *a = (struct arguments){.parent_fd = -1};
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c': a->config = optarg; break;
        case 'k': a->check = true; break;
        case 'n': a->n2 = optarg; break;
        case 'l': a->legs = optarg; break;
        case 's': a->status = optarg; break;
        case 'i': a->id = optarg; break;
        case 'L': a->lease = optarg; break;
        case 'p': a->parent_fd = atoi(optarg); break;
        case 'I': a->insecure = true; break;
        case 'V': puts("relayd-tcp " VERSION); exit(EXIT_DONE);
        case 'H': schema_help(&relay_schema, stdout); exit(EXIT_DONE);
        case 'h': usage(stdout); exit(EXIT_DONE);
        default: usage(stderr); exit(EXIT_USAGE);
        }
    }
    if (optind < argc) {
        usage(stderr);
        exit(EXIT_USAGE);
    }
}

/* ---- configuration: the file, and over it what the options say ---- */

/* As a YAML scalar in single quotes. */
static void put_scalar(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void put_option(FILE *out, const char *section, const char *key, const char *value, bool list)
{
    if (value == NULL)
        return;
    fprintf(out, "%s: {%s%s: %s", section, strcmp(section, "n2") == 0 ? "insecure: true, " : "", key,
            list ? "[" : "");
    put_scalar(out, value);
    fputs(list ? "]}\n" : "}\n", out);
}

/* The options go through the same table as the file, so that they are refused alike. */
static int load_option(const char *name, const char *section, const char *key, const char *value,
                       bool list, struct err *e, struct relay_config *ret)
{
    char *text = NULL;
    size_t len = 0;
    struct yaml_tree tree;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return err_set(e, "out of memory");
    put_option(out, section, key, value, list);
    fclose(out);
    int rc = yaml_load_text(name, text, len, e, &tree);
    if (rc == 0) {
        rc = schema_load(&relay_schema, tree.root, e, ret);
        yaml_fini(&tree);
    }
    free(text);
    return rc;
}

#define SWAP(a, b)                                                                                 \
    do {                                                                                           \
        __typeof__(a) swapped = (a);                                                               \
        (a) = (b);                                                                                 \
        (b) = swapped;                                                                             \
    } while (0)

static int apply_options(struct relay_config *c, const struct arguments *a, struct err *e)
{
    struct relay_config o;

    if (a->n2 != NULL) {
        if (strncmp(a->n2, "tcp://", 6) == 0 && !a->insecure && !c->n2.insecure)
            return err_set(e, "--n2 %s needs --insecure", a->n2);
        if (load_option("--n2", "n2", "listen", a->n2, true, e, &o) != 0)
            return -1;
        SWAP(c->n2.listen, o.n2.listen);
        schema_fini(&relay_schema, &o);
    }
    if (a->lease != NULL) {
        if (load_option("--lease", "n2", "lease", a->lease, false, e, &o) != 0)
            return -1;
        c->n2.lease_ms = o.n2.lease_ms;
        schema_fini(&relay_schema, &o);
    }
    if (a->legs != NULL) {
        if (load_option("--legs", "legs", "listen", a->legs, true, e, &o) != 0)
            return -1;
        SWAP(c->legs.listen, o.legs.listen);
        schema_fini(&relay_schema, &o);
    }
    if (a->status != NULL) {
        if (load_option("--status", "status", "listen", a->status, true, e, &o) != 0)
            return -1;
        SWAP(c->status.listen, o.status.listen);
        schema_fini(&relay_schema, &o);
    }
    if (a->id != NULL) {
        if (load_option("--id", "relay", "id", a->id, false, e, &o) != 0)
            return -1;
        SWAP(c->relay.id, o.relay.id);
        schema_fini(&relay_schema, &o);
    }
    if (c->n2.listen.count == 0)
        return err_set(e, "nothing to listen on: give n2.listen in the file, or --n2");
    return 0;
}

static int load(struct relay_config *c, const struct arguments *a, struct err *e)
{
    if (daemon_config_load(a->config, &relay_schema, e, c) != 0)
        return -1;
    if (apply_options(c, a, e) == 0)
        return 0;
    schema_fini(&relay_schema, c);
    return -1;
}

/* ---- the daemon ---- */

struct daemon {
    struct loop loop;
    struct boot boot;
    struct relay relay;
    struct status *status;
    struct arguments arguments;
    struct wheel_timer drain_deadline;
};

static void on_drain_deadline(struct wheel_timer *t)
{
    struct daemon *d = LIST_ENTRY(t, struct daemon, drain_deadline);

    log_warn("drain_deadline", LOG_U64("associations", d->relay.stats.flows));
    uv_stop(&d->loop.uv);
}

static void drain(struct daemon *d, const char *why)
{
    uint64_t ms = d->relay.config.drain_ms;

    d->relay.draining = true;
    log_info("draining", LOG_STR("why", why), LOG_U64("associations", d->relay.stats.flows));
    /* Without a parent nobody waits for us: running streams get all their time. */
    if (ms != 0 && !d->boot.has_parent)
        loop_timer_start(&d->loop, &d->drain_deadline, ms);
    n2_server_drain(d->relay.n2);
}

/* What can change without a restart is what the relay asks for anew: the rest is said to stay. */
static void reload(struct daemon *d)
{
    struct relay_config fresh;
    struct relay_config *c = &d->relay.config;
    struct err e;

    if (load(&fresh, &d->arguments, &e) != 0) {
        log_error("reload_failed", LOG_STR("error", e.text));
        return;
    }
    SWAP(c->relay.advertise, fresh.relay.advertise);
    SWAP(c->relay.protect, fresh.relay.protect);
    SWAP(c->relay.bind, fresh.relay.bind);
    SWAP(c->relay.ports, fresh.relay.ports);
    SWAP(c->relay.ports_given, fresh.relay.ports_given);
    SWAP(c->relay.privileged_ports, fresh.relay.privileged_ports);
    SWAP(c->relay.connect_ms, fresh.relay.connect_ms);
    SWAP(c->relay.idle_ms, fresh.relay.idle_ms);
    SWAP(c->relay.half_closed_ms, fresh.relay.half_closed_ms);
    SWAP(c->log, fresh.log);
    SWAP(c->drain_ms, fresh.drain_ms);
    log_configure(c->log.level, c->log.format);
    schema_fini(&relay_schema, &fresh);
    log_info("reloaded");
}

static void on_asked(void *arg, enum boot_ask what, const char *why)
{
    struct daemon *d = arg;

    if (what == BOOT_DRAIN) {
        drain(d, why);
    } else if (what == BOOT_RELOAD) {
        reload(d);
    } else {
        log_info("stopping", LOG_STR("why", why), LOG_U64("associations", d->relay.stats.flows));
        uv_stop(&d->loop.uv);
    }
}

static void name_relay(struct relay *r)
{
    char host[N2_NAME_MAX - 12] = "relay";

    gethostname(host, sizeof(host) - 1);
    host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] = '\0';
    snprintf(r->id, sizeof(r->id), "%s", r->config.relay.id != NULL ? r->config.relay.id : "");
    if (r->id[0] == '\0')
        snprintf(r->id, sizeof(r->id), "relayd-tcp-%s", host);
}

/* Our TCP listeners are never dialled. */
static void note_own_listeners(struct daemon *d)
{
    struct relay *r = &d->relay;

    for (size_t i = 0; d->status != NULL && i < r->config.status.listen.count; i++) {
        if (r->own_count < 32 && status_local(d->status, i, &r->own[r->own_count]))
            r->own_count++;
    }
    for (size_t i = 0; i < r->config.n2.listen.count; i++) {
        const char *url = r->config.n2.listen.items[i];
        if (r->own_count < 32 && strncmp(url, "tcp://", 6) == 0 &&
            addr_parse(url + 6, &r->own[r->own_count]))
            r->own_count++;
    }
}

static uint32_t capacity_of(const struct relay_config *c)
{
    uint32_t limit = boot_descriptor_limit(), used = boot_descriptors_open() + DESCRIPTORS_KEPT;
    uint32_t pipes = relay_config_engine(c, RELAY_SPLICE) ? (uint32_t)c->relay.pipes * 2 : 0;

    if (limit < used + 2)
        return 1;
    /* Pipes get at most a quarter; who has few descriptors copies. */
    uint32_t left = limit - used;
    left -= pipes < left / 4 ? pipes : left / 4;
    uint32_t most = left / 2 > 0 ? left / 2 : 1;
    return c->relay.associations != 0 && c->relay.associations < most ? (uint32_t)c->relay.associations : most;
}

static int open_n2(struct relay *r, struct err *e)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_BIND};
    static const uint32_t ptcls[] = {6};
    static const char *const engines[] = {"splice", "copy"};
    const struct relay_config *c = &r->config;
    bool splice = relay_config_engine(c, RELAY_SPLICE);
    uint32_t uids[64];
    size_t uid_count = 0;

    for (; uid_count < c->n2.uids.count && uid_count < 64; uid_count++)
        uids[uid_count] = (uint32_t)c->n2.uids.items[uid_count];
    const struct n2_server_config config = {
        .urls = (const char *const *)c->n2.listen.items,
        .url_count = c->n2.listen.count,
        .legs = c->legs.listen.count > 0 ? c->legs.listen.items[0] + strlen("unix:") : NULL,
        .uids = uids,
        .uid_count = uid_count,
        .relay_id = r->id,
        .software = "relayd-tcp " VERSION,
        .kinds = kinds,
        .kind_count = 2,
        .ptcls = ptcls,
        .ptcl_count = 1,
        .engines = splice ? engines : engines + 1,
        .engine_count = splice ? 2 : 1,
        .advertise = c->relay.advertise.items,
        .advertise_count = c->relay.advertise.count,
        .protect = r->own,
        .protect_count = r->own_count,
        .capacity = r->capacity,
        .quota = c->n2.quota != 0 && c->n2.quota < r->capacity ? (uint32_t)c->n2.quota : r->capacity,
        .lease_ms = (uint32_t)c->n2.lease_ms,
    };
    return n2_server_open(r->loop, &config, &flow_service, r, &r->n2, e);
}

static int start(struct daemon *d, struct err *e)
{
    struct relay *r = &d->relay;
    const struct status_config status = status_config_of(&r->config.status);

    name_relay(r);
    r->loop = &d->loop;
    r->started = loop_now(&d->loop);
    if (status.listen_count > 0 &&
        (d->status = status_open(&d->loop.uv, &status, &relay_pages, r, e)) == NULL)
        return err_wrap(e, "status");
    note_own_listeners(d);
    r->capacity = capacity_of(&r->config);
    const struct stream_pump_config pump = {
        .splice = relay_config_engine(&r->config, RELAY_SPLICE),
        .pipes_max = (uint32_t)r->config.relay.pipes,
        .pipe_octets = (uint32_t)r->config.relay.pipe_octets,
    };
    if ((r->pump = stream_pump_new(&d->loop, &pump)) == NULL)
        return err_set(e, "out of memory");
    if (open_n2(r, e) != 0)
        return -1;
    return boot_start(&d->boot, &d->loop, d->arguments.parent_fd, on_asked, d, e);
}

static void stop(struct daemon *d)
{
    n2_server_close(d->relay.n2);
    if (d->status != NULL)
        status_close(d->status, NULL);
    if (d->boot.loop != NULL)
        boot_stop(&d->boot);
    loop_timer_stop(&d->loop, &d->drain_deadline);
    loop_fini(&d->loop);
    stream_pump_free(d->relay.pump);
    schema_fini(&relay_schema, &d->relay.config);
}

int main(int argc, char **argv)
{
    struct daemon d = {0};
    struct err e;

    log_init("relayd-tcp", LOG_INFO, LOG_LOGFMT);
    parse_arguments(argc, argv, &d.arguments);
    if (load(&d.relay.config, &d.arguments, &e) != 0) {
        fprintf(stderr, "relayd-tcp: %s\n", e.text);
        return EXIT_USAGE;
    }
    if (d.arguments.check) {
        schema_fini(&relay_schema, &d.relay.config);
        return EXIT_DONE;
    }
    log_configure(d.relay.config.log.level, d.relay.config.log.format);
    boot_process(d.relay.config.scheduler == SCHEDULER_BATCH);
    wheel_timer_init(&d.drain_deadline, on_drain_deadline);
    if (loop_init(&d.loop) != 0) {
        fprintf(stderr, "relayd-tcp: no event loop\n");
        return EXIT_RUNTIME;
    }
    int rc = start(&d, &e) == 0 ? EXIT_DONE : EXIT_RUNTIME;
    if (rc == EXIT_DONE) {
        log_info("started", LOG_STR("relay", d.relay.id), LOG_STR("version", VERSION),
                 LOG_U64("capacity", d.relay.capacity));
        log_flush();
        loop_run(&d.loop);
    } else {
        log_error("start_failed", LOG_STR("error", e.text));
    }
    stop(&d);
    if (rc == EXIT_DONE)
        log_info("stopped");
    log_flush();
    return rc;
}
