/* CONNECT: the outer connection, and what its failure is called. */
#include <errno.h>
#include <string.h>

#include "relayd-tcp/flow.h"
#include "shared/net/sockaddr.h"

struct n2_refusal flow_refusal_of(int err)
{
    switch (-err) {
    case ECONNREFUSED:
    case ECONNRESET:
        return (struct n2_refusal){N2_UNREACHABLE, N2_CAUSE_REFUSED, NULL};
    case ENETUNREACH:
    case ENETDOWN:
    case EAFNOSUPPORT:
        return (struct n2_refusal){N2_UNREACHABLE, N2_CAUSE_NETWORK_UNREACHABLE, NULL};
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return (struct n2_refusal){N2_UNREACHABLE, N2_CAUSE_HOST_UNREACHABLE, NULL};
    case ETIMEDOUT:
        return (struct n2_refusal){N2_UNREACHABLE, N2_CAUSE_TIMED_OUT, NULL};
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
        return (struct n2_refusal){N2_FULL, N2_CAUSE_NONE, strerror(-err)};
    case EADDRINUSE:
    case EADDRNOTAVAIL:
        return (struct n2_refusal){N2_NO_PORT, N2_CAUSE_NONE, "no local port towards it"};
    default:
        return (struct n2_refusal){N2_UNREACHABLE, N2_CAUSE_GENERAL, strerror(-err)};
    }
}

static void on_connected(struct flow *f, int fd, const struct addr *peer)
{
    sm_move(&f->sm, FLOW_PARKED);
    f->target_fd = fd;
    f->peer = *peer;
    sockaddr_local(fd, &f->bound);
    f->relay->base.counts.opened[f->grant->kind]++;
    flow_wait_for_leg(f);
    n2_grant_opened(f->grant, &f->bound, &f->peer, "copy");
}

static void on_dialed(void *arg, int status, int fd, const struct addr *peer)
{
    struct flow *f = arg;

    f->dial = NULL;
    if (status == 0) {
        on_connected(f, fd, peer);
        return;
    }
    const struct n2_refusal r = flow_refusal_of(status);
    flow_finish(f, &r, N2_END_NONE);
}

void flow_open_connect(struct flow *f, const struct n2_open *o)
{
    const struct relay_keys *k = &f->relay->config.base.relay;
    struct addr allowed[DIAL_MAX], peer;
    const struct n2_refusal policy = {N2_POLICY, N2_CAUSE_NONE, "protected destination"};
    const struct n2_refusal none = {N2_BAD, N2_CAUSE_NONE, "no destination"};
    size_t n = 0;

    for (size_t i = 0; i < o->destination_count && n < DIAL_MAX; i++) {
        const struct addr *to = &o->destinations[i];
        if (to->family != ADDR_NONE && to->port != 0 && !flow_forbids(f->relay, to))
            allowed[n++] = *to;
    }
    if (n == 0) {
        flow_finish(f, o->destination_count == 0 ? &none : &policy, N2_END_NONE);
        return;
    }
    struct dial_config c = {
        .to = allowed,
        .count = n,
        .from4 = relay_config_pick(k->bind.items, k->bind.count, ADDR_IPV4),
        .from6 = relay_config_pick(k->bind.items, k->bind.count, ADDR_IPV6),
        .timeout_ms = f->limits.connect_ms,
    };
    if (o->bind.family != ADDR_NONE && !addr_is_any(&o->bind)) {
        if (!sockaddr_is_local(&o->bind)) {
            const struct n2_refusal r = {N2_CANNOT_BIND, N2_CAUSE_NONE,
                                         "not an address of this host"};
            flow_finish(f, &r, N2_END_NONE);
            return;
        }
        *(o->bind.family == ADDR_IPV4 ? &c.from4 : &c.from6) = o->bind;
    } else if (o->bind.port != 0) {
        c.from4 = addr_any(ADDR_IPV4, o->bind.port);
        c.from6 = addr_any(ADDR_IPV6, o->bind.port);
    }
    int rc = dial_start(f->relay->base.loop, &c, on_dialed, f, &f->dial, &peer);
    if (rc >= 0) {
        on_connected(f, rc, &peer);
    } else if (rc == -EINPROGRESS) {
        sm_move(&f->sm, FLOW_DIALING);
    } else {
        const struct n2_refusal r = flow_refusal_of(rc);
        flow_finish(f, &r, N2_END_NONE);
    }
}
