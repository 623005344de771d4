#include "socksd/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/boot.h"
#include "shared/n2/n2_audit.h"
#include "socksd/association.h"
#include "socksd/front.h"
#include "socksd/relays.h"

static bool ready(void *ctx, char *reason, size_t cap)
{
    const struct server *s = ctx;

    if (s->draining) {
        snprintf(reason, cap, "draining");
        return false;
    }
    return relays_ready(s->relays, reason, cap);
}

/* ---- /metrics ---- */

static void put_requests(struct prom *p, const struct server_stats *st)
{
    static const char *const versions[VERSIONS] = {[4] = "socks4", [5] = "socks5"};

    prom_family(p, "socksd_requests_total", PROM_COUNTER,
                "Requests, by dialect, command and what was replied.");
    for (int v = 4; v <= 5; v++) {
        for (int c = SOCKS_CONNECT; c <= SOCKS_UDP_ASSOCIATE; c++) {
            for (int w = 0; w < REPLY_COUNT; w++)
                prom_u64(p, PROM_LABELS({"version", versions[v]},
                                        {"command", socks_command_name((enum socks_command)c)},
                                        {"reply", reply_name((enum reply_word)w)}),
                         st->requests[v][c][w]);
        }
    }
}

static void put_clients(struct prom *p, const struct server *s)
{
    const struct server_stats *st = &s->stats;

    prom_family(p, "socksd_connections_total", PROM_COUNTER, "Client connections accepted.");
    prom_u64(p, NULL, st->accepted);
    prom_family(p, "socksd_accept_pauses_total", PROM_COUNTER,
                "Times that accepting rested for want of descriptors.");
    prom_u64(p, NULL, st->accept_pauses);
    prom_family(p, "socksd_sessions_active", PROM_GAUGE, "Clients in their handshake or waiting.");
    prom_u64(p, NULL, st->sessions);
    prom_family(p, "socksd_sessions_limit", PROM_GAUGE, "Clients in their handshake or waiting, at most.");
    prom_u64(p, NULL, s->sessions_max);
    prom_family(p, "socksd_sessions_ended_total", PROM_COUNTER, "Sessions ended, by how.");
    for (int i = 0; i < SESSION_END_COUNT; i++)
        prom_u64(p, PROM_LABELS({"end", session_end_name((enum session_end)i)}), st->ended[i]);
    prom_family(p, "socksd_proxy_headers_total", PROM_COUNTER,
                "PROXY protocol headers wanted from balancers, by what came.");
    for (int i = 0; i < PROXY_OUTCOME_COUNT; i++)
        prom_u64(p, PROM_LABELS({"outcome", proxy_outcome_name((enum proxy_outcome)i)}),
                 st->proxy_headers[i]);
    prom_family(p, "socksd_auth_total", PROM_COUNTER, "Authentications, by method and result.");
    prom_u64(p, PROM_LABELS({"method", "username-password"}, {"result", "right"}), st->auth_right);
    prom_u64(p, PROM_LABELS({"method", "username-password"}, {"result", "wrong"}), st->auth_wrong);
    prom_u64(p, PROM_LABELS({"method", "username-password"}, {"result", "busy"}), st->auth_busy);
}

static void put_associations(struct prom *p, const struct server_stats *st)
{
    prom_family(p, "socksd_associations_active", PROM_GAUGE, "Associations that relays hold for us.");
    prom_u64(p, NULL, st->associations);
    prom_family(p, "socksd_associations_total", PROM_COUNTER, "Clients handed over to relays.");
    prom_u64(p, NULL, st->associations_total);
    prom_family(p, "socksd_associations_ended_total", PROM_COUNTER,
                "Associations ended, by the reason that the relay gave, or ours.");
    for (int i = 1; i < N2_END_COUNT; i++)
        prom_u64(p, PROM_LABELS({"reason", n2_end_name((enum n2_end)i)}), st->assoc_ends[i]);
    prom_u64(p, PROM_LABELS({"reason", "relay_lost"}), st->relay_lost);
    for (int i = 0; i < CONTROL_END_COUNT; i++)
        prom_u64(p, PROM_LABELS({"reason", control_end_name((enum control_end)i)}),
                 st->control_ends[i]);
    prom_family(p, "socksd_controls", PROM_GAUGE,
                "Control connections of UDP associations: descriptors of clients that we hold.");
    prom_u64(p, NULL, st->controls);
    prom_family(p, "socksd_relay_retries_total", PROM_COUNTER,
                "Requests that were tried again at a relay.");
    prom_u64(p, NULL, st->retries);
}

static void put_names(struct prom *p, const struct server *s)
{
    const struct resolver_stats r = resolver_stats(s->resolver);

    prom_family(p, "socksd_dns_questions_total", PROM_COUNTER, "Names asked for.");
    prom_u64(p, NULL, r.questions);
    prom_family(p, "socksd_dns_cache_hits_total", PROM_COUNTER, "Names answered from the cache.");
    prom_u64(p, NULL, r.cache_hits);
    prom_family(p, "socksd_dns_queries_total", PROM_COUNTER, "Queries sent to the resolver.");
    prom_u64(p, NULL, r.queries);
    prom_family(p, "socksd_dns_failures_total", PROM_COUNTER, "Names without an address, by reason.");
    prom_u64(p, PROM_LABELS({"reason", "not_found"}), r.not_found);
    prom_u64(p, PROM_LABELS({"reason", "failed"}), r.failed);
    prom_u64(p, PROM_LABELS({"reason", "timed_out"}), r.timed_out);
    prom_u64(p, PROM_LABELS({"reason", "busy"}), r.busy);
}

static void metrics(void *ctx, struct prom *p)
{
    const struct server *s = ctx;

    prom_build_info(p, "socksd", VERSION);
    prom_family(p, "socksd_draining", PROM_GAUGE, "1 while no new clients are taken.");
    prom_u64(p, NULL, s->draining);
    put_clients(p, s);
    put_requests(p, &s->stats);
    put_associations(p, &s->stats);
    put_names(p, s);
    relays_metrics(s->relays, p);
    prom_family(p, "socksd_log_dropped_total", PROM_COUNTER, "Log records that stderr did not take.");
    prom_u64(p, NULL, log_dropped());
    prom_process(p);
}

/* ---- /status, /relays ---- */

static void status(void *ctx, struct json *j)
{
    const struct server *s = ctx;

    json_put_str(j, "program", "socksd");
    json_put_str(j, "version", VERSION);
    json_put_str(j, "id", s->id);
    json_put_hex(j, "epoch", &s->epoch, sizeof(s->epoch));
    json_put_u64(j, "uptime_ms", loop_now(s->loop) - s->started);
    json_put_str(j, "state", s->draining ? "draining" : "ready");
    json_array_begin(j, "listeners");
    for (size_t i = 0; i < front_count(s->front); i++)
        json_put_addr(j, NULL, front_address(s->front, i));
    json_array_end(j);
    json_object_begin(j, "load");
    json_put_u64(j, "sessions", s->stats.sessions);
    json_put_u64(j, "associations", s->stats.associations);
    json_put_u64(j, "controls", s->stats.controls);
    json_put_u64(j, "descriptors", boot_descriptors_open());
    json_object_end(j);
    json_object_begin(j, "limits");
    json_put_u64(j, "sessions", s->sessions_max);
    json_put_u64(j, "descriptors", boot_descriptor_limit());
    json_object_end(j);
    json_put_bool(j, "accepting", !s->draining && !front_resting(s->front));
    json_put_u64(j, "rules", rules_count(s->config.rules));
}

static void relays(void *ctx, struct json *j)
{
    const struct server *s = ctx;

    relays_json(s->relays, j);
}

/* ---- /associations: what relays hold for us ---- */

enum { FILTER_CLIENT, FILTER_RELAY };
static const char *const filters[] = {"client", "relay", NULL};

static bool wanted(const struct association *a, const struct status_query *q)
{
    char text[ADDR_TEXT_MAX];

    if (q->filter[FILTER_CLIENT] != NULL &&
        strcmp(q->filter[FILTER_CLIENT], addr_format_ip(&a->client, text)) != 0)
        return false;
    return q->filter[FILTER_RELAY] == NULL ||
           (a->n2.client != NULL && strcmp(q->filter[FILTER_RELAY], relays_name(a->n2.client)) == 0);
}

static int by_id(const void *a, const void *b)
{
    const struct association *const *x = a, *const *y = b;

    return memcmp((*x)->n2.node.id, (*y)->n2.node.id, ID_LEN);
}

static void put_association(struct json *j, const struct association *a)
{
    const char *at = a->audit, *key, *value;

    json_object_begin(j, NULL);
    json_put_hex(j, "id", a->n2.node.id, ID_LEN);
    json_put_str(j, "kind", n2_kind_name((enum n2_kind)a->n2.kind));
    json_put_addr(j, "client", &a->client);
    json_put_str(j, "relay", a->n2.client != NULL ? relays_name(a->n2.client) : NULL);
    json_put_u64(j, "age_ms", loop_now(a->server->loop) - a->started);
    while (n2_audit_next(&at, &key, &value))
        json_put_str(j, key, value);
    json_object_end(j);
}

static int associations(void *ctx, const struct status_query *q, struct json *j, struct err *e)
{
    const struct server *s = ctx;
    const struct association **rows = calloc(s->stats.associations + 1, sizeof(rows[0]));
    char id[ID_TEXT_LEN];
    size_t n = 0;

    if (rows == NULL)
        return err_set(e, "out of memory");
    LIST_FOREACH(node, &s->associations) {
        const struct association *a = LIST_ENTRY(node, struct association, node);
        if (wanted(a, q) &&
            (q->after == NULL || strcmp(id_format(a->n2.node.id, id), q->after) > 0))
            rows[n++] = a;
    }
    qsort(rows, n, sizeof(rows[0]), by_id);
    size_t shown = n < q->limit ? n : q->limit;
    json_array_begin(j, "associations");
    for (size_t i = 0; i < shown; i++)
        put_association(j, rows[i]);
    json_array_end(j);
    if (shown < n)
        json_put_str(j, "next", id_format(rows[shown - 1]->n2.node.id, id));
    free(rows);
    return 0;
}

const struct status_pages server_pages = {
    .ready = ready,
    .metrics = metrics,
    .status = status,
    .associations = associations,
    .relays = relays,
    .filters = filters,
};
