#include "socksd/relays.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "socksd/children.h"
#include "socksd/placement.h"

/* A session remembers in 64 bits which relays it has tried. */
enum { RELAYS_MAX = 64 };
/* What a child that was told to stop may take for its records and its sockets. */
enum { STOP_MS = 2000 };

struct relay_entry {
    struct relays *relays;
    struct n2_client *client;
    uint32_t placed, reported; /* placements so far; at the last report of load */
    bool was_ready;
};

struct relays {
    struct server *server;
    struct children *children;
    struct relay_entry entries[RELAYS_MAX];
    size_t count;
    struct list waiters;
    struct loop_task wake;
    char run_dir[96];
    bool own_dir; /* we made it, so we remove it */
};

/* ---- readiness ---- */

static void on_wake(struct loop_task *t)
{
    struct relays *r = LIST_ENTRY(t, struct relays, wake);
    struct list now;

    if (list_empty(&r->waiters))
        return;
    now = r->waiters;
    now.next->prev = now.prev->next = &now;
    list_init(&r->waiters);
    while (!list_empty(&now)) {
        struct relays_waiter *w = LIST_ENTRY(now.next, struct relays_waiter, node);
        list_remove(&w->node);
        w->ready(w);
    }
}

static void on_changed(void *arg)
{
    struct relay_entry *e = arg;

    bool ready = e->client != NULL && n2_client_ready(e->client);
    if (ready && !e->was_ready)
        loop_post(e->relays->server->loop, &e->relays->wake);
    e->was_ready = ready;
    e->reported = e->placed;
}

static const struct n2_client_ops client_ops = {on_changed};

void relays_wait(struct relays *r, struct relays_waiter *w)
{
    list_remove(&w->node);
    list_append(&r->waiters, &w->node);
}

/* ---- opening ---- */

static int add_relay(struct relays *r, const char *url, struct err *e)
{
    struct server *s = r->server;
    const struct n2_client_config config = {
        .url = url,
        .server_id = s->id,
        .server_epoch = s->epoch,
        .software = "socksd " VERSION,
        .protect = s->own,
        .protect_count = s->own_count,
    };

    if (r->count == RELAYS_MAX)
        return err_set(e, "more than %d relays", RELAYS_MAX);
    struct relay_entry *entry = &r->entries[r->count];
    entry->relays = r;
    if (n2_client_open(s->loop, &config, &client_ops, entry, &entry->client, e) != 0)
        return -1;
    r->count++;
    return 0;
}

static int make_run_dir(struct relays *r, struct err *e)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    struct stat st;

    if (r->run_dir[0] != '\0')
        return 0;
    if (r->server->config.run_dir != NULL) {
        if (strlen(r->server->config.run_dir) >= sizeof(r->run_dir) - 24)
            return err_set(e, "%s: too long for socket paths", r->server->config.run_dir);
        strcpy(r->run_dir, r->server->config.run_dir);
        if (mkdir(r->run_dir, 0700) != 0 && errno != EEXIST)
            return err_set(e, "%s: %s", r->run_dir, strerror(errno));
        return 0;
    }
    if (base == NULL || strlen(base) > sizeof(r->run_dir) - 24 || stat(base, &st) != 0 ||
        access(base, W_OK) != 0)
        base = "/tmp";
    snprintf(r->run_dir, sizeof(r->run_dir), "%s/socksd.XXXXXX", base);
    if (mkdtemp(r->run_dir) == NULL)
        return err_set(e, "%s: %s", r->run_dir, strerror(errno));
    r->own_dir = true;
    return 0;
}

static const char *base_name(const char *program)
{
    const char *slash = strrchr(program, '/');

    return slash != NULL ? slash + 1 : program;
}

static int spawn_one(struct relays *r, const struct spawn_keys *k, unsigned number, struct err *e)
{
    char name[N2_NAME_MAX], url[192], n2[192], legs[192], status[192];
    const char *args[16];
    size_t n = 0;

    snprintf(name, sizeof(name), "%.40s-%u", base_name(k->program), number);
    snprintf(n2, sizeof(n2), "ipc://%s/%s.n2", r->run_dir, name);
    snprintf(legs, sizeof(legs), "unix:%s/%s.legs", r->run_dir, name);
    snprintf(status, sizeof(status), "unix:%s/%s.status", r->run_dir, name);
    memcpy(url, n2, sizeof(url));
    if (k->config != NULL) {
        args[n++] = "-c";
        args[n++] = k->config;
    }
    const char *fixed[] = {"--n2", n2, "--legs", legs, "--status", status, "--id", name};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        args[n++] = fixed[i];
    if (r->own_dir) {
        args[n++] = "--parent-dir";
        args[n++] = r->run_dir;
    }
    args[n] = NULL;
    const struct child_config child = {.program = k->program, .args = args, .name = name};
    if (children_add(r->children, &child, e) != 0)
        return -1;
    return add_relay(r, url, e);
}

static int open_all(struct relays *r, struct err *e)
{
    const struct config *c = &r->server->config;
    unsigned number = 0;

    for (size_t i = 0; i < c->relays.count; i++) {
        const struct relay_source *source = &c->relays.items[i];
        if (source->url != NULL && add_relay(r, source->url, e) != 0)
            return -1;
        if (source->url != NULL)
            continue;
        if (make_run_dir(r, e) != 0 ||
            (r->children == NULL && children_new(r->server->loop, &r->children) != 0))
            return r->run_dir[0] != '\0' ? err_set(e, "out of memory") : -1;
        for (uint64_t k = 0; k < source->spawn.count; k++) {
            if (spawn_one(r, &source->spawn, number++, e) != 0)
                return -1;
        }
    }
    return 0;
}

int relays_open(struct server *s, struct err *e)
{
    struct relays *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return err_set(e, "out of memory");
    r->server = s;
    list_init(&r->waiters);
    loop_task_init(&r->wake, on_wake);
    s->relays = r;
    if (open_all(r, e) == 0)
        return 0;
    relays_close(r);
    s->relays = NULL;
    return -1;
}

void relays_drain_children(struct server *s, uint64_t deadline_ms, void (*gone)(void *arg), void *arg)
{
    if (s->relays->children != NULL)
        children_drain(s->relays->children, deadline_ms, gone, arg);
    else
        gone(arg);
}

static void stop_child(void *arg, const struct child_info *child)
{
    (void)arg;
    if (child->pid != 0)
        kill(child->pid, SIGTERM);
}

void relays_stop_children(struct server *s, void (*gone)(void *arg), void *arg)
{
    struct children *c = s->relays->children;

    relays_drain_children(s, STOP_MS, gone, arg);
    if (c != NULL)
        children_each(c, stop_child, NULL);
}

/* A child removes its sockets, unless it was killed. */
static void remove_leftovers(void *arg, const struct child_info *child)
{
    static const char *const suffixes[] = {"n2", "legs", "status"};
    const struct relays *r = arg;
    char path[192];

    for (size_t i = 0; child->pid == 0 && i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s.%s", r->run_dir, child->name, suffixes[i]);
        unlink(path);
    }
}

void relays_close(struct relays *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++)
        n2_client_close(r->entries[i].client);
    loop_unpost(&r->wake);
    if (r->children != NULL) {
        children_each(r->children, remove_leftovers, r);
        children_free(r->children);
    }
    /* Children that still run may be last, and then remove it. */
    if (r->own_dir)
        rmdir(r->run_dir);
    free(r);
}

/* ---- choosing ---- */

static bool serves(const struct n2_client *c, enum n2_kind kind)
{
    return n2_client_ready(c) && !n2_client_draining(c) &&
           (n2_client_info(c)->kinds & (1u << kind)) != 0;
}

struct n2_client *relays_choose(struct relays *r, enum n2_kind kind, uint32_t ptcl, uint64_t tried)
{
    struct placement_candidate candidates[RELAYS_MAX];
    uint32_t random[2] = {0, 0};

    for (size_t i = 0; i < r->count; i++) {
        const struct relay_entry *e = &r->entries[i];
        const struct n2_load *load = n2_client_load(e->client);
        candidates[i] = (struct placement_candidate){
            .serves = serves(e->client, kind) && n2_client_serves(e->client, kind, ptcl) &&
                      !(tried & (UINT64_C(1) << i)),
            .held = load->associations,
            .recent = e->placed - e->reported,
            .capacity = n2_client_info(e->client)->capacity,
        };
    }
    if (r->count > 1)
        secret_random(random, sizeof(random));
    int chosen = placement_choose(candidates, r->count, random);
    if (chosen < 0)
        return NULL;
    r->entries[chosen].placed++;
    return r->entries[chosen].client;
}

uint64_t relays_bit(const struct relays *r, const struct n2_client *c)
{
    for (size_t i = 0; i < r->count; i++) {
        if (r->entries[i].client == c)
            return UINT64_C(1) << i;
    }
    return 0;
}

const char *relays_name(const struct n2_client *c)
{
    return n2_client_known(c) ? n2_client_info(c)->id : n2_client_url(c);
}

bool relays_may_serve(const struct relays *r, enum n2_kind kind, uint32_t ptcl)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct n2_client *c = r->entries[i].client;
        if (!n2_client_known(c) || n2_client_serves(c, kind, ptcl))
            return true;
    }
    return false;
}

/* Whatever relays have ever offered, one of them has to offer now. */
bool relays_ready(const struct relays *r, char *reason, size_t cap)
{
    uint32_t wanted = 0, served = 0;

    for (size_t i = 0; i < r->count; i++) {
        const struct n2_client *c = r->entries[i].client;
        for (unsigned kind = 1; kind < N2_KINDS && n2_client_known(c); kind++) {
            wanted |= n2_client_info(c)->kinds & 1u << kind;
            served |= serves(c, (enum n2_kind)kind) ? 1u << kind : 0;
        }
    }
    if (served == 0) {
        snprintf(reason, cap, "none of %zu relays is ready", r->count);
        return false;
    }
    for (unsigned kind = 1; kind < N2_KINDS; kind++) {
        if ((wanted & ~served & 1u << kind) == 0)
            continue;
        snprintf(reason, cap, "no relay for %s is ready", n2_kind_name((enum n2_kind)kind));
        return false;
    }
    return true;
}

/* ---- looks ---- */

void relays_metrics(const struct relays *r, struct prom *p)
{
    static const char *const states[] = {"down", "hello", "sync", "ready", "draining"};
    struct n2_client_stats sum = {0};

    prom_family(p, "socksd_relays", PROM_GAUGE, "Relays, by state.");
    for (size_t k = 0; k < sizeof(states) / sizeof(states[0]); k++) {
        uint64_t n = 0;
        for (size_t i = 0; i < r->count; i++)
            n += strcmp(n2_client_state_name(r->entries[i].client), states[k]) == 0;
        prom_u64(p, PROM_LABELS({"state", states[k]}), n);
    }
    for (size_t i = 0; i < r->count; i++) {
        const struct n2_client_stats *s = n2_client_stats(r->entries[i].client);
        sum.messages += s->messages;
        sum.calls += s->calls;
        sum.timeouts += s->timeouts;
        sum.leases_lost += s->leases_lost;
        sum.connections += s->connections;
        sum.lost += s->lost;
        sum.legs += s->legs;
        sum.legs_failed += s->legs_failed;
        for (int k = 0; k < N2_REFUSAL_CODES; k++)
            sum.refusals[k] += s->refusals[k];
    }
    prom_family(p, "socksd_n2_messages_total", PROM_COUNTER, "N2 messages with calls, sent.");
    prom_u64(p, NULL, sum.messages);
    prom_family(p, "socksd_n2_calls_total", PROM_COUNTER, "N2 calls in those messages.");
    prom_u64(p, NULL, sum.calls);
    prom_family(p, "socksd_n2_timeouts_total", PROM_COUNTER, "N2 messages without an answer in time.");
    prom_u64(p, NULL, sum.timeouts);
    prom_family(p, "socksd_n2_connections_total", PROM_COUNTER, "Connections to relays that stood.");
    prom_u64(p, NULL, sum.connections);
    prom_family(p, "socksd_leases_lost_total", PROM_COUNTER, "Leases of relays that ran out.");
    prom_u64(p, NULL, sum.leases_lost);
    prom_family(p, "socksd_associations_lost_total", PROM_COUNTER,
                "Associations whose fate is not known, because the relay is gone or silent.");
    prom_u64(p, NULL, sum.lost);
    prom_family(p, "socksd_legs_total", PROM_COUNTER, "Clients' sockets handed to relays, by result.");
    prom_u64(p, PROM_LABELS({"result", "queued"}), sum.legs);
    prom_u64(p, PROM_LABELS({"result", "failed"}), sum.legs_failed);
    prom_family(p, "socksd_relay_refusals_total", PROM_COUNTER, "Refusals by relays, by reason.");
    for (int k = 1; k < N2_REFUSAL_CODES; k++)
        prom_u64(p, PROM_LABELS({"reason", n2_refusal_name((enum n2_refusal_code)k)}), sum.refusals[k]);
}

void relays_json(const struct relays *r, struct json *j)
{
    json_array_begin(j, "relays");
    for (size_t i = 0; i < r->count; i++) {
        const struct n2_client *c = r->entries[i].client;
        const struct n2_relay_info *info = n2_client_info(c);
        const struct n2_load *load = n2_client_load(c);
        json_object_begin(j, NULL);
        json_put_str(j, "id", n2_client_known(c) ? info->id : NULL);
        json_put_str(j, "url", n2_client_url(c));
        json_put_str(j, "state", n2_client_state_name(c));
        json_put_str(j, "software", info->software);
        json_put_str(j, "engines", info->engines);
        json_put_hex(j, "epoch", &info->epoch, sizeof(info->epoch));
        json_put_u64(j, "associations", n2_client_assocs(c));
        json_put_u64(j, "reported_associations", load->associations);
        json_put_u64(j, "capacity", info->capacity);
        json_put_u64(j, "lease_ms", info->lease_ms);
        json_object_end(j);
    }
    json_array_end(j);
}
