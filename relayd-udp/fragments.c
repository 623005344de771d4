#include "relayd-udp/fragments.h"

#include <stdlib.h>

struct fragments {
    struct list node; /* in relay.fragmented */
    struct association *association;
    struct reassembly reassembly;
};

void fragments_abandon(struct association *a)
{
    struct fragments *f = a->fragments;
    unsigned lost;

    if (f == NULL)
        return;
    lost = reassembly_abandon(&f->reassembly, &a->relay->fragments);
    if (lost > 0)
        association_drop(a, DROP_FRAGMENT, lost);
    list_remove(&f->node);
    a->fragments = NULL;
    free(f);
}

static bool begin(struct association *a)
{
    struct fragments *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return false;
    f->association = a;
    list_init(&f->node);
    list_append(&a->relay->fragmented, &f->node);
    a->fragments = f;
    return true;
}

void fragments_take(struct association *a, uint8_t frag, const struct datagram *d)
{
    struct udp_relay *r = a->relay;
    struct datagram whole = *d;
    unsigned lost = 0;

    r->stats.fragments++;
    if (!r->config.fragments) {
        association_drop(a, DROP_FRAGMENT, 1);
        return;
    }
    if (a->fragments == NULL && !begin(a)) {
        association_drop(a, DROP_FRAGMENT_MEMORY, 1);
        return;
    }
    enum reassembly_result got =
        reassembly_add(&a->fragments->reassembly, &r->fragments, frag, d->header, d->header_len,
                       d->payload, d->len, udp_now(r), &whole.payload, &whole.len, &lost);
    if (lost > 0)
        association_drop(a, got == REASSEMBLY_FULL ? DROP_FRAGMENT_MEMORY : DROP_FRAGMENT, lost);
    if (got == REASSEMBLY_WHOLE) {
        r->stats.reassembled++;
        datagram_take(a, &whole);
        if (a->sm.state == ASSOC_GONE)
            return;
        engine_flush(r->engine); /* before its octets go */
    }
    if (got == REASSEMBLY_WHOLE || a->fragments->reassembly.queue == NULL)
        fragments_abandon(a);
}

void fragments_expire(struct udp_relay *r)
{
    LIST_FOREACH_SAFE (node, &r->fragmented) {
        struct fragments *f = LIST_ENTRY(node, struct fragments, node);
        if (reassembly_expired(&f->reassembly, udp_now(r)))
            fragments_abandon(f->association);
    }
}
