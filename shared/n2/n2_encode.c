/* Structs -> octets: requests and legs. */
#include "shared/n2/n2_encode_impl.h"

#include <stdlib.h>
#include <string.h>

#include "shared/n2/n2_rules_codec.h"

/* The plain enums are the wire's. */
_Static_assert((int)N2_TRANSPARENT == N2__V1__KIND__KIND_TRANSPARENT, "kinds");
_Static_assert((int)N2_LEG_TICKET == N2__V1__LEG_KIND__LEG_TICKET, "leg kinds");

/* ---- pieces ---- */

void enc_pack(struct buf *b, const ProtobufCMessage *m)
{
    size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *at = buf_reserve(b, len);

    if (at != NULL)
        b->len += protobuf_c_message_pack(m, at);
}

char *enc_text(const char *s)
{
    return s != NULL ? (char *)(uintptr_t)s : (char *)protobuf_c_empty_string;
}

ProtobufCBinaryData enc_octets(const void *p, size_t n)
{
    return (ProtobufCBinaryData){.len = p != NULL ? n : 0, .data = (uint8_t *)(uintptr_t)p};
}

N2__V1__Endpoint *enc_endpoint(const struct addr *a, N2__V1__Endpoint *room)
{
    if (a->family == ADDR_NONE && a->port == 0)
        return NULL;
    n2__v1__endpoint__init(room);
    room->ip = enc_octets(a->ip, addr_ip_len(a->family));
    room->port = a->port;
    return room;
}

void enc_endpoints(const struct addr *a, size_t n, struct enc_endpoints *ret)
{
    ret->n = n < ENC_ENDPOINTS_MAX ? n : ENC_ENDPOINTS_MAX;
    for (size_t i = 0; i < ret->n; i++) {
        n2__v1__endpoint__init(&ret->items[i]);
        ret->items[i].ip = enc_octets(a[i].ip, addr_ip_len(a[i].family));
        ret->items[i].port = a[i].port;
        ret->ptrs[i] = &ret->items[i];
    }
}

/* ---- requests ---- */

static N2__V1__Limits *limits(const struct n2_limits *l, N2__V1__Limits *room)
{
    n2__v1__limits__init(room);
    room->connect_ms = l->connect_ms;
    room->idle_ms = l->idle_ms;
    room->half_closed_ms = l->half_closed_ms;
    room->octets = l->octets;
    return room;
}

void n2_put_request_head(struct buf *b, const struct n2_head *head)
{
    N2__V1__Request m = N2__V1__REQUEST__INIT;

    m.version = head->version;
    m.server_id = enc_text(head->server_id);
    m.server_epoch = head->server_epoch;
    m.relay_epoch = head->relay_epoch;
    m.acked = head->acked;
    enc_pack(b, &m.base);
}

static void put_one_call(struct buf *b, N2__V1__Call *c)
{
    N2__V1__Request m = N2__V1__REQUEST__INIT;

    m.n_calls = 1;
    m.calls = &c;
    enc_pack(b, &m.base);
}

static void put_hello(struct buf *b, N2__V1__Call *c, const struct n2_hello *h)
{
    N2__V1__Hello m = N2__V1__HELLO__INIT;
    struct enc_endpoints protect;

    enc_endpoints(h->protect, h->protect_count, &protect);
    m.software = enc_text(h->software);
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
    struct enc_endpoints dests;
    N2__V1__Audit audit[N2_AUDIT_MAX], *audits[N2_AUDIT_MAX];

    enc_endpoints(o->destinations, o->destination_count, &dests);
    m.association = enc_octets(o->association, ID_LEN);
    m.kind = (N2__V1__Kind)o->kind;
    m.ptcl = o->ptcl;
    m.client = enc_endpoint(&o->client, &client);
    m.client_local = enc_endpoint(&o->client_local, &client_local);
    m.n_destinations = dests.n;
    m.destinations = dests.ptrs;
    m.bind = enc_endpoint(&o->bind, &bind);
    m.limits = limits(&o->limits, &lim);
    for (size_t i = 0; i < o->audit_count && i < N2_AUDIT_MAX; i++) {
        n2__v1__audit__init(&audit[i]);
        audit[i].key = enc_text(o->audit[i].key);
        audit[i].value = enc_text(o->audit[i].value);
        audits[i] = &audit[i];
        m.n_audit = i + 1;
    }
    m.audit = audits;
    m.owner = enc_text(o->owner);
    m.rules = n2_rules_put(o->rules, &b->failed);
    c->what_case = N2__V1__CALL__WHAT_OPEN;
    c->open = &m;
    put_one_call(b, c);
    free(m.rules);
}

static void put_update(struct buf *b, N2__V1__Call *c, const struct n2_update *u)
{
    N2__V1__Update m = N2__V1__UPDATE__INIT;
    N2__V1__Limits lim;

    m.association = enc_octets(u->association, ID_LEN);
    m.revision = u->revision;
    m.limits = limits(&u->limits, &lim);
    m.rules = n2_rules_put(u->rules, &b->failed);
    c->what_case = N2__V1__CALL__WHAT_UPDATE;
    c->update = &m;
    put_one_call(b, c);
    free(m.rules);
}

static void put_release(struct buf *b, N2__V1__Call *c, const uint8_t *id)
{
    N2__V1__Release m = N2__V1__RELEASE__INIT;

    m.association = enc_octets(id, ID_LEN);
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

    m.after = enc_octets(i->after, ID_LEN);
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

/* ---- legs ---- */

void n2_put_legs_head(struct buf *b)
{
    N2__V1__Legs m = N2__V1__LEGS__INIT;

    m.version = N2_VERSION;
    enc_pack(b, &m.base);
}

void n2_put_attach(struct buf *b, const struct n2_attach *attach)
{
    N2__V1__Legs m = N2__V1__LEGS__INIT;
    N2__V1__Attach a = N2__V1__ATTACH__INIT, *ptr = &a;

    a.association = enc_octets(attach->association, ID_LEN);
    a.ticket = enc_octets(attach->ticket, N2_TICKET_LEN);
    a.kind = (N2__V1__LegKind)attach->kind;
    a.role = (N2__V1__LegRole)attach->role;
    a.to_client = enc_octets(attach->to_client, attach->to_client_len);
    a.to_target = enc_octets(attach->to_target, attach->to_target_len);
    m.n_attaches = 1;
    m.attaches = &ptr;
    enc_pack(b, &m.base);
}
