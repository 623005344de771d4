#include "shared/net/resolve_cache.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#define CACHED(n) LIST_ENTRY(n, struct resolve_cached, node)

static int name_to(const void *name, const void *e)
{
    return strcmp(name, ((const struct resolve_cached *)e)->name);
}

static int by_name(const void *a, const void *b)
{
    return name_to(((const struct resolve_cached *)a)->name, b);
}

void resolve_cache_init(struct resolve_cache *c, size_t capacity)
{
    *c = (struct resolve_cache){.capacity = capacity};
    list_init(&c->recent);
}

static struct resolve_cached *find(const struct resolve_cache *c, const char *name)
{
    struct resolve_cached **found = tfind(name, &c->tree, name_to);

    return found == NULL ? NULL : *found;
}

static void forget(struct resolve_cache *c, struct resolve_cached *e)
{
    tdelete(e, &c->tree, by_name);
    list_remove(&e->node);
    c->count--;
    free(e);
}

void resolve_cache_fini(struct resolve_cache *c)
{
    while (!list_empty(&c->recent))
        forget(c, CACHED(c->recent.next));
}

const struct resolve_cached *resolve_cache_find(struct resolve_cache *c, const char *name,
                                                uint64_t now)
{
    struct resolve_cached *e = find(c, name);

    if (e == NULL)
        return NULL;
    if (e->until <= now) {
        forget(c, e);
        return NULL;
    }
    list_remove(&e->node);
    list_append(&c->recent, &e->node);
    return e;
}

/* Name and addresses in one piece of memory. */
static struct resolve_cached *cached_new(const char *name, const struct addr *addrs, size_t count)
{
    size_t len = count * sizeof(addrs[0]), name_size = strlen(name) + 1;
    struct resolve_cached *e = malloc(sizeof(*e) + len + name_size);

    if (e == NULL)
        return NULL;
    list_init(&e->node);
    e->count = count;
    if (count > 0)
        memcpy(e->addrs, addrs, len);
    e->name = memcpy((char *)e->addrs + len, name, name_size);
    return e;
}

void resolve_cache_put(struct resolve_cache *c, const char *name, const struct addr *addrs,
                       size_t count, uint64_t until)
{
    struct resolve_cached *old = find(c, name), *e;

    if (old != NULL)
        forget(c, old);
    if (c->capacity == 0)
        return;
    if (c->count == c->capacity)
        forget(c, CACHED(c->recent.next));
    e = cached_new(name, addrs, count);
    if (e == NULL)
        return;
    e->until = until;
    if (tsearch(e, &c->tree, by_name) == NULL) {
        free(e);
        return;
    }
    list_append(&c->recent, &e->node);
    c->count++;
}
