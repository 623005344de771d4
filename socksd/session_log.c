#include <stdio.h>
#include <string.h>

#include "shared/base/log.h"
#include "socksd/session.h"

size_t session_audit(const struct session *x, struct session_audit_text *t,
                     struct n2_audit audit[SESSION_AUDIT])
{
    const struct request *r = &x->dialect.request;
    char ip[ADDR_TEXT_MAX];
    size_t n = 0;

    if (r->dest.name[0] != '\0')
        snprintf(t->destination, sizeof(t->destination), "%s:%u", r->dest.name, r->dest.addr.port);
    else
        snprintf(t->destination, sizeof(t->destination), "%s", addr_format(&r->dest.addr, ip));
    snprintf(t->version, sizeof(t->version), "socks%u", r->version);
    snprintf(t->rule, sizeof(t->rule), "%u", x->rule);
    addr_format(&x->listener, t->listener);
    audit[n++] = (struct n2_audit){"command", socks_command_name(r->command)};
    audit[n++] = (struct n2_audit){"destination", t->destination};
    audit[n++] = (struct n2_audit){"version", t->version};
    if (r->command == SOCKS_TRANSPARENT) {
        snprintf(t->ptcl, sizeof(t->ptcl), "%u", r->ptcl);
        audit[n++] = (struct n2_audit){"ptcl", t->ptcl};
    }
    audit[n++] = (struct n2_audit){"listener", t->listener};
    audit[n++] = (struct n2_audit){"rule", t->rule};
    if (x->via.family != ADDR_NONE)
        audit[n++] = (struct n2_audit){"via", addr_format(&x->via, t->via)};
    if (x->authenticated)
        audit[n++] = (struct n2_audit){"user", x->user};
    else if (r->userid_len > 0)
        audit[n++] = (struct n2_audit){"userid", r->userid};
    return n;
}

void session_log_access(const struct session *x, enum reply_word word, const char *why)
{
    struct n2_audit audit[SESSION_AUDIT];
    struct session_audit_text text;
    struct log_field fields[8 + SESSION_AUDIT];
    size_t count = session_audit(x, &text, audit), n = 0;

    fields[n++] = (struct log_field)LOG_ADDR("client", &x->client);
    fields[n++] = (struct log_field)LOG_STR("reply", reply_name(word));
    fields[n++] = (struct log_field)LOG_STR("reason", why);
    fields[n++] = (struct log_field)LOG_U64("duration_ms", loop_now(x->server->loop) - x->started);
    for (size_t i = 0; i < count; i++)
        fields[n++] = (struct log_field)LOG_STR(audit[i].key, audit[i].value);
    fields[n] = (struct log_field){.kind = LOG_K_END};
    log_emit(LOG_INFO, "access", fields);
}

void session_log_auth_failed(const struct session *x)
{
    const struct dialect_credentials *c = &x->dialect.credentials;

    log_warn("auth_failed", LOG_ADDR("client", &x->client), LOG_BYTES("user", c->user, c->user_len),
             LOG_STR("method", "username-password"), LOG_ADDR("listener", &x->listener));
}
