/* Octets -> structs. The generated messages are unpacked into the arena and turned into ours there;
 * whatever is out of range is found here, so that nobody behind this file sees it. */
#include "shared/n2/n2_codec.h"

#include <string.h>

#include "proto/n2.pb-c.h"
#include "shared/n2/n2_rules_codec.h"

static void *alloc(void *arena, size_t n)
{
    return n2_arena_alloc(arena, n);
}

static void forget(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

static ProtobufCMessage *unpack(struct n2_arena *a, const ProtobufCMessageDescriptor *type,
                                const uint8_t *bytes, size_t len)
{
    ProtobufCAllocator allocator = {alloc, forget, a};

    return protobuf_c_message_unpack(type, &allocator, len, bytes);
}

/* ---- pieces ---- */

/* One spelling per address: whoever compares must not miss the mapped one. */
static struct addr unmapped(const uint8_t ip[16])
{
    const struct addr a = addr_ipv6(ip, 0);

    return addr_unmap(&a);
}

static bool get_endpoint(const N2__V1__Endpoint *e, struct addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (e == NULL)
        return true;
    if (e->port > UINT16_MAX)
        return false;
    if (e->ip.len == 4)
        *ret = addr_ipv4(e->ip.data, (uint16_t)e->port);
    else if (e->ip.len == 16)
        *ret = unmapped(e->ip.data);
    else if (e->ip.len != 0)
        return false;
    ret->port = (uint16_t)e->port;
    return true;
}

/* NULL when one of them is malformed, or without memory. */
static const struct addr *get_endpoints(struct n2_arena *a, N2__V1__Endpoint **e, size_t n)
{
    struct addr *list = n2_arena_alloc(a, (n + 1) * sizeof(*list));

    for (size_t i = 0; list != NULL && i < n; i++) {
        if (!get_endpoint(e[i], &list[i]))
            return NULL;
    }
    return list;
}

static const uint8_t *get_fixed(ProtobufCBinaryData b, size_t len)
{
    return b.len == len ? b.data : NULL;
}

static void get_limits(const N2__V1__Limits *l, struct n2_limits *ret)
{
    *ret = (struct n2_limits){0};
    if (l != NULL)
        *ret = (struct n2_limits){l->connect_ms, l->idle_ms, l->half_closed_ms, l->octets};
}

static void get_counters(const N2__V1__Counters *c, struct n2_counters *ret)
{
    *ret = (struct n2_counters){0};
    if (c != NULL)
        *ret = (struct n2_counters){c->octets_up,    c->octets_down,    c->duration_ms,
                                    c->datagrams_up, c->datagrams_down, c->dropped};
}

static void get_refusal(const N2__V1__Refusal *r, struct n2_refusal *ret)
{
    unsigned code = (unsigned)r->code, cause = (unsigned)r->cause;

    ret->code = code < N2_REFUSAL_CODES && code != 0 ? (enum n2_refusal_code)code : N2_BAD;
    ret->cause = cause < N2_CAUSES ? (enum n2_cause)cause : N2_CAUSE_GENERAL;
    ret->text = strlen(r->text) <= N2_TEXT_MAX ? r->text : "";
}

static bool is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n <= N2_NAME_MAX && s[n] == '\0';
}

static void invalid(struct n2_call *c, enum n2_refusal_code code, const char *why)
{
    c->invalid = code;
    c->invalid_text = why;
}

/* ---- calls ---- */

static void get_hello(struct n2_arena *a, const N2__V1__Hello *m, struct n2_call *ret)
{
    struct n2_hello *h = &ret->u.hello;

    h->software = m->software;
    h->features = (const char *const *)m->features;
    h->feature_count = m->n_features;
    h->protect = get_endpoints(a, m->protect, m->n_protect);
    h->protect_count = m->n_protect;
    if (h->protect == NULL || m->n_protect > N2_DESTINATIONS_MAX)
        invalid(ret, N2_BAD, "protect");
    if (strlen(m->software) > N2_TEXT_MAX)
        invalid(ret, N2_BAD, "software");
}

static bool get_audit(struct n2_arena *a, const N2__V1__Open *m, struct n2_open *o)
{
    struct n2_audit *list = n2_arena_alloc(a, (m->n_audit + 1) * sizeof(*list));
    size_t octets = 0;

    if (list == NULL || m->n_audit > N2_AUDIT_MAX)
        return false;
    for (size_t i = 0; i < m->n_audit; i++) {
        const char *key = m->audit[i]->key;
        size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");
        if (n == 0 || n > N2_NAME_MAX || key[n] != '\0')
            return false;
        octets += n + strlen(m->audit[i]->value);
        list[i] = (struct n2_audit){key, m->audit[i]->value};
    }
    o->audit = list;
    o->audit_count = m->n_audit;
    return octets <= N2_AUDIT_OCTETS;
}

static void get_open(struct n2_arena *a, const N2__V1__Open *m, struct n2_call *ret)
{
    struct n2_open *o = n2_arena_alloc(a, sizeof(*o));

    ret->u.open = o;
    if (o == NULL) {
        invalid(ret, N2_FULL, "memory");
        return;
    }
    memset(o, 0, sizeof(*o));
    o->association = get_fixed(m->association, ID_LEN);
    o->ptcl = m->ptcl;
    get_limits(m->limits, &o->limits);
    o->destinations = get_endpoints(a, m->destinations, m->n_destinations);
    o->destination_count = m->n_destinations;
    o->owner = m->owner;
    if ((unsigned)m->kind >= N2_KINDS || m->kind == 0)
        invalid(ret, N2_UNSUPPORTED, "kind");
    else
        o->kind = (enum n2_kind)m->kind;
    if (o->association == NULL)
        invalid(ret, N2_BAD, "association");
    if (o->destinations == NULL || m->n_destinations > N2_DESTINATIONS_MAX)
        invalid(ret, N2_BAD, "destinations");
    for (size_t i = 0; ret->invalid == N2_REFUSAL_NONE && i < o->destination_count; i++) {
        const struct addr *d = &o->destinations[i];
        bool exact = o->kind == N2_CONNECT || o->kind == N2_TRANSPARENT;
        if (exact && (d->family == ADDR_NONE || d->port == 0))
            invalid(ret, N2_BAD, "destination");
    }
    if (o->kind == N2_CONNECT && o->destination_count == 0)
        invalid(ret, N2_BAD, "no destination");
    if (!get_endpoint(m->client, &o->client) || !get_endpoint(m->client_local, &o->client_local) ||
        !get_endpoint(m->bind, &o->bind))
        invalid(ret, N2_BAD, "endpoint");
    if (!get_audit(a, m, o))
        invalid(ret, N2_BAD, "audit");
    if (strlen(m->owner) > DEST_NAME_MAX)
        invalid(ret, N2_BAD, "owner");
    if ((m->parent.len != 0 && m->parent.len != ID_LEN) || m->session.len > N2_SESSION_MAX)
        invalid(ret, N2_BAD, "parent or session");
    if (o->kind == N2_UDP && o->destination_count > 1)
        invalid(ret, N2_BAD, "destinations");
    if (o->kind == N2_TRANSPARENT && o->destination_count != 1)
        invalid(ret, N2_BAD, "destinations");
    if (m->rules != NULL && o->kind != N2_UDP)
        invalid(ret, N2_BAD, "rules without datagrams");
    else if (m->rules != NULL && (o->rules = n2_rules_get(a, m->rules)) == NULL)
        invalid(ret, N2_BAD, "rules");
}

static void get_call(struct n2_arena *a, const N2__V1__Call *m, struct n2_call *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->id = m->id;
    ret->remaining_ms = m->remaining_ms < N2_DEADLINE_MAX_MS ? m->remaining_ms : N2_DEADLINE_MAX_MS;
    ret->must_understand = (const char *const *)m->must_understand;
    ret->must_count = m->n_must_understand;
    switch (m->what_case) {
    case N2__V1__CALL__WHAT_HELLO:
        ret->what = N2_HELLO;
        get_hello(a, m->hello, ret);
        break;
    case N2__V1__CALL__WHAT_OPEN:
        ret->what = N2_OPEN;
        get_open(a, m->open, ret);
        break;
    case N2__V1__CALL__WHAT_UPDATE:
        ret->what = N2_UPDATE;
        ret->u.update.association = get_fixed(m->update->association, ID_LEN);
        ret->u.update.revision = m->update->revision;
        get_limits(m->update->limits, &ret->u.update.limits);
        if (ret->u.update.association == NULL)
            invalid(ret, N2_BAD, "association");
        if (m->update->rules != NULL &&
            (ret->u.update.rules = n2_rules_get(a, m->update->rules)) == NULL)
            invalid(ret, N2_BAD, "rules");
        break;
    case N2__V1__CALL__WHAT_RELEASE:
        ret->what = N2_RELEASE;
        ret->u.release = get_fixed(m->release->association, ID_LEN);
        if (ret->u.release == NULL)
            invalid(ret, N2_BAD, "association");
        break;
    case N2__V1__CALL__WHAT_WATCH:
        ret->what = N2_WATCH;
        ret->u.watch = (struct n2_watch){m->watch->after_seq, m->watch->wait_ms};
        break;
    case N2__V1__CALL__WHAT_INVENTORY:
        ret->what = N2_INVENTORY;
        ret->u.inventory.after = get_fixed(m->inventory->after, ID_LEN);
        ret->u.inventory.limit = m->inventory->limit;
        if (m->inventory->after.len != 0 && ret->u.inventory.after == NULL)
            invalid(ret, N2_BAD, "after");
        if (m->inventory->limit == 0 || m->inventory->limit > 1024)
            invalid(ret, N2_BAD, "limit");
        break;
    default:
        invalid(ret, N2_UNSUPPORTED, "call");
        break;
    }
    if (m->id == 0)
        invalid(ret, N2_BAD, "id");
}

int n2_request_decode(struct n2_arena *a, const uint8_t *bytes, size_t len, struct n2_request *ret)
{
    N2__V1__Request *m = (N2__V1__Request *)unpack(a, &n2__v1__request__descriptor, bytes, len);

    memset(ret, 0, sizeof(*ret));
    if (m == NULL)
        return -1;
    ret->head =
        (struct n2_head){m->version, m->server_id, m->server_epoch, m->relay_epoch, m->acked};
    if (m->version != N2_VERSION)
        return 0;
    if (!is_name(m->server_id) || m->server_epoch == 0 || m->n_calls == 0 ||
        m->n_calls > N2_CALLS_MAX)
        return -1;
    struct n2_call *calls = n2_arena_alloc(a, m->n_calls * sizeof(*calls));
    if (calls == NULL)
        return -1;
    for (size_t i = 0; i < m->n_calls; i++) {
        get_call(a, m->calls[i], &calls[i]);
        /* A Hello or a Watch stands alone. */
        if (m->n_calls > 1 && (calls[i].what == N2_HELLO || calls[i].what == N2_WATCH))
            return -1;
    }
    ret->calls = calls;
    ret->call_count = m->n_calls;
    return 0;
}

/* ---- answers ---- */

static bool get_hello_answer(struct n2_arena *a, const N2__V1__HelloAnswer *m,
                             struct n2_hello_answer *ret)
{
    enum n2_kind *kinds = n2_arena_alloc(a, (m->n_kinds + 1) * sizeof(*kinds));

    memset(ret, 0, sizeof(*ret));
    if (!is_name(m->relay_id) || kinds == NULL || m->lease_ms == 0)
        return false;
    ret->relay_id = m->relay_id;
    ret->software = m->software;
    ret->legs = m->legs;
    ret->features = (const char *const *)m->features;
    ret->feature_count = m->n_features;
    /* A kind that a newer relay offers and we do not know is no reason to refuse the relay. */
    for (size_t i = 0; i < m->n_kinds; i++) {
        if ((unsigned)m->kinds[i] < N2_KINDS)
            kinds[ret->kind_count++] = (enum n2_kind)m->kinds[i];
    }
    ret->kinds = kinds;
    ret->ptcls = m->ptcls;
    ret->ptcl_count = m->n_ptcls;
    ret->engines = (const char *const *)m->engines;
    ret->engine_count = m->n_engines;
    ret->families = m->families;
    ret->family_count = m->n_families;
    ret->advertise = get_endpoints(a, m->advertise, m->n_advertise);
    ret->advertise_count = m->n_advertise;
    ret->protect = get_endpoints(a, m->protect, m->n_protect);
    ret->protect_count = m->n_protect;
    ret->capacity = m->capacity ? m->capacity->associations : 0;
    ret->quota = m->capacity ? m->capacity->quota : 0;
    ret->lease_ms = m->lease_ms;
    return ret->advertise != NULL && ret->protect != NULL;
}

static bool get_open_answer(const N2__V1__OpenAnswer *m, struct n2_open_answer *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (m->state == N2__V1__OPEN_STATE__OPEN_PENDING)
        return true;
    ret->opened = true;
    ret->engine = m->engine;
    ret->ticket = get_fixed(m->ticket, N2_TICKET_LEN);
    return m->state == N2__V1__OPEN_STATE__OPEN_OPENED && ret->ticket != NULL &&
           get_endpoint(m->bound, &ret->bound) && get_endpoint(m->peer, &ret->peer);
}

static bool get_event(const N2__V1__Event *m, struct n2_event *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (m->association.len != ID_LEN || (unsigned)m->type >= N2_EVENT_TYPES)
        return false;
    memcpy(ret->association, m->association.data, ID_LEN);
    ret->seq = m->seq;
    ret->type = (enum n2_event_type)m->type;
    ret->end = (unsigned)m->end < N2_END_COUNT ? (enum n2_end)m->end : N2_END_RELAY_ERROR;
    get_counters(m->counters, &ret->counters);
    if (ret->type == N2_EVENT_OPENED &&
        (m->opened == NULL || !get_open_answer(m->opened, &ret->opened)))
        return false;
    if (ret->type == N2_EVENT_FAILED) {
        if (m->failed == NULL)
            return false;
        get_refusal(m->failed, &ret->failed);
    }
    return get_endpoint(m->peer, &ret->peer);
}

static bool get_watch_answer(struct n2_arena *a, const N2__V1__WatchAnswer *m,
                             struct n2_watch_answer *ret)
{
    struct n2_event *events = n2_arena_alloc(a, (m->n_events + 1) * sizeof(*events));

    memset(ret, 0, sizeof(*ret));
    if (events == NULL || m->n_events > N2_EVENTS_MAX)
        return false;
    for (size_t i = 0; i < m->n_events; i++) {
        if (!get_event(m->events[i], &events[i]))
            return false;
    }
    ret->events = events;
    ret->event_count = m->n_events;
    ret->gap = m->gap;
    ret->draining = m->state != N2__V1__RELAY_STATE__RELAY_READY;
    ret->last_seq = m->last_seq;
    if (m->load != NULL)
        ret->load = (struct n2_load){m->load->associations, m->load->capacity,
                                     m->load->descriptors_free, m->load->ports_free};
    return true;
}

static bool get_inventory_answer(struct n2_arena *a, const N2__V1__InventoryAnswer *m,
                                 struct n2_inventory_answer *ret)
{
    struct n2_held *held = n2_arena_alloc(a, (m->n_held + 1) * sizeof(*held));

    memset(ret, 0, sizeof(*ret));
    if (held == NULL || m->n_held > 1024)
        return false;
    for (size_t i = 0; i < m->n_held; i++) {
        const N2__V1__Held *h = m->held[i];
        if (h->association.len != ID_LEN || (unsigned)h->kind >= N2_KINDS ||
            (unsigned)h->state >= N2_HELD_STATES)
            return false;
        memcpy(held[i].association, h->association.data, ID_LEN);
        held[i].kind = (enum n2_kind)h->kind;
        held[i].state = (enum n2_held_state)h->state;
        held[i].server_epoch = h->server_epoch;
        get_counters(h->counters, &held[i].counters);
    }
    ret->held = held;
    ret->held_count = m->n_held;
    ret->more = m->more;
    ret->as_of_seq = m->as_of_seq;
    return true;
}

static bool get_answer(struct n2_arena *a, const N2__V1__Answer *m, struct n2_answer *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->id = m->id;
    switch (m->what_case) {
    case N2__V1__ANSWER__WHAT_REFUSED:
        get_refusal(m->refused, &ret->refused);
        return true;
    case N2__V1__ANSWER__WHAT_HELLO:
        ret->what = N2_HELLO;
        return get_hello_answer(a, m->hello, &ret->u.hello);
    case N2__V1__ANSWER__WHAT_OPEN:
        ret->what = N2_OPEN;
        return get_open_answer(m->open, &ret->u.open);
    case N2__V1__ANSWER__WHAT_UPDATE:
        ret->what = N2_UPDATE;
        ret->u.update_revision = m->update->revision;
        return true;
    case N2__V1__ANSWER__WHAT_RELEASE:
        ret->what = N2_RELEASE;
        ret->u.release.known = m->release->counters != NULL;
        get_counters(m->release->counters, &ret->u.release.counters);
        return get_endpoint(m->release->client, &ret->u.release.client);
    case N2__V1__ANSWER__WHAT_WATCH:
        ret->what = N2_WATCH;
        return get_watch_answer(a, m->watch, &ret->u.watch);
    case N2__V1__ANSWER__WHAT_INVENTORY:
        ret->what = N2_INVENTORY;
        return get_inventory_answer(a, m->inventory, &ret->u.inventory);
    default:
        return false;
    }
}

int n2_reply_decode(struct n2_arena *a, const uint8_t *bytes, size_t len, struct n2_reply *ret)
{
    N2__V1__Reply *m = (N2__V1__Reply *)unpack(a, &n2__v1__reply__descriptor, bytes, len);

    memset(ret, 0, sizeof(*ret));
    if (m == NULL || m->version != N2_VERSION || m->n_answers > N2_CALLS_MAX)
        return -1;
    struct n2_answer *answers = n2_arena_alloc(a, (m->n_answers + 1) * sizeof(*answers));
    if (answers == NULL)
        return -1;
    for (size_t i = 0; i < m->n_answers; i++) {
        if (!get_answer(a, m->answers[i], &answers[i]))
            return -1;
    }
    ret->version = m->version;
    ret->relay_epoch = m->relay_epoch;
    if (m->refused != NULL)
        get_refusal(m->refused, &ret->refused);
    ret->answers = answers;
    ret->answer_count = m->n_answers;
    return 0;
}

int n2_legs_decode(struct n2_arena *a, const uint8_t *bytes, size_t len,
                   struct n2_attach *ret_attaches)
{
    N2__V1__Legs *m = (N2__V1__Legs *)unpack(a, &n2__v1__legs__descriptor, bytes, len);

    if (m == NULL || m->version != N2_VERSION || m->n_attaches == 0 || m->n_attaches > N2_LEGS_MAX)
        return -1;
    for (size_t i = 0; i < m->n_attaches; i++) {
        const N2__V1__Attach *t = m->attaches[i];
        if (t->to_client.len > N2_TO_CLIENT_MAX || t->to_target.len > N2_TO_TARGET_MAX)
            return -1;
        ret_attaches[i] = (struct n2_attach){
            .association = get_fixed(t->association, ID_LEN),
            .ticket = get_fixed(t->ticket, N2_TICKET_LEN),
            .kind = (enum n2_leg_kind)t->kind,
            .role = (enum n2_leg_role)t->role,
            .to_client = t->to_client.data,
            .to_client_len = t->to_client.len,
            .to_target = t->to_target.data,
            .to_target_len = t->to_target.len,
        };
    }
    return (int)m->n_attaches;
}
