/* relayd-tcp: moves octets for associations that somebody else allowed. Wiring only. */
#include <netinet/in.h>

#include "relayd-tcp/page.h"
#include "relayd-tcp/tcp_relay.h"

static const struct tcp_config *config_of(const struct relay *r)
{
    return &((const struct tcp_relay *)r)->config;
}

static size_t engines(const struct relay *r, const char *ret[4])
{
    size_t n = 0;

    if (tcp_config_engine(config_of(r), TCP_SPLICE))
        ret[n++] = "splice";
    ret[n++] = "copy";
    ret[n++] = "accept";
    return n;
}

static uint32_t at_most(uint32_t wanted, uint32_t most)
{
    return wanted < most ? wanted : most;
}

/* Two descriptors each; pipes get at most a quarter of all: who has few descriptors copies. So do
 * the ports of TRANSPARENT. */
static uint32_t divide(struct relay *r, uint32_t descriptors)
{
    const struct tcp_config *c = config_of(r);
    const struct schema_ports *shared = &c->transparent_ports;
    uint32_t pipes = tcp_config_engine(c, TCP_SPLICE) ? (uint32_t)c->pipes * 2 : 0;
    uint32_t listeners = 2 * ((uint32_t)shared->last - shared->first + 1);
    uint32_t quarter = descriptors / 4;

    listeners = at_most(listeners, quarter);
    ((struct tcp_relay *)r)->listeners_max = listeners;
    return (descriptors - at_most(pipes, quarter) - listeners) / 2;
}

static int start(struct relay *r, struct err *e)
{
    struct tcp_relay *t = (struct tcp_relay *)r;
    const struct stream_pump_config pump = {
        .splice = tcp_config_engine(&t->config, TCP_SPLICE),
        .pipes_max = (uint32_t)t->config.pipes,
        .pipe_octets = (uint32_t)t->config.pipe_octets,
    };

    const struct ports_config ports = {
        .first = t->config.transparent_ports.first,
        .last = t->config.transparent_ports.last,
        .rest_ms = (uint32_t)t->config.port_rest_ms,
        .unlocked_max = (uint32_t)t->config.unlocked,
    };

    t->pump = stream_pump_new(r->loop, &pump);
    t->ports = ports_new(&ports);
    t->accept_ports = accept_ports_new(t, t->listeners_max);
    if (t->pump == NULL || t->ports == NULL || t->accept_ports == NULL)
        return err_set(e, "out of memory");
    return 0;
}

static void reload(struct relay *r, struct relay_config *fresh)
{
    tcp_config_reload(&((struct tcp_relay *)r)->config, (struct tcp_config *)fresh);
}

static void stop(struct relay *r)
{
    struct tcp_relay *t = (struct tcp_relay *)r;

    accept_ports_free(t->accept_ports);
    ports_free(t->ports);
    stream_pump_free(t->pump);
}

int main(int argc, char **argv)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_BIND, N2_TRANSPARENT};
    static const uint32_t ptcls[] = {IPPROTO_TCP};
    static const struct relay_program program = {
        .name = "relayd-tcp",
        .summary = "Moves TCP for associations that a control server opens over N2.",
        .kinds = kinds,
        .kind_count = 3,
        .ptcls = ptcls,
        .ptcl_count = 1,
        .schema = &tcp_schema,
        .kept = TCP_CONFIG_KEPT,
        .service = &flow_service,
        .pages = &tcp_pages,
        .engines = engines,
        .divide = divide,
        .start = start,
        .reload = reload,
        .stop = stop,
    };
    static struct tcp_relay relay = {.base.config = &relay.config.base};

    return relay_main(argc, argv, &program, &relay.base);
}
