/* Random operations, judged by a model that keeps the rules of ports.h by looking at everything. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/unit/relay/ports_fixture.h"

#define STEPS    60000
#define CLAIMS   40 /* at a time */
#define RESTS    4096
#define FIRST    900
#define PORTS    6
#define CLIENTS  4 /* two of each family */
#define OWNERS   3 /* one of them nameless */
#define CAP      2
#define SEEDS    4
#define HINT_MAX 5

static const char *const names[OWNERS] = {"", "alice", "bob"};

/* A key: client_port 0 means that all of them are meant. */
struct key {
    int client;
    uint16_t port, client_port;
};

struct held {
    bool used;
    struct key key;
    int owner;
    struct ports_claim claim;
};

struct resting {
    struct key key;
    uint64_t until;
};

struct model {
    struct ports *p;
    struct held held[CLAIMS];
    struct resting rests[RESTS];
    unsigned rest_count;
    uint64_t now;
    uint32_t random;
    uint8_t usable; /* a bit for each port */
    bool broken;    /* usable was asked about what is not free */
    unsigned results[4], founds[5];
    const struct addr *asker; /* of the claim that runs */
    int asker_client;
};

static uint32_t draw(struct model *m, uint32_t n)
{
    m->random = m->random * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)m->random * n >> 32);
}

static struct addr address_of(int client, uint16_t port)
{
    return client % 2 ? v6((uint32_t)client, port) : v4((uint32_t)client, port);
}

static bool same_site(const struct key *k, int client, uint16_t port)
{
    return k->client == client && k->port == port;
}

static bool model_is_free(const struct model *m, int client, uint16_t port, uint16_t hint)
{
    for (int i = 0; i < CLAIMS; i++) {
        const struct key *k = &m->held[i].key;
        if (m->held[i].used && same_site(k, client, port) &&
            (hint == 0 || k->client_port == 0 || k->client_port == hint))
            return false;
    }
    for (unsigned i = 0; i < m->rest_count; i++) {
        const struct key *k = &m->rests[i].key;
        if (same_site(k, client, port) &&
            (hint == 0 || k->client_port == 0 || k->client_port == hint))
            return false;
    }
    return true;
}

static enum ports_found model_find(struct model *m, int client, uint16_t port, uint16_t from,
                                   struct ports_claim **ret)
{
    struct ports_claim *locked = NULL, *unlocked = NULL;
    unsigned others = 0;

    *ret = NULL;
    for (int i = 0; i < CLAIMS; i++) {
        struct held *h = &m->held[i];
        if (!h->used || !same_site(&h->key, client, port))
            continue;
        if (h->key.client_port == from)
            *ret = &h->claim;
        else if (h->key.client_port == 0)
            unlocked = &h->claim;
        else if (++others > 0)
            locked = &h->claim;
    }
    if (*ret != NULL)
        return PORTS_LOCKED;
    for (unsigned i = 0; i < m->rest_count; i++) {
        const struct key *k = &m->rests[i].key;
        if (same_site(k, client, port) && (k->client_port == 0 || k->client_port == from))
            return PORTS_LATE;
    }
    *ret = unlocked != NULL ? unlocked : others == 1 ? locked : NULL;
    return unlocked != NULL ? PORTS_UNLOCKED : others > 0 ? PORTS_OTHER_PORT : PORTS_STRANGER;
}

static unsigned model_unlocked(const struct model *m, int owner, int client)
{
    unsigned n = 0;

    for (int i = 0; i < CLAIMS; i++) {
        const struct held *h = &m->held[i];
        n += h->used && h->key.client_port == 0 && h->owner == owner &&
             (owner != 0 || h->key.client == client);
    }
    return n;
}

static void model_rest(struct model *m, const struct key *k)
{
    assert_true(m->rest_count < RESTS);
    m->rests[m->rest_count++] = (struct resting){.key = *k, .until = m->now + REST_MS};
}

static void model_sweep(struct model *m)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < m->rest_count; i++)
        if (m->rests[i].until > m->now)
            m->rests[kept++] = m->rests[i];
    m->rest_count = kept;
}

static struct ports_stats model_stats(const struct model *m)
{
    struct ports_stats s = {.resting = m->rest_count};

    for (int i = 0; i < CLAIMS; i++) {
        s.claims += m->held[i].used;
        s.unlocked += m->held[i].used && m->held[i].key.client_port == 0;
    }
    for (int client = 0; client < CLIENTS; client++) {
        for (uint16_t port = FIRST; port < FIRST + PORTS; port++)
            s.sites += !model_is_free(m, client, port, 0);
        s.owners += model_unlocked(m, 0, client) > 0;
    }
    for (int owner = 1; owner < OWNERS; owner++)
        s.owners += model_unlocked(m, owner, 0) > 0;
    return s;
}

static bool is_usable(void *arg, enum addr_family family, uint16_t port)
{
    struct model *m = arg;

    if (family != m->asker->family || !model_is_free(m, m->asker_client, port, m->asker->port))
        m->broken = true;
    return m->usable >> (port - FIRST) & 1;
}

static void step_claim(struct model *m, struct held *h)
{
    int client = (int)draw(m, CLIENTS), owner = (int)draw(m, OWNERS);
    uint16_t hint = draw(m, 2) ? (uint16_t)(1 + draw(m, HINT_MAX)) : 0;
    struct addr a = address_of(client, hint);
    enum ports_result expected = PORTS_NONE_LEFT, result;

    m->usable = draw(m, 4) ? 0xff : (uint8_t)draw(m, 256);
    m->asker = &a;
    m->asker_client = client;
    model_sweep(m);
    for (uint16_t port = FIRST; port < FIRST + PORTS; port++)
        if (model_is_free(m, client, port, hint) && m->usable >> (port - FIRST) & 1)
            expected = PORTS_OK;
    if (hint == 0 && model_unlocked(m, owner, client) >= CAP)
        expected = PORTS_CAPPED;
    result = ports_claim(m->p, &h->claim, &a, names[owner], m->now, is_usable, m);
    assert_false(m->broken);
    assert_int_equal(result, expected);
    m->results[result]++;
    if (result != PORTS_OK)
        return;
    assert_true(addr_equal(&h->claim.client, &a));
    assert_int_equal(h->claim.locked, hint != 0);
    assert_true(m->usable >> (h->claim.port - FIRST) & 1);
    assert_true(model_is_free(m, client, h->claim.port, hint));
    h->key = (struct key){.client = client, .port = h->claim.port, .client_port = hint};
    h->owner = owner;
    h->used = true;
}

static void step_lock(struct model *m, struct held *h)
{
    uint16_t wanted = (uint16_t)draw(m, HINT_MAX + 1);
    bool expected = wanted == h->key.client_port;

    /* Neither 0 nor its own is looked up, so nothing is swept. */
    if (wanted != 0 && !expected) {
        model_sweep(m);
        expected = h->key.client_port == 0 || model_is_free(m, h->key.client, h->key.port, wanted);
    }
    expected = expected && wanted != 0;
    assert_int_equal(ports_lock(m->p, &h->claim, wanted, m->now), expected);
    if (!expected || wanted == h->key.client_port)
        return;
    if (h->key.client_port != 0)
        model_rest(m, &h->key);
    h->key.client_port = wanted;
    assert_int_equal(h->claim.client.port, wanted);
    assert_true(h->claim.locked);
}

static void step_release(struct model *m, struct held *h)
{
    ports_release(m->p, &h->claim, m->now);
    memset(&h->claim, 0x5a, sizeof(h->claim));
    h->used = false;
    model_rest(m, &h->key);
}

static void step(struct model *m)
{
    struct held *h = &m->held[draw(m, CLAIMS)];

    switch (draw(m, 8)) {
    case 0:
    case 1:
    case 2:
        if (!h->used)
            step_claim(m, h);
        break;
    case 3:
    case 4:
        if (h->used)
            step_lock(m, h);
        break;
    case 5:
        if (h->used)
            step_release(m, h);
        break;
    case 6:
        m->now += draw(m, REST_MS / 4);
        break;
    default:
        model_sweep(m);
        ports_sweep(m->p, m->now);
    }
}

static void everything_is_as_the_model_says(struct model *m)
{
    struct ports_stats expected = model_stats(m), s = ports_stats(m->p);

    assert_int_equal(s.claims, expected.claims);
    assert_int_equal(s.unlocked, expected.unlocked);
    assert_int_equal(s.resting, expected.resting);
    assert_int_equal(s.sites, expected.sites);
    assert_int_equal(s.owners, expected.owners);
    for (int i = 0; i < 4; i++) {
        int client = (int)draw(m, CLIENTS);
        uint16_t port = (uint16_t)(FIRST + draw(m, PORTS));
        uint16_t from = (uint16_t)(1 + draw(m, HINT_MAX + 1));
        struct addr a = address_of(client, from);
        struct ports_claim *claim, *expected_claim;
        enum ports_found found = ports_find(m->p, &a, port, &claim);

        assert_int_equal(found, model_find(m, client, port, from, &expected_claim));
        assert_ptr_equal(claim, expected_claim);
        m->founds[found]++;
    }
}

static void random_operations_keep_the_rules(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        static struct model m;

        m = (struct model){.p = ports_of(FIRST, FIRST + PORTS - 1, CAP), .random = seed};
        assert_non_null(m.p);
        for (int i = 0; i < STEPS; i++) {
            step(&m);
            everything_is_as_the_model_says(&m);
        }
        /* Each outcome came often enough to mean something. */
        for (int i = PORTS_OK; i <= PORTS_CAPPED; i++)
            assert_true(m.results[i] > 100);
        for (int i = PORTS_LOCKED; i <= PORTS_STRANGER; i++)
            assert_true(m.founds[i] > 1000);
        for (int i = 0; i < CLAIMS; i++)
            if (m.held[i].used)
                step_release(&m, &m.held[i]);
        ports_sweep(m.p, m.now + REST_MS);
        assert_true(is_empty(m.p));
        ports_free(m.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_keep_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
