#include "relayd-tcp/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relayd-tcp/flow.h"
#include "shared/daemon/boot.h"
#include "shared/relay/relay_listing.h"
#include "shared/relay/relay_page.h"

/* ---- /metrics ---- */

static void put_associations(struct prom *p, const struct tcp_relay *r)
{
    const struct tcp_stats *s = &r->stats;

    prom_family(p, "relayd_associations_active", PROM_GAUGE, "Associations held now, by state.");
    prom_u64(p, PROM_LABELS({"state", "attached"}), s->attached);
    prom_u64(p, PROM_LABELS({"state", "unattached"}), s->flows - s->attached);
    prom_family(p, "relayd_associations_limit", PROM_GAUGE, "Associations held at most.");
    prom_u64(p, NULL, r->base.capacity);
    relay_counts_metrics(&r->base.counts, p);
    prom_family(p, "relayd_bind_peers_refused_total", PROM_COUNTER,
                "Connections to a waiting BIND that were not from the expected peer.");
    prom_u64(p, NULL, s->bind_peers_refused);
}

static void put_accepts(struct prom *p, const struct tcp_relay *r)
{
    const struct accept_stats *s = accept_ports_stats(r->accept_ports);
    struct ports_stats ports = ports_stats(r->ports);

    prom_family(p, "relayd_transparent_active", PROM_GAUGE,
                "TRANSPARENT associations held now: whether their client's port is known.");
    prom_u64(p, PROM_LABELS({"state", "locked"}), ports.claims - ports.unlocked);
    prom_u64(p, PROM_LABELS({"state", "unlocked"}), ports.unlocked);
    prom_family(p, "relayd_accepted_total", PROM_COUNTER,
                "Connections of clients of TRANSPARENT associations.");
    prom_u64(p, NULL, s->accepted);
    prom_family(p, "relayd_accepts_refused_total", PROM_COUNTER,
                "Connections to their ports that were nobody's and were reset, by reason.");
    for (int i = 0; i < ACCEPT_REFUSAL_COUNT; i++)
        prom_u64(p, PROM_LABELS({"reason", accept_refusal_name((enum accept_refusal)i)}),
                 s->refused[i]);
    prom_family(p, "relayd_accept_errors_total", PROM_COUNTER,
                "Times that no descriptor or memory was there to accept with.");
    prom_u64(p, NULL, s->errors);
    prom_family(p, "relayd_listeners", PROM_GAUGE, "Ports that such clients connect to, by state.");
    prom_u64(p, PROM_LABELS({"state", "open"}), accept_ports_count(r->accept_ports));
    prom_u64(p, PROM_LABELS({"state", "limit"}), accept_ports_max(r->accept_ports));
    prom_family(p, "relayd_listeners_resting", PROM_GAUGE,
                "Keys of ended associations that are not given out again yet.");
    prom_u64(p, NULL, ports.resting);
}

static void put_engines(struct prom *p, const struct tcp_relay *r)
{
    const struct stream_stats *s = stream_pump_stats(r->pump);

    prom_family(p, "relayd_bytes_total", PROM_COUNTER, "Payload delivered, both ways, by engine.");
    prom_u64(p, PROM_LABELS({"engine", "copy"}), s->octets_copy);
    prom_u64(p, PROM_LABELS({"engine", "splice"}), s->octets_splice);
    prom_family(p, "relayd_engine_changes_total", PROM_COUNTER,
                "Directions that went from copy to splice (up) and back (down).");
    prom_u64(p, PROM_LABELS({"to", "splice"}), s->upgrades);
    prom_u64(p, PROM_LABELS({"to", "copy"}), s->downgrades);
    prom_family(p, "relayd_pipe_refusals_total", PROM_COUNTER,
                "Bulky directions that found no pipe and stayed with copy.");
    prom_u64(p, NULL, s->pipe_refusals);
    prom_family(p, "relayd_pipes", PROM_GAUGE, "Pipes, by state.");
    prom_u64(p, PROM_LABELS({"state", "lent"}), s->pipes_lent);
    prom_u64(p, PROM_LABELS({"state", "free"}), s->pipes_total - s->pipes_lent);
    prom_family(p, "relayd_buffers_bytes", PROM_GAUGE,
                "Octets held for writers that did not take them.");
    prom_u64(p, NULL, s->held_octets);
}

static void metrics(void *ctx, struct prom *p)
{
    const struct tcp_relay *r = ctx;

    relay_page_metrics(&r->base, p);
    put_associations(p, r);
    put_accepts(p, r);
    put_engines(p, r);
}

/* ---- /status ---- */

static void status(void *ctx, struct json *j)
{
    const struct tcp_relay *r = ctx;

    relay_page_status(&r->base, j);
    json_object_begin(j, "load");
    json_put_u64(j, "associations", r->stats.flows);
    json_put_u64(j, "attached", r->stats.attached);
    json_put_u64(j, "listeners", accept_ports_count(r->accept_ports));
    json_put_u64(j, "descriptors", boot_descriptors_open());
    json_object_end(j);
    json_object_begin(j, "limits");
    json_put_u64(j, "associations", r->base.capacity);
    json_put_u64(j, "listeners", accept_ports_max(r->accept_ports));
    json_put_u64(j, "descriptors", boot_descriptor_limit());
    json_put_u64(j, "pipes", r->config.pipes);
    json_object_end(j);
}

/* ---- /associations ---- */

enum { FILTER_CLIENT, FILTER_STATE };
static const char *const filters[] = {"client", "state", NULL};

static bool wanted(const struct n2_grant *g, const struct status_query *q)
{
    const struct flow *f = g->impl;
    char ip[ADDR_TEXT_MAX];

    if (q->filter[FILTER_STATE] != NULL && strcmp(q->filter[FILTER_STATE], flow_state_name(f)) != 0)
        return false;
    return q->filter[FILTER_CLIENT] == NULL ||
           strcmp(q->filter[FILTER_CLIENT], addr_format_ip(&f->client, ip)) == 0;
}

static void put_flow(const struct n2_grant *g, const struct relay *r, struct json *j)
{
    const struct flow *f = g->impl;
    struct n2_counters c;

    flow_counters(f, &c);
    json_object_begin(j, NULL);
    json_put_hex(j, "id", g->node.id, ID_LEN);
    json_put_str(j, "kind", n2_kind_name((enum n2_kind)g->kind));
    json_put_str(j, "state", flow_state_name(f));
    json_put_str(j, "server", n2_grant_server_id(g));
    json_put_addr(j, "client", &f->client);
    json_put_addr(j, "target", &f->peer);
    json_put_addr(j, "bound", &f->bound);
    if (f->sm.state == FLOW_RELAYING) {
        json_put_str(j, "engine", stream_engine_name(&f->stream));
        json_put_u64(j, "idle_ms", loop_now(r->loop) - f->stream.last_activity);
    }
    json_put_u64(j, "octets_up", c.octets_up);
    json_put_u64(j, "octets_down", c.octets_down);
    json_put_u64(j, "age_ms", c.duration_ms);
    json_object_end(j);
}

static int associations(void *ctx, const struct status_query *q, struct json *j, struct err *e)
{
    static const struct relay_listing listing = {wanted, put_flow};

    return relay_listing_page(ctx, &listing, q, j, e);
}

const struct status_pages tcp_pages = {
    .ready = relay_page_ready,
    .metrics = metrics,
    .status = status,
    .associations = associations,
    .filters = filters,
};
