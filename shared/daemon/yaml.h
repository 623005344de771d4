/* A YAML file as a tree of nodes, each of which knows where it stands.
 *
 * The subset that a configuration needs, strictly: one document of scalars, sequences and mappings.
 * Anchors, aliases, tags, keys that are no scalars, keys that come twice and NUL in a scalar are
 * refused. So is what is too large (YAML_FILE_MAX), too deep (YAML_DEPTH_MAX) or a mapping of too
 * many keys (YAML_KEYS_MAX). An empty file is an empty mapping.
 *
 * Errors read `FILE:LINE:COLUMN: sentence`, or `FILE: sentence` when it could not be read at all.
 * What a scalar means is for its reader to say (schema.h): here it is text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shared/base/err.h"

#define YAML_FILE_MAX  (1024 * 1024)
#define YAML_DEPTH_MAX 32
#define YAML_KEYS_MAX  256

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    unsigned line, column;   /* of the first character, from 1; columns count characters */
    const char *file;        /* belongs to the tree */
    char *text;              /* scalar: UTF-8 without NUL; otherwise NULL */
    bool quoted;             /* scalar: in quotes or a block, so that an empty one is meant */
    struct yaml_node *key;   /* in a mapping: the scalar in front of this node; otherwise NULL */
    struct yaml_node *first; /* sequence, mapping: the children, in the order of the file */
    struct yaml_node *next;
    size_t count; /* of children */
};

struct yaml_tree {
    char *file;
    struct yaml_node *root;
};

/* On success the caller ends *ret with yaml_fini; on failure there is nothing to end. */
int yaml_load_file(const char *path, struct err *e, struct yaml_tree *ret);
/* name stands for the file in errors. */
int yaml_load_text(const char *name, const char *text, size_t len, struct err *e,
                   struct yaml_tree *ret);
void yaml_fini(struct yaml_tree *tree);

/* The value of that key, or NULL. */
const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key);
/* `key:` with nothing behind it. */
bool yaml_is_missing(const struct yaml_node *node);

/* Sets the sentence, with the place of the node in front; returns -1. */
int yaml_err(const struct yaml_node *at, struct err *e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
