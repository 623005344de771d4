/* What the guard table is told: who is held, whose lease runs. */
#include "shared/nat/nat_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/nat/nft_rule.h"

struct contents {
    struct nat *n;
    struct nl_buf *b;
};

static void put_triple(struct nat_triple *t, void *arg)
{
    struct contents *r = arg;

    house_put_held(&r->n->house, r->b, &r->n->rules, true, t->ptcl, &t->bound);
}

static void purge_triple(struct nat_triple *t, void *arg)
{
    nat_purge(arg, t->ptcl, &t->bound);
}

/* Our set or table was not there: makes the guard what it ought to be, in one transaction (which
 * needs more room than other ones). 0 or -errno. */
static int rebuild(struct nat *n)
{
    size_t size = sizeof(n->send) + (size_t)n->held.count * 160 + (size_t)nat_tags(n) * 512;
    uint8_t *room = malloc(size);
    struct nl_buf b;
    struct contents r = {.n = n, .b = &b};
    uint64_t now = loop_now(n->loop);

    if (room == NULL)
        return -ENOMEM;
    nl_init(&b, room, size);
    nft_batch_begin(&b, &n->rules);
    house_put_guard(&n->house, &b, &n->rules);
    nat_held_each(&n->held, put_triple, &r);
    for (uint32_t tag = 1; tag <= nat_tags(n); tag++) {
        if (n->leases[tag] > now)
            house_put_lease(&n->house, &b, &n->rules, (uint16_t)tag,
                            (uint32_t)(n->leases[tag] - now));
    }
    int rc = nat_transact(n, &b, NULL);
    free(room);
    if (rc != 0) {
        nat_trouble(n, NAT_GUARD_FAILED, strerror(-rc));
        return rc;
    }
    n->stats.guard_rebuilt++;
    nat_held_each(&n->held, purge_triple, n);
    nat_trouble(n, NAT_GUARD_LOST, "somebody has flushed or deleted our nftables guard table");
    return 0;
}

static int transact_held(struct nat *n, bool hold, uint8_t ptcl, const struct addr *bound)
{
    struct nl_buf b = nat_begin(n);

    house_put_held(&n->house, &b, &n->rules, hold, ptcl, bound);
    return nat_transact(n, &b, NULL);
}

enum nat_result nat_hold(struct nat *n, uint8_t ptcl, const struct addr *bound)
{
    struct nat_triple *t = nat_held_find(&n->held, ptcl, bound);

    if (t != NULL) {
        t->holds++;
        return NAT_OK;
    }
    if (!nat_offers(n, ptcl) || addr_is_any(bound) || bound->port < n->config.ports.first ||
        bound->port > n->config.ports.last)
        return NAT_BAD;
    if (n->held.count >= NAT_HELD_MAX)
        return NAT_FULL;
    t = nat_held_insert(&n->held, ptcl, bound);
    if (t == NULL)
        return NAT_NO_MEMORY;
    int rc = transact_held(n, true, ptcl, bound);
    if (rc == -ENOENT)
        rc = rebuild(n);
    if (rc != 0) {
        nat_held_remove(&n->held, t);
        return nat_result_of(rc);
    }
    t->holds = 1;
    nat_purge(n, ptcl, bound);
    return NAT_OK;
}

void nat_unhold(struct nat *n, uint8_t ptcl, const struct addr *bound)
{
    struct nat_triple *t = nat_held_find(&n->held, ptcl, bound);

    if (t == NULL || --t->holds > 0)
        return;
    nat_held_remove(&n->held, t);
    if (transact_held(n, false, ptcl, bound) == -ENOENT)
        rebuild(n);
}

static int transact_lease(struct nat *n, bool new_tag, uint16_t tag, uint32_t ms)
{
    struct nl_buf b = nat_begin(n);

    if (new_tag)
        house_put_tag(&n->house, &b, &n->rules, tag);
    house_put_lease(&n->house, &b, &n->rules, tag, ms);
    return nat_transact(n, &b, NULL);
}

enum nat_result nat_lease(struct nat *n, uint16_t tag, uint32_t ms)
{
    if (tag == 0 || tag > nat_tags(n))
        return NAT_BAD;
    int rc = transact_lease(n, n->leases[tag] == 0, tag, ms);
    if (rc == -ENOENT && rebuild(n) == 0)
        rc = transact_lease(n, n->leases[tag] == 0, tag, ms);
    /* Never 0 again: its chain is there. */
    if (rc == 0)
        n->leases[tag] = ms == 0 ? 1 : loop_now(n->loop) + ms;
    return nat_result_of(rc);
}
