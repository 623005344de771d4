/* A script of fragments, played to four queues that share a budget and to a model that keeps every
 * fragment and joins them at the end.
 *
 *   octets 0..1   the budget in units of 16 octets; 0: plenty
 *   then, each 5  what    bits 0..1 which queue, 2..3 which destination, 4..7 how much time passes
 *                 FRAG    0: the queue is abandoned instead
 *                 length  2 octets, of which the largest value is a little more than is allowed
 *                 fill    first octet of the payload, which counts up */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relayd-udp/engine.h"
#include "relayd-udp/reassembly.h"

#define QUEUES 4
#define PLENTY (QUEUES * (ENGINE_PAYLOAD_MAX + 1024))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fragment {
    unsigned number;
    bool last;
    uint8_t dest, fill;
    size_t len;
    uint64_t now;
};

struct model {
    struct fragment fragments[127];
    unsigned count;
};

static const struct {
    uint8_t len, octets[22];
} dests[4] = {
    {7, {1, 192, 0, 2, 7, 0, 53}},
    {7, {1, 192, 0, 2, 7, 0, 54}},
    {19, {4, 0x20, 1, 0x0d, 0xb8}},
    {5, {3, 1, 'n', 0, 53}},
};

/* Octets that count up, from f's first on. */
static const uint8_t *payload_of(const struct fragment *f)
{
    static uint8_t octets[0x100 + 0x10000];

    if (octets[1] == 0)
        for (size_t i = 0; i < sizeof(octets); i++)
            octets[i] = (uint8_t)i;
    return octets + f->fill;
}

static size_t sum(const struct model *m)
{
    size_t len = 0;

    for (unsigned i = 0; i < m->count; i++)
        len += m->fragments[i].len;
    return len;
}

/* What has to come of f, when memory is no matter. */
static enum reassembly_result model_add(struct model *m, const struct fragment *f, unsigned *lost)
{
    const struct fragment *first = &m->fragments[0];

    *lost = 0;
    if (f->number == 0) {
        *lost = 1;
        return REASSEMBLY_DUPLICATE;
    }
    if (m->count > 0 && (f->now - first->now >= REASSEMBLY_TIME_MS || f->dest != first->dest)) {
        *lost += m->count;
        m->count = 0;
    }
    if (m->count > 0 && f->number == m->count) {
        *lost = 1;
        return REASSEMBLY_DUPLICATE;
    }
    if (f->number != m->count + 1) {
        *lost += m->count;
        m->count = 0;
    }
    if (f->number != m->count + 1 || sum(m) + f->len > ENGINE_PAYLOAD_MAX ||
        (f->number == 127 && !f->last)) {
        *lost += m->count + 1;
        m->count = 0;
        return REASSEMBLY_ABANDONED;
    }
    m->fragments[m->count++] = *f;
    return f->last ? REASSEMBLY_WHOLE : REASSEMBLY_KEPT;
}

static void check_whole(const struct model *m, const uint8_t *payload, size_t len)
{
    assert(len == sum(m));
    for (unsigned i = 0; i < m->count; i++) {
        assert(memcmp(payload, payload_of(&m->fragments[i]), m->fragments[i].len) == 0);
        payload += m->fragments[i].len;
    }
}

static void play(struct reassembly *r, struct reassembly_budget *b, struct model *m,
                 const struct fragment *f)
{
    uint8_t *payload = malloc(f->len), *dest = malloc(dests[f->dest].len);
    size_t held = b->held, whole_len = 0;
    const uint8_t *whole = NULL;
    unsigned lost = 999, want_lost, waited = m->count;
    enum reassembly_result got, want;

    memcpy(payload, payload_of(f), f->len);
    memcpy(dest, dests[f->dest].octets, dests[f->dest].len);
    assert(reassembly_expired(r, f->now) ==
           (waited > 0 && f->now - m->fragments[0].now >= REASSEMBLY_TIME_MS));
    got = reassembly_add(r, b, (uint8_t)(f->number | (f->last ? 0x80 : 0)), dest,
                         dests[f->dest].len, payload, f->len, f->now, &whole, &whole_len, &lost);
    free(payload);
    free(dest);
    want = model_add(m, f, &want_lost);
    if (got == REASSEMBLY_FULL) {
        assert(want == REASSEMBLY_KEPT || want == REASSEMBLY_WHOLE);
        assert(b->max < PLENTY && held + f->len + 1024 > b->max);
        want_lost += m->count;
        m->count = 0;
        assert(r->queue == NULL);
    } else {
        assert(got == want);
    }
    assert(lost == want_lost && b->held <= b->max);
    assert((got == REASSEMBLY_WHOLE) == (whole != NULL));
    if (got == REASSEMBLY_WHOLE) {
        check_whole(m, whole, whole_len);
        m->count = 0;
    } else {
        assert((r->queue != NULL) == (m->count > 0) || got == REASSEMBLY_DUPLICATE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model models[QUEUES];
    struct reassembly queues[QUEUES] = {0};
    struct reassembly_budget b = {.max = PLENTY};
    uint64_t now = 0;

    memset(models, 0, sizeof(models));
    if (size >= 2 && (data[0] | data[1]) != 0)
        b.max = (size_t)(data[0] << 8 | data[1]) * 16;
    for (size_t at = 2; at + 5 <= size; at += 5) {
        const uint8_t *op = data + at;
        unsigned which = op[0] & 3;
        struct fragment f = {.number = op[1] & 0x7f,
                             .last = op[1] >> 7,
                             .dest = op[0] >> 2 & 3,
                             .fill = op[4],
                             .len = (size_t)(op[2] << 8 | op[3])};

        now += (op[0] >> 4) * 500u;
        f.now = now;
        if (op[1] != 0) {
            play(&queues[which], &b, &models[which], &f);
        } else {
            assert(reassembly_abandon(&queues[which], &b) == models[which].count);
            models[which].count = 0;
            assert(queues[which].queue == NULL);
        }
    }
    for (unsigned i = 0; i < QUEUES; i++)
        assert(reassembly_abandon(&queues[i], &b) == models[i].count);
    assert(b.held == 0);
    return 0;
}
