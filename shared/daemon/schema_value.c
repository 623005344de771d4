#include "shared/daemon/schema_value.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* The largest first: the first that divides a number is the one to print it with. */
static const struct unit durations[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {0}};
static const struct unit sizes[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}, {0}};
static const struct unit numbers[] = {{"", 1}, {0}};

const char *schema_quote(const char *text, char buf[SCHEMA_QUOTE_MAX])
{
    const size_t most = SCHEMA_QUOTE_MAX - sizeof("\"...\"");
    size_t len = strlen(text), at = 0;
    bool cut = len > most;

    if (cut)
        for (len = most; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80;)
            len--; /* not inside a character */
    buf[at++] = '"';
    for (size_t i = 0; i < len; i++)
        buf[at++] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    strcpy(buf + at, cut ? "...\"" : "\"");
    return buf;
}

const char *schema_words_format(const struct schema_word *words, const char *separator, char *buf,
                                size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (; words->word != NULL && at < size; words++) {
        int n = snprintf(buf + at, size - at, "%s%s", at == 0 ? "" : separator, words->word);
        at += (size_t)n;
    }
    return buf;
}

/* `"abc" is not a whole number`, with the place and the key in front. */
static int refuse(const struct schema_key *k, const struct yaml_node *at, struct err *e)
{
    char quoted[SCHEMA_QUOTE_MAX];

    return yaml_err(at, e, "%s: %s is not %s", k->name, schema_quote(at->text, quoted),
                    schema_value_noun(k->type));
}

/* Decimal digits without needless zeros, at *text, which moves behind them. */
static bool digits_parse(const char **text, uint64_t *ret)
{
    const char *p = *text;
    uint64_t value = 0;

    if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9'))
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    *text = p;
    *ret = value;
    return true;
}

static bool quantity_parse(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t value;

    if (!digits_parse(&text, &value))
        return false;
    if (value == 0 && *text == '\0') {
        *ret = 0;
        return true;
    }
    for (; units->name != NULL; units++)
        if (strcmp(text, units->name) == 0)
            return !__builtin_mul_overflow(value, units->factor, ret);
    return false;
}

/* By type; NULL for those that are no quantity. */
static const struct unit *units_of(enum schema_type type)
{
    switch (type) {
    case SCHEMA_T_UINT:
        return numbers;
    case SCHEMA_T_DURATION:
        return durations;
    case SCHEMA_T_SIZE:
        return sizes;
    default:
        return NULL;
    }
}

const char *schema_quantity_format(enum schema_type type, uint64_t value,
                                   char buf[SCHEMA_QUANTITY_MAX])
{
    const struct unit *unit = units_of(type);

    while (unit->factor != 1 && (value == 0 || value % unit->factor != 0))
        unit++;
    snprintf(buf, SCHEMA_QUANTITY_MAX, "%" PRIu64 "%s", value / unit->factor, unit->name);
    return buf;
}

static int quantity_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                         void *ret)
{
    char limit[SCHEMA_QUANTITY_MAX];
    uint64_t value;

    if (!quantity_parse(at->text, units_of(k->type), &value))
        return refuse(k, at, e);
    if (value < k->min)
        return yaml_err(at, e, "%s: %s is less than %s", k->name, at->text,
                        schema_quantity_format(k->type, k->min, limit));
    if (k->max != 0 && value > k->max)
        return yaml_err(at, e, "%s: %s is more than %s", k->name, at->text,
                        schema_quantity_format(k->type, k->max, limit));
    memcpy(ret, &value, sizeof(value));
    return 0;
}

static int bool_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                     void *ret)
{
    bool value = strcmp(at->text, "true") == 0;

    if (!value && strcmp(at->text, "false") != 0)
        return refuse(k, at, e);
    memcpy(ret, &value, sizeof(value));
    return 0;
}

static int string_keep(const struct yaml_node *at, char *text, struct err *e, void *ret)
{
    if (text == NULL)
        return yaml_err(at, e, "out of memory");
    memcpy(ret, &text, sizeof(text));
    return 0;
}

static int string_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                       void *ret)
{
    size_t len = strlen(at->text);

    if (len == 0 && k->min > 0)
        return yaml_err(at, e, "%s: must not be empty", k->name);
    if (len < k->min)
        return yaml_err(at, e, "%s: shorter than %" PRIu64 " octets", k->name, k->min);
    if (k->max != 0 && len > k->max)
        return yaml_err(at, e, "%s: longer than %" PRIu64 " octets", k->name, k->max);
    return string_keep(at, strdup(at->text), e, ret);
}

static int path_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                     void *ret)
{
    const char *slash = at->text[0] == '/' ? NULL : strrchr(at->file, '/');
    int folder = slash == NULL ? 0 : (int)(slash - at->file) + 1;
    char *path;

    if (at->text[0] == '\0')
        return yaml_err(at, e, "%s: must not be empty", k->name);
    if (asprintf(&path, "%.*s%s", folder, at->file, at->text) < 0)
        path = NULL;
    if (path != NULL && strlen(path) >= PATH_MAX) {
        free(path);
        return yaml_err(at, e, "%s: longer than %d octets", k->name, PATH_MAX - 1);
    }
    return string_keep(at, path, e, ret);
}

static int word_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                     void *ret)
{
    char quoted[SCHEMA_QUOTE_MAX], words[256];

    for (const struct schema_word *w = k->words; w->word != NULL; w++) {
        if (strcmp(w->word, at->text) == 0) {
            memcpy(ret, &w->value, sizeof(w->value));
            return 0;
        }
    }
    return yaml_err(at, e, "%s: %s is not one of %s", k->name, schema_quote(at->text, quoted),
                    schema_words_format(k->words, ", ", words, sizeof(words)));
}

static int addr_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                     void *ret)
{
    struct addr a;

    if (!addr_parse(at->text, &a))
        return refuse(k, at, e);
    memcpy(ret, &a, sizeof(a));
    return 0;
}

static int ip_load(const struct schema_key *k, const struct yaml_node *at, struct err *e, void *ret)
{
    struct addr a;

    if (!addr_parse_ip(at->text, &a))
        return refuse(k, at, e);
    memcpy(ret, &a, sizeof(a));
    return 0;
}

static int prefix_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                       void *ret)
{
    struct prefix p;

    if (!prefix_parse(at->text, &p))
        return refuse(k, at, e);
    if (prefix_is_mapped(&p))
        return yaml_err(at, e, "%s: %s is IPv4: write it so", k->name, at->text);
    memcpy(ret, &p, sizeof(p));
    return 0;
}

static int ports_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                      void *ret)
{
    const char *text = at->text;
    uint64_t first, last;
    struct schema_ports ports;

    if (!digits_parse(&text, &first))
        return refuse(k, at, e);
    last = first;
    if (*text == '-') {
        text++;
        if (!digits_parse(&text, &last))
            return refuse(k, at, e);
    }
    if (*text != '\0' || first < 1 || first > last || last > UINT16_MAX)
        return refuse(k, at, e);
    ports = (struct schema_ports){.first = (uint16_t)first, .last = (uint16_t)last};
    memcpy(ret, &ports, sizeof(ports));
    return 0;
}

/* One row per scalar type. */
static const struct {
    const char *noun;
    int (*load)(const struct schema_key *k, const struct yaml_node *at, struct err *e, void *ret);
} types[] = {
    [SCHEMA_T_BOOL] = {"true or false", bool_load},
    [SCHEMA_T_UINT] = {"a whole number", quantity_load},
    [SCHEMA_T_DURATION] = {"a duration such as 250ms, 5s, 10m or 1h", quantity_load},
    [SCHEMA_T_SIZE] = {"a size such as 4096, 64KiB or 1MiB", quantity_load},
    [SCHEMA_T_STRING] = {"a string", string_load},
    [SCHEMA_T_PATH] = {"a path", path_load},
    [SCHEMA_T_WORD] = {"a word", word_load},
    [SCHEMA_T_ADDR] = {"an address and port such as 127.0.0.1:1080 or [::1]:1080", addr_load},
    [SCHEMA_T_IP] = {"an address such as 192.0.2.1 or 2001:db8::1", ip_load},
    [SCHEMA_T_PREFIX] = {"a network such as 192.0.2.0/24 with all host bits zero", prefix_load},
    [SCHEMA_T_PORTS] = {"a port or range of ports such as 443 or 8000-8999", ports_load},
    [SCHEMA_T_SUB] = {"", NULL},
    [SCHEMA_T_CUSTOM] = {"", NULL},
};

const char *schema_value_noun(enum schema_type type)
{
    return types[type].noun;
}

int schema_value_parse(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                       void *ret)
{
    if (types[k->type].load(k, at, e, ret) != 0)
        return -1;
    if (k->check == NULL || k->check(at->text, e) == 0)
        return 0;
    schema_value_free(k->type, ret);
    return err_wrap(e, "%s:%u:%u: %s", at->file, at->line, at->column, k->name);
}

void schema_value_free(enum schema_type type, void *value)
{
    char *text;

    if (type != SCHEMA_T_STRING && type != SCHEMA_T_PATH)
        return;
    memcpy(&text, value, sizeof(text));
    free(text);
    memset(value, 0, sizeof(text));
}
