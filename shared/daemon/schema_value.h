/* One scalar of a configuration: text to value, by the row of its key. Private to schema*.c. */
#pragma once

#include "shared/daemon/schema.h"

#define SCHEMA_QUOTE_MAX    72
#define SCHEMA_QUANTITY_MAX 32

/* at is a scalar; not for SUB and CUSTOM. On success the caller ends *ret with schema_value_free;
 * on failure there is nothing to end, and the sentence names place and key. */
int schema_value_parse(const struct schema_key *k, const struct yaml_node *at, struct err *e,
                       void *ret);
/* Frees a STRING or PATH and makes it NULL; the other types hold nothing. */
void schema_value_free(enum schema_type type, void *value);
/* "a whole number", for sentences; "" for SUB and CUSTOM. */
const char *schema_value_noun(enum schema_type type);
/* "none, gssapi": the words joined by the separator, cut where buf ends. */
const char *schema_words_format(const struct schema_word *words, const char *separator, char *buf,
                                size_t size);
/* The text in quotes, short enough for a sentence, without control characters. */
const char *schema_quote(const char *text, char buf[SCHEMA_QUOTE_MAX]);
/* "90s", "64KiB": a UINT, DURATION or SIZE in the largest unit that divides it. */
const char *schema_quantity_format(enum schema_type type, uint64_t value,
                                   char buf[SCHEMA_QUANTITY_MAX]);
