#include "shared/relay/relay_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base/swap.h"
#include "shared/daemon/boot.h"

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},    {"check", no_argument, NULL, 'k'},
    {"version", no_argument, NULL, 'V'},         {"help", no_argument, NULL, 'h'},
    {"help-config", no_argument, NULL, 'H'},     {"n2", required_argument, NULL, 'n'},
    {"legs", required_argument, NULL, 'l'},      {"status", required_argument, NULL, 's'},
    {"id", required_argument, NULL, 'i'},        {"lease", required_argument, NULL, 'L'},
    {"parent-fd", required_argument, NULL, 'p'}, {"parent-dir", required_argument, NULL, 'P'},
    {"insecure", no_argument, NULL, 'I'},        {NULL, 0, NULL, 0},
};

static void usage(FILE *out, const struct relay_program *p)
{
    fprintf(out,
            "usage: %s [-c FILE] [--check] [--n2 URL] [--legs unix:PATH] [--status ADDRESS]\n"
            "       %*s [--id NAME] [--lease DURATION] [--insecure]\n"
            "       %*s [--parent-fd N] [--parent-dir PATH]\n"
            "       %s --version | --help | --help-config\n"
            "%s\n"
            "Options come before what the file says.\n",
            p->name, (int)strlen(p->name), "", (int)strlen(p->name), "", p->name, p->summary);
}

static int parse_descriptor(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    return *text != '\0' && *end == '\0' && n >= 3 && n < 1024 ? (int)n : -2;
}

void relay_options_parse(int argc, char **argv, const struct relay_program *p,
                         struct relay_options *o)
{
    int c;

    *o = (struct relay_options){.parent_fd = -1};
    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            o->config = optarg;
            break;
        case 'k':
            o->check = true;
            break;
        case 'n':
            o->n2 = optarg;
            break;
        case 'l':
            o->legs = optarg;
            break;
        case 's':
            o->status = optarg;
            break;
        case 'i':
            o->id = optarg;
            break;
        case 'L':
            o->lease = optarg;
            break;
        case 'I':
            o->insecure = true;
            break;
        case 'p':
            o->parent_fd = parse_descriptor(optarg);
            break;
        case 'P':
            o->parent_dir = optarg;
            break;
        case 'V':
            printf("%s " VERSION "\n", p->name);
            exit(EXIT_DONE);
        case 'H':
            schema_help(p->schema, stdout);
            exit(EXIT_DONE);
        case 'h':
            usage(stdout, p);
            exit(EXIT_DONE);
        default:
            usage(stderr, p);
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc || o->parent_fd == -2) {
        usage(stderr, p);
        exit(EXIT_USAGE);
    }
}

/* ---- options as configuration ---- */

/* As a YAML scalar in single quotes. */
static void put_scalar(FILE *out, const char *text)
{
    fputc('\'', out);
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputc('\'', out);
        fputc(*text, out);
    }
    fputc('\'', out);
}

static void put_option(FILE *out, const char *section, const char *key, const char *value,
                       bool list)
{
    if (value == NULL)
        return;
    fprintf(out, "%s: {%s%s: %s", section, strcmp(section, "n2") == 0 ? "insecure: true, " : "",
            key, list ? "[" : "");
    put_scalar(out, value);
    fputs(list ? "]}\n" : "}\n", out);
}

/* Where an option goes. */
struct target {
    const struct schema *schema;
    struct relay_config *config;  /* file, and the options so far */
    struct relay_config *scratch; /* one option; also s->size octets */
};

/* The options go through the same table as the file, so that they are refused alike. On success
 * t->scratch holds the option, and presets. */
static int load_option(const struct target *t, const char *name, const char *section,
                       const char *key, const char *value, bool list, struct err *e)
{
    char *text = NULL;
    size_t len = 0;
    struct yaml_tree tree;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return err_set(e, "out of memory");
    put_option(out, section, key, value, list);
    fclose(out);
    int rc = yaml_load_text(name, text, len, e, &tree);
    if (rc == 0) {
        rc = schema_load(t->schema, tree.root, e, t->scratch);
        yaml_fini(&tree);
    }
    free(text);
    return rc;
}

static int apply_options(const struct target *t, const struct relay_options *a, struct err *e)
{
    struct relay_config *c = t->config, *o = t->scratch;

    if (a->n2 != NULL) {
        if (strncmp(a->n2, "tcp://", 6) == 0 && !a->insecure && !c->n2.insecure)
            return err_set(e, "--n2 %s needs --insecure", a->n2);
        if (load_option(t, "--n2", "n2", "listen", a->n2, true, e) != 0)
            return -1;
        SWAP(c->n2.listen, o->n2.listen);
        schema_fini(t->schema, o);
    }
    if (a->lease != NULL) {
        if (load_option(t, "--lease", "n2", "lease", a->lease, false, e) != 0)
            return -1;
        c->n2.lease_ms = o->n2.lease_ms;
        schema_fini(t->schema, o);
    }
    if (a->legs != NULL) {
        if (load_option(t, "--legs", "legs", "listen", a->legs, true, e) != 0)
            return -1;
        SWAP(c->legs.listen, o->legs.listen);
        schema_fini(t->schema, o);
    }
    if (a->status != NULL) {
        if (load_option(t, "--status", "status", "listen", a->status, true, e) != 0)
            return -1;
        SWAP(c->status.listen, o->status.listen);
        schema_fini(t->schema, o);
    }
    if (a->id != NULL) {
        if (load_option(t, "--id", "relay", "id", a->id, false, e) != 0)
            return -1;
        SWAP(c->relay.id, o->relay.id);
        schema_fini(t->schema, o);
    }
    if (c->n2.listen.count == 0)
        return err_set(e, "nothing to listen on: give n2.listen in the file, or --n2");
    return 0;
}

int relay_options_load(const struct relay_options *a, const struct schema *s, struct err *e,
                       struct relay_config *c)
{
    const struct target t = {s, c, calloc(1, s->size)};
    int rc;

    if (t.scratch == NULL)
        return err_set(e, "out of memory");
    rc = daemon_config_load(a->config, s, e, c);
    if (rc == 0 && (rc = apply_options(&t, a, e)) != 0)
        schema_fini(s, c);
    free(t.scratch);
    return rc;
}
