/* Structs -> octets. Every encoder builds the generated message on the stack, field by field in the
 * order of n2.proto, and packs it behind what the buffer already holds. */
#include "shared/n2/n2_codec.h"

#include <stdlib.h>
#include <string.h>

#include "proto/n2.pb-c.h"

/* The plain enums are the wire's. */
_Static_assert((int)N2_BAD == N2__V1__REFUSAL_CODE__REFUSAL_BAD, "refusal codes");
_Static_assert((int)N2_CAUSE_TTL_EXPIRED == N2__V1__CAUSE__CAUSE_TTL_EXPIRED, "causes");
_Static_assert((int)N2_TRANSPARENT == N2__V1__KIND__KIND_TRANSPARENT, "kinds");
_Static_assert((int)N2_END_HALF_CLOSED_IDLE == N2__V1__END__END_HALF_CLOSED_IDLE, "ends");
_Static_assert((int)N2_EVENT_ENDED == N2__V1__EVENT_TYPE__EVENT_ENDED, "event types");
_Static_assert((int)N2_HELD_ATTACHED == N2__V1__HELD_STATE__HELD_ATTACHED, "held states");
_Static_assert((int)N2_LEG_TICKET == N2__V1__LEG_KIND__LEG_TICKET, "leg kinds");

enum { LIST_MAX = N2_DESTINATIONS_MAX };

struct endpoints {
    N2__V1__Endpoint items[LIST_MAX];
    N2__V1__Endpoint *ptrs[LIST_MAX];
    size_t n;
};

static void pack(struct buf *b, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *at = buf_reserve(b, len);

    if (at != NULL)
        b->len += protobuf_c_message_pack(m, at);
}

/* proto3 has no const; the packer does not write. */
static char *text(const char *s)
{
    return s != NULL ? (char *)(uintptr_t)s : (char *)protobuf_c_empty_string;
}

static ProtobufCBinaryData octets(const void *p, size_t n)
{
    return (ProtobufCBinaryData){.len = p != NULL ? n : 0, .data = (uint8_t *)(uintptr_t)p};
}

/* NULL for an address without a family, which leaves the field out. */
static N2__V1__Endpoint *endpoint(const struct addr *a, N2__V1__Endpoint *room)
{
    if (a->family == ADDR_NONE && a->port == 0)
        return NULL;
    n2__v1__endpoint__init(room);
    room->ip = octets(a->ip, addr_ip_len(a->family));
    room->port = a->port;
    return room;
}

static void endpoints(const struct addr *a, size_t n, struct endpoints *ret)
{
    ret->n = n < LIST_MAX ? n : LIST_MAX;
    for (size_t i = 0; i < ret->n; i++) {
        n2__v1__endpoint__init(&ret->items[i]);
        ret->items[i].ip = octets(a[i].ip, addr_ip_len(a[i].family));
        ret->items[i].port = a[i].port;
        ret->ptrs[i] = &ret->items[i];
    }
}

static N2__V1__Limits *limits(const struct n2_limits *l, N2__V1__Limits *room)
{
    n2__v1__limits__init(room);
    room->connect_ms = l->connect_ms;
    room->idle_ms = l->idle_ms;
    room->half_closed_ms = l->half_closed_ms;
    room->octets = l->octets;
    return room;
}

static N2__V1__Counters *counters(const struct n2_counters *c, N2__V1__Counters *room)
{
    n2__v1__counters__init(room);
    room->octets_up = c->octets_up;
    room->octets_down = c->octets_down;
    room->duration_ms = c->duration_ms;
    return room;
}

static N2__V1__Refusal *refusal(const struct n2_refusal *r, N2__V1__Refusal *room)
{
    n2__v1__refusal__init(room);
    room->code = (N2__V1__RefusalCode)r->code;
    room->cause = (N2__V1__Cause)r->cause;
    room->text = text(r->text);
    return room;
}

/* ---- requests ---- */

void n2_put_request_head(struct buf *b, const struct n2_head *head)
{
    N2__V1__Request m = N2__V1__REQUEST__INIT;

    m.version = head->version;
    m.server_id = text(head->server_id);
    m.server_epoch = head->server_epoch;
    m.relay_epoch = head->relay_epoch;
    m.acked = head->acked;
    pack(b, &m.base);
}

static void put_one_call(struct buf *b, N2__V1__Call *c)
{
    N2__V1__Request m = N2__V1__REQUEST__INIT;

    m.n_calls = 1;
    m.calls = &c;
    pack(b, &m.base);
}

static void put_hello(struct buf *b, N2__V1__Call *c, const struct n2_hello *h)
{
    N2__V1__Hello m = N2__V1__HELLO__INIT;
    struct endpoints protect;

    endpoints(h->protect, h->protect_count, &protect);
    m.software = text(h->software);
    m.n_features = h->feature_count;
    m.features = (char **)(uintptr_t)h->features;
    m.n_protect = protect.n;
    m.protect = protect.ptrs;
    c->what_case = N2__V1__CALL__WHAT_HELLO;
    c->hello = &m;
    put_one_call(b, c);
}

static void put_open(struct buf *b, N2__V1__Call *c, const struct n2_open *o)
{
    N2__V1__Open m = N2__V1__OPEN__INIT;
    N2__V1__Endpoint client, client_local, bind;
    N2__V1__Limits lim;
    struct endpoints dests;
    N2__V1__Audit audit[N2_AUDIT_MAX], *audits[N2_AUDIT_MAX];

    endpoints(o->destinations, o->destination_count, &dests);
    m.association = octets(o->association, ID_LEN);
    m.kind = (N2__V1__Kind)o->kind;
    m.ptcl = o->ptcl;
    m.client = endpoint(&o->client, &client);
    m.client_local = endpoint(&o->client_local, &client_local);
    m.n_destinations = dests.n;
    m.destinations = dests.ptrs;
    m.bind = endpoint(&o->bind, &bind);
    m.limits = limits(&o->limits, &lim);
    for (size_t i = 0; i < o->audit_count && i < N2_AUDIT_MAX; i++) {
        n2__v1__audit__init(&audit[i]);
        audit[i].key = text(o->audit[i].key);
        audit[i].value = text(o->audit[i].value);
        audits[i] = &audit[i];
        m.n_audit = i + 1;
    }
    m.audit = audits;
    m.owner = text(o->owner);
    c->what_case = N2__V1__CALL__WHAT_OPEN;
    c->open = &m;
    put_one_call(b, c);
}

static void put_update(struct buf *b, N2__V1__Call *c, const struct n2_update *u)
{
    N2__V1__Update m = N2__V1__UPDATE__INIT;
    N2__V1__Limits lim;

    m.association = octets(u->association, ID_LEN);
    m.revision = u->revision;
    m.limits = limits(&u->limits, &lim);
    c->what_case = N2__V1__CALL__WHAT_UPDATE;
    c->update = &m;
    put_one_call(b, c);
}

static void put_release(struct buf *b, N2__V1__Call *c, const uint8_t *id)
{
    N2__V1__Release m = N2__V1__RELEASE__INIT;

    m.association = octets(id, ID_LEN);
    c->what_case = N2__V1__CALL__WHAT_RELEASE;
    c->release = &m;
    put_one_call(b, c);
}

static void put_watch(struct buf *b, N2__V1__Call *c, const struct n2_watch *w)
{
    N2__V1__Watch m = N2__V1__WATCH__INIT;

    m.after_seq = w->after_seq;
    m.wait_ms = w->wait_ms;
    c->what_case = N2__V1__CALL__WHAT_WATCH;
    c->watch = &m;
    put_one_call(b, c);
}

static void put_inventory(struct buf *b, N2__V1__Call *c, const struct n2_inventory *i)
{
    N2__V1__Inventory m = N2__V1__INVENTORY__INIT;

    m.after = octets(i->after, ID_LEN);
    m.limit = i->limit;
    c->what_case = N2__V1__CALL__WHAT_INVENTORY;
    c->inventory = &m;
    put_one_call(b, c);
}

void n2_put_call(struct buf *b, const struct n2_call *call)
{
    N2__V1__Call c = N2__V1__CALL__INIT;

    c.id = call->id;
    c.remaining_ms = call->remaining_ms;
    c.n_must_understand = call->must_count;
    c.must_understand = (char **)(uintptr_t)call->must_understand;
    switch (call->what) {
    case N2_HELLO:
        put_hello(b, &c, &call->u.hello);
        return;
    case N2_OPEN:
        put_open(b, &c, call->u.open);
        return;
    case N2_UPDATE:
        put_update(b, &c, &call->u.update);
        return;
    case N2_RELEASE:
        put_release(b, &c, call->u.release);
        return;
    case N2_WATCH:
        put_watch(b, &c, &call->u.watch);
        return;
    case N2_INVENTORY:
        put_inventory(b, &c, &call->u.inventory);
        return;
    case N2_NONE:
        break;
    }
    put_one_call(b, &c);
}

/* ---- replies ---- */

void n2_put_reply_head(struct buf *b, uint64_t relay_epoch, const struct n2_refusal *refused)
{
    N2__V1__Reply m = N2__V1__REPLY__INIT;
    N2__V1__Refusal r;

    m.version = N2_VERSION;
    m.relay_epoch = relay_epoch;
    if (refused != NULL && refused->code != N2_REFUSAL_NONE)
        m.refused = refusal(refused, &r);
    pack(b, &m.base);
}

static void put_one_answer(struct buf *b, N2__V1__Answer *a)
{
    N2__V1__Reply m = N2__V1__REPLY__INIT;

    m.n_answers = 1;
    m.answers = &a;
    pack(b, &m.base);
}

static void put_hello_answer(struct buf *b, N2__V1__Answer *a, const struct n2_hello_answer *h)
{
    N2__V1__HelloAnswer m = N2__V1__HELLO_ANSWER__INIT;
    N2__V1__Capacity capacity = N2__V1__CAPACITY__INIT;
    N2__V1__Kind kinds[N2_KINDS];
    struct endpoints advertise, protect;

    endpoints(h->advertise, h->advertise_count, &advertise);
    endpoints(h->protect, h->protect_count, &protect);
    capacity.associations = h->capacity;
    capacity.quota = h->quota;
    m.relay_id = text(h->relay_id);
    m.software = text(h->software);
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
    m.legs = text(h->legs);
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
    m->bound = endpoint(&o->bound, bound);
    m->peer = endpoint(&o->peer, peer);
    m->engine = text(o->engine);
    m->ticket = octets(o->ticket, N2_TICKET_LEN);
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
    m.association = octets(e->association, ID_LEN);
    if (e->type == N2_EVENT_OPENED) {
        open_answer(&e->opened, &opened, &bound, &reached);
        m.opened = &opened;
    }
    if (e->type == N2_EVENT_FAILED)
        m.failed = refusal(&e->failed, &failed);
    if (e->type == N2_EVENT_PEER || e->type == N2_EVENT_LOCKED)
        m.peer = endpoint(&e->peer, &peer);
    if (e->type == N2_EVENT_ENDED) {
        m.end = (N2__V1__End)e->end;
        m.counters = counters(&e->counters, &count);
    }
    part.n_events = 1;
    part.events = &ptr;
    pack(watch, &part.base);
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
    pack(&watch, &m.base);

    pack(&answer, &a->base);
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
            held[i].association = octets(inv->held[i].association, ID_LEN);
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

/* ---- legs ---- */

void n2_put_legs_head(struct buf *b)
{
    N2__V1__Legs m = N2__V1__LEGS__INIT;

    m.version = N2_VERSION;
    pack(b, &m.base);
}

void n2_put_attach(struct buf *b, const struct n2_attach *attach)
{
    N2__V1__Legs m = N2__V1__LEGS__INIT;
    N2__V1__Attach a = N2__V1__ATTACH__INIT, *ptr = &a;

    a.association = octets(attach->association, ID_LEN);
    a.ticket = octets(attach->ticket, N2_TICKET_LEN);
    a.kind = (N2__V1__LegKind)attach->kind;
    a.role = (N2__V1__LegRole)attach->role;
    a.to_client = octets(attach->to_client, attach->to_client_len);
    a.to_target = octets(attach->to_target, attach->to_target_len);
    m.n_attaches = 1;
    m.attaches = &ptr;
    pack(b, &m.base);
}
