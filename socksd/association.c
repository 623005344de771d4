#include "socksd/association.h"

#include <stdlib.h>

#include "shared/base/log.h"
#include "shared/n2/n2_audit.h"

struct association *association_new(struct session *x, const struct n2_audit *audit, size_t count)
{
    struct association *a = calloc(1, sizeof(*a) + n2_audit_size(audit, count));

    if (a == NULL)
        return NULL;
    n2_audit_write(audit, count, a->audit);
    list_init(&a->node);
    a->server = x->server;
    a->session = x;
    a->client = x->client;
    a->started = loop_now(x->server->loop);
    a->generation = x->server->generation;
    return a;
}

void association_handed_over(struct association *a)
{
    struct server *s = a->server;

    a->session = NULL;
    list_append(&s->associations, &a->node);
    s->stats.associations++;
    s->stats.associations_total++;
}

void association_free(struct association *a)
{
    if (a == NULL)
        return;
    if (a->session == NULL && !list_empty(&a->node))
        a->server->stats.associations--;
    list_remove(&a->node);
    free(a);
}

void association_log_lost(const struct association *a, const char *why)
{
    struct log_field fields[8 + N2_AUDIT_MAX];
    char id[ID_TEXT_LEN];
    size_t n = 0;

    fields[n++] = (struct log_field)LOG_STR("id", id_format(a->n2.node.id, id));
    fields[n++] = (struct log_field)LOG_ADDR("client", &a->client);
    fields[n++] = (struct log_field)LOG_U64("duration_ms", loop_now(a->server->loop) - a->started);
    fields[n++] = (struct log_field)LOG_STR("reason", why);
    n2_audit_put(a->audit, fields, n);
    log_emit(LOG_INFO, "access", fields);
}
