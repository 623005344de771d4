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
    return n;
}

/* Two descriptors each; pipes get at most a quarter of all: who has few descriptors copies. */
static uint32_t capacity(const struct relay *r, uint32_t descriptors)
{
    const struct tcp_config *c = config_of(r);
    uint32_t pipes = tcp_config_engine(c, TCP_SPLICE) ? (uint32_t)c->pipes * 2 : 0;
    uint32_t quarter = descriptors / 4;

    return (descriptors - (pipes < quarter ? pipes : quarter)) / 2;
}

static int start(struct relay *r, struct err *e)
{
    struct tcp_relay *t = (struct tcp_relay *)r;
    const struct stream_pump_config pump = {
        .splice = tcp_config_engine(&t->config, TCP_SPLICE),
        .pipes_max = (uint32_t)t->config.pipes,
        .pipe_octets = (uint32_t)t->config.pipe_octets,
    };

    t->pump = stream_pump_new(r->loop, &pump);
    return t->pump != NULL ? 0 : err_set(e, "out of memory");
}

static void reload(struct relay *r, struct relay_config *fresh)
{
    tcp_config_reload(&((struct tcp_relay *)r)->config, (struct tcp_config *)fresh);
}

static void stop(struct relay *r)
{
    stream_pump_free(((struct tcp_relay *)r)->pump);
}

int main(int argc, char **argv)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_BIND};
    static const uint32_t ptcls[] = {IPPROTO_TCP};
    static const struct relay_program program = {
        .name = "relayd-tcp",
        .summary = "Moves TCP for associations that a control server opens over N2.",
        .kinds = kinds,
        .kind_count = 2,
        .ptcls = ptcls,
        .ptcl_count = 1,
        .schema = &tcp_schema,
        .kept = TCP_CONFIG_KEPT,
        .service = &flow_service,
        .pages = &tcp_pages,
        .engines = engines,
        .capacity = capacity,
        .start = start,
        .reload = reload,
        .stop = stop,
    };
    static struct tcp_relay relay = {.base.config = &relay.config.base};

    return relay_main(argc, argv, &program, &relay.base);
}
