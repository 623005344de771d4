/* Entries on their way into the kernel and out of it.
 *
 *   nat_add ─► adding ─┐                         ┌─► live
 *                      ├─ one transaction ───────┤
 *   nat_remove ─► removing                       └─► connections forgotten ─► clearing ─► forgotten
 *                                                     (packets stop)    CLEAR_MS    again ─► FREE
 *
 * A transaction is all or nothing. When one is refused its elements are tried one by one, so that
 * each gets its own answer. */
#include "shared/nat/nat_impl.h"

#include <assert.h>
#include <errno.h>

static struct nat_entry *first_of(struct list *l)
{
    return LIST_ENTRY(l->next, struct nat_entry, node);
}

static void move(struct list *to, struct nat_entry *e)
{
    list_remove(&e->node);
    list_append(to, &e->node);
}

/* ---- answers ---- */

static void answer_refused(struct nat *n, struct nat_entry *e)
{
    n->stats.adding--;
    n->stats.refused++;
    list_remove(&e->node);
    e->state = NAT_FREE;
    n->config.on_added(n->config.arg, e, e->result);
}

static void answer_all_refused(struct nat *n, struct list *l)
{
    while (!list_empty(l))
        answer_refused(n, first_of(l));
}

/* All of them are what they are before the first callback, which may remove any of them. */
static void answer_all_added(struct nat *n, struct list *l)
{
    LIST_FOREACH (it, l) {
        struct nat_entry *e = LIST_ENTRY(it, struct nat_entry, node);
        e->state = NAT_LIVE;
        n->stats.adding--;
        n->stats.live++;
        n->stats.added++;
    }
    while (!list_empty(l)) {
        struct nat_entry *e = first_of(l);
        nat_watch_begin(n, e);
        n->config.on_added(n->config.arg, e, NAT_OK);
    }
}

static void answer_removed(struct nat *n, struct nat_entry *e)
{
    n->stats.removing--;
    n->stats.removed++;
    list_remove(&e->node);
    e->state = NAT_FREE;
    n->config.on_removed(n->config.arg, e);
}

/* ---- what is asked for ---- */

static void refuse_later(struct nat *n, struct nat_entry *e, enum nat_result result)
{
    e->result = (uint8_t)result;
    list_append(&n->answered, &e->node);
}

void nat_add(struct nat *n, struct nat_entry *e)
{
    struct ct_name name;

    assert(e->state == NAT_FREE);
    e->state = NAT_ADDING;
    e->result = NAT_OK;
    e->connected = e->told_end = e->told_idle = false;
    e->counts = e->current = (struct nat_counts){0};
    e->id = e->over = 0;
    e->active_at = loop_now(n->loop);
    list_init(&e->node);
    n->stats.adding++;
    loop_post(n->loop, &n->flush);

    nat_name(e, &name);
    if (nat_suits(n, e) != NULL) {
        refuse_later(n, e, NAT_BAD);
    } else if (nat_held_find(&n->held, e->ptcl, &e->bound) == NULL) {
        refuse_later(n, e, NAT_NOT_HELD);
    } else if (n->table.count >= n->config.capacity) {
        refuse_later(n, e, NAT_FULL);
    } else if (nat_table_find(&n->table, &name) != NULL) {
        refuse_later(n, e, NAT_TAKEN);
    } else {
        nat_table_insert(&n->table, e);
        list_append(&n->adding, &e->node);
    }
}

void nat_remove(struct nat *n, struct nat_entry *e)
{
    switch (e->state) {
    case NAT_ADDING:
        n->stats.adding--;
        if (e->result == NAT_OK)
            nat_table_remove(&n->table, e);
        e->state = NAT_CLEARING;
        move(&n->cancelled, e);
        break;
    case NAT_LIVE:
        n->stats.live--;
        e->state = NAT_REMOVING;
        move(&n->removing, e);
        break;
    default:
        return;
    }
    n->stats.removing++;
    loop_post(n->loop, &n->flush);
}

/* ---- transactions ---- */

static void put_elements(struct nat *n, struct nl_buf *b, struct list *batch, bool add,
                         enum addr_family family)
{
    struct house_elements l = {.count = 0};
    uint32_t seq;

    LIST_FOREACH (it, batch) {
        struct nat_entry *e = LIST_ENTRY(it, struct nat_entry, node);
        if (e->bound.family != family)
            continue;
        if (l.count == 0)
            l = house_elements_begin(&n->house, b, &n->rules, add, family, &seq);
        struct house_element x = {.source = &e->source,
                                  .bound = &e->bound,
                                  .target = &e->target,
                                  .from = e->from.family == ADDR_NONE ? NULL : &e->from,
                                  .ptcl = e->ptcl,
                                  .tag = e->tag};
        house_elements_put(&n->house, &l, &x);
        n->stats.elements++;
        if (l.count == HOUSE_ELEMENTS_MAX) {
            house_elements_end(&l);
            l.count = 0;
        }
    }
    if (l.count != 0)
        house_elements_end(&l);
}

static int transact(struct nat *n, struct list *removing, struct list *adding)
{
    struct nl_buf b = nat_begin(n);

    put_elements(n, &b, removing, false, ADDR_IPV4);
    put_elements(n, &b, removing, false, ADDR_IPV6);
    put_elements(n, &b, adding, true, ADDR_IPV4);
    put_elements(n, &b, adding, true, ADDR_IPV6);
    return nat_transact(n, &b, NULL);
}

/* Those of `batch`, each alone; what is refused goes to `refused` with its reason. */
static void transact_singly(struct nat *n, struct list *batch, bool add, struct list *refused)
{
    struct list done, one, none;

    list_init(&done);
    list_init(&one);
    list_init(&none);
    while (!list_empty(batch)) {
        struct nat_entry *e = first_of(batch);
        move(&one, e);
        int rc = add ? transact(n, &none, &one) : transact(n, &one, &none);
        if (!add && rc == -ENOENT)
            rc = 0; /* nothing to delete is as good */
        e->result = (uint8_t)(rc == 0 ? NAT_OK : nat_result_of(rc));
        move(rc == 0 ? &done : refused, e);
    }
    while (!list_empty(&done))
        move(batch, first_of(&done));
}

static void take(struct list *from, struct list *to, size_t at_most)
{
    for (; at_most != 0 && !list_empty(from); at_most--)
        move(to, first_of(from));
}

static size_t length(const struct list *l)
{
    size_t count = 0;

    LIST_FOREACH (it, l)
        count++;
    return count;
}

/* ---- connections of what was removed ---- */

/* Moves entries of `batch` to `clearing` in due time, or frees them: `results` says what asking
 * to forget them has brought. */
static void clear_batch(struct nat *n, struct list *batch, bool last_look)
{
    struct ct_name names[REQUESTS_MAX];
    int results[REQUESTS_MAX];
    struct list asked;

    while (!list_empty(batch)) {
        size_t count = 0;
        list_init(&asked);
        while (count < REQUESTS_MAX && !list_empty(batch)) {
            nat_name(first_of(batch), &names[count++]);
            move(&asked, first_of(batch));
        }
        nat_request(n, names, count, results, NULL);
        if (last_look)
            nat_watch_drain(n); /* so that counts are final */
        for (size_t i = 0; i < count; i++) {
            struct nat_entry *e = first_of(&asked);
            if (last_look && results[i] == -ENOENT) {
                nat_table_remove(&n->table, e);
                answer_removed(n, e);
                continue;
            }
            e->state = NAT_CLEARING;
            e->due = loop_now(n->loop) + CLEAR_MS;
            move(&n->clearing, e);
        }
    }
    if (!list_empty(&n->clearing) && !wheel_running(&n->clear))
        loop_timer_start(n->loop, &n->clear, CLEAR_MS);
}

static void on_clear(struct wheel_timer *t)
{
    struct nat *n = LIST_ENTRY(t, struct nat, clear);
    struct list batch;

    list_init(&batch);
    while (!list_empty(&n->clearing) && first_of(&n->clearing)->due <= loop_now(n->loop))
        move(&batch, first_of(&n->clearing));
    clear_batch(n, &batch, true);
    if (!list_empty(&n->clearing) && !wheel_running(&n->clear)) {
        uint64_t now = loop_now(n->loop), due = first_of(&n->clearing)->due;
        loop_timer_start(n->loop, &n->clear, due > now ? due - now : 0);
    }
}

/* ---- once per iteration ---- */

static void commit(struct nat *n)
{
    struct list removing, adding, refused;

    list_init(&removing);
    list_init(&adding);
    list_init(&refused);
    take(&n->removing, &removing, COMMIT_MAX);
    take(&n->adding, &adding, COMMIT_MAX - length(&removing));
    n->committed = loop_now(n->loop);
    if (transact(n, &removing, &adding) != 0) {
        transact_singly(n, &removing, false, &n->removing);
        n->stalled = !list_empty(&n->removing);
        transact_singly(n, &adding, true, &refused);
    }
    clear_batch(n, &removing, false);
    LIST_FOREACH (it, &refused)
        nat_table_remove(&n->table, LIST_ENTRY(it, struct nat_entry, node));
    answer_all_added(n, &adding);
    answer_all_refused(n, &refused);
}

static void on_gap(uv_timer_t *t)
{
    struct nat *n = t->data;

    n->stalled = false;
    loop_post(n->loop, &n->flush);
}

static void on_flush(struct loop_task *t)
{
    struct nat *n = LIST_ENTRY(t, struct nat, flush);
    uint64_t gap = n->stalled ? 1000 : n->config.commit_gap_ms;
    uint64_t now = loop_now(n->loop), next = n->committed + gap;
    struct list l;

    list_init(&l);
    take(&n->answered, &l, SIZE_MAX);
    answer_all_refused(n, &l);
    take(&n->cancelled, &l, SIZE_MAX);
    while (!list_empty(&l))
        answer_removed(n, first_of(&l));

    if (list_empty(&n->adding) && list_empty(&n->removing))
        return;
    if (now >= next) {
        commit(n);
        next = now + (n->stalled ? 1000 : n->config.commit_gap_ms);
    }
    if (!list_empty(&n->adding) || !list_empty(&n->removing))
        uv_timer_start(&n->gap, on_gap, next - now, 0);
}

void nat_commit_init(struct nat *n)
{
    loop_task_init(&n->flush, on_flush);
    uv_timer_init(&n->loop->uv, &n->gap);
    uv_unref((uv_handle_t *)&n->gap);
    n->gap.data = n;
    wheel_timer_init(&n->clear, on_clear);
}

void nat_commit_fini(struct nat *n)
{
    loop_unpost(&n->flush);
    loop_timer_stop(n->loop, &n->clear);
}
