#include "shared/daemon/prom.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/utf8.h"

#define NUMBER_MAX 32

void prom_init(struct prom *p, size_t limit)
{
    *p = (struct prom){0};
    buf_init(&p->text, limit);
}

void prom_fini(struct prom *p)
{
    buf_fini(&p->text);
}

char *prom_take(struct prom *p, size_t *ret_len)
{
    char *text = NULL;

    if (p->text.data == NULL)
        buf_reserve(&p->text, 1); /* no text is a text too */
    if (!p->text.failed) {
        text = (char *)p->text.data;
        *ret_len = p->text.len;
        p->text.data = NULL;
    }
    buf_fini(&p->text);
    p->family[0] = '\0';
    return text;
}

static void put(struct prom *p, const char *text)
{
    buf_append(&p->text, text, strlen(text));
}

static void put_escaped(struct prom *p, const char *text, bool quoted)
{
    size_t left = strlen(text), len;

    for (; left > 0; text += len, left -= len) {
        len = utf8_char(text, left);
        if (len == 0) {
            put(p, UTF8_REPLACEMENT);
            len = 1;
        } else if (*text == '\n') {
            put(p, "\\n");
        } else if (*text == '\\' || (quoted && *text == '"')) {
            put(p, "\\");
            buf_append(&p->text, text, 1);
        } else {
            buf_append(&p->text, text, len);
        }
    }
}

static bool is_name(const char *text)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    static const char later[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

    return *text != '\0' && strchr(first, *text) != NULL && text[strspn(text, later)] == '\0';
}

static bool counts(const char *name)
{
    static const char suffix[] = "_total";
    size_t len = strlen(name), n = strlen(suffix);

    return len > n && strcmp(name + len - n, suffix) == 0;
}

void prom_family(struct prom *p, const char *name, enum prom_type type, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    size_t len = strlen(name);

    assert(is_name(name) && len <= PROM_NAME_MAX);
    assert(counts(name) == (type == PROM_COUNTER));
    assert(help[0] != '\0');
    memcpy(p->family, name, len + 1);
    p->type = type;
    put(p, "# HELP ");
    put(p, name);
    put(p, " ");
    put_escaped(p, help, false);
    put(p, "\n# TYPE ");
    put(p, name);
    put(p, " ");
    put(p, types[type]);
    put(p, "\n");
}

static void put_label(struct prom *p, const char *name, const char *value, bool *first)
{
    put(p, *first ? "{" : ",");
    put(p, name);
    put(p, "=\"");
    put_escaped(p, value, true);
    put(p, "\"");
    *first = false;
}

/* suffix: of the family's name; le: the bound of a bucket, or NULL. */
static void put_sample(struct prom *p, const char *suffix, const struct prom_label *labels,
                       const char *le, const char *value)
{
    bool first = true;

    assert(p->family[0] != '\0');
    put(p, p->family);
    put(p, suffix);
    for (const struct prom_label *l = labels; l != NULL && l->name != NULL; l++) {
        assert(is_name(l->name) && strcmp(l->name, "le") != 0);
        put_label(p, l->name, l->value != NULL ? l->value : "", &first);
    }
    if (le != NULL)
        put_label(p, "le", le, &first);
    put(p, first ? " " : "} ");
    put(p, value);
    put(p, "\n");
}

static const char *format_u64(uint64_t value, char ret[NUMBER_MAX])
{
    snprintf(ret, NUMBER_MAX, "%" PRIu64, value);
    return ret;
}

/* The shortest text that reads back as the same number: bounds and sums stay readable. */
static const char *format_f64(double value, char ret[NUMBER_MAX])
{
    if (isnan(value))
        return "NaN";
    if (isinf(value))
        return value > 0 ? "+Inf" : "-Inf";
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(ret, NUMBER_MAX, "%.*g", digits, value);
        if (strtod(ret, NULL) == value)
            break;
    }
    return ret;
}

void prom_u64(struct prom *p, const struct prom_label *labels, uint64_t value)
{
    char number[NUMBER_MAX];

    assert(p->type != PROM_HISTOGRAM);
    put_sample(p, "", labels, NULL, format_u64(value, number));
}

void prom_f64(struct prom *p, const struct prom_label *labels, double value)
{
    char number[NUMBER_MAX];

    assert(p->type != PROM_HISTOGRAM);
    put_sample(p, "", labels, NULL, format_f64(value, number));
}

void prom_observe(struct prom_histogram *h, double value)
{
    uint8_t i = 0;

    assert(h->n <= PROM_BOUNDS_MAX);
    if (!(value > 0))
        value = 0;
    while (i < h->n && value > h->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

void prom_histogram(struct prom *p, const struct prom_label *labels, const struct prom_histogram *h)
{
    char number[NUMBER_MAX], bound[NUMBER_MAX];
    uint64_t sum = 0;

    assert(p->type == PROM_HISTOGRAM);
    for (uint8_t i = 0; i <= h->n; i++) {
        sum += h->counts[i];
        put_sample(p, "_bucket", labels, i < h->n ? format_f64(h->bounds[i], bound) : "+Inf",
                   format_u64(sum, number));
    }
    put_sample(p, "_sum", labels, NULL, format_f64(h->sum, number));
    put_sample(p, "_count", labels, NULL, format_u64(sum, number));
}

void prom_build_info(struct prom *p, const char *prefix, const char *version)
{
    char name[PROM_NAME_MAX + 1];
    int len = snprintf(name, sizeof(name), "%s_build_info", prefix);

    assert(len > 0 && (size_t)len < sizeof(name));
    (void)len;
    prom_family(p, name, PROM_GAUGE, "The version that runs, as a label; always 1.");
    prom_u64(p, PROM_LABELS({"version", version}), 1);
}
