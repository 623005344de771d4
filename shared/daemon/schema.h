/* A configuration as a constant table: key, type, place in a struct, range, default, help.
 *
 *   struct listener { struct addr listen; uint64_t handshake_ms; };
 *   struct config { SCHEMA_ITEMS(struct listener) listeners; };
 *
 *   static const struct schema_key listener_keys[] = {
 *       SCHEMA_KEY("listen", ADDR, struct listener, listen, .required = true, .help = "..."),
 *       SCHEMA_KEY("handshake-timeout", DURATION, struct listener, handshake_ms,
 *                  .preset = "10s", .min = 100, .max = 60000, .help = "..."),
 *       {0},
 *   };
 *   static const struct schema listener = {sizeof(struct listener), listener_keys, NULL};
 *   static const struct schema_key keys[] = {
 *       SCHEMA_SUBS("listeners", struct config, listeners, &listener, .help = "..."),
 *       {0},
 *   };
 *
 * schema_load refuses what the table does not know: an unknown key, a wrong type, a value out of
 * range, each with FILE:LINE:COLUMN. A single value is no list of one. A key that is absent gets
 * its preset, which is YAML text and goes through the same code; without a preset its field is
 * zero, NULL or an empty list. The keys of a nested mapping that is absent get theirs all the same,
 * and nothing is required of it.
 *
 *   type      field                text
 *   BOOL      bool                 true, false
 *   UINT      uint64_t             42
 *   DURATION  uint64_t             milliseconds: 250ms, 5s, 10m, 1h, 0
 *   SIZE      uint64_t             octets: 4096, 64KiB, 1MiB, 2GiB
 *   STRING    char *               anything
 *   PATH      char *               a file; a relative one starts where the configuration is
 *   WORD      an enum              one of .words
 *   ADDR      struct addr          127.0.0.1:1080, [::1]:1080
 *   IP        struct addr          192.0.2.1, 2001:db8::1 (port 0)
 *   PREFIX    struct prefix        192.0.2.0/24, 2001:db8::/32, or one address
 *   PORTS     struct schema_ports  443, 8000-8999
 *
 * SCHEMA_KEY is one value, SCHEMA_LIST any number of them ([] included), SCHEMA_SUB a nested
 * mapping, SCHEMA_SUBS a list of mappings, SCHEMA_GROUP a nested mapping whose fields are those of
 * the same struct, SCHEMA_CUSTOM what a callback makes of the node. The macros refuse to compile
 * when the field has another type. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "shared/base/addr.h"
#include "shared/base/err.h"
#include "shared/daemon/yaml.h"

enum schema_type {
    SCHEMA_T_BOOL,
    SCHEMA_T_UINT,
    SCHEMA_T_DURATION,
    SCHEMA_T_SIZE,
    SCHEMA_T_STRING,
    SCHEMA_T_PATH,
    SCHEMA_T_WORD,
    SCHEMA_T_ADDR,
    SCHEMA_T_IP,
    SCHEMA_T_PREFIX,
    SCHEMA_T_PORTS,
    SCHEMA_T_SUB,
    SCHEMA_T_CUSTOM,
};

struct schema_ports {
    uint16_t first, last; /* both included; from 1 */
};

/* Any list: SCHEMA_ITEMS(struct addr) bind; has bind.items and bind.count. items is NULL when count
 * is 0. */
#define SCHEMA_ITEMS(type)                                                                         \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count;                                                                              \
    }

/* A table of words ends with {NULL, 0}. */
struct schema_word {
    const char *word;
    unsigned value;
};

struct schema;

struct schema_key {
    const char *name;
    enum schema_type type;
    bool list;
    bool required; /* refuse the mapping when this key is not in it */
    bool filled;   /* refuse an empty list */
    bool group;    /* SUB: its table describes the struct that this row belongs to */
    size_t offset; /* of the field */
    size_t size;   /* of the field, or of one item of a list */
    size_t given;  /* SCHEMA_GIVEN(...): a bool that says whether the key is in the file; 0: none */
    const char *preset;
    uint64_t min, max; /* UINT; DURATION: milliseconds; SIZE; STRING: length. max 0: no limit */
    const struct schema_word *words;
    const struct schema *sub;
    /* One more look at a scalar: its text as in the file. Sets a sentence without the place. */
    int (*check)(const char *text, struct err *e);
    /* CUSTOM: the field is zeroed before. On failure the sentence has the place (yaml_err). fini
     * (may be NULL) is called for a field that is complete, half made or zeroed. */
    int (*load)(const struct yaml_node *at, struct err *e, void *ret_field);
    void (*fini)(void *field);
    const char *form; /* CUSTOM: what it is, for the help: "list of rules" */
    const char *help; /* a sentence */
};

struct schema {
    size_t size;                   /* of the struct */
    const struct schema_key *keys; /* ends with {0} */
    /* What no key knows by itself; called when all keys of a mapping of the file are loaded. Sets a
     * sentence with the place (yaml_err). May be NULL. A group's is called when the group is
     * complete; what stands around it need not be. */
    int (*check)(void *object, const struct yaml_node *at, struct err *e);
};

/* ---- rows of a table; designated initialisers may follow ---- */

#define SCHEMA_FIELD(T, f) (((T *)0)->f)
#define SCHEMA_IF(condition)                                                                       \
    (0 * sizeof(struct { int wrong_type_of_field : (condition) ? 1 : -1; }))
#define SCHEMA_SAME(x, C)     __builtin_types_compatible_p(__typeof__(x), C)
#define SCHEMA_IS_BOOL(x)     SCHEMA_SAME(x, bool)
#define SCHEMA_IS_UINT(x)     SCHEMA_SAME(x, uint64_t)
#define SCHEMA_IS_DURATION(x) SCHEMA_SAME(x, uint64_t)
#define SCHEMA_IS_SIZE(x)     SCHEMA_SAME(x, uint64_t)
#define SCHEMA_IS_STRING(x)   SCHEMA_SAME(x, char *)
#define SCHEMA_IS_PATH(x)     SCHEMA_SAME(x, char *)
#define SCHEMA_IS_WORD(x)     (sizeof(x) == sizeof(unsigned))
#define SCHEMA_IS_ADDR(x)     SCHEMA_SAME(x, struct addr)
#define SCHEMA_IS_IP(x)       SCHEMA_SAME(x, struct addr)
#define SCHEMA_IS_PREFIX(x)   SCHEMA_SAME(x, struct prefix)
#define SCHEMA_IS_PORTS(x)    SCHEMA_SAME(x, struct schema_ports)
#define SCHEMA_IS_ITEMS(T, f)                                                                      \
    (offsetof(T, f.items) == offsetof(T, f) &&                                                     \
     offsetof(T, f.count) == offsetof(T, f) + sizeof(void *) &&                                    \
     SCHEMA_SAME(SCHEMA_FIELD(T, f.count), size_t))

#define SCHEMA_KEY(key, kind, T, f, ...)                                                           \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_##kind,                                                    \
        .offset = offsetof(T, f) + SCHEMA_IF(SCHEMA_IS_##kind(SCHEMA_FIELD(T, f))),                \
        .size = sizeof(SCHEMA_FIELD(T, f)), __VA_ARGS__                                            \
    }
#define SCHEMA_LIST(key, kind, T, f, ...)                                                          \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_##kind, .list = true,                                      \
        .offset = offsetof(T, f) +                                                                 \
                  SCHEMA_IF(SCHEMA_IS_ITEMS(T, f) && SCHEMA_IS_##kind(*SCHEMA_FIELD(T, f.items))), \
        .size = sizeof(*SCHEMA_FIELD(T, f.items)), __VA_ARGS__                                     \
    }
#define SCHEMA_SUB(key, T, f, table, ...)                                                          \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_SUB, .offset = offsetof(T, f),                             \
        .size = sizeof(SCHEMA_FIELD(T, f)), .sub = (table), __VA_ARGS__                            \
    }
#define SCHEMA_SUBS(key, T, f, table, ...)                                                         \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_SUB, .list = true,                                         \
        .offset = offsetof(T, f) + SCHEMA_IF(SCHEMA_IS_ITEMS(T, f)),                               \
        .size = sizeof(*SCHEMA_FIELD(T, f.items)), .sub = (table), __VA_ARGS__                     \
    }
#define SCHEMA_GROUP(key, T, table, ...)                                                           \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_SUB, .group = true, .size = sizeof(T), .sub = (table),     \
        __VA_ARGS__                                                                                \
    }
#define SCHEMA_CUSTOM(key, T, f, loader, finisher, ...)                                            \
    {                                                                                              \
        .name = (key), .type = SCHEMA_T_CUSTOM, .offset = offsetof(T, f),                          \
        .size = sizeof(SCHEMA_FIELD(T, f)), .load = (loader), .fini = (finisher), __VA_ARGS__      \
    }
#define SCHEMA_GIVEN(T, f) (offsetof(T, f) + 1 + SCHEMA_IF(SCHEMA_IS_BOOL(SCHEMA_FIELD(T, f))))

/* Fills *ret, a struct of s->size, from a mapping; at NULL: no file, presets only. Nothing in *ret
 * points into the tree. On success the caller ends *ret with schema_fini; on failure it is zeroed
 * and holds nothing. */
int schema_load(const struct schema *s, const struct yaml_node *at, struct err *e, void *ret);
/* Frees what schema_load put into the struct, not the struct, and zeroes it. */
void schema_fini(const struct schema *s, void *object);
/* For a custom loader: refuses a node of another kind, and `name:` with nothing behind it. */
int schema_expect(const char *name, const struct yaml_node *at, enum yaml_kind kind, struct err *e);
/* Every key as `path: type; default`, its help below it. */
void schema_help(const struct schema *s, FILE *out);
