#include "shared/n2/n2_audit.h"

#include <stdlib.h>
#include <string.h>

size_t n2_audit_size(const struct n2_audit *audit, size_t count)
{
    size_t len = 1;

    for (size_t i = 0; i < count; i++)
        len += strlen(audit[i].key) + strlen(audit[i].value) + 2;
    return len;
}

void n2_audit_write(const struct n2_audit *audit, size_t count, char *to)
{
    for (size_t i = 0; i < count; i++) {
        to = stpcpy(to, audit[i].key) + 1;
        to = stpcpy(to, audit[i].value) + 1;
    }
    *to = '\0';
}

char *n2_audit_pack(const struct n2_audit *audit, size_t count)
{
    char *packed = malloc(n2_audit_size(audit, count));

    if (packed != NULL)
        n2_audit_write(audit, count, packed);
    return packed;
}

bool n2_audit_next(const char **at, const char **ret_key, const char **ret_value)
{
    if (**at == '\0')
        return false;
    *ret_key = *at;
    *ret_value = *at + strlen(*at) + 1;
    *at = *ret_value + strlen(*ret_value) + 1;
    return true;
}

const char *n2_audit_value(const char *packed, const char *key)
{
    const char *k, *value;

    while (n2_audit_next(&packed, &k, &value)) {
        if (strcmp(k, key) == 0)
            return value;
    }
    return NULL;
}

void n2_audit_put(const char *packed, struct log_field *fields, size_t at)
{
    const char *key, *value;

    while (n2_audit_next(&packed, &key, &value))
        fields[at++] = (struct log_field)LOG_STR(key, value);
    fields[at] = (struct log_field){.kind = LOG_K_END};
}
