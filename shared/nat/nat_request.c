#include "shared/nat/nat_impl.h"

#include <errno.h>

void nat_name(const struct nat_entry *e, struct ct_name *ret)
{
    *ret = (struct ct_name){.source = e->source, .dest = e->bound, .ptcl = e->ptcl};
}

struct answers {
    uint32_t first; /* number of the first request */
    size_t count;
    int *results;
    struct ct_state *states;
};

static void on_answer(const struct nlmsghdr *m, void *arg)
{
    struct answers *a = arg;
    uint32_t which = m->nlmsg_seq - a->first;
    struct ct_state s;
    int rc;

    if (which >= a->count)
        return;
    if (netlink_verdict(m, &rc)) {
        a->results[which] = rc;
    } else if (a->states != NULL && ct_decode(m, &s)) {
        a->results[which] = 0;
        a->states[which] = s;
    }
}

static void receive_all(struct nat *n, void (*fn)(const struct nlmsghdr *m, void *arg), void *arg)
{
    ssize_t got;

    /* -ENOBUFS: what was lost stays unanswered, and is asked for again by whoever cares. */
    while ((got = netlink_receive(&n->tracker, n->receive, sizeof(n->receive))) != 0) {
        if (got > 0)
            netlink_each(n->receive, (size_t)got, fn, arg);
        else if (got != -ENOBUFS)
            break;
    }
}

void nat_request(struct nat *n, const struct ct_name *names, size_t count, int *ret_results,
                 struct ct_state *ret_states)
{
    struct answers a = {.count = count, .results = ret_results, .states = ret_states};
    struct nl_buf b;

    nl_init(&b, n->send, sizeof(n->send));
    a.first = n->tracker.seq + 1;
    for (size_t i = 0; i < count; i++) {
        ret_results[i] = -EAGAIN;
        if (ret_states == NULL)
            ct_put_delete(&b, &n->tracker, &names[i]);
        else
            ct_put_get(&b, &n->tracker, &names[i]);
    }
    if (count != 0 && netlink_send(&n->tracker, &b) == 0)
        receive_all(n, on_answer, &a);
}

struct purge {
    const struct addr *bound;
    uint8_t ptcl;
    struct ct_name names[REQUESTS_MAX];
    size_t count;
};

static void on_purged(const struct nlmsghdr *m, void *arg)
{
    struct purge *p = arg;
    struct ct_state s;

    if (p->count < REQUESTS_MAX && ct_decode(m, &s) && s.name.ptcl == p->ptcl &&
        addr_equal(&s.name.dest, p->bound))
        p->names[p->count++] = s.name;
}

/* Until a dump finds none: what did not fit into one list is in the next. */
void nat_purge(struct nat *n, uint8_t ptcl, const struct addr *bound)
{
    struct purge p = {.bound = bound, .ptcl = ptcl};
    int results[REQUESTS_MAX];
    struct nl_buf b;

    do {
        p.count = 0;
        nl_init(&b, n->send, sizeof(n->send));
        ct_put_dump_port(&b, &n->tracker, ptcl, bound);
        if (netlink_send(&n->tracker, &b) != 0)
            return;
        receive_all(n, on_purged, &p);
        nat_request(n, p.names, p.count, results, NULL);
    } while (p.count == REQUESTS_MAX);
}

static void on_flushed(const struct nlmsghdr *m, void *arg)
{
    int *rc = arg;

    netlink_verdict(m, rc);
}

int nat_purge_all(struct nat *n)
{
    struct nl_buf b;
    int rc;

    nl_init(&b, n->send, sizeof(n->send));
    ct_put_flush(&b, &n->tracker, n->house.mark, n->house.mask);
    rc = netlink_send(&n->tracker, &b);
    if (rc == 0) {
        rc = -EAGAIN;
        receive_all(n, on_flushed, &rc);
    }
    return rc;
}
