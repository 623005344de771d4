#include "shared/n2/n2_rules_codec.h"

#include <stdlib.h>
#include <string.h>

#include "shared/n2/n2_encode_impl.h"

/* ---- octets -> structs ---- */

enum { MAPPED_BITS = 96 };

static bool get_network(const N2__V1__Network *m, struct prefix *ret)
{
    uint32_t bits = m->bits;
    const uint8_t *ip = m->ip.data;
    size_t len = m->ip.len;

    if ((len != 4 && len != 16) || bits > len * 8)
        return false;
    for (size_t i = bits; i < len * 8; i++) {
        if (ip[i / 8] & 0x80u >> i % 8)
            return false;
    }
    *ret = (struct prefix){.family = len == 4 ? ADDR_IPV4 : ADDR_IPV6, .bits = (uint8_t)bits};
    memcpy(ret->ip, ip, len);
    if (!prefix_is_mapped(ret))
        return true;
    *ret = (struct prefix){.family = ADDR_IPV4, .bits = (uint8_t)(bits - MAPPED_BITS)};
    memcpy(ret->ip, ip + MAPPED_BITS / 8, 4);
    return true;
}

/* NULL when one of them is malformed, or without memory. */
static const struct prefix *get_networks(struct n2_arena *a, N2__V1__Network **m, size_t n)
{
    struct prefix *list = n2_arena_alloc(a, (n + 1) * sizeof(*list));

    for (size_t i = 0; list != NULL && i < n; i++) {
        if (!get_network(m[i], &list[i]))
            return NULL;
    }
    return list;
}

static const struct port_span *get_ports(struct n2_arena *a, N2__V1__PortSpan **m, size_t n)
{
    struct port_span *list = n2_arena_alloc(a, (n + 1) * sizeof(*list));

    for (size_t i = 0; list != NULL && i < n; i++) {
        if (m[i]->last > UINT16_MAX || m[i]->first > m[i]->last)
            return NULL;
        list[i] = (struct port_span){(uint16_t)m[i]->first, (uint16_t)m[i]->last};
    }
    return list;
}

static bool get_rule(struct n2_arena *a, const N2__V1__DatagramRule *m, struct n2_rule *ret)
{
    *ret = (struct n2_rule){
        .allow = m->allow,
        .any_destination = m->any_destination,
        .opens_special = m->opens_special,
        .any_port = m->any_port,
        .names = (const char *const *)m->names,
        .name_count = m->n_names,
        .networks = get_networks(a, m->networks, m->n_networks),
        .network_count = m->n_networks,
        .special = get_networks(a, m->special, m->n_special),
        .special_count = m->n_special,
        .ports = get_ports(a, m->ports, m->n_ports),
        .port_count = m->n_ports,
    };
    for (size_t i = 0; i < m->n_names; i++) {
        size_t len = strlen(m->names[i]);
        if (len == 0 || len > DEST_NAME_MAX)
            return false;
    }
    return ret->networks != NULL && ret->special != NULL && ret->ports != NULL;
}

const struct n2_rules *n2_rules_get(struct n2_arena *a, const N2__V1__DatagramRules *m)
{
    if (m->n_rules > N2_RULES_MAX)
        return NULL;
    struct n2_rules *ret = n2_arena_alloc(a, sizeof(*ret));
    struct n2_rule *items = n2_arena_alloc(a, (m->n_rules + 1) * sizeof(*items));

    if (ret == NULL || items == NULL)
        return NULL;
    for (size_t i = 0; i < m->n_rules; i++) {
        if (!get_rule(a, m->rules[i], &items[i]))
            return NULL;
    }
    *ret = (struct n2_rules){items, m->n_rules};
    return ret;
}

/* ---- structs -> octets ---- */

/* Rules, networks, ports, and the lists of pointers to each that protobuf-c wants. */
struct room {
    N2__V1__DatagramRules head;
    N2__V1__DatagramRule *rules;
    N2__V1__Network *networks;
    N2__V1__PortSpan *ports;
    void **pointers;
};

static struct room *room_new(const struct n2_rules *r)
{
    size_t networks = 0, ports = 0;
    struct room *room;

    for (size_t i = 0; i < r->count; i++) {
        networks += r->items[i].network_count + r->items[i].special_count;
        ports += r->items[i].port_count;
    }
    room = malloc(sizeof(*room) + r->count * sizeof(*room->rules) +
                  networks * sizeof(*room->networks) + ports * sizeof(*room->ports) +
                  (r->count + networks + ports) * sizeof(void *));
    if (room == NULL)
        return NULL;
    room->pointers = (void **)(room + 1);
    room->rules = (N2__V1__DatagramRule *)(room->pointers + r->count + networks + ports);
    room->networks = (N2__V1__Network *)(room->rules + r->count);
    room->ports = (N2__V1__PortSpan *)(room->networks + networks);
    return room;
}

static N2__V1__Network **put_networks(struct room *room, const struct prefix *p, size_t n)
{
    void **list = room->pointers;

    for (size_t i = 0; i < n; i++) {
        N2__V1__Network *m = room->networks++;
        n2__v1__network__init(m);
        m->ip = enc_octets(p[i].ip, addr_ip_len((enum addr_family)p[i].family));
        m->bits = p[i].bits;
        *room->pointers++ = m;
    }
    return (N2__V1__Network **)list;
}

static N2__V1__PortSpan **put_ports(struct room *room, const struct port_span *p, size_t n)
{
    void **list = room->pointers;

    for (size_t i = 0; i < n; i++) {
        N2__V1__PortSpan *m = room->ports++;
        n2__v1__port_span__init(m);
        m->first = p[i].first;
        m->last = p[i].last;
        *room->pointers++ = m;
    }
    return (N2__V1__PortSpan **)list;
}

static void put_rule(struct room *room, const struct n2_rule *r, N2__V1__DatagramRule *m)
{
    n2__v1__datagram_rule__init(m);
    m->allow = r->allow;
    m->any_destination = r->any_destination;
    m->opens_special = r->opens_special;
    m->any_port = r->any_port;
    m->n_names = r->name_count;
    m->names = (char **)(uintptr_t)r->names;
    m->n_networks = r->network_count;
    m->networks = put_networks(room, r->networks, r->network_count);
    m->n_special = r->special_count;
    m->special = put_networks(room, r->special, r->special_count);
    m->n_ports = r->port_count;
    m->ports = put_ports(room, r->ports, r->port_count);
}

N2__V1__DatagramRules *n2_rules_put(const struct n2_rules *r, bool *failed)
{
    struct room *room = r != NULL ? room_new(r) : NULL;

    if (room == NULL) {
        *failed |= r != NULL;
        return NULL;
    }
    n2__v1__datagram_rules__init(&room->head);
    room->head.n_rules = r->count;
    room->head.rules = (N2__V1__DatagramRule **)room->pointers;
    room->pointers += r->count;
    for (size_t i = 0; i < r->count; i++) {
        room->head.rules[i] = &room->rules[i];
        put_rule(room, &r->items[i], &room->rules[i]);
    }
    return &room->head;
}
