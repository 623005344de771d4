/* One JSON text (RFC 8259), built value by value. The only door to jansson.
 *
 *   json_object_begin(j, NULL);
 *   json_put_str(j, "version", version);
 *   json_array_begin(j, "relays");
 *   json_put_str(j, NULL, id);
 *   json_array_end(j);
 *   json_object_end(j);
 *   text = json_take(j, &len);
 *
 * Inside an object every value has a key, a constant of ours in ASCII and new in that object;
 * inside an array it has none (NULL). An end without its begin, a missing or superfluous key, a
 * second root, more than JSON_DEPTH_MAX levels: assertions, they are mistakes in the program. Too
 * much to say, or no memory, is not: then everything more is ignored and json_take gives NULL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

#define JSON_DEPTH_MAX 16

struct json;

/* limit: octets of memory that it may hold, as estimated here (a value counts 128 and its text).
 * NULL without memory; every function but json_new accepts the NULL and does nothing. */
struct json *json_new(size_t limit);
void json_free(struct json *j);
/* The whole text with a newline at its end (for people with curl) and a NUL behind it, for free().
 * NULL when it did not fit or memory ran out. Asserts that everything begun has ended. */
char *json_take(struct json *j, size_t *ret_len);

void json_object_begin(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array_begin(struct json *j, const char *key);
void json_array_end(struct json *j);

/* Any octets; those that are not UTF-8 become U+FFFD each. A NULL str is written as null. */
void json_put_str(struct json *j, const char *key, const char *str);
void json_put_bytes(struct json *j, const char *key, const void *bytes, size_t len);
/* Lower-case hexadecimal digits as a string: for ids and epochs, which readers that know only
 * floating point would round. */
void json_put_hex(struct json *j, const char *key, const void *bytes, size_t len);
/* A number; above INT64_MAX rounded to 15 digits. */
void json_put_u64(struct json *j, const char *key, uint64_t value);
void json_put_i64(struct json *j, const char *key, int64_t value);
/* 15 digits; null when it is infinite or not a number. */
void json_put_f64(struct json *j, const char *key, double value);
void json_put_bool(struct json *j, const char *key, bool value);
/* "192.0.2.1:1080", "[2001:db8::1]:1080"; null for NULL or an address without a family. */
void json_put_addr(struct json *j, const char *key, const struct addr *a);
