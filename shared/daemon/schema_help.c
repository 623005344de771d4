#include <string.h>

#include "shared/daemon/schema_value.h"

#define PATH_TEXT_MAX 256

static void type_print(const struct schema_key *k, FILE *out)
{
    char words[512];

    if (k->list)
        fputs("list, each ", out);
    if (k->type == SCHEMA_T_SUB)
        fputs("a mapping", out);
    else if (k->type == SCHEMA_T_CUSTOM)
        fputs(k->form != NULL ? k->form : "see the manual", out);
    else if (k->type == SCHEMA_T_WORD)
        fputs(schema_words_format(k->words, " | ", words, sizeof(words)), out);
    else
        fputs(schema_value_noun(k->type), out);
}

static bool is_quantity(enum schema_type type)
{
    return type == SCHEMA_T_UINT || type == SCHEMA_T_DURATION || type == SCHEMA_T_SIZE;
}

static void range_print(const struct schema_key *k, FILE *out)
{
    char text[SCHEMA_QUANTITY_MAX];

    if (!is_quantity(k->type))
        return;
    if (k->min != 0)
        fprintf(out, "; at least %s", schema_quantity_format(k->type, k->min, text));
    if (k->max != 0)
        fprintf(out, "; at most %s", schema_quantity_format(k->type, k->max, text));
}

static void key_print(const struct schema_key *k, const char *path, FILE *out)
{
    fprintf(out, "%s: ", path);
    type_print(k, out);
    range_print(k, out);
    if (k->required)
        fputs("; required", out);
    else if (k->preset != NULL)
        fprintf(out, "; default %s", k->preset);
    fputc('\n', out);
    if (k->help != NULL)
        fprintf(out, "    %s\n", k->help);
}

static void mapping_print(const struct schema *s, const char *path, FILE *out)
{
    char below[PATH_TEXT_MAX];

    for (const struct schema_key *k = s->keys; k->name != NULL; k++) {
        snprintf(below, sizeof(below), "%s%s%s", path, path[0] == '\0' ? "" : ".", k->name);
        key_print(k, below, out);
        if (k->sub == NULL)
            continue;
        if (k->list && strlen(below) + 2 < sizeof(below))
            strcat(below, "[]");
        mapping_print(k->sub, below, out);
    }
}

void schema_help(const struct schema *s, FILE *out)
{
    mapping_print(s, "", out);
}
