/* BIND: waiting for the peer. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "relayd-tcp/bind.h"
#include "relayd-tcp/flow.h"

static void on_peer(struct hot *h, uint32_t events)
{
    struct flow *f = LIST_ENTRY(h, struct flow, stream.leg[1]);
    const struct n2_refusal starved = {N2_FULL, N2_CAUSE_NONE, "no descriptor for the peer"};
    struct addr peer;
    (void)events;

    int fd = bind_accept(h->fd, f->expected.peers, f->expected.count,
                         &f->relay->stats.bind_peers_refused, &peer);
    if (fd < 0) {
        /* It would stay in the queue, and the socket readable. */
        if (fd != -EAGAIN)
            flow_finish(f, &starved, N2_END_NONE);
        return;
    }
    close(hot_remove(f->relay->base.loop, h));
    free(f->expected.peers);
    sm_move(&f->sm, FLOW_PARKED);
    f->target_fd = fd;
    f->peer = peer;
    flow_wait_for_leg(f);
    n2_grant_peer(f->grant, &peer);
}

void flow_open_bind(struct flow *f, const struct n2_open *o)
{
    struct n2_refusal refused = {0};
    struct hot *waiting = &f->stream.leg[1]; /* free until the stream starts */

    int fd = bind_listen(&f->relay->config, o, &f->bound, &refused);
    if (fd < 0) {
        flow_finish(f, &refused, N2_END_NONE);
        return;
    }
    struct addr *peers = calloc(o->destination_count + 1, sizeof(*peers));
    hot_init(waiting, on_peer);
    if (peers == NULL || hot_add(f->relay->base.loop, waiting, fd, EPOLLIN) != 0) {
        free(peers);
        close(fd);
        refused = (struct n2_refusal){N2_FULL, N2_CAUSE_NONE, "memory"};
        flow_finish(f, &refused, N2_END_NONE);
        return;
    }
    for (size_t i = 0; i < o->destination_count; i++)
        peers[i] = o->destinations[i];
    f->expected.peers = peers;
    f->expected.count = o->destination_count;
    sm_move(&f->sm, FLOW_LISTENING);
    f->relay->base.counts.opened[N2_BIND]++;
    loop_timer_start(f->relay->base.loop, &f->timer, f->limits.connect_ms);
    n2_grant_listening(f->grant, &f->bound, "copy");
}
