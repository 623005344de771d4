/* socksd: terminates clients, authenticates, decides; never moves payload. Wiring only. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/base/swap.h"
#include "shared/daemon/boot.h"
#include "socksd/association.h"
#include "socksd/control.h"
#include "socksd/front.h"
#include "socksd/page.h"
#include "socksd/relays.h"
#include "socksd/server.h"
#include "socksd/session.h"

/* Descriptors that are not clients: relays, status readers, names, children. */
enum { DESCRIPTORS_KEPT = 24 };
enum { LAST_WORDS_MS = 1000 };
#define DRAIN_FOREVER_MS (UINT64_C(365) * 24 * 3600 * 1000)

struct arguments {
    const char *config, *listen;
    bool check, standalone;
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
    {"standalone", no_argument, NULL, 's'},   {"listen", required_argument, NULL, 'l'},
    {"version", no_argument, NULL, 'V'},      {"help", no_argument, NULL, 'h'},
    {"help-config", no_argument, NULL, 'H'},  {NULL, 0, NULL, 0},
};

static void usage(FILE *out)
{
    fputs("usage: socksd -c FILE [--check]\n"
          "       socksd --standalone [--listen ADDRESS:PORT]\n"
          "       socksd --version | --help | --help-config\n"
          "SOCKS 4, 4a and 5 for many clients; relays move the traffic. --standalone serves\n"
          "loopback clients at 127.0.0.1:1080 without authentication, with relays of its own.\n",
          out);
}

/* Exits for what needs no daemon. */
static void parse_arguments(int argc, char **argv, struct arguments *a)
{
    int c;

    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c': a->config = optarg; break;
        case 'k': a->check = true; break;
        case 's': a->standalone = true; break;
        case 'l': a->listen = optarg; break;
        case 'V': puts("socksd " VERSION); exit(EXIT_DONE);
        case 'H': schema_help(&config_schema, stdout); exit(EXIT_DONE);
        case 'h': usage(stdout); exit(EXIT_DONE);
        default: usage(stderr); exit(EXIT_USAGE);
        }
    }
    if (optind < argc || (a->config != NULL) == a->standalone || (a->listen != NULL && !a->standalone)) {
        usage(stderr);
        exit(EXIT_USAGE);
    }
}

static int load(const struct arguments *a, struct err *e, struct config *ret)
{
    return a->standalone ? config_standalone(a->listen, e, ret) : config_load(a->config, e, ret);
}

/* ---- the daemon ---- */

struct daemon {
    struct loop loop;
    struct boot boot;
    struct server server;
    struct status *status;
    struct arguments arguments;
    struct wheel_timer deadline;
    struct loop_task idle;
    bool stopping;
};

/* What lives by a connection to us ends with us, and its relay shall hear of it and tell how much it
 * was; for that, and no longer than that, the loop turns on. */
static void stop_now(struct daemon *d, const char *why)
{
    log_info("stopping", LOG_STR("why", why), LOG_U64("sessions", d->server.stats.sessions),
             LOG_U64("associations", d->server.stats.associations));
    if (d->stopping || d->server.stats.controls == 0) {
        uv_stop(&d->loop.uv);
        return;
    }
    d->stopping = true;
    front_stop(d->server.front);
    loop_timer_start(&d->loop, &d->deadline, LAST_WORDS_MS);
    control_stop_all(&d->server);
}

static void on_children_stopped(void *arg)
{
    stop_now(arg, "drain deadline");
}

static void on_deadline(struct wheel_timer *t)
{
    struct daemon *d = LIST_ENTRY(t, struct daemon, deadline);

    if (d->stopping) {
        uv_stop(&d->loop.uv);
        return;
    }
    control_stop_all(&d->server); /* while their relays can still tell how much it was */
    relays_stop_children(&d->server, on_children_stopped, d);
}

static void on_children_gone(void *arg)
{
    stop_now(arg, "drained");
}

/* Sessions first, relays after them: no client that we accepted sees the drain. */
static void on_idle_task(struct loop_task *t)
{
    struct daemon *d = LIST_ENTRY(t, struct daemon, idle);

    relays_drain_children(&d->server, DRAIN_FOREVER_MS, on_children_gone, d);
}

/* No client's connection is ours any more. */
static bool is_idle(const struct server *s)
{
    return s->stats.sessions + s->stats.controls == 0;
}

static void on_session_end(struct server *s)
{
    struct daemon *d = LIST_ENTRY(s, struct daemon, server);

    if (d->stopping) {
        if (s->stats.controls == 0)
            uv_stop(&d->loop.uv);
        return;
    }
    front_session_ended(s->front);
    if (s->draining && is_idle(s))
        loop_post(&d->loop, &d->idle);
}

static void drain(struct daemon *d, const char *why)
{
    struct server *s = &d->server;

    s->draining = true;
    log_info("draining", LOG_STR("why", why), LOG_U64("sessions", s->stats.sessions),
             LOG_U64("associations", s->stats.associations));
    front_stop(s->front);
    if (s->config.timeouts.drain_ms != 0)
        loop_timer_start(&d->loop, &d->deadline, s->config.timeouts.drain_ms);
    if (is_idle(s))
        loop_post(&d->loop, &d->idle);
}

/* A relay of datagrams gets the rules with each association, and need not take any number of them. */
static void warn_of_long_rules(const struct config *c)
{
    if (rules_octets(c->rules) > N2_RULES_OCTETS)
        log_warn("rules_long", LOG_U64("octets", rules_octets(c->rules)),
                 LOG_STR("consequence", "relays may refuse UDP ASSOCIATE with them, and end what runs"));
}

/* Everything is read and checked before anything changes; sessions keep going. Listeners and relays
 * stay as they are until a restart, which is said when the file has others. */
static void reload(struct daemon *d)
{
    struct config *c = &d->server.config, fresh;
    struct err e;

    if (d->arguments.standalone) {
        log_info("reload_skipped", LOG_STR("why", "standalone"));
        return;
    }
    if (config_load(d->arguments.config, &e, &fresh) != 0) {
        log_error("reload_failed", LOG_STR("error", e.text));
        return;
    }
    SWAP(c->rules, fresh.rules);
    SWAP(c->user_list, fresh.user_list);
    SWAP(c->timeouts, fresh.timeouts);
    SWAP(c->log, fresh.log);
    verify_set_users(d->server.verify, c->user_list);
    log_configure(c->log.level, c->log.format);
    warn_of_long_rules(c);
    d->server.generation++;
    control_refresh_all(&d->server);
    config_fini(&fresh);
    log_info("reloaded", LOG_U64("rules", rules_count(c->rules)),
             LOG_STR("kept", "listeners, relays, resolver and status need a restart"));
}

static void on_asked(void *arg, enum boot_ask what, const char *why)
{
    struct daemon *d = arg;

    if (what == BOOT_DRAIN)
        drain(d, why);
    else if (what == BOOT_RELOAD)
        reload(d);
    else
        stop_now(d, why);
}

/* ---- start and stop ---- */

static void name_server(struct server *s)
{
    uint32_t random;

    secret_random(&random, sizeof(random));
    secret_random(&s->epoch, sizeof(s->epoch));
    s->epoch |= 1; /* never 0 */
    if (s->config.id != NULL)
        snprintf(s->id, sizeof(s->id), "%s", s->config.id);
    else
        snprintf(s->id, sizeof(s->id), "socksd-%08x", random);
}

static void note_own_listeners(struct daemon *d)
{
    struct server *s = &d->server;

    for (size_t i = 0; i < front_count(s->front) && s->own_count < 32; i++)
        s->own[s->own_count++] = *front_address(s->front, i);
    for (size_t i = 0; d->status != NULL && i < s->config.status.listen.count; i++) {
        if (s->own_count < 32 && status_local(d->status, i, &s->own[s->own_count]))
            s->own_count++;
    }
}

static uint32_t sessions_max(const struct config *c)
{
    uint32_t limit = boot_descriptor_limit(), used = boot_descriptors_open() + DESCRIPTORS_KEPT;
    uint32_t most = limit > used + 1 ? limit - used : 1;

    return c->sessions != 0 && c->sessions < most ? (uint32_t)c->sessions : most;
}

static int start_services(struct server *s, struct err *e)
{
    const struct config *c = &s->config;
    struct verify_config verify = VERIFY_CONFIG_DEFAULT;
    const struct resolver_config resolver = resolver_config_of(&c->resolver);

    verify.concurrent = (unsigned)c->users.concurrent;
    verify.cache_ms = c->users.cache_ms;
    if ((s->verify = verify_new(&s->loop->uv, &verify, c->user_list)) == NULL)
        return err_set(e, "out of memory");
    return resolver_new(s->loop, &resolver, &s->resolver, e);
}

static int start(struct daemon *d, struct err *e)
{
    struct server *s = &d->server;
    const struct status_config status = status_config_of(&s->config.status);

    s->loop = &d->loop;
    s->started = loop_now(&d->loop);
    s->on_session_end = on_session_end;
    name_server(s);
    if (start_services(s, e) != 0 || front_open(s, e) != 0)
        return -1;
    if (status.listen_count > 0 &&
        (d->status = status_open(&d->loop.uv, &status, &server_pages, s, e)) == NULL)
        return err_wrap(e, "status");
    note_own_listeners(d);
    if (relays_open(s, e) != 0)
        return -1;
    s->sessions_max = sessions_max(&s->config);
    front_start(s->front);
    return boot_start(&d->boot, &d->loop, -1, on_asked, d, e);
}

static void stop(struct daemon *d)
{
    struct server *s = &d->server;

    d->stopping = true;
    while (!list_empty(&s->sessions))
        session_end(LIST_ENTRY(s->sessions.next, struct session, node), SESSION_STOPPED);
    loop_unpost(&d->idle);
    /* What relays hold goes on without us, but for what lives by a connection to us. */
    while (!list_empty(&s->associations)) {
        struct association *a = LIST_ENTRY(s->associations.next, struct association, node);
        if (a->control != NULL) {
            control_abandon(a);
            continue;
        }
        n2_assoc_forget(&a->n2);
        association_free(a);
    }
    front_close(s->front);
    relays_close(s->relays);
    if (s->resolver != NULL)
        resolver_free(s->resolver);
    if (s->verify != NULL)
        verify_close(s->verify, NULL, NULL);
    if (d->status != NULL)
        status_close(d->status, NULL);
    if (d->boot.loop != NULL)
        boot_stop(&d->boot);
    loop_timer_stop(&d->loop, &d->deadline);
    loop_fini(&d->loop);
    config_fini(&s->config);
}

/* For a person at a terminal; everything else is in the log. */
static void invite(const struct server *s)
{
    char text[ADDR_TEXT_MAX];

    printf("socksd: serving SOCKS 4, 4a and 5; try: curl -x socks5h://%s http://example.com/\n",
           addr_format(front_address(s->front, 0), text));
    fflush(stdout);
}

static int run(struct daemon *d)
{
    struct err e;
    int rc = start(d, &e) == 0 ? EXIT_DONE : EXIT_RUNTIME;

    if (rc == EXIT_DONE) {
        log_info("started", LOG_STR("id", d->server.id), LOG_STR("version", VERSION),
                 LOG_ADDR("listen", front_address(d->server.front, 0)),
                 LOG_U64("sessions_max", d->server.sessions_max));
        warn_of_long_rules(&d->server.config);
        log_flush();
        if (d->arguments.standalone)
            invite(&d->server);
        loop_run(&d->loop);
    } else {
        log_error("start_failed", LOG_STR("error", e.text));
    }
    stop(d);
    if (rc == EXIT_DONE)
        log_info("stopped");
    log_flush();
    return rc;
}

int main(int argc, char **argv)
{
    static struct daemon d;
    struct err e;

    log_init("socksd", LOG_INFO, LOG_LOGFMT);
    parse_arguments(argc, argv, &d.arguments);
    if (load(&d.arguments, &e, &d.server.config) != 0) {
        fprintf(stderr, "socksd: %s\n", e.text);
        return EXIT_USAGE;
    }
    if (d.arguments.check) {
        config_fini(&d.server.config);
        return EXIT_DONE;
    }
    log_configure(d.server.config.log.level, d.server.config.log.format);
    boot_process(d.server.config.scheduler == SCHEDULER_BATCH);
    list_init(&d.server.sessions);
    list_init(&d.server.associations);
    wheel_timer_init(&d.deadline, on_deadline);
    loop_task_init(&d.idle, on_idle_task);
    if (loop_init(&d.loop) != 0) {
        fprintf(stderr, "socksd: no event loop\n");
        return EXIT_RUNTIME;
    }
    return run(&d);
}
