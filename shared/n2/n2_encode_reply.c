/* Structs -> octets: replies. */
#include "shared/n2/n2_encode_impl.h"

#include <stdlib.h>

/* The plain enums are the wire's. */
_Static_assert((int)N2_BAD == N2__V1__REFUSAL_CODE__REFUSAL_BAD, "refusal codes");
_Static_assert((int)N2_CAUSE_TTL_EXPIRED == N2__V1__CAUSE__CAUSE_TTL_EXPIRED, "causes");
_Static_assert((int)N2_END_UNUSED == N2__V1__END__END_UNUSED, "ends");
_Static_assert((int)N2_EVENT_ENDED == N2__V1__EVENT_TYPE__EVENT_ENDED, "event types");
_Static_assert((int)N2_HELD_ATTACHED == N2__V1__HELD_STATE__HELD_ATTACHED, "held states");

static N2__V1__Counters *counters(const struct n2_counters *c, N2__V1__Counters *room)
{
    n2__v1__counters__init(room);
    room->octets_up = c->octets_up;
    room->octets_down = c->octets_down;
    room->duration_ms = c->duration_ms;
    room->datagrams_up = c->datagrams_up;
    room->datagrams_down = c->datagrams_down;
    room->dropped = c->dropped;
    return room;
}

static N2__V1__Refusal *refusal(const struct n2_refusal *r, N2__V1__Refusal *room)
{
    n2__v1__refusal__init(room);
    room->code = (N2__V1__RefusalCode)r->code;
    room->cause = (N2__V1__Cause)r->cause;
    room->text = enc_text(r->text);
    return room;
}

void n2_put_reply_head(struct buf *b, uint64_t relay_epoch, const struct n2_refusal *refused)
{
    N2__V1__Reply m = N2__V1__REPLY__INIT;
    N2__V1__Refusal r;

    m.version = N2_VERSION;
    m.relay_epoch = relay_epoch;
    if (refused != NULL && refused->code != N2_REFUSAL_NONE)
        m.refused = refusal(refused, &r);
    enc_pack(b, &m.base);
}

static void put_one_answer(struct buf *b, N2__V1__Answer *a)
{
    N2__V1__Reply m = N2__V1__REPLY__INIT;

    m.n_answers = 1;
    m.answers = &a;
    enc_pack(b, &m.base);
}

static void put_hello_answer(struct buf *b, N2__V1__Answer *a, const struct n2_hello_answer *h)
{
    N2__V1__HelloAnswer m = N2__V1__HELLO_ANSWER__INIT;
    N2__V1__Capacity capacity = N2__V1__CAPACITY__INIT;
    N2__V1__Kind kinds[N2_KINDS];
    struct enc_endpoints advertise, protect;

    enc_endpoints(h->advertise, h->advertise_count, &advertise);
    enc_endpoints(h->protect, h->protect_count, &protect);
    capacity.associations = h->capacity;
    capacity.quota = h->quota;
    m.relay_id = enc_text(h->relay_id);
    m.software = enc_text(h->software);
    m.n_features = h->feature_count;
    m.features = (char **)(uintptr_t)h->features;
    for (size_t i = 0; i < h->kind_count && i < N2_KINDS; i++)
        kinds[m.n_kinds++] = (N2__V1__Kind)h->kinds[i];
    m.kinds = kinds;
    m.n_ptcls = h->ptcl_count;
    m.ptcls = (uint32_t *)(uintptr_t)h->ptcls;
    m.n_engines = h->engine_count;
    m.engines = (char **)(uintptr_t)h->engines;
    m.n_families = h->family_count;
    m.families = (uint32_t *)(uintptr_t)h->families;
    m.n_advertise = advertise.n;
    m.advertise = advertise.ptrs;
    m.capacity = &capacity;
    m.lease_ms = h->lease_ms;
    m.legs = enc_text(h->legs);
    m.n_protect = protect.n;
    m.protect = protect.ptrs;
    a->what_case = N2__V1__ANSWER__WHAT_HELLO;
    a->hello = &m;
    put_one_answer(b, a);
}

static void open_answer(const struct n2_open_answer *o, N2__V1__OpenAnswer *m,
                        N2__V1__Endpoint *bound, N2__V1__Endpoint *peer)
{
    n2__v1__open_answer__init(m);
    if (!o->opened)
        return;
    m->state = N2__V1__OPEN_STATE__OPEN_OPENED;
    m->bound = enc_endpoint(&o->bound, bound);
    m->peer = enc_endpoint(&o->peer, peer);
    m->engine = enc_text(o->engine);
    m->ticket = enc_octets(o->ticket, N2_TICKET_LEN);
}

static void put_event(struct buf *watch, const struct n2_event *e)
{
    N2__V1__WatchAnswer part = N2__V1__WATCH_ANSWER__INIT;
    N2__V1__Event m = N2__V1__EVENT__INIT, *ptr = &m;
    N2__V1__OpenAnswer opened;
    N2__V1__Endpoint bound, reached, peer;
    N2__V1__Refusal failed;
    N2__V1__Counters count;

    m.seq = e->seq;
    m.type = (N2__V1__EventType)e->type;
    m.association = enc_octets(e->association, ID_LEN);
    if (e->type == N2_EVENT_OPENED) {
        open_answer(&e->opened, &opened, &bound, &reached);
        m.opened = &opened;
    }
    if (e->type == N2_EVENT_FAILED)
        m.failed = refusal(&e->failed, &failed);
    if (e->type == N2_EVENT_PEER || e->type == N2_EVENT_LOCKED || e->type == N2_EVENT_ENDED)
        m.peer = enc_endpoint(&e->peer, &peer);
    if (e->type == N2_EVENT_ENDED) {
        m.end = (N2__V1__End)e->end;
        m.counters = counters(&e->counters, &count);
    }
    part.n_events = 1;
    part.events = &ptr;
    enc_pack(watch, &part.base);
}

/* A field of type message or bytes: tag, length, then the octets of inner. */
static void put_wrapped(struct buf *b, unsigned field, const struct buf *inner)
{
    uint8_t head[12] = {(uint8_t)(field << 3 | 2)};
    size_t n = 1, left = inner->len;

    do {
        head[n++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        left >>= 7;
    } while (left > 0);
    b->failed |= inner->failed;
    buf_append(b, head, n);
    buf_append(b, inner->data, inner->len);
}

/* Reply.answers and Answer.watch, see n2.proto. */
enum { FIELD_REPLY_ANSWERS = 3, FIELD_ANSWER_WATCH = N2__V1__ANSWER__WHAT_WATCH };

/* The long one: its events are packed one by one instead of being built as a whole first. */
static void put_watch_answer(struct buf *b, N2__V1__Answer *a, const struct n2_watch_answer *w)
{
    N2__V1__WatchAnswer m = N2__V1__WATCH_ANSWER__INIT;
    N2__V1__Load load = N2__V1__LOAD__INIT;
    struct buf watch, answer;

    buf_init(&watch, b->limit);
    buf_init(&answer, b->limit);
    load.associations = w->load.associations;
    load.capacity = w->load.capacity;
    load.descriptors_free = w->load.descriptors_free;
    load.ports_free = w->load.ports_free;
    m.gap = w->gap;
    m.state = w->draining ? N2__V1__RELAY_STATE__RELAY_DRAINING : N2__V1__RELAY_STATE__RELAY_READY;
    m.load = &load;
    m.last_seq = w->last_seq;
    for (size_t i = 0; i < w->event_count; i++)
        put_event(&watch, &w->events[i]);
    enc_pack(&watch, &m.base);

    enc_pack(&answer, &a->base);
    put_wrapped(&answer, FIELD_ANSWER_WATCH, &watch);
    put_wrapped(b, FIELD_REPLY_ANSWERS, &answer);
    buf_fini(&watch);
    buf_fini(&answer);
}

static void put_inventory_answer(struct buf *b, N2__V1__Answer *a,
                                 const struct n2_inventory_answer *inv)
{
    N2__V1__InventoryAnswer m = N2__V1__INVENTORY_ANSWER__INIT;
    size_t n = inv->held_count;
    N2__V1__Held *held = calloc(n + 1, sizeof(*held));
    N2__V1__Held **ptrs = calloc(n + 1, sizeof(*ptrs));
    N2__V1__Counters *count = calloc(n + 1, sizeof(*count));

    b->failed |= held == NULL || ptrs == NULL || count == NULL;
    if (!b->failed) {
        for (size_t i = 0; i < n; i++) {
            n2__v1__held__init(&held[i]);
            held[i].association = enc_octets(inv->held[i].association, ID_LEN);
            held[i].kind = (N2__V1__Kind)inv->held[i].kind;
            held[i].state = (N2__V1__HeldState)inv->held[i].state;
            held[i].server_epoch = inv->held[i].server_epoch;
            held[i].counters = counters(&inv->held[i].counters, &count[i]);
            ptrs[i] = &held[i];
        }
        m.n_held = n;
        m.held = ptrs;
        m.more = inv->more;
        m.as_of_seq = inv->as_of_seq;
        a->what_case = N2__V1__ANSWER__WHAT_INVENTORY;
        a->inventory = &m;
        put_one_answer(b, a);
    }
    free(held);
    free(ptrs);
    free(count);
}

void n2_put_answer(struct buf *b, const struct n2_answer *answer)
{
    N2__V1__Answer a = N2__V1__ANSWER__INIT;
    N2__V1__Refusal refused;
    N2__V1__OpenAnswer open;
    N2__V1__Endpoint bound, peer;
    N2__V1__UpdateAnswer update = N2__V1__UPDATE_ANSWER__INIT;
    N2__V1__ReleaseAnswer release = N2__V1__RELEASE_ANSWER__INIT;
    N2__V1__Counters count;

    a.id = answer->id;
    switch (answer->what) {
    case N2_HELLO:
        put_hello_answer(b, &a, &answer->u.hello);
        return;
    case N2_WATCH:
        put_watch_answer(b, &a, &answer->u.watch);
        return;
    case N2_INVENTORY:
        put_inventory_answer(b, &a, &answer->u.inventory);
        return;
    case N2_OPEN:
        open_answer(&answer->u.open, &open, &bound, &peer);
        a.what_case = N2__V1__ANSWER__WHAT_OPEN;
        a.open = &open;
        break;
    case N2_UPDATE:
        update.revision = answer->u.update_revision;
        a.what_case = N2__V1__ANSWER__WHAT_UPDATE;
        a.update = &update;
        break;
    case N2_RELEASE:
        if (answer->u.release.known)
            release.counters = counters(&answer->u.release.counters, &count);
        release.client = enc_endpoint(&answer->u.release.client, &peer);
        a.what_case = N2__V1__ANSWER__WHAT_RELEASE;
        a.release = &release;
        break;
    case N2_NONE:
        a.what_case = N2__V1__ANSWER__WHAT_REFUSED;
        a.refused = refusal(&answer->refused, &refused);
        break;
    }
    put_one_answer(b, &a);
}
