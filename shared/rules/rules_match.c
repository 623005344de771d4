#include "shared/rules/rules_match.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more item of this size; the array may move. */
static int make_room(void **items, size_t count, size_t *room, size_t size)
{
    size_t wanted = *room ? *room * 2 : 4;
    void *moved;

    if (count < *room)
        return 0;
    if (count >= SET_MAX)
        return -1;
    moved = realloc(*items, wanted * size);
    if (!moved)
        return -1;
    *items = moved;
    *room = wanted;
    return 0;
}

/* --- networks --- */

static int compare_networks(const void *left, const void *right)
{
    const struct prefix *a = left, *b = right;
    int order = memcmp(a->ip, b->ip, sizeof(a->ip));

    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    if (order != 0)
        return order;
    return (a->bits > b->bits) - (a->bits < b->bits);
}

int netset_add(struct netset *s, const struct prefix *p)
{
    void *items = s->items;

    if (make_room(&items, s->count, &s->room, sizeof(*s->items)))
        return -1;
    s->items = items;
    s->items[s->count++] = *p;
    return 0;
}

void netset_seal(struct netset *s)
{
    size_t kept = 0;

    if (s->count == 0)
        return;
    qsort(s->items, s->count, sizeof(*s->items), compare_networks);
    /* An outer network sorts right before what it holds. */
    for (size_t i = 1; i < s->count; i++)
        if (!prefix_within(&s->items[i], &s->items[kept]))
            s->items[++kept] = s->items[i];
    s->count = kept + 1;
}

void netset_fini(struct netset *s)
{
    free(s->items);
    *s = (struct netset){0};
}

/* How many members sort at or before p. */
static size_t networks_up_to(const struct netset *s, const struct prefix *p)
{
    size_t low = 0, high = s->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_networks(&s->items[middle], p) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum set_cover netset_cover(const struct netset *s, const struct prefix *p)
{
    size_t i = networks_up_to(s, p);

    /* Members do not overlap: only the last one before p can hold it. */
    if (i > 0 && prefix_within(p, &s->items[i - 1]))
        return SET_ALL;
    return i < s->count && prefix_within(&s->items[i], p) ? SET_PART : SET_NONE;
}

bool netset_contains(const struct netset *s, const struct addr *a)
{
    struct prefix p = {.family = a->family, .bits = (uint8_t)(addr_ip_len(a->family) * 8)};

    memcpy(p.ip, a->ip, p.bits / 8);
    return netset_cover(s, &p) == SET_ALL;
}

/* --- words --- */

static int compare_words(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

int wordset_add(struct wordset *s, const char *word)
{
    void *items = s->items;
    char *copy;

    if (make_room(&items, s->count, &s->room, sizeof(*s->items)))
        return -1;
    s->items = items;
    copy = strdup(word);
    if (!copy)
        return -1;
    s->items[s->count++] = copy;
    return 0;
}

void wordset_seal(struct wordset *s)
{
    size_t kept = 0;

    if (s->count == 0)
        return;
    qsort(s->items, s->count, sizeof(*s->items), compare_words);
    for (size_t i = 1; i < s->count; i++) {
        if (strcmp(s->items[i], s->items[kept]) == 0)
            free(s->items[i]);
        else
            s->items[++kept] = s->items[i];
    }
    s->count = kept + 1;
}

void wordset_fini(struct wordset *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
    *s = (struct wordset){0};
}

bool wordset_contains(const struct wordset *s, const char *word)
{
    return s->count > 0 &&
           bsearch(&word, s->items, s->count, sizeof(*s->items), compare_words) != NULL;
}

/* --- ports --- */

static int compare_spans(const void *left, const void *right)
{
    const struct port_span *a = left, *b = right;

    return (a->first > b->first) - (a->first < b->first);
}

int portset_add(struct portset *s, struct port_span span)
{
    void *items = s->items;

    if (make_room(&items, s->count, &s->room, sizeof(*s->items)))
        return -1;
    s->items = items;
    s->items[s->count++] = span;
    return 0;
}

void portset_seal(struct portset *s)
{
    size_t kept = 0;

    if (s->count == 0)
        return;
    qsort(s->items, s->count, sizeof(*s->items), compare_spans);
    for (size_t i = 1; i < s->count; i++) {
        struct port_span *last = &s->items[kept];

        if (s->items[i].first > last->last + 1)
            s->items[++kept] = s->items[i];
        else if (s->items[i].last > last->last)
            last->last = s->items[i].last;
    }
    s->count = kept + 1;
}

void portset_fini(struct portset *s)
{
    free(s->items);
    *s = (struct portset){0};
}

static int compare_port(const void *key, const void *item)
{
    const struct port_span *span = item;
    uint16_t port = *(const uint16_t *)key;

    return port < span->first ? -1 : port > span->last;
}

bool portset_contains(const struct portset *s, uint16_t port)
{
    return s->count > 0 &&
           bsearch(&port, s->items, s->count, sizeof(*s->items), compare_port) != NULL;
}

bool portset_is_full(const struct portset *s)
{
    return s->count == 1 && s->items[0].first <= 1 && s->items[0].last == UINT16_MAX;
}

/* --- host names --- */

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_octet(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_' || c == '.' || c >= 0x80;
}

bool host_name_from_client(const char *name, struct host_name *ret)
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > DEST_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        bool label_is_empty = c == '.' && (i == 0 || i == len - 1 || name[i - 1] == '.');

        if (c >= 'A' && c <= 'Z')
            c = (unsigned char)(c - 'A' + 'a');
        if (!is_name_octet(c) || label_is_empty)
            return false;
        ret->text[i] = (char)c;
    }
    ret->text[len] = '\0';
    return true;
}

static bool label_is_number(const char *label)
{
    while (is_digit((unsigned char)*label))
        label++;
    return *label == '\0';
}

bool host_name_from_pattern(const char *pattern, struct host_name *ret)
{
    bool wildcard = strncmp(pattern, "*.", 2) == 0;
    struct host_name name;
    const char *label;
    size_t len;

    if (!host_name_from_client(pattern + (wildcard ? 2 : 0), &name))
        return false;
    for (label = name.text; label[len = strcspn(label, ".")] == '.'; label += len + 1)
        if (len > 63)
            return false;
    if (len > 63 || label_is_number(label))
        return false;
    len = strlen(name.text);
    if (wildcard && len >= DEST_NAME_MAX)
        return false;
    ret->text[0] = '.';
    memcpy(ret->text + wildcard, name.text, len + 1);
    return true;
}

bool host_name_matches(const struct wordset *s, const struct host_name *name)
{
    const char *text = name->text;

    if (wordset_contains(s, text))
        return true;
    for (const char *dot = strchr(text, '.'); dot; dot = strchr(dot + 1, '.'))
        if (wordset_contains(s, dot))
            return true;
    return false;
}
