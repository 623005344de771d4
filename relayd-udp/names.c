#include "relayd-udp/names.h"

#include <stdlib.h>
#include <string.h>

#include "relayd-udp/datagram.h"

/* A payload that waits. */
struct waiting {
    struct list node;
    size_t len;
    uint8_t octets[];
};

/* What an association waits for. */
struct names {
    struct list asked; /* struct name_wait */
    uint32_t waiting;  /* datagrams */
    size_t octets;     /* what they hold in memory */
};

/* A name that is asked for, for one association. */
struct name_wait {
    struct list node; /* in names.asked */
    struct association *association;
    struct resolve *question;
    struct dest dest;
    struct list payloads; /* struct waiting */
};

static size_t memory_of(size_t len)
{
    return sizeof(struct waiting) + len;
}

/* It waits no longer; the caller frees it. */
static void take_out(struct association *a, struct waiting *w)
{
    struct udp_stats *s = &a->relay->stats;

    list_remove(&w->node);
    a->names->waiting--;
    a->names->octets -= memory_of(w->len);
    s->names_waiting--;
    s->names_octets -= memory_of(w->len);
}

static struct waiting *first_of(struct name_wait *n)
{
    return list_empty(&n->payloads) ? NULL : LIST_ENTRY(n->payloads.next, struct waiting, node);
}

static void drop_all(struct name_wait *n, enum drop why)
{
    struct waiting *w;

    while ((w = first_of(n)) != NULL) {
        association_drop(n->association, why, 1);
        take_out(n->association, w);
        free(w);
    }
}

static void send_all(struct name_wait *n, const struct addr *to)
{
    struct association *a = n->association;
    struct waiting *w;

    while (a->sm.state != ASSOC_GONE && (w = first_of(n)) != NULL) {
        take_out(a, w);
        datagram_send(a, &n->dest, to, w->octets, w->len); /* a limit may end a, and n with it */
        engine_flush(a->relay->engine);
        free(w);
    }
}

static void end_if_empty(struct association *a)
{
    if (a->names == NULL || !list_empty(&a->names->asked))
        return;
    free(a->names);
    a->names = NULL;
}

static void answered(struct name_wait *n)
{
    struct association *a = n->association;

    list_remove(&n->node);
    free(n);
    end_if_empty(a);
}

static void on_resolved(void *arg, enum resolve_status status, const struct addr *addrs,
                        size_t count)
{
    struct name_wait *n = arg;
    struct association *a = n->association;
    struct addr to;
    enum drop why = status == RESOLVE_BUSY ? DROP_NAME_QUEUE : DROP_NAME;

    n->question = NULL;
    if (status == RESOLVE_OK && datagram_choose(a, &n->dest, addrs, count, &to, &why))
        send_all(n, &to);
    else
        drop_all(n, why);
    if (a->sm.state != ASSOC_GONE)
        answered(n);
}

static struct name_wait *find(const struct association *a, const struct dest *dest)
{
    if (a->names == NULL)
        return NULL;
    LIST_FOREACH (node, &a->names->asked) {
        struct name_wait *n = LIST_ENTRY(node, struct name_wait, node);
        if (n->dest.addr.port == dest->addr.port && strcmp(n->dest.name, dest->name) == 0)
            return n;
    }
    return NULL;
}

bool names_waited_for(const struct association *a, const struct dest *dest)
{
    return find(a, dest) != NULL;
}

static bool begin(struct association *a)
{
    a->names = calloc(1, sizeof(*a->names));
    if (a->names != NULL)
        list_init(&a->names->asked);
    return a->names != NULL;
}

static struct name_wait *ask(struct association *a, const struct dest *dest)
{
    struct name_wait *n = a->names != NULL || begin(a) ? malloc(sizeof(*n)) : NULL;

    if (n != NULL) {
        n->association = a;
        n->dest = *dest;
        list_init(&n->node);
        list_init(&n->payloads);
        n->question =
            resolve_start(a->relay->resolver, dest->name, dest->addr.port, on_resolved, n);
    }
    if (n != NULL && n->question != NULL) {
        list_append(&a->names->asked, &n->node);
        return n;
    }
    free(n);
    end_if_empty(a);
    return NULL;
}

/* Nobody holds more than is left for the others: so a few cannot take it all. */
static bool has_room(const struct association *a, size_t octets)
{
    const struct udp_relay *r = a->relay;
    size_t own = (a->names != NULL ? a->names->octets : 0) + octets;
    size_t all = r->stats.names_octets + octets;

    if (a->names != NULL && a->names->waiting >= r->config.pending)
        return false;
    return all <= r->config.pending_octets && own <= r->config.pending_octets - all + octets;
}

void names_wait(struct association *a, const struct dest *dest, const uint8_t *payload, size_t len)
{
    struct udp_relay *r = a->relay;
    struct name_wait *n;
    struct waiting *w;

    if (!has_room(a, memory_of(len)) || (w = malloc(memory_of(len))) == NULL) {
        association_drop(a, DROP_NAME_QUEUE, 1);
        return;
    }
    n = find(a, dest);
    if (n == NULL && (n = ask(a, dest)) == NULL) {
        free(w);
        association_drop(a, DROP_NAME_QUEUE, 1);
        return;
    }
    w->len = len;
    memcpy(w->octets, payload, len);
    list_init(&w->node);
    list_append(&n->payloads, &w->node);
    a->names->waiting++;
    a->names->octets += memory_of(len);
    r->stats.names_waiting++;
    r->stats.names_octets += memory_of(len);
}

void names_abandon(struct association *a)
{
    while (a->names != NULL) {
        struct name_wait *n = LIST_ENTRY(a->names->asked.next, struct name_wait, node);

        resolve_cancel(n->question);
        drop_all(n, DROP_NAME);
        answered(n);
    }
}
