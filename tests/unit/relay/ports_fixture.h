/* What the tests of ports.c share: short ways to say who and where. */
#pragma once

#include "shared/relay/ports.h"

#define REST_MS 1000

static inline bool any_port(void *arg, enum addr_family family, uint16_t port)
{
    (void)arg, (void)family, (void)port;
    return true;
}

/* 10.x.x.n, from that port (0: none). */
static inline struct addr v4(uint32_t n, uint16_t port)
{
    uint8_t ip[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    return addr_ipv4(ip, port);
}

/* 2001:db8::n */
static inline struct addr v6(uint32_t n, uint16_t port)
{
    uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8};

    ip[13] = (uint8_t)(n >> 16);
    ip[14] = (uint8_t)(n >> 8);
    ip[15] = (uint8_t)n;
    return addr_ipv6(ip, port);
}

static inline struct ports *ports_of(uint16_t first, uint16_t last, uint32_t unlocked_max)
{
    struct ports_config config = {
        .first = first, .last = last, .rest_ms = REST_MS, .unlocked_max = unlocked_max};

    return ports_new(&config);
}

/* With any port being usable. */
static inline enum ports_result take(struct ports *p, struct ports_claim *c, struct addr client,
                                     const char *owner, uint64_t now)
{
    return ports_claim(p, c, &client, owner, now, any_port, NULL);
}

static inline enum ports_found find(const struct ports *p, struct addr from, uint16_t port,
                                    struct ports_claim **ret)
{
    return ports_find(p, &from, port, ret);
}

/* Nothing is remembered any more. */
static inline bool is_empty(const struct ports *p)
{
    struct ports_stats s = ports_stats(p);

    return s.claims == 0 && s.unlocked == 0 && s.resting == 0 && s.sites == 0 && s.owners == 0;
}
