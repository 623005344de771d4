#include "relayd-udp/page.h"

#include <string.h>

#include "relayd-udp/association.h"
#include "shared/daemon/boot.h"
#include "shared/relay/relay_listing.h"
#include "shared/relay/relay_page.h"

/* ---- /metrics ---- */

static void put_two(struct prom *p, const char *label, const char *a, uint64_t x, const char *b,
                    uint64_t y)
{
    prom_u64(p, PROM_LABELS({label, a}), x);
    prom_u64(p, PROM_LABELS({label, b}), y);
}

static uint32_t open_ports(const struct udp_relay *r)
{
    return client_ports_count(r->client_ports) + client_ports_count(r->plain_client_ports);
}

static uint32_t most_ports(const struct udp_relay *r)
{
    return client_ports_max(r->client_ports) + client_ports_max(r->plain_client_ports);
}

static void put_associations(struct prom *p, const struct udp_relay *r)
{
    const struct udp_stats *s = &r->stats;
    struct ports_stats ports = ports_stats(r->ports), plain = ports_stats(r->plain_ports);
    uint32_t unlocked = ports.unlocked + plain.unlocked;

    prom_family(p, "relayd_associations_active", PROM_GAUGE, "Associations held now, by state.");
    put_two(p, "state", "locked", s->associations - unlocked, "unlocked", unlocked);
    prom_family(p, "relayd_associations_used", PROM_GAUGE,
                "Associations held now whose client has sent something.");
    prom_u64(p, NULL, s->used);
    prom_family(p, "relayd_associations_limit", PROM_GAUGE, "Associations held at most.");
    prom_u64(p, NULL, r->base.capacity);
    relay_counts_metrics(&r->base.counts, p);
    prom_family(p, "relayd_locks_total", PROM_COUNTER,
                "Client ports that became known: hinted in the request, learned from the first "
                "datagram, or changed by a NAT.");
    prom_u64(p, PROM_LABELS({"how", "hinted"}), s->locks_hinted);
    prom_u64(p, PROM_LABELS({"how", "learned"}), s->locks_learned);
    prom_u64(p, PROM_LABELS({"how", "relocked"}), s->relocks);
    prom_family(p, "relayd_client_ports", PROM_GAUGE, "Client-facing sockets, by state.");
    put_two(p, "state", "open", open_ports(r), "limit",
            most_ports(r));
    prom_family(p, "relayd_client_ports_resting", PROM_GAUGE,
                "Keys of ended associations that are not given out again yet.");
    prom_u64(p, NULL, ports.resting + plain.resting);
    prom_family(p, "relayd_outer_sockets", PROM_GAUGE, "Sockets towards targets.");
    prom_u64(p, NULL, s->outer_sockets);
}

static void put_datagrams(struct prom *p, const struct udp_relay *r)
{
    const struct udp_stats *s = &r->stats;

    prom_family(p, "relayd_datagrams_total", PROM_COUNTER, "Datagrams relayed, by direction.");
    put_two(p, "direction", "up", s->datagrams_up, "down", s->datagrams_down);
    prom_family(p, "relayd_datagram_octets_total", PROM_COUNTER,
                "Payload of relayed datagrams, by direction.");
    put_two(p, "direction", "up", s->octets_up, "down", s->octets_down);
    prom_family(p, "relayd_drops_total", PROM_COUNTER,
                "Datagrams that were not relayed, by reason.");
    for (int i = 0; i < DROP_COUNT; i++)
        prom_u64(p, PROM_LABELS({"reason", drop_name((enum drop)i)}), s->dropped[i]);
    prom_family(p, "relayd_fragments_total", PROM_COUNTER, "SOCKS fragments received.");
    prom_u64(p, NULL, s->fragments);
    prom_family(p, "relayd_reassembled_total", PROM_COUNTER, "Datagrams made of fragments.");
    prom_u64(p, NULL, s->reassembled);
    prom_family(p, "relayd_fragment_bytes", PROM_GAUGE, "Memory of fragments that wait.");
    prom_u64(p, NULL, r->fragments.held);
    prom_family(p, "relayd_names_waiting", PROM_GAUGE, "Datagrams that wait for a name.");
    prom_u64(p, NULL, s->names_waiting);
    prom_family(p, "relayd_names_bytes", PROM_GAUGE, "Memory of datagrams that wait for a name.");
    prom_u64(p, NULL, s->names_octets);
}

static void put_engine(struct prom *p, const struct udp_relay *r)
{
    const struct engine_stats *s = &r->engine->stats;
    const char *name = r->engine->ops->name;

    prom_family(p, "relayd_bytes_total", PROM_COUNTER,
                "Octets of UDP payload that the engine sent, SOCKS headers included, by engine.");
    prom_u64(p, PROM_LABELS({"engine", name}), s->octets_out);
    prom_family(p, "relayd_engine_datagrams_total", PROM_COUNTER,
                "Datagrams that the kernel gave and took.");
    put_two(p, "direction", "in", s->datagrams_in, "out", s->datagrams_out);
    prom_family(p, "relayd_engine_calls_total", PROM_COUNTER, "System calls that moved them.");
    put_two(p, "call", "receive", s->receives, "send", s->sends);
    prom_family(p, "relayd_engine_coalesced_total", PROM_COUNTER,
                "Datagrams that came by GRO or left by GSO as part of a longer run.");
    put_two(p, "how", "gro", s->gro_datagrams, "gso", s->gso_datagrams);
    prom_family(p, "relayd_engine_gso_refused_total", PROM_COUNTER,
                "Runs that the kernel did not take as one and that were sent piece by piece.");
    prom_u64(p, NULL, s->gso_refused);
    prom_family(p, "relayd_engine_errors_total", PROM_COUNTER,
                "Errors of sockets: reported while receiving (by ICMP, mostly), datagrams dropped "
                "because a buffer was full, datagrams that could not be sent.");
    prom_u64(p, PROM_LABELS({"error", "receive"}), s->receive_errors);
    prom_u64(p, PROM_LABELS({"error", "send_full"}), s->send_full);
    prom_u64(p, PROM_LABELS({"error", "send_failed"}), s->send_failed);
}

static void put_overflows(struct prom *p, const struct udp_relay *r)
{
    prom_family(p, "relayd_receive_overflows_total", PROM_COUNTER,
                "Datagrams that the kernel threw away because a socket's buffer was full, by where "
                "they came from; those from targets are counted when their association has ended.");
    put_two(p, "from", "clients", client_ports_overflows(r->client_ports) + client_ports_overflows(r->plain_client_ports), "targets",
            r->stats.outer_overflows);
}

static void put_policies(struct prom *p, const struct udp_relay *r)
{
    prom_family(p, "relayd_rule_sets", PROM_GAUGE, "Different lists of rules held.");
    prom_u64(p, NULL, r->policies.count);
    prom_family(p, "relayd_rule_sets_bytes", PROM_GAUGE, "What they hold in memory.");
    prom_u64(p, NULL, r->policies.octets);
}

static void put_resolver(struct prom *p, const struct udp_relay *r)
{
    struct resolver_stats s = resolver_stats(r->resolver);

    prom_family(p, "relayd_names_total", PROM_COUNTER, "Names asked for, by answer.");
    prom_u64(p, PROM_LABELS({"answer", "not_found"}), s.not_found);
    prom_u64(p, PROM_LABELS({"answer", "failed"}), s.failed);
    prom_u64(p, PROM_LABELS({"answer", "timed_out"}), s.timed_out);
    prom_u64(p, PROM_LABELS({"answer", "busy"}), s.busy);
    prom_family(p, "relayd_name_queries_total", PROM_COUNTER, "Questions to name servers.");
    prom_u64(p, NULL, s.queries);
    prom_family(p, "relayd_name_cache_entries", PROM_GAUGE, "Names remembered.");
    prom_u64(p, NULL, s.cached);
}

static void metrics(void *ctx, struct prom *p)
{
    const struct udp_relay *r = ctx;

    relay_page_metrics(&r->base, p);
    put_associations(p, r);
    put_datagrams(p, r);
    put_engine(p, r);
    put_overflows(p, r);
    put_policies(p, r);
    put_resolver(p, r);
}

/* ---- /status ---- */

static void status(void *ctx, struct json *j)
{
    const struct udp_relay *r = ctx;

    relay_page_status(&r->base, j);
    json_object_begin(j, "load");
    json_put_u64(j, "associations", r->stats.associations);
    json_put_u64(j, "used", r->stats.used);
    json_put_u64(j, "client_ports", open_ports(r));
    json_put_u64(j, "outer_sockets", r->stats.outer_sockets);
    json_put_u64(j, "descriptors", boot_descriptors_open());
    json_object_end(j);
    json_object_begin(j, "limits");
    json_put_u64(j, "associations", r->base.capacity);
    json_put_u64(j, "client_ports", most_ports(r));
    json_put_u64(j, "descriptors", boot_descriptor_limit());
    json_object_end(j);
}

/* ---- /associations ---- */

enum { FILTER_CLIENT, FILTER_STATE };
static const char *const filters[] = {"client", "state", NULL};

static bool wanted(const struct n2_grant *g, const struct status_query *q)
{
    const struct association *a = g->impl;
    char ip[ADDR_TEXT_MAX];

    if (q->filter[FILTER_STATE] != NULL &&
        strcmp(q->filter[FILTER_STATE], association_state_name(a)) != 0)
        return false;
    return q->filter[FILTER_CLIENT] == NULL ||
           strcmp(q->filter[FILTER_CLIENT], addr_format_ip(&a->claim.client, ip)) == 0;
}

static void put_association(const struct n2_grant *g, const struct relay *r, struct json *j)
{
    const struct association *a = g->impl;
    struct n2_counters c;

    association_counters(a, &c);
    json_object_begin(j, NULL);
    json_put_hex(j, "id", g->node.id, ID_LEN);
    json_put_str(j, "kind", n2_kind_name((enum n2_kind)g->kind));
    json_put_str(j, "state", association_state_name(a));
    json_put_str(j, "server", n2_grant_server_id(g));
    json_put_addr(j, "client", &a->claim.client);
    json_put_addr(j, "bound", &g->bound);
    if (a->transparent)
        json_put_addr(j, "target", &a->target[0]);
    json_put_str(j, "engine", a->relay->engine->ops->name);
    json_put_u64(j, "idle_ms", loop_now(r->loop) - a->last_activity);
    json_put_u64(j, "peers", a->peers.count);
    json_put_u64(j, "datagrams_up", c.datagrams_up);
    json_put_u64(j, "datagrams_down", c.datagrams_down);
    json_put_u64(j, "octets_up", c.octets_up);
    json_put_u64(j, "octets_down", c.octets_down);
    json_put_u64(j, "dropped", c.dropped);
    json_put_u64(j, "age_ms", c.duration_ms);
    json_object_end(j);
}

static int associations(void *ctx, const struct status_query *q, struct json *j, struct err *e)
{
    static const struct relay_listing listing = {wanted, put_association};

    return relay_listing_page(ctx, &listing, q, j, e);
}

const struct status_pages udp_pages = {
    .ready = relay_page_ready,
    .metrics = metrics,
    .status = status,
    .associations = associations,
    .filters = filters,
};
