#include "socksd/association.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/log.h"

static char *pack(const struct n2_audit *audit, size_t count)
{
    size_t len = 1;

    for (size_t i = 0; i < count; i++)
        len += strlen(audit[i].key) + strlen(audit[i].value) + 2;
    char *packed = malloc(len), *at = packed;
    if (packed == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        at = stpcpy(at, audit[i].key) + 1;
        at = stpcpy(at, audit[i].value) + 1;
    }
    *at = '\0';
    return packed;
}

struct association *association_new(struct session *x)
{
    struct n2_audit audit[SESSION_AUDIT];
    struct session_audit_text text;
    struct association *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->audit = pack(audit, session_audit(x, &text, audit));
    if (a->audit == NULL) {
        free(a);
        return NULL;
    }
    list_init(&a->node);
    a->server = x->server;
    a->session = x;
    a->client = x->client;
    a->started = loop_now(x->server->loop);
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
    free(a->audit);
    free(a);
}

void association_log_lost(const struct association *a, const char *why)
{
    struct log_field fields[8 + SESSION_AUDIT];
    char id[ID_TEXT_LEN];
    size_t n = 0;

    fields[n++] = (struct log_field)LOG_STR("id", id_format(a->n2.node.id, id));
    fields[n++] = (struct log_field)LOG_ADDR("client", &a->client);
    fields[n++] = (struct log_field)LOG_U64("duration_ms", loop_now(a->server->loop) - a->started);
    fields[n++] = (struct log_field)LOG_STR("reason", why);
    for (const char *at = a->audit; *at != '\0';) {
        const char *value = at + strlen(at) + 1;
        fields[n++] = (struct log_field)LOG_STR(at, value);
        at = value + strlen(value) + 1;
    }
    fields[n] = (struct log_field){.kind = LOG_K_END};
    log_emit(LOG_INFO, "access", fields);
}
