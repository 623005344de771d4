#include "shared/daemon/json.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/daemon/utf8.h"

#define VALUE_COST 128 /* what jansson takes for a small value and its place in an object */

enum kind { OBJECT, ARRAY };

/* The levels are kept track of even after a failure, so that misuse is found on the bad days too.
 */
struct json {
    json_t *root; /* owns all values; NULL before the first, and once failed */
    size_t used, limit;
    bool failed;
    bool done; /* the root has ended */
    unsigned depth;
    struct {
        enum kind kind;
        json_t *value; /* borrowed from the level below */
    } level[JSON_DEPTH_MAX];
};

struct json *json_new(size_t limit)
{
    struct json *j = calloc(1, sizeof(*j));

    if (j != NULL)
        j->limit = limit;
    return j;
}

void json_free(struct json *j)
{
    if (j == NULL)
        return;
    json_decref(j->root);
    free(j);
}

static void fail(struct json *j)
{
    j->failed = true;
    json_decref(j->root);
    j->root = NULL;
}

char *json_take(struct json *j, size_t *ret_len)
{
    char *text, *grown;
    size_t len;

    if (j == NULL)
        return NULL;
    assert(j->done && j->depth == 0);
    if (j->failed)
        return NULL;
    text = json_dumps(j->root, JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text == NULL)
        return NULL;
    len = strlen(text);
    grown = realloc(text, len + 2);
    if (grown == NULL) {
        free(text);
        return NULL;
    }
    memcpy(grown + len, "\n", 2);
    *ret_len = len + 1;
    return grown;
}

/* May a value of so many octets go here? Checks the key in any case. */
static bool admit(struct json *j, const char *key, size_t len)
{
    if (j == NULL)
        return false;
    assert(!j->done);
    assert((key != NULL) == (j->depth > 0 && j->level[j->depth - 1].kind == OBJECT));
    if (j->failed)
        return false;
    if (len > j->limit || j->used + VALUE_COST > j->limit - len) {
        fail(j);
        return false;
    }
    j->used += VALUE_COST + len;
    return true;
}

/* Takes value over, NULL included: that is how jansson says that memory ran out. */
static void add(struct json *j, const char *key, json_t *value)
{
    json_t *parent = j->depth > 0 ? j->level[j->depth - 1].value : NULL;
    int rc = -1;

    if (value == NULL) {
        fail(j);
        return;
    }
    if (parent == NULL) {
        j->root = value;
        return;
    }
    if (key != NULL) {
        assert(json_object_get(parent, key) == NULL);
        rc = json_object_set_new_nocheck(parent, key, value);
    } else {
        rc = json_array_append_new(parent, value);
    }
    if (rc != 0)
        fail(j);
}

static void begin(struct json *j, const char *key, enum kind kind)
{
    json_t *value = NULL;

    if (j == NULL)
        return;
    if (admit(j, key, 0)) {
        value = kind == OBJECT ? json_object() : json_array();
        add(j, key, value);
    }
    assert(j->depth < JSON_DEPTH_MAX);
    j->level[j->depth].kind = kind;
    j->level[j->depth].value = j->failed ? NULL : value;
    j->depth++;
}

static void end(struct json *j, enum kind kind)
{
    if (j == NULL)
        return;
    assert(j->depth > 0 && j->level[j->depth - 1].kind == kind);
    j->depth--;
    j->done = j->depth == 0;
}

void json_object_begin(struct json *j, const char *key)
{
    begin(j, key, OBJECT);
}

void json_object_end(struct json *j)
{
    end(j, OBJECT);
}

void json_array_begin(struct json *j, const char *key)
{
    begin(j, key, ARRAY);
}

void json_array_end(struct json *j)
{
    end(j, ARRAY);
}

/* A value that is the whole text would leave nothing to begin or end. */
static bool admit_leaf(struct json *j, const char *key, size_t len)
{
    assert(j == NULL || j->depth > 0);
    return admit(j, key, len);
}

/* Writes text with its bad octets replaced, returns the length; the octets of it: see bad_octets.
 */
static size_t replace_bad(const char *text, size_t len, char *ret)
{
    size_t at = 0;

    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_char(text + i, len - i);
        if (n == 0) {
            memcpy(ret + at, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT));
            at += strlen(UTF8_REPLACEMENT);
            n = 1;
        } else {
            memcpy(ret + at, text + i, n);
            at += n;
        }
    }
    return at;
}

static size_t bad_octets(const char *text, size_t len)
{
    size_t bad = 0;

    for (size_t i = 0, n; i<len; i += n> 0 ? n : 1) {
        n = utf8_char(text + i, len - i);
        bad += n == 0;
    }
    return bad;
}

void json_put_bytes(struct json *j, const char *key, const void *bytes, size_t len)
{
    const char *text = len > 0 ? bytes : "";
    size_t more = bad_octets(text, len) * (strlen(UTF8_REPLACEMENT) - 1);
    char *clean;

    if (!admit_leaf(j, key, len + more))
        return;
    if (more == 0) {
        add(j, key, json_stringn_nocheck(text, len));
        return;
    }
    clean = malloc(len + more);
    if (clean == NULL) {
        fail(j);
        return;
    }
    add(j, key, json_stringn_nocheck(clean, replace_bad(text, len, clean)));
    free(clean);
}

static void put_null(struct json *j, const char *key)
{
    if (admit_leaf(j, key, 0))
        add(j, key, json_null());
}

void json_put_str(struct json *j, const char *key, const char *str)
{
    if (str == NULL)
        put_null(j, key);
    else
        json_put_bytes(j, key, str, strlen(str));
}

void json_put_hex(struct json *j, const char *key, const void *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    char *text;

    if (!admit_leaf(j, key, 2 * len))
        return;
    text = malloc(2 * len + 1);
    if (text == NULL) {
        fail(j);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    add(j, key, json_stringn_nocheck(text, 2 * len));
    free(text);
}

void json_put_u64(struct json *j, const char *key, uint64_t value)
{
    if (admit_leaf(j, key, 0))
        add(j, key,
            value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value));
}

void json_put_i64(struct json *j, const char *key, int64_t value)
{
    if (admit_leaf(j, key, 0))
        add(j, key, json_integer(value));
}

void json_put_f64(struct json *j, const char *key, double value)
{
    if (admit_leaf(j, key, 0))
        add(j, key, isfinite(value) ? json_real(value) : json_null());
}

void json_put_bool(struct json *j, const char *key, bool value)
{
    if (admit_leaf(j, key, 0))
        add(j, key, json_boolean(value));
}

void json_put_addr(struct json *j, const char *key, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    if (a == NULL || a->family == ADDR_NONE)
        put_null(j, key);
    else
        json_put_str(j, key, addr_format(a, text));
}
