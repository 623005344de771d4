#include "shared/daemon/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

/* One event at a time; node_parse is called with the first event of its node in `event`, and leaves
 * the last one there. */
struct parse {
    yaml_parser_t parser;
    yaml_event_t event;
    const char *file;
    const char *text;
    size_t len;
    struct err *e;
};

static int err_at(const struct parse *p, yaml_mark_t mark, const char *sentence)
{
    return err_set(p->e, "%s:%zu:%zu: %s", p->file, mark.line + 1, mark.column + 1, sentence);
}

static int no_memory(const struct parse *p)
{
    return err_set(p->e, "%s: out of memory", p->file);
}

/* libyaml's reader knows only how many octets it had got through. */
static yaml_mark_t mark_of_offset(const struct parse *p, size_t offset)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0; i < offset && i < p->len; i++) {
        if (p->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if (((unsigned char)p->text[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static int syntax_error(const struct parse *p)
{
    const yaml_parser_t *y = &p->parser;
    char sentence[256];

    if (y->error == YAML_MEMORY_ERROR)
        return no_memory(p);
    snprintf(sentence, sizeof(sentence), "not valid YAML: %s%s%s", y->problem,
             y->context != NULL ? " " : "", y->context != NULL ? y->context : "");
    if (y->error == YAML_READER_ERROR)
        return err_at(p, mark_of_offset(p, y->problem_offset), sentence);
    return err_at(p, y->problem_mark, sentence);
}

static int next_event(struct parse *p)
{
    yaml_event_delete(&p->event);
    if (!yaml_parser_parse(&p->parser, &p->event))
        return syntax_error(p);
    return 0;
}

static void node_free(struct yaml_node *n)
{
    if (n == NULL)
        return;
    for (struct yaml_node *child = n->first, *next; child != NULL; child = next) {
        next = child->next;
        node_free(child);
    }
    node_free(n->key);
    free(n->text);
    free(n);
}

static struct yaml_node *node_new(const struct parse *p, enum yaml_kind kind)
{
    struct yaml_node *n = calloc(1, sizeof(*n));

    if (n == NULL) {
        no_memory(p);
        return NULL;
    }
    n->kind = kind;
    n->file = p->file;
    n->line = (unsigned)p->event.start_mark.line + 1;
    n->column = (unsigned)p->event.start_mark.column + 1;
    return n;
}

static struct yaml_node *node_parse(struct parse *p, int depth);

static int refuse_extras(const struct parse *p, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL)
        return err_at(p, p->event.start_mark, "anchors are not supported");
    if (tag != NULL)
        return err_at(p, p->event.start_mark, "tags are not supported");
    return 0;
}

static struct yaml_node *scalar_parse(struct parse *p)
{
    const char *text = (const char *)p->event.data.scalar.value;
    size_t len = p->event.data.scalar.length;
    struct yaml_node *n;

    if (refuse_extras(p, p->event.data.scalar.anchor, p->event.data.scalar.tag) != 0)
        return NULL;
    if (memchr(text, '\0', len) != NULL) {
        err_at(p, p->event.start_mark, "a NUL character is not allowed");
        return NULL;
    }
    n = node_new(p, YAML_SCALAR);
    if (n == NULL)
        return NULL;
    n->quoted = p->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = strndup(text, len);
    if (n->text == NULL) {
        no_memory(p);
        node_free(n);
        return NULL;
    }
    return n;
}

static struct yaml_node *key_parse(struct parse *p, const struct yaml_node *mapping)
{
    const struct yaml_node *twin;
    struct yaml_node *key;

    if (p->event.type != YAML_SCALAR_EVENT && p->event.type != YAML_ALIAS_EVENT) {
        err_at(p, p->event.start_mark, "a key must be a single word");
        return NULL;
    }
    key = node_parse(p, 0);
    if (key == NULL)
        return NULL;
    twin = yaml_find(mapping, key->text);
    if (twin == NULL && mapping->count < YAML_KEYS_MAX)
        return key;
    if (twin != NULL)
        yaml_err(key, p->e, "key \"%.64s\" stands here a second time, the first is in line %u",
                 key->text, twin->key->line);
    else
        yaml_err(key, p->e, "more than %d keys in one mapping", YAML_KEYS_MAX);
    node_free(key);
    return NULL;
}

/* The children of a sequence or mapping, up to and with its end event. */
static int children_parse(struct parse *p, struct yaml_node *n, int depth)
{
    struct yaml_node **tail = &n->first, *key = NULL, *child;

    for (;;) {
        if (next_event(p) != 0)
            return -1;
        if (p->event.type == YAML_SEQUENCE_END_EVENT || p->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (n->kind == YAML_MAPPING) {
            key = key_parse(p, n);
            if (key == NULL)
                return -1;
            if (next_event(p) != 0) {
                node_free(key);
                return -1;
            }
        }
        child = node_parse(p, depth + 1);
        if (child == NULL) {
            node_free(key);
            return -1;
        }
        child->key = key;
        *tail = child;
        tail = &child->next;
        n->count++;
    }
}

static struct yaml_node *collection_parse(struct parse *p, enum yaml_kind kind, int depth)
{
    struct yaml_node *n;

    if (depth >= YAML_DEPTH_MAX) {
        err_set(p->e, "%s:%zu:%zu: nested more than %d levels deep", p->file,
                p->event.start_mark.line + 1, p->event.start_mark.column + 1, YAML_DEPTH_MAX);
        return NULL;
    }
    n = node_new(p, kind);
    if (n != NULL && children_parse(p, n, depth) != 0) {
        node_free(n);
        return NULL;
    }
    return n;
}

static struct yaml_node *node_parse(struct parse *p, int depth)
{
    const yaml_event_t *event = &p->event;

    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return scalar_parse(p);
    case YAML_SEQUENCE_START_EVENT:
        if (refuse_extras(p, event->data.sequence_start.anchor, event->data.sequence_start.tag) !=
            0)
            return NULL;
        return collection_parse(p, YAML_SEQUENCE, depth);
    case YAML_MAPPING_START_EVENT:
        if (refuse_extras(p, event->data.mapping_start.anchor, event->data.mapping_start.tag) != 0)
            return NULL;
        return collection_parse(p, YAML_MAPPING, depth);
    case YAML_ALIAS_EVENT:
        err_at(p, event->start_mark, "aliases are not supported");
        return NULL;
    default:
        err_at(p, event->start_mark, "not valid YAML");
        return NULL;
    }
}

/* A file without a document, or one whose document says nothing, is an empty mapping. */
static int stream_parse(struct parse *p, struct yaml_node **ret_root)
{
    if (next_event(p) != 0 ||
        next_event(p) != 0) /* the stream begins; so does a document, if any */
        return -1;
    if (p->event.type == YAML_STREAM_END_EVENT) {
        *ret_root = node_new(p, YAML_MAPPING);
        return *ret_root == NULL ? -1 : 0;
    }
    if (next_event(p) != 0)
        return -1;
    *ret_root = node_parse(p, 0);
    if (*ret_root == NULL)
        return -1;
    if (yaml_is_missing(*ret_root))
        (*ret_root)->kind = YAML_MAPPING;
    if (next_event(p) != 0 || next_event(p) != 0) /* the document ends; so must the stream */
        return -1;
    if (p->event.type != YAML_STREAM_END_EVENT)
        return err_at(p, p->event.start_mark, "a second document is not allowed");
    return 0;
}

int yaml_load_text(const char *name, const char *text, size_t len, struct err *e,
                   struct yaml_tree *ret)
{
    struct parse p = {.text = text, .len = len, .e = e};
    struct yaml_tree tree = {.file = strdup(name)};
    int status = -1;

    p.file = tree.file;
    if (tree.file == NULL)
        return err_set(e, "%s: out of memory", name);
    if (len > YAML_FILE_MAX) {
        err_set(e, "%s: larger than %d octets", name, YAML_FILE_MAX);
    } else if (!yaml_parser_initialize(&p.parser)) {
        err_set(e, "%s: out of memory", name);
    } else {
        yaml_parser_set_encoding(&p.parser, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&p.parser, (const unsigned char *)text, len);
        status = stream_parse(&p, &tree.root);
        yaml_event_delete(&p.event);
        yaml_parser_delete(&p.parser);
    }
    if (status == 0)
        *ret = tree;
    else
        yaml_fini(&tree);
    return status;
}

/* Reads up to size octets, the whole file if it is that small. */
static ssize_t read_all(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t have = 0;
    ssize_t n = fd < 0 ? -1 : 1;

    while (n > 0 && have < size) {
        n = read(fd, buf + have, size - have);
        if (n > 0)
            have += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return n < 0 ? -1 : (ssize_t)have;
}

int yaml_load_file(const char *path, struct err *e, struct yaml_tree *ret)
{
    size_t size = YAML_FILE_MAX + 1; /* one more, to see that it is too large */
    char *text = malloc(size);
    ssize_t len;
    int status;

    if (text == NULL)
        return err_set(e, "%s: out of memory", path);
    len = read_all(path, text, size);
    if (len < 0)
        status = err_set(e, "%s: %s", path, strerror(errno));
    else
        status = yaml_load_text(path, text, (size_t)len, e, ret);
    free(text);
    return status;
}

void yaml_fini(struct yaml_tree *tree)
{
    node_free(tree->root);
    free(tree->file);
    *tree = (struct yaml_tree){0};
}

const struct yaml_node *yaml_find(const struct yaml_node *mapping, const char *key)
{
    if (mapping->kind != YAML_MAPPING)
        return NULL;
    for (const struct yaml_node *n = mapping->first; n != NULL; n = n->next)
        if (strcmp(n->key->text, key) == 0)
            return n;
    return NULL;
}

bool yaml_is_missing(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted && node->text[0] == '\0';
}

int yaml_err(const struct yaml_node *at, struct err *e, const char *format, ...)
{
    char sentence[sizeof(e->text)];
    va_list args;

    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    return err_set(e, "%s:%u:%u: %s", at->file, at->line, at->column, sentence);
}
