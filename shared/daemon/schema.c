#include "shared/daemon/schema.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/schema_value.h"

/* How every list lies in memory, whatever its items are; SCHEMA_IS_ITEMS checks it. Read and
 * written with memcpy: the items have another type there. */
struct items {
    void *items;
    size_t count;
};

static void *field_of(const struct schema_key *k, void *object)
{
    return (char *)object + k->offset;
}

static const struct schema_key *key_find(const struct schema *s, const char *name)
{
    for (const struct schema_key *k = s->keys; k->name != NULL; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

/* ---- an unknown key, and the one that was meant ---- */

#define WORD_MAX 64

/* How many letters to change, put in or leave out to make b of a (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1], len = strlen(b);

    for (size_t j = 0; j <= len; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[len];
}

static const char *nearest_key(const struct schema *s, const char *name)
{
    size_t len = strlen(name),
           best = (len + 2) / 3 + 1; /* farther than that is no slip of the hand */
    const char *nearest = NULL;

    if (len > WORD_MAX)
        return NULL;
    for (const struct schema_key *k = s->keys; k->name != NULL; k++) {
        size_t d = strlen(k->name) > WORD_MAX ? best : distance(name, k->name);
        if (d < best) {
            best = d;
            nearest = k->name;
        }
    }
    return nearest;
}

static int unknown_key(const struct schema *s, const struct yaml_node *key, struct err *e)
{
    const char *nearest = nearest_key(s, key->text);
    char quoted[SCHEMA_QUOTE_MAX];

    schema_quote(key->text, quoted);
    if (nearest != NULL)
        return yaml_err(key, e, "unknown key %s, did you mean \"%s\"?", quoted, nearest);
    return yaml_err(key, e, "unknown key %s", quoted);
}

/* ---- loading ---- */

static int mapping_load(const struct schema *s, const struct yaml_node *at, struct err *e,
                        void *ret);
static int mapping_fill(const struct schema *s, const struct yaml_node *at, struct err *e,
                        void *ret);

static const char *kind_name(const struct yaml_node *at)
{
    static const char *const names[] = {"a single value", "a list", "a mapping"};

    return yaml_is_missing(at) ? "nothing" : names[at->kind];
}

int schema_expect(const char *name, const struct yaml_node *at, enum yaml_kind kind, struct err *e)
{
    static const char *const expected[] = {"a single value is", "a list is", "a mapping is"};

    if (at->kind == kind && !yaml_is_missing(at))
        return 0;
    return yaml_err(at, e, "%s: %s expected here, not %s", name, expected[kind], kind_name(at));
}

static int sub_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                    void *ret)
{
    assert(k->size == k->sub->size); /* the field and its table belong together */
    return k->group ? mapping_fill(k->sub, at, e, ret) : mapping_load(k->sub, at, e, ret);
}

static int one_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                    void *ret)
{
    if (k->type == SCHEMA_T_CUSTOM)
        return k->load(at, e, ret);
    if (schema_expect(k->name, at, k->type == SCHEMA_T_SUB ? YAML_MAPPING : YAML_SCALAR, e) != 0)
        return -1;
    if (k->type == SCHEMA_T_SUB)
        return sub_load(k, at, e, ret);
    return schema_value_parse(k, at, e, ret);
}

static int refuse_repeated_word(const struct schema_key *k, const struct yaml_node *at,
                                const char *items, size_t count, struct err *e)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(items + i * k->size, items + count * k->size, k->size) == 0)
            return yaml_err(at, e, "%s: \"%s\" stands here a second time", k->name, at->text);
    return 0;
}

/* The list counts what is complete in it, so that it can be freed at any moment. */
static int list_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                     void *field)
{
    struct items list = {0};

    if (schema_expect(k->name, at, YAML_SEQUENCE, e) != 0)
        return -1;
    if (at->count == 0)
        return k->filled ? yaml_err(at, e, "%s: an empty list is not allowed", k->name) : 0;
    list.items = calloc(at->count, k->size);
    if (list.items == NULL)
        return yaml_err(at, e, "out of memory");
    memcpy(field, &list, sizeof(list));
    for (const struct yaml_node *n = at->first; n != NULL; n = n->next) {
        if (one_load(k, n, e, (char *)list.items + list.count * k->size) != 0)
            return -1;
        if (k->type == SCHEMA_T_WORD && refuse_repeated_word(k, n, list.items, list.count, e) != 0)
            return -1;
        list.count++;
        memcpy(field, &list, sizeof(list));
    }
    return 0;
}

static int key_load(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                    void *object)
{
    void *field = field_of(k, object);

    return k->list ? list_load(k, at, e, field) : one_load(k, at, e, field);
}

/* file: what a relative path in a preset starts from. */
static int preset_load(const struct schema_key *k, const char *file, struct err *e, void *object)
{
    struct yaml_tree tree;
    int status;

    if (k->preset == NULL && k->type == SCHEMA_T_SUB && !k->list)
        return sub_load(k, NULL, e, field_of(k, object));
    if (k->preset == NULL)
        return 0;
    status = yaml_load_text(file, k->preset, strlen(k->preset), e, &tree);
    if (status == 0) {
        status = key_load(k, tree.root, e, object);
        yaml_fini(&tree);
    }
    return status == 0 ? 0 : err_wrap(e, "preset of \"%s\"", k->name);
}

static int members_load(const struct schema *s, const struct yaml_node *at, struct err *e,
                        void *object)
{
    for (const struct yaml_node *n = at->first; n != NULL; n = n->next) {
        const struct schema_key *k = key_find(s, n->key->text);
        if (k == NULL)
            return unknown_key(s, n->key, e);
        if (key_load(k, n, e, object) != 0)
            return -1;
        if (k->given != 0)
            *(bool *)((char *)object + k->given - 1) = true;
    }
    return 0;
}

static int absent_load(const struct schema *s, const struct yaml_node *at, struct err *e,
                       void *object)
{
    for (const struct schema_key *k = s->keys; k->name != NULL; k++) {
        if (at != NULL && yaml_find(at, k->name) != NULL)
            continue;
        if (at != NULL && k->required)
            return yaml_err(at, e, "\"%s\" is missing", k->name);
        if (preset_load(k, at == NULL ? "preset" : at->file, e, object) != 0)
            return -1;
    }
    return 0;
}

/* at is a mapping or NULL. What is in the struct when it fails is its owner's to free. */
static int mapping_fill(const struct schema *s, const struct yaml_node *at, struct err *e,
                        void *ret)
{
    if ((at != NULL && members_load(s, at, e, ret) != 0) || absent_load(s, at, e, ret) != 0)
        return -1;
    return at == NULL || s->check == NULL ? 0 : s->check(ret, at, e);
}

/* The same for a struct of its own. Whatever fails, what is in it by then is freed here. */
static int mapping_load(const struct schema *s, const struct yaml_node *at, struct err *e,
                        void *ret)
{
    memset(ret, 0, s->size);
    if (mapping_fill(s, at, e, ret) == 0)
        return 0;
    schema_fini(s, ret);
    return -1;
}

int schema_load(const struct schema *s, const struct yaml_node *at, struct err *e, void *ret)
{
    memset(ret, 0, s->size);
    if (at != NULL && at->kind != YAML_MAPPING)
        return yaml_err(at, e, "a mapping is expected here, not %s", kind_name(at));
    return mapping_load(s, at, e, ret);
}

/* ---- freeing ---- */

static void keys_fini(const struct schema *s, void *object);

static void one_fini(const struct schema_key *k, void *field)
{
    if (k->group)
        keys_fini(k->sub, field);
    else if (k->type == SCHEMA_T_SUB)
        schema_fini(k->sub, field);
    else if (k->type == SCHEMA_T_CUSTOM && k->fini != NULL)
        k->fini(field);
    else
        schema_value_free(k->type, field);
}

static void list_fini(const struct schema_key *k, void *field)
{
    struct items list;

    memcpy(&list, field, sizeof(list));
    for (size_t i = 0; i < list.count; i++)
        one_fini(k, (char *)list.items + i * k->size);
    free(list.items);
}

static void keys_fini(const struct schema *s, void *object)
{
    for (const struct schema_key *k = s->keys; k->name != NULL; k++) {
        if (k->list)
            list_fini(k, field_of(k, object));
        else
            one_fini(k, field_of(k, object));
    }
}

void schema_fini(const struct schema *s, void *object)
{
    keys_fini(s, object);
    memset(object, 0, s->size);
}
