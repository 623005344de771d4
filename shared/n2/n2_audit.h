/* What a server tells about an association for its record, kept in one allocation:
 * "key\0value\0key\0value\0\0". */
#pragma once

#include "shared/base/log.h"
#include "shared/n2/n2.h"

/* Its size, and writing it to a place of that size. */
size_t n2_audit_size(const struct n2_audit *audit, size_t count);
void n2_audit_write(const struct n2_audit *audit, size_t count, char *to);
/* Both; the caller frees it. NULL without memory. */
char *n2_audit_pack(const struct n2_audit *audit, size_t count);
/* Walks it: *at begins as the packed text; false at the end. */
bool n2_audit_next(const char **at, const char **ret_key, const char **ret_value);
/* The value of a key, or NULL. */
const char *n2_audit_value(const char *packed, const char *key);
/* Appends it to the fields of a record and ends them; fields has room for N2_AUDIT_MAX + 1 more. */
void n2_audit_put(const char *packed, struct log_field *fields, size_t at);
