/* What becomes of connections: told by events, and by reading conntrack in sweeps.
 *
 *   WAITS ─sample_ms─► DUMPS ─all read─► LOOKS ─every live entry seen─► WAITS
 *            └────────────(few)──────────►┘
 *
 * A dump walks the whole hash table of the kernel, however little of it is ours (10 ms for 262,144
 * buckets): few entries are asked for by name instead, one by one.
 *
 * A sweep reads a bounded number of connections per tick, so that its cost does not come at once
 * and is the same per second from NAT_SAMPLES_PER_SECOND x sample_ms entries on. An entry that had
 * a connection which the dump did not mention is asked for by name: events may have been lost.
 * `live` is in the order in which sweeps met the entries: who has not been met stands in front. */
#include "shared/nat/nat_impl.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

enum {
    TICK_MS = 64,
    EVENTS_PER_TURN = 512, /* that one wake-up takes, so that others get theirs */
    PER_TICK_MAX = 4096,   /* connections, when there is reason to hurry */
    ASKED_MAX = 64,
    BUCKETS_PER_NAME = 128, /* that a dump walks in the time that one question takes */
    STUCK_MIN = 3,          /* first packets that get nowhere before somebody is told */
};

/* ---- one connection ---- */

static void ended(struct nat *n, struct nat_entry *e, enum nat_end why)
{
    if (e->state == NAT_LIVE)
        n->config.on_ended(n->config.arg, e, why);
}

/* Another number is another connection: events of the end of the one before were lost. */
static void recognise(struct nat_entry *e, const struct ct_state *s)
{
    if (s->id == e->id)
        return;
    e->id = s->id;
    e->told_end = false;
    e->current = (struct nat_counts){0};
}

/* Whether it has moved. Only news of the end and of sweeps have counters, others have none. */
static bool count_in(struct nat_entry *e, const struct ct_counts *c)
{
    struct nat_counts *was = &e->current;

    if (c->packets_out < was->packets_out || c->packets_in < was->packets_in ||
        (c->packets_out == was->packets_out && c->packets_in == was->packets_in))
        return false;
    e->counts.packets_out += c->packets_out - was->packets_out;
    e->counts.octets_out += c->octets_out - was->octets_out;
    e->counts.packets_in += c->packets_in - was->packets_in;
    e->counts.octets_in += c->octets_in - was->octets_in;
    *was = (struct nat_counts){.packets_out = c->packets_out,
                               .octets_out = c->octets_out,
                               .packets_in = c->packets_in,
                               .octets_in = c->octets_in};
    return true;
}

static void note_move(struct nat *n, struct nat_entry *e)
{
    e->active_at = loop_now(n->loop);
    e->told_idle = false;
}

static void check_idle(struct nat *n, struct nat_entry *e)
{
    if (e->idle_ms == 0 || e->told_idle || loop_now(n->loop) - e->active_at < e->idle_ms)
        return;
    e->told_idle = true;
    ended(n, e, NAT_END_IDLE);
}

static void note_phase(struct nat *n, struct nat_entry *e, uint8_t phase)
{
    if (phase == CT_OPEN || e->told_end)
        return;
    e->told_end = true;
    ended(n, e, phase == CT_FINISHED ? NAT_END_FIN : NAT_END_RESET);
}

/* A connection that a target refuses is destroyed with the RST, without another event before. */
static void note_gone(struct nat *n, struct nat_entry *e, uint8_t last_phase)
{
    static const enum nat_end ends[] = {
        [CT_OPEN] = NAT_END_GONE, [CT_FINISHED] = NAT_END_FIN, [CT_RESET] = NAT_END_RESET};
    bool told = e->told_end;

    e->connected = e->told_end = false;
    e->current = (struct nat_counts){0};
    e->over = n->sweep.phase != SWEEP_WAITS ? n->sweep.number : 0;
    e->id = 0;
    if (!told)
        ended(n, e, ends[last_phase]);
}

/* Puts e behind those that this sweep has not met yet. */
static void meet(struct nat *n, struct nat_entry *e)
{
    e->seen = n->sweep.number;
    list_remove(&e->node);
    list_append(&n->live, &e->node);
}

static void note_sample(struct nat *n, struct nat_entry *e, const struct ct_state *s)
{
    n->stats.samples++;
    /* An answer may be older than the event of the end: what comes after it waits for the next
     * sweep. */
    if (e->id == 0 && e->over == n->sweep.number)
        return;
    recognise(e, s);
    e->connected = true;
    if (count_in(e, &s->counts))
        note_move(n, e);
    if (e->state != NAT_LIVE)
        return;
    meet(n, e);
    note_phase(n, e, s->phase);
    if (e->state == NAT_LIVE)
        check_idle(n, e);
}

void nat_watch_begin(struct nat *n, struct nat_entry *e)
{
    e->active_at = loop_now(n->loop);
    meet(n, e);
    if (!wheel_running(&n->sweep.timer))
        loop_timer_start(n->loop, &n->sweep.timer, n->config.sample_ms);
}

/* ---- events ---- */

static void on_event_message(const struct nlmsghdr *m, void *arg)
{
    struct nat *n = arg;
    struct ct_state s;

    n->stats.events++;
    if (!ct_decode(m, &s) || (s.mark & n->house.mask) != n->house.mark)
        return;
    struct nat_entry *e = nat_table_find(&n->table, &s.name);
    if (e == NULL)
        return;
    recognise(e, &s);
    if (!s.destroyed) {
        e->connected = true;
        note_phase(n, e, s.phase);
        return;
    }
    if (count_in(e, &s.counts))
        note_move(n, e);
    note_gone(n, e, s.phase);
}

static void hurry(struct nat *n)
{
    n->sweep.again = true;
    loop_timer_start(n->loop, &n->sweep.timer, 0);
}

static void drain(struct nat *n, size_t at_most)
{
    for (size_t i = 0; i < at_most; i++) {
        ssize_t got = netlink_receive(&n->events, n->watch, sizeof(n->watch));
        if (got == -ENOBUFS) {
            n->stats.events_lost++;
            hurry(n);
            nat_trouble(n, NAT_EVENTS_LOST, "events of conntrack came faster than they were read");
        } else if (got <= 0) {
            return;
        } else {
            netlink_each(n->watch, (size_t)got, on_event_message, n);
        }
    }
}

void nat_watch_drain(struct nat *n)
{
    drain(n, SIZE_MAX);
}

static void on_events(struct hot *h, uint32_t events)
{
    (void)events;
    drain(LIST_ENTRY(h, struct nat, events_hot), EVENTS_PER_TURN);
}

/* ---- sweeps ---- */

struct dump {
    struct nat *n;
    uint32_t count;
    bool done;
};

static void on_sample(const struct nlmsghdr *m, void *arg)
{
    struct dump *d = arg;
    struct ct_state s;
    int rc;

    if (netlink_done(m) || netlink_verdict(m, &rc)) {
        d->done = true;
        return;
    }
    d->count++;
    if (!ct_decode(m, &s))
        return;
    struct nat_entry *e = nat_table_find(&d->n->table, &s.name);
    if (e != NULL)
        note_sample(d->n, e, &s);
}

/* Returns what is left of budget. */
static uint32_t read_dump(struct nat *n, uint32_t budget)
{
    while (budget != 0) {
        struct dump d = {.n = n};
        ssize_t got = netlink_receive(&n->samples, n->watch, sizeof(n->watch));
        if (got > 0)
            netlink_each(n->watch, (size_t)got, on_sample, &d);
        if (got <= 0 || d.done) {
            n->sweep.phase = SWEEP_LOOKS;
            return budget;
        }
        budget -= d.count < budget ? d.count : budget;
    }
    return 0;
}

/* Asks for connections that should be there and were not mentioned. */
static void ask(struct nat *n, struct nat_entry **asked, size_t count)
{
    struct ct_name names[ASKED_MAX];
    struct ct_state states[ASKED_MAX];
    int results[ASKED_MAX];

    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        nat_name(asked[i], &names[i]);
    nat_request(n, names, count, results, states);
    nat_watch_drain(n); /* the event of an end has final counts, and comes before its absence */
    for (size_t i = 0; i < count; i++) {
        /* A callback may have removed it, and even given it back: it is found by name again. */
        struct nat_entry *e = nat_table_find(&n->table, &names[i]);
        if (e == NULL || e->state != NAT_LIVE)
            continue;
        if (results[i] == 0) {
            note_sample(n, e, &states[i]);
        } else if (results[i] == -ENOENT) {
            if (e->connected)
                note_gone(n, e, CT_OPEN);
            if (e->state == NAT_LIVE)
                check_idle(n, e);
        }
    }
}

/* As many as are asked for at once. Returns what is left of budget. */
static uint32_t look_at_some(struct nat *n, uint32_t budget)
{
    struct nat_entry *asked[ASKED_MAX];
    size_t count = 0;

    for (; budget != 0 && count < ASKED_MAX; budget--) {
        struct nat_entry *e = LIST_ENTRY(n->live.next, struct nat_entry, node);
        if (list_empty(&n->live) || e->seen == n->sweep.number) {
            n->sweep.phase = SWEEP_WAITS;
            break;
        }
        meet(n, e);
        if (e->connected || n->sweep.by_name)
            asked[count++] = e;
        else
            check_idle(n, e);
    }
    ask(n, asked, count);
    return budget;
}

static void look(struct nat *n, uint32_t budget)
{
    while (budget != 0 && n->sweep.phase == SWEEP_LOOKS)
        budget = look_at_some(n, budget);
}

/* Packets that enter and do not leave: it takes a few, and none that gets through. */
static void check_stuck(struct nat *n)
{
    struct sweep *s = &n->sweep;

    nat_counters_read(n);
    bool leaves = n->stats.left != s->left;
    if (leaves)
        s->stuck = false;
    if (!leaves && !s->stuck && n->stats.entered >= s->entered + STUCK_MIN) {
        s->stuck = true;
        nat_trouble(
            n, NAT_PACKETS_STUCK,
            "packets are translated but do not leave this host: a forward chain of somebody "
            "else drops them, forwarding is off or there is no route");
    }
    if (leaves || n->stats.entered < s->entered) {
        s->entered = n->stats.entered;
        s->left = n->stats.left;
    }
}

static void sweep_begin(struct nat *n)
{
    struct nl_buf b;

    check_stuck(n);
    n->sweep.number++;
    n->sweep.again = false;
    n->sweep.started = loop_now(n->loop);
    n->sweep.ticked = n->sweep.started - TICK_MS;
    n->stats.sweeps++;
    n->sweep.phase = SWEEP_LOOKS;
    n->sweep.by_name = n->stats.live < n->sweep.few;
    if (n->sweep.by_name)
        return;
    nl_init(&b, n->send, sizeof(n->send));
    ct_put_dump(&b, &n->samples, n->house.mark, n->house.mask);
    if (netlink_send(&n->samples, &b) == 0)
        n->sweep.phase = SWEEP_DUMPS;
}

static uint64_t next_tick(const struct nat *n)
{
    uint64_t now = loop_now(n->loop), due = n->sweep.started + n->config.sample_ms;

    if (n->sweep.phase != SWEEP_WAITS)
        return TICK_MS;
    return due > now && !n->sweep.again ? due - now : 0;
}

static void on_sweep(struct wheel_timer *t)
{
    struct nat *n = LIST_ENTRY(t, struct nat, sweep.timer);
    uint64_t now = loop_now(n->loop);
    uint32_t budget = PER_TICK_MAX;

    if (n->sweep.phase == SWEEP_WAITS) {
        if (list_empty(&n->live))
            return; /* nat_watch_begin starts the timer again */
        sweep_begin(n);
    }
    if (!n->sweep.again) {
        uint64_t fair = (now - n->sweep.ticked) * NAT_SAMPLES_PER_SECOND / 1000;
        budget = fair < PER_TICK_MAX ? (uint32_t)fair : PER_TICK_MAX;
    }
    n->sweep.ticked = now;
    nat_watch_drain(n); /* what has ended is not to be mistaken for what goes on */
    if (n->sweep.phase == SWEEP_DUMPS)
        budget = read_dump(n, budget);
    if (n->sweep.phase == SWEEP_LOOKS)
        look(n, budget);
    loop_timer_start(n->loop, &n->sweep.timer, next_tick(n));
}

static uint32_t few_entries(void)
{
    unsigned long buckets = 262144;
    FILE *f = fopen("/proc/sys/net/netfilter/nf_conntrack_buckets", "re");

    if (f != NULL) {
        if (fscanf(f, "%lu", &buckets) != 1)
            buckets = 262144;
        fclose(f);
    }
    return (uint32_t)(buckets / BUCKETS_PER_NAME);
}

int nat_watch_init(struct nat *n)
{
    int rc = ct_filter_events(netlink_fd(&n->events), n->house.mark, n->house.mask);

    n->sweep.few = few_entries();
    wheel_timer_init(&n->sweep.timer, on_sweep);
    hot_init(&n->events_hot, on_events);
    if (rc == 0)
        rc = netlink_join(&n->events, NFNLGRP_CONNTRACK_UPDATE);
    if (rc == 0)
        rc = netlink_join(&n->events, NFNLGRP_CONNTRACK_DESTROY);
    if (rc == 0)
        rc = hot_add(n->loop, &n->events_hot, netlink_fd(&n->events), EPOLLIN);
    return rc;
}

void nat_watch_fini(struct nat *n)
{
    loop_timer_stop(n->loop, &n->sweep.timer);
    hot_remove(n->loop, &n->events_hot);
}
