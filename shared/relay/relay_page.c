#include "shared/relay/relay_page.h"

#include <stdio.h>

bool relay_page_ready(void *ctx, char *reason, size_t cap)
{
    const struct relay *r = ctx;

    if (!r->draining && n2_server_grants(r->n2) < r->capacity)
        return true;
    snprintf(reason, cap, "%s", r->draining ? "draining" : "full");
    return false;
}

static void put_n2(struct prom *p, const struct relay *r)
{
    static const char *const calls[] = {"none",    "hello", "open",     "update",
                                        "release", "watch", "inventory"};
    struct n2_server_stats s;

    n2_server_stats(r->n2, &s);
    prom_family(p, "relayd_control_servers", PROM_GAUGE, "Control servers whose lease runs.");
    prom_u64(p, NULL, s.sessions_live);
    prom_family(p, "relayd_n2_requests_total", PROM_COUNTER, "N2 messages received.");
    prom_u64(p, NULL, s.requests);
    prom_family(p, "relayd_n2_calls_total", PROM_COUNTER, "N2 calls received, by call.");
    for (int i = N2_HELLO; i <= N2_INVENTORY; i++)
        prom_u64(p, PROM_LABELS({"call", calls[i]}), s.calls[i]);
    prom_family(p, "relayd_n2_bad_messages_total", PROM_COUNTER,
                "N2 messages that were no requests.");
    prom_u64(p, NULL, s.bad_messages);
    prom_family(p, "relayd_n2_overloaded_total", PROM_COUNTER,
                "N2 messages refused for want of a context.");
    prom_u64(p, NULL, s.overloaded);
    prom_family(p, "relayd_n2_conflicts_total", PROM_COUNTER,
                "Hellos refused because another epoch is alive.");
    prom_u64(p, NULL, s.conflicts);
    prom_family(p, "relayd_leases_lost_total", PROM_COUNTER,
                "Leases of control servers that ran out.");
    prom_u64(p, NULL, s.leases_lost);
    prom_family(p, "relayd_n2_events_total", PROM_COUNTER, "Events told to control servers.");
    prom_u64(p, NULL, s.events);
    prom_family(p, "relayd_n2_event_gaps_total", PROM_COUNTER,
                "Times that events were dropped unseen.");
    prom_u64(p, NULL, s.gaps);
}

void relay_page_metrics(const struct relay *r, struct prom *p)
{
    prom_build_info(p, "relayd", VERSION);
    prom_family(p, "relayd_draining", PROM_GAUGE, "1 while no new associations are taken.");
    prom_u64(p, NULL, r->draining);
    prom_family(p, "relayd_log_dropped_total", PROM_COUNTER,
                "Log records that stderr did not take.");
    prom_u64(p, NULL, log_dropped());
    prom_process(p);
    put_n2(p, r);
}

void relay_page_status(const struct relay *r, struct json *j)
{
    uint64_t epoch = n2_server_epoch(r->n2);
    const char *engines[4];
    size_t n = r->program->engines(r, engines);

    json_put_str(j, "program", r->program->name);
    json_put_str(j, "version", VERSION);
    json_put_str(j, "id", r->id);
    json_put_hex(j, "epoch", &epoch, sizeof(epoch));
    json_put_u64(j, "uptime_ms", loop_now(r->loop) - r->started);
    json_put_str(j, "state", r->draining ? "draining" : "ready");
    json_array_begin(j, "engines");
    for (size_t i = 0; i < n; i++)
        json_put_str(j, NULL, engines[i]);
    json_array_end(j);
}
