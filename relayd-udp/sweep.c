#include "relayd-udp/sweep.h"

#include "relayd-udp/association.h"

enum { SWEEP_MS = 500, PORT_UNUSED_MS = 2000 };

static void sweep_fragments(struct udp_relay *r)
{
    LIST_FOREACH_SAFE(node, &r->fragmented) {
        struct association *a = LIST_ENTRY(node, struct association, fragmented);
        if (reassembly_expired(&a->reassembly, udp_now(r)))
            association_drop(a, DROP_FRAGMENT,
                             reassembly_abandon(&a->reassembly, &r->fragments));
        if (a->reassembly.queue == NULL)
            list_remove(&a->fragmented);
    }
}

static void on_sweep(struct wheel_timer *t)
{
    struct udp_relay *r = LIST_ENTRY(t, struct udp_relay, sweep);
    uint64_t rest = r->config.port_rest_ms;

    sweep_fragments(r);
    ports_sweep(r->ports, udp_now(r));
    client_ports_sweep(r->client_ports, rest > PORT_UNUSED_MS ? rest : PORT_UNUSED_MS);
    loop_timer_start(r->base.loop, &r->sweep, SWEEP_MS);
}

void sweep_start(struct udp_relay *r)
{
    list_init(&r->fragmented);
    wheel_timer_init(&r->sweep, on_sweep);
    loop_timer_start(r->base.loop, &r->sweep, SWEEP_MS);
}

void sweep_stop(struct udp_relay *r)
{
    if (r->sweep.fire != NULL)
        loop_timer_stop(r->base.loop, &r->sweep);
}
