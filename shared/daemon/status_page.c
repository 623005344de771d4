#include "shared/daemon/status_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TYPE_TEXT    "text/plain; charset=utf-8"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_JSON    "application/json"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1000
#define VALUE_MAX     255
#define METRICS_MAX   ((size_t)4 << 20)  /* octets of text */
#define JSON_MAX      ((size_t)16 << 20) /* octets of memory: 1000 rows of 100 values */

__attribute__((format(printf, 3, 4))) static void reply_text(struct status_reply *ret,
                                                             unsigned code, const char *format, ...)
{
    va_list args;
    int len;

    *ret = (struct status_reply){.code = code, .type = TYPE_TEXT};
    va_start(args, format);
    len = vasprintf(&ret->body, format, args);
    va_end(args);
    if (len < 0) {
        ret->code = 500;
        ret->body = NULL;
    } else {
        ret->len = (size_t)len;
    }
}

/* body was built by prom_take or json_take and is NULL when it did not fit. */
static void reply_page(struct status_reply *ret, const char *type, char *body, size_t len)
{
    if (body == NULL)
        reply_text(ret, 500, "this page did not fit into its limit, or memory ran out\n");
    else
        *ret = (struct status_reply){.code = 200, .type = type, .body = body, .len = len};
}

/* ---- who may ask ------------------------------------------------------------------------- */

/* RFC 9110 section 7.2: uri-host [":" port]. Returns the length of the host, 0 for nonsense. */
static size_t host_length(const char *host)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");

    if (end == NULL)
        return 0;
    if (*end == ']')
        end++;
    if (*end != '\0' && (*end != ':' || end[1 + strspn(end + 1, "0123456789")] != '\0'))
        return 0;
    return (size_t)(end - host);
}

/* An attacker can point a name at us, and his web page at the name; but never an address. */
static bool host_allowed(const struct status_site *site, const char *host)
{
    char name[256];
    struct addr addr;
    size_t len = host_length(host);

    if (len == 0 || len >= sizeof(name))
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    if (addr_parse_ip(name, &addr))
        return true;
    if (name[len - 1] == '.')
        name[len - 1] = '\0';
    if (strcasecmp(name, "localhost") == 0)
        return true;
    for (size_t i = 0; i < site->host_count; i++)
        if (strcasecmp(name, site->hosts[i]) == 0)
            return true;
    return false;
}

/* ---- parameters -------------------------------------------------------------------------- */

static bool param_is(const struct status_param *p, const char *name)
{
    return p->name_len == strlen(name) && memcmp(p->name, name, p->name_len) == 0;
}

/* A name from outside, fit for a line of text. */
static const char *printable(const struct status_param *p, char ret[64])
{
    size_t len = p->name_len < 63 ? p->name_len : 63;

    for (size_t i = 0; i < len; i++)
        ret[i] = p->name[i] >= ' ' && p->name[i] <= '~' ? p->name[i] : '?';
    ret[len] = '\0';
    return ret;
}

static bool parse_limit(const struct status_param *p, unsigned *ret)
{
    unsigned n = 0;

    if (p->value_len < 1 || p->value_len > 4)
        return false;
    for (size_t i = 0; i < p->value_len; i++) {
        if (p->value[i] < '0' || p->value[i] > '9')
            return false;
        n = n * 10 + (unsigned)(p->value[i] - '0');
    }
    *ret = n;
    return n >= 1 && n <= LIMIT_MAX;
}

/* Where the value of this parameter goes; NULL: nobody knows it. */
static const char **param_slot(const struct status_site *site, const struct status_param *p,
                               const char **limit, struct status_query *query)
{
    const char *const *filters = site->pages->filters;

    if (param_is(p, "limit"))
        return limit;
    if (param_is(p, "after"))
        return &query->after;
    for (size_t i = 0; filters != NULL && i < STATUS_FILTERS_MAX && filters[i] != NULL; i++)
        if (param_is(p, filters[i]))
            return &query->filter[i];
    return NULL;
}

/* False, and the refusal in *ret. */
static bool parse_query(const struct status_site *site, const struct status_request *q,
                        struct status_query *query, struct status_reply *ret)
{
    const char *limit = NULL, **slot;
    char name[64];

    *query = (struct status_query){.limit = LIMIT_DEFAULT};
    for (unsigned i = 0; i < q->param_count && i < STATUS_PARAMS_MAX; i++) {
        const struct status_param *p = &q->params[i];

        slot = param_slot(site, p, &limit, query);
        if (slot == NULL) {
            reply_text(ret, 400, "unknown parameter: %s\n", printable(p, name));
        } else if (*slot != NULL) {
            reply_text(ret, 400, "%s is given twice\n", printable(p, name));
        } else if (slot == &limit && !parse_limit(p, &query->limit)) {
            reply_text(ret, 400, "limit is a number from 1 to %d\n", LIMIT_MAX);
        } else if (p->value_len < 1 || p->value_len > VALUE_MAX ||
                   memchr(p->value, '\0', p->value_len) != NULL) {
            reply_text(ret, 400, "%s has from 1 to %d octets, and no NUL\n", printable(p, name),
                       VALUE_MAX);
        } else {
            *slot = p->value;
            continue;
        }
        return false;
    }
    return true;
}

/* ---- pages ------------------------------------------------------------------------------- */

static void page_livez(const struct status_site *site, const struct status_request *q,
                       struct status_reply *ret)
{
    char reason[STATUS_REASON_MAX] = "";

    (void)q;
    if (site->pages->live == NULL || site->pages->live(site->ctx, reason, sizeof(reason)))
        reply_text(ret, 200, "ok\n");
    else
        reply_text(ret, 503, "not alive: %s\n", reason);
}

static void page_readyz(const struct status_site *site, const struct status_request *q,
                        struct status_reply *ret)
{
    char reason[STATUS_REASON_MAX] = "";

    (void)q;
    if (site->pages->ready == NULL || site->pages->ready(site->ctx, reason, sizeof(reason)))
        reply_text(ret, 200, "ok\n");
    else
        reply_text(ret, 503, "not ready: %s\n", reason);
}

static void page_metrics(const struct status_site *site, const struct status_request *q,
                         struct status_reply *ret)
{
    struct prom p;
    char *text;
    size_t len = 0;

    (void)q;
    prom_init(&p, METRICS_MAX);
    site->pages->metrics(site->ctx, &p);
    text = prom_take(&p, &len);
    reply_page(ret, TYPE_METRICS, text, len);
}

static void reply_json(struct status_reply *ret, struct json *j)
{
    char *text;
    size_t len = 0;

    json_object_end(j);
    text = json_take(j, &len);
    reply_page(ret, TYPE_JSON, text, len);
    json_free(j);
}

static void page_members(const struct status_site *site, void (*put)(void *ctx, struct json *j),
                         struct status_reply *ret)
{
    struct json *j = json_new(JSON_MAX);

    json_object_begin(j, NULL);
    put(site->ctx, j);
    reply_json(ret, j);
}

static void page_status(const struct status_site *site, const struct status_request *q,
                        struct status_reply *ret)
{
    (void)q;
    page_members(site, site->pages->status, ret);
}

static void page_relays(const struct status_site *site, const struct status_request *q,
                        struct status_reply *ret)
{
    (void)q;
    page_members(site, site->pages->relays, ret);
}

static void page_associations(const struct status_site *site, const struct status_request *q,
                              struct status_reply *ret)
{
    struct status_query query;
    struct err e = {""};
    struct json *j;

    if (!parse_query(site, q, &query, ret))
        return;
    j = json_new(JSON_MAX);
    json_object_begin(j, NULL);
    if (site->pages->associations(site->ctx, &query, j, &e) == 0) {
        reply_json(ret, j);
    } else {
        reply_text(ret, 400, "%s\n", e.text);
        json_free(j);
    }
}

static void page_index(const struct status_site *site, const struct status_request *q,
                       struct status_reply *ret);

static const struct page {
    const char *path;
    void (*answer)(const struct status_site *site, const struct status_request *q,
                   struct status_reply *ret);
    bool detail; /* over TCP only if the configuration says so */
    bool query;  /* takes parameters */
} pages[] = {
    {.path = "/", .answer = page_index},
    {.path = "/livez", .answer = page_livez},
    {.path = "/readyz", .answer = page_readyz},
    {.path = "/metrics", .answer = page_metrics},
    {.path = "/status", .answer = page_status, .detail = true},
    {.path = "/associations", .answer = page_associations, .detail = true, .query = true},
    {.path = "/relays", .answer = page_relays, .detail = true},
};
#define PAGE_COUNT (sizeof(pages) / sizeof(pages[0]))

static bool page_exists(const struct status_pages *p, const struct page *page)
{
    return !(page->answer == page_metrics && p->metrics == NULL) &&
           !(page->answer == page_status && p->status == NULL) &&
           !(page->answer == page_associations && p->associations == NULL) &&
           !(page->answer == page_relays && p->relays == NULL);
}

static bool page_hidden(const struct status_site *site, const struct page *page, bool tcp)
{
    return page->detail && tcp && !site->detail;
}

static void page_index(const struct status_site *site, const struct status_request *q,
                       struct status_reply *ret)
{
    char text[256] = "";
    size_t at = 0;

    for (size_t i = 1; i < PAGE_COUNT; i++)
        if (page_exists(site->pages, &pages[i]) && !page_hidden(site, &pages[i], q->tcp))
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\n", pages[i].path);
    reply_text(ret, 200, "%s", text);
}

static const struct page *page_find(const struct status_pages *p, const char *path)
{
    for (size_t i = 0; i < PAGE_COUNT; i++)
        if (strcmp(pages[i].path, path) == 0)
            return page_exists(p, &pages[i]) ? &pages[i] : NULL;
    return NULL;
}

void status_answer(const struct status_site *site, const struct status_request *q,
                   struct status_reply *ret)
{
    const struct page *page = page_find(site->pages, q->path);
    char name[64];

    if (q->host_count > 1) {
        reply_text(ret, 400, "more than one Host\n");
    } else if (q->tcp && q->host != NULL && !host_allowed(site, q->host)) {
        reply_text(ret, 403, "this Host is not served: ask by IP address, or configure the name\n");
    } else if (page == NULL) {
        reply_text(ret, 404, "no such page; / lists them\n");
    } else if (page_hidden(site, page, q->tcp)) {
        reply_text(ret, 404, "%s is served on Unix sockets; over TCP only with detail: true\n",
                   page->path);
    } else if (strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0) {
        reply_text(ret, 405, "this endpoint is read-only\n");
        ret->allow = "GET, HEAD";
    } else if (!page->query && q->param_count > 0) {
        reply_text(ret, 400, "unknown parameter: %s\n", printable(&q->params[0], name));
    } else {
        page->answer(site, q, ret);
    }
}
