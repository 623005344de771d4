/* From targets to clients. */
#include "relayd-udp/datagram.h"
#include "shared/socks/socks5_udp.h"

/* May it send to this client? */
static bool is_let_in(struct association *a, const struct addr *from)
{
    const struct udp_relay *r = a->relay;
    struct dest dest = {.addr = *from};

    if (a->transparent)
        return addr_equal(from, &a->target[0]);
    if (peers_find(&a->peers, from, (uint32_t)(udp_now(r) / 1000),
                   (uint32_t)(r->config.peer_timeout_ms / 1000)) != NULL)
        return true;
    return r->config.filtering == UDP_ENDPOINT_INDEPENDENT && policy_allows(a->policy, &dest, from);
}

/* Every datagram of the run with the same header in front: it has one sender. */
static void send_run(struct association *a, const struct engine_run *run, const uint8_t *header,
                     size_t header_len)
{
    struct engine_datagram d = {
        .fd = a->port->hot.fd,
        .to = a->claim.client,
        .local = a->local,
        .iov[0] = {(void *)(uintptr_t)header, header_len},
        .iov_count = header_len > 0 ? 2 : 1,
    };
    struct iovec *payload = &d.iov[d.iov_count - 1];

    for (uint32_t at = 0;;) {
        uint32_t left = run->len - at, len = run->segment < left ? run->segment : left;
        *payload = (struct iovec){run->data + at, len};
        engine_send(a->relay->engine, &d);
        at += len;
        if (at >= run->len)
            break;
    }
}

static void take_run(struct association *a, const struct engine_run *run, uint8_t *header)
{
    size_t header_len;

    /* An answer to another client that meanwhile is gone may find its port in our hands. */
    if (!is_let_in(a, &run->from) || association_own_port(a->relay, &run->from)) {
        association_drop(a, DROP_PEER, engine_run_count(run));
        return;
    }
    header_len =
        a->transparent ? 0 : socks5_udp_encode(&run->from, header, SOCKS5_UDP_ADDR_MAX);
    if (run->segment + header_len > ENGINE_PAYLOAD_MAX) {
        association_drop(a, DROP_TOO_LONG, engine_run_count(run));
        return;
    }
    send_run(a, run, header, header_len);
    association_count_down(a, engine_run_count(run), run->len);
}

static void take_runs(struct association *a, struct hot *h)
{
    struct engine *e = a->relay->engine;
    uint8_t headers[ENGINE_RUNS_MAX][SOCKS5_UDP_ADDR_MAX]; /* until they are flushed */
    const struct engine_run *runs;
    size_t n = engine_receive(e, h->fd, &runs);

    for (size_t i = 0; i < n && a->sm.state != ASSOC_GONE; i++)
        take_run(a, &runs[i], headers[i]);
    engine_flush(e);
}

void datagrams_from_ipv4(struct hot *h, uint32_t events)
{
    (void)events;
    take_runs(LIST_ENTRY(h, struct association, outer[0]), h);
}

void datagrams_from_ipv6(struct hot *h, uint32_t events)
{
    (void)events;
    take_runs(LIST_ENTRY(h, struct association, outer[1]), h);
}
