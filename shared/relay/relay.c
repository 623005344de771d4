#include "shared/relay/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/base/swap.h"
#include "shared/daemon/boot.h"
#include "shared/relay/relay_options.h"

/* Descriptors that are no associations: status readers, channels, files. */
enum { DESCRIPTORS_KEPT = 32, UIDS_MAX = 64 };

struct daemon {
    struct loop loop;
    struct boot boot;
    struct relay *relay;
    struct status *status;
    struct relay_options options;
    struct wheel_timer drain_deadline;
    bool stopping;
};

static uint32_t held(const struct daemon *d)
{
    return n2_server_grants(d->relay->n2);
}

static void on_drain_deadline(struct wheel_timer *t)
{
    struct daemon *d = LIST_ENTRY(t, struct daemon, drain_deadline);

    log_warn("drain_deadline", LOG_U64("associations", held(d)));
    n2_server_cut(d->relay->n2);
}

static void drain(struct daemon *d, const char *why)
{
    uint64_t ms = d->relay->config->drain_ms;

    d->relay->draining = true;
    log_info("draining", LOG_STR("why", why), LOG_U64("associations", held(d)));
    /* Without a parent nobody waits for us: running streams get all their time. */
    if (ms != 0 && !d->boot.has_parent)
        loop_timer_start(&d->loop, &d->drain_deadline, ms);
    n2_server_drain(d->relay->n2);
}

static void swap_common(struct relay_config *c, struct relay_config *fresh)
{
    SWAP(c->relay.advertise, fresh->relay.advertise);
    SWAP(c->relay.protect, fresh->relay.protect);
    SWAP(c->relay.idle_ms, fresh->relay.idle_ms);
    SWAP(c->log, fresh->log);
    SWAP(c->drain_ms, fresh->drain_ms);
}

/* What can change without a restart is what the relay asks for anew: the rest is said to stay. */
static void reload(struct daemon *d)
{
    struct relay *r = d->relay;
    const struct relay_program *p = r->program;
    struct relay_config *c = r->config, *fresh = calloc(1, p->schema->size);
    struct err e;

    if (fresh == NULL)
        err_set(&e, "out of memory");
    if (fresh == NULL || relay_options_load(&d->options, p->schema, &e, fresh) != 0) {
        log_error("reload_failed", LOG_STR("error", e.text));
        free(fresh);
        return;
    }
    swap_common(c, fresh);
    if (p->reload != NULL)
        p->reload(r, fresh);
    n2_server_advertise(r->n2, c->relay.advertise.items, c->relay.advertise.count);
    log_configure(c->log.level, c->log.format);
    schema_fini(p->schema, fresh);
    free(fresh);
    log_info("reloaded", LOG_STR("kept", p->kept));
}

static void on_asked(void *arg, enum boot_ask what, const char *why)
{
    struct daemon *d = arg;

    if (what == BOOT_DRAIN) {
        drain(d, why);
    } else if (what == BOOT_RELOAD) {
        reload(d);
    } else {
        log_info("stopping", LOG_STR("why", why), LOG_U64("associations", held(d)));
        if (d->stopping)
            uv_stop(&d->loop.uv);
        d->stopping = true;
        n2_server_cut(d->relay->n2); /* the servers shall hear of it, and we leave then */
    }
}

static void name_relay(struct relay *r)
{
    char host[N2_NAME_MAX - 15] = "relay";

    gethostname(host, sizeof(host) - 1);
    host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] = '\0';
    snprintf(r->id, sizeof(r->id), "%s", r->config->relay.id != NULL ? r->config->relay.id : "");
    if (r->id[0] == '\0')
        snprintf(r->id, sizeof(r->id), "%s-%s", r->program->name, host);
}

/* Our TCP listeners are never dialled. */
static void note_own_listeners(struct daemon *d)
{
    struct relay *r = d->relay;

    for (size_t i = 0; d->status != NULL && i < r->config->status.listen.count; i++) {
        if (r->own_count < RELAY_OWN_MAX && status_local(d->status, i, &r->own[r->own_count]))
            r->own_count++;
    }
    for (size_t i = 0; i < r->config->n2.listen.count; i++) {
        const char *url = r->config->n2.listen.items[i];
        if (r->own_count < RELAY_OWN_MAX && strncmp(url, "tcp://", 6) == 0 &&
            addr_parse(url + 6, &r->own[r->own_count]))
            r->own_count++;
    }
}

static uint32_t capacity_of(struct relay *r)
{
    uint32_t limit = boot_descriptor_limit(), used = boot_descriptors_open() + DESCRIPTORS_KEPT;
    uint32_t most = limit > used ? r->program->divide(r, limit - used) : 1;
    uint64_t wanted = r->config->relay.associations;

    if (most == 0)
        most = 1;
    return wanted != 0 && wanted < most ? (uint32_t)wanted : most;
}

void relay_drained(void *relay)
{
    uv_stop(&((struct relay *)relay)->loop->uv);
}

static int open_n2(struct relay *r, struct err *e)
{
    const struct relay_config *c = r->config;
    const struct relay_program *p = r->program;
    const char *engines[4];
    char software[N2_TEXT_MAX];
    uint32_t uids[UIDS_MAX];
    size_t uid_count = 0;

    for (; uid_count < c->n2.uids.count && uid_count < UIDS_MAX; uid_count++)
        uids[uid_count] = (uint32_t)c->n2.uids.items[uid_count];
    snprintf(software, sizeof(software), "%s " VERSION, p->name);
    const struct n2_server_config config = {
        .urls = (const char *const *)c->n2.listen.items,
        .url_count = c->n2.listen.count,
        .legs = c->legs.listen.count > 0 ? c->legs.listen.items[0] + strlen("unix:") : NULL,
        .uids = uids,
        .uid_count = uid_count,
        .relay_id = r->id,
        .software = software,
        .kinds = p->kinds,
        .kind_count = p->kind_count,
        .ptcls = p->ptcls,
        .ptcl_count = p->ptcl_count,
        .engines = engines,
        .engine_count = p->engines(r, engines),
        .ipv4 = r->ipv4,
        .ipv6 = r->ipv6,
        .advertise = c->relay.advertise.items,
        .advertise_count = c->relay.advertise.count,
        .protect = r->own,
        .protect_count = r->own_count,
        .capacity = r->capacity,
        .quota =
            c->n2.quota != 0 && c->n2.quota < r->capacity ? (uint32_t)c->n2.quota : r->capacity,
        .owner_quota = (uint32_t)c->n2.owner_quota,
        .lease_ms = (uint32_t)c->n2.lease_ms,
    };
    return n2_server_open(r->loop, &config, p->service, r, &r->n2, e);
}

static int start(struct daemon *d, struct err *e)
{
    struct relay *r = d->relay;
    const struct status_config status = status_config_of(&r->config->status);

    name_relay(r);
    r->loop = &d->loop;
    r->started = loop_now(&d->loop);
    if (status.listen_count > 0 &&
        (d->status = status_open(&d->loop.uv, &status, r->program->pages, r, e)) == NULL)
        return err_wrap(e, "status");
    note_own_listeners(d);
    r->capacity = capacity_of(r);
    r->ipv4 = r->ipv6 = true;
    if (r->program->start(r, e) != 0)
        return -1;
    if (open_n2(r, e) != 0)
        return -1;
    return boot_start(&d->boot, &d->loop, d->options.parent_fd, on_asked, d, e);
}

static void stop(struct daemon *d)
{
    n2_server_close(d->relay->n2);
    if (d->status != NULL)
        status_close(d->status, NULL);
    /* Who is last of a family whose parent was killed cleans up for it. */
    if (d->options.parent_dir != NULL && boot_parent_gone(&d->boot))
        rmdir(d->options.parent_dir);
    if (d->boot.loop != NULL)
        boot_stop(&d->boot);
    loop_timer_stop(&d->loop, &d->drain_deadline);
    d->relay->program->stop(d->relay);
    loop_fini(&d->loop);
    schema_fini(d->relay->program->schema, d->relay->config);
}

static int run(struct daemon *d)
{
    struct err e;
    int rc = start(d, &e) == 0 ? EXIT_DONE : EXIT_RUNTIME;

    if (rc == EXIT_DONE) {
        log_info("started", LOG_STR("relay", d->relay->id), LOG_STR("version", VERSION),
                 LOG_U64("capacity", d->relay->capacity));
        log_flush();
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

int relay_main(int argc, char **argv, const struct relay_program *program, struct relay *r)
{
    static struct daemon d;
    struct err e;

    log_init(program->name, LOG_INFO, LOG_LOGFMT);
    relay_options_parse(argc, argv, program, &d.options);
    r->program = program;
    d.relay = r;
    if (relay_options_load(&d.options, program->schema, &e, r->config) != 0) {
        fprintf(stderr, "%s: %s\n", program->name, e.text);
        return EXIT_USAGE;
    }
    if (d.options.check) {
        schema_fini(program->schema, r->config);
        return EXIT_DONE;
    }
    log_configure(r->config->log.level, r->config->log.format);
    boot_process(r->config->scheduler == SCHEDULER_BATCH);
    wheel_timer_init(&d.drain_deadline, on_drain_deadline);
    if (loop_init(&d.loop) != 0) {
        fprintf(stderr, "%s: no event loop\n", program->name);
        return EXIT_RUNTIME;
    }
    return run(&d);
}
