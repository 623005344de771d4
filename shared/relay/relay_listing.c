#include "shared/relay/relay_listing.h"

#include <stdlib.h>
#include <string.h>

struct rows {
    const struct relay_listing *how;
    const struct status_query *q;
    struct n2_grant **items;
    size_t count;
};

static void collect(struct n2_grant *g, void *arg)
{
    struct rows *rows = arg;
    char id[ID_TEXT_LEN];

    if (!rows->how->wanted(g, rows->q))
        return;
    if (rows->q->after == NULL || strcmp(id_format(g->node.id, id), rows->q->after) > 0)
        rows->items[rows->count++] = g;
}

static int by_id(const void *a, const void *b)
{
    struct n2_grant *const *x = a, *const *y = b;

    return memcmp((*x)->node.id, (*y)->node.id, ID_LEN);
}

int relay_listing_page(const struct relay *r, const struct relay_listing *how,
                       const struct status_query *q, struct json *j, struct err *e)
{
    struct rows rows = {how, q, calloc(n2_server_grants(r->n2) + 1, sizeof(struct n2_grant *)), 0};
    char id[ID_TEXT_LEN];

    if (rows.items == NULL)
        return err_set(e, "out of memory");
    n2_server_each(r->n2, collect, &rows);
    qsort(rows.items, rows.count, sizeof(struct n2_grant *), by_id);
    size_t shown = rows.count < q->limit ? rows.count : q->limit;
    json_array_begin(j, "associations");
    for (size_t i = 0; i < shown; i++)
        how->put(rows.items[i], r, j);
    json_array_end(j);
    if (shown < rows.count)
        json_put_str(j, "next", id_format(rows.items[shown - 1]->node.id, id));
    free(rows.items);
    return 0;
}
