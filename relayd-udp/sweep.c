#include "relayd-udp/sweep.h"

#include "relayd-udp/fragments.h"

enum { SWEEP_MS = 500, PORT_UNUSED_MS = 2000 };

static void on_sweep(struct wheel_timer *t)
{
    struct udp_relay *r = LIST_ENTRY(t, struct udp_relay, sweep);
    uint64_t rest = r->config.port_rest_ms;

    fragments_expire(r);
    uint64_t unused = rest > PORT_UNUSED_MS ? rest : PORT_UNUSED_MS;
    ports_sweep(r->ports, udp_now(r));
    ports_sweep(r->plain_ports, udp_now(r));
    client_ports_sweep(r->client_ports, unused);
    client_ports_sweep(r->plain_client_ports, unused);
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
