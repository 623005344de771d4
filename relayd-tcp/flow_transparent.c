/* TRANSPARENT: the client connects to a port that many share, and is known by where it connects
 * from. Its octets are not looked at before the target has been reached: they stay in its socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "relayd-tcp/flow.h"
#include "shared/relay/relay_address.h"

static void refuse(struct flow *f, enum n2_refusal_code code, const char *text)
{
    const struct n2_refusal refused = {code, N2_CAUSE_NONE, text};

    flow_finish(f, &refused, N2_END_NONE);
}

static uint64_t now_of(const struct flow *f)
{
    return loop_now(f->relay->base.loop);
}

/* ---- limits, over all connections ---- */

static uint64_t moved_before(const struct flow *f)
{
    const struct transparent *t = f->transparent;

    return t != NULL ? t->before[0] + t->before[1] : 0;
}

bool flow_used_up(const struct flow *f)
{
    return f->limits.octets != 0 && moved_before(f) >= f->limits.octets;
}

uint64_t flow_octet_limit(const struct flow *f)
{
    return f->limits.octets != 0 ? f->limits.octets - moved_before(f) : 0;
}

void flow_check_waiting(struct flow *f)
{
    struct transparent *t = f->transparent;
    uint64_t since = t->used ? f->stream.last_activity : t->opened;
    uint64_t most = t->used ? f->limits.idle_ms : f->relay->config.unused_ms;
    uint64_t quiet = now_of(f) - since;

    if (quiet >= most)
        flow_finish(f, NULL, t->used ? N2_END_IDLE : N2_END_UNUSED);
    else
        loop_timer_start(f->relay->base.loop, &f->timer, most - quiet);
}

/* ---- one connection ---- */

static void wait_for_client(struct flow *f)
{
    sm_move(&f->sm, FLOW_AWAITING);
    f->stream.last_activity = now_of(f);
    flow_check_waiting(f);
}

bool flow_waits_again(struct flow *f, enum stream_end why)
{
    struct transparent *t = f->transparent;

    if (!f->relay->config.sequential || why == STREAM_CUT || why == STREAM_LIMIT ||
        why == STREAM_NO_MEMORY)
        return false;
    for (int i = 0; i < 2; i++) {
        t->before[i] += f->stream.dir[i].octets;
        f->stream.dir[i].octets = 0;
    }
    f->relay->stats.attached--;
    wait_for_client(f);
    return true;
}

/* The target was not reached, or the client did not wait for it. Its connection is gone already. */
static void connection_failed(struct flow *f, enum n2_end why)
{
    f->stream.last_activity = now_of(f);
    if (!f->relay->config.sequential)
        flow_finish(f, NULL, why);
    else if (f->sm.state == FLOW_REACHING)
        wait_for_client(f);
    else
        flow_check_waiting(f);
}

static int take_client(struct flow *f)
{
    return hot_remove(f->relay->base.loop, &f->stream.leg[0]);
}

static void dial_failed(struct flow *f, int status)
{
    const struct n2_refusal r = flow_refusal_of(status);
    bool unreachable = r.code == N2_UNREACHABLE;

    if (unreachable)
        f->relay->base.counts.unreachable[r.cause]++;
    connection_failed(f, unreachable ? N2_END_TARGET_RESET : N2_END_RELAY_ERROR);
}

static void join(struct flow *f, int client_fd, int target_fd)
{
    const struct stream_start with = {
        .client_fd = client_fd,
        .target_fd = target_fd,
        .octet_limit = flow_octet_limit(f),
    };

    flow_relay(f, &with);
}

static void on_dialed(void *arg, int status, int fd, const struct addr *peer)
{
    struct flow *f = arg;
    int client_fd = take_client(f);
    (void)peer;

    f->dial = NULL;
    if (status == 0) {
        join(f, client_fd, fd);
        return;
    }
    accept_reset(client_fd);
    dial_failed(f, status);
}

/* While the target is dialled, only an error is told of the client: what it has sent, its FIN
 * included, is for the target. */
static void on_client_gone(struct hot *h, uint32_t events)
{
    struct flow *f = LIST_ENTRY(h, struct flow, stream.leg[0]);
    int error = 0;
    socklen_t len = sizeof(error);
    (void)events;

    /* The event may be that of a connection before this one. */
    if (getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        return;
    accept_reset(take_client(f));
    dial_cancel(f->dial);
    f->dial = NULL;
    connection_failed(f, N2_END_CLIENT_RESET);
}

static void hold_client(struct flow *f, int fd)
{
    struct hot *client = &f->stream.leg[0];

    sm_move(&f->sm, FLOW_REACHING);
    loop_timer_stop(f->relay->base.loop, &f->timer);
    hot_init(client, on_client_gone);
    if (hot_add(f->relay->base.loop, client, fd, 0) == 0)
        return;
    accept_reset(fd);
    dial_cancel(f->dial);
    f->dial = NULL;
    connection_failed(f, N2_END_RELAY_ERROR);
}

static void reach(struct flow *f, int client_fd)
{
    const struct relay_keys *k = &f->relay->config.base.relay;
    const struct dial_config c = {
        .to = &f->transparent->target,
        .count = 1,
        .from4 = relay_config_pick(k->bind.items, k->bind.count, ADDR_IPV4),
        .from6 = relay_config_pick(k->bind.items, k->bind.count, ADDR_IPV6),
        .timeout_ms = f->limits.connect_ms,
    };
    struct dial *dial;
    struct addr peer;
    int rc = dial_start(f->relay->base.loop, &c, on_dialed, f, &dial, &peer);

    if (rc >= 0) {
        join(f, client_fd, rc);
    } else if (rc == -EINPROGRESS) {
        f->dial = dial;
        hold_client(f, client_fd);
    } else {
        accept_reset(client_fd);
        dial_failed(f, rc);
    }
}

bool flow_accepted(struct ports_claim *claim, int fd, const struct addr *from)
{
    struct transparent *t = LIST_ENTRY(claim, struct transparent, claim);
    struct flow *f = t->flow;

    if (f->sm.state != FLOW_AWAITING)
        return false;
    t->used = true;
    if (!claim->locked) {
        ports_lock(f->relay->ports, claim, from->port, now_of(f));
        f->client = claim->client;
        n2_grant_locked(f->grant, &claim->client);
    }
    if (flow_used_up(f)) {
        accept_reset(fd);
        flow_finish(f, NULL, N2_END_LIMIT);
    } else if (flow_forbids(f->relay, &t->target)) { /* it may have become so: a port of ours */
        accept_reset(fd);
        connection_failed(f, N2_END_TARGET_RESET);
    } else {
        reach(f, fd);
    }
    return true;
}

/* ---- Open ---- */

static bool port_usable(void *arg, enum addr_family family, uint16_t port)
{
    return accept_ports_open(((struct tcp_relay *)arg)->accept_ports, family, port);
}

/* Why no port was found, in the words of N2. */
static void refuse_port(struct flow *f, enum ports_result why)
{
    int error = accept_ports_error(f->relay->accept_ports);

    if (why == PORTS_CAPPED)
        refuse(f, N2_FULL, "associations of this client that were not used yet");
    else if (why == PORTS_NO_MEMORY || error == ENOMEM || error == ENOBUFS)
        refuse(f, N2_FULL, "memory");
    else if (error == EMFILE || error == ENFILE)
        refuse(f, N2_FULL, "descriptors");
    else if (error == EAFNOSUPPORT)
        refuse(f, N2_UNSUPPORTED, "family");
    else if (error != 0 && error != EADDRINUSE)
        refuse(f, N2_CANNOT_BIND, "the configured address cannot be bound");
    else
        refuse(f, N2_NO_PORT, "no port for this client");
}

static bool get_bound(struct flow *f, const struct n2_open *o)
{
    const struct tcp_relay *r = f->relay;
    struct addr local = accept_ports_local(r->accept_ports, (enum addr_family)o->client.family);

    f->bound = relay_address_reachable(&r->config.base.relay, &local, o);
    if (f->bound.family != ADDR_NONE)
        return true;
    if (errno == EMFILE || errno == ENFILE)
        refuse(f, N2_FULL, "descriptors");
    else
        refuse(f, N2_CANNOT_BIND, "no address that the client could reach");
    return false;
}

static bool get_port(struct flow *f, const struct n2_open *o)
{
    struct tcp_relay *r = f->relay;
    struct transparent *t = f->transparent;

    accept_ports_forgive(r->accept_ports);
    enum ports_result got =
        ports_claim(r->ports, &t->claim, &o->client, o->owner, now_of(f), port_usable, r);
    if (got != PORTS_OK) {
        refuse_port(f, got);
        return false;
    }
    t->port = accept_port_use(r->accept_ports, (enum addr_family)o->client.family, t->claim.port);
    f->bound.port = t->claim.port;
    return true;
}

static void open_at_port(struct flow *f, const struct n2_open *o)
{
    struct transparent *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        refuse(f, N2_FULL, "memory");
        return;
    }
    f->transparent = t;
    t->flow = f;
    t->opened = now_of(f);
    t->target = f->peer = o->destinations[0];
    if (!get_bound(f, o) || !get_port(f, o))
        return;
    sm_move(&f->sm, FLOW_AWAITING);
    f->relay->base.counts.opened[N2_TRANSPARENT]++;
    loop_timer_start(f->relay->base.loop, &f->timer, f->relay->config.unused_ms);
    if (t->claim.locked)
        n2_grant_locked(f->grant, &t->claim.client);
    n2_grant_listening(f->grant, &f->bound, "accept");
}

void flow_open_transparent(struct flow *f, const struct n2_open *o)
{
    if (o->bind.family != ADDR_NONE || o->bind.port != 0)
        refuse(f, N2_UNSUPPORTED, "bind");
    else if (o->client.family == ADDR_NONE || addr_is_any(&o->client))
        refuse(f, N2_BAD, "client");
    else if (flow_forbids(f->relay, &o->destinations[0]))
        refuse(f, N2_POLICY, "protected destination");
    else
        open_at_port(f, o);
}

void flow_transparent_let_go(struct flow *f)
{
    struct transparent *t = f->transparent;

    if (f->sm.state == FLOW_REACHING) {
        int fd = take_client(f);
        if (fd >= 0)
            accept_reset(fd);
    }
    if (t->port == NULL)
        return;
    ports_release(f->relay->ports, &t->claim, now_of(f));
    accept_port_leave(t->port);
}
