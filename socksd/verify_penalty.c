#include "socksd/verify_penalty.h"

#include <stdbool.h>

struct record {
    struct digest_record base;
    uint64_t turn;  /* when the next attempt may begin */
    unsigned count; /* pair: failures; source: names that failed */
    bool known;     /* pair: has succeeded */
};

int penalty_init(struct penalty *p, const struct penalty_config *config)
{
    p->config = *config;
    if (digest_table_init(&p->pairs, config->entries, sizeof(struct record)))
        return -1;
    if (digest_table_init(&p->sources, config->entries, sizeof(struct record))) {
        digest_table_fini(&p->pairs);
        return -1;
    }
    return 0;
}

void penalty_fini(struct penalty *p)
{
    digest_table_fini(&p->pairs);
    digest_table_fini(&p->sources);
}

/* What the count'th failure costs, when the first ones are free. */
static uint64_t delay_of(const struct penalty_config *c, unsigned count, unsigned free_of_charge)
{
    uint64_t delay = c->delay_first_ms;

    if (count <= free_of_charge || delay == 0)
        return 0;
    for (unsigned i = free_of_charge + 1; i < count && delay < c->delay_most_ms; i++)
        delay *= 2;
    return delay < c->delay_most_ms ? delay : c->delay_most_ms;
}

static uint64_t pair_delay(const struct penalty *p, const struct record *pair)
{
    return pair ? delay_of(&p->config, pair->count, 0) : 0;
}

static uint64_t source_delay(const struct penalty *p, const struct record *source)
{
    return source ? delay_of(&p->config, source->count, p->config.names_free) : 0;
}

static struct record *find_pair(struct penalty *p, const struct penalty_keys *keys, uint64_t now)
{
    return digest_table_find(&p->pairs, keys->pair, now);
}

/* NULL also if the pair is above what its source has done. */
static struct record *find_source(struct penalty *p, const struct penalty_keys *keys,
                                  const struct record *pair, uint64_t now)
{
    if (pair && pair->known)
        return NULL;
    return digest_table_find(&p->sources, keys->source, now);
}

static uint64_t until_turn(const struct record *r, uint64_t now)
{
    return r && r->turn > now ? r->turn - now : 0;
}

static uint64_t longer(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t penalty_wait(struct penalty *p, const struct penalty_keys *keys, uint64_t now)
{
    struct record *pair = find_pair(p, keys, now);

    return longer(until_turn(pair, now), until_turn(find_source(p, keys, pair, now), now));
}

static void take_turn(struct record *r, uint64_t delay, uint64_t now)
{
    if (r)
        r->turn = longer(r->turn, now + delay);
}

void penalty_begin(struct penalty *p, const struct penalty_keys *keys, uint64_t now)
{
    struct record *pair = find_pair(p, keys, now);
    struct record *source = find_source(p, keys, pair, now);

    take_turn(pair, pair_delay(p, pair), now);
    take_turn(source, source_delay(p, source), now);
}

uint64_t penalty_fail(struct penalty *p, const struct penalty_keys *keys, uint64_t now)
{
    struct record *pair = digest_table_put(&p->pairs, keys->pair, now);
    struct record *source = NULL;

    if (pair) {
        pair->count++;
        pair->base.until = now + p->config.forget_ms;
        take_turn(pair, pair_delay(p, pair), now);
    }
    if (!pair || (!pair->known && pair->count == 1))
        source = digest_table_put(&p->sources, keys->source, now);
    if (source) {
        source->count++;
        source->base.until = now + p->config.forget_ms;
    }
    source = find_source(p, keys, pair, now);
    take_turn(source, source_delay(p, source), now);
    return longer(pair_delay(p, pair), source_delay(p, source));
}

void penalty_succeed(struct penalty *p, const struct penalty_keys *keys, uint64_t now)
{
    struct record *pair = digest_table_put(&p->pairs, keys->pair, now);

    if (!pair)
        return;
    pair->known = true;
    pair->count = 0;
    pair->turn = 0;
    pair->base.until = now + p->config.forget_ms;
}
