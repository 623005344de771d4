#include "tests/lib/vectors.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static size_t line_read(const char *line, const char *path, uint8_t *buf, size_t size)
{
    size_t n = 0;

    for (const char *at = line + strspn(line, " \n"); *at != '\0'; at += strspn(at, " \n")) {
        if (strspn(at, "0123456789abcdefABCDEF") != 2)
            fail_msg("%s: not octets: %s", path, line);
        if (n == size)
            fail_msg("%s: too long", path);
        buf[n++] = (uint8_t)strtoul((const char[]){at[0], at[1], '\0'}, NULL, 16);
        at += 2;
    }
    return n;
}

void vector_append(const char *name, uint8_t buf[VECTOR_MAX], size_t *len)
{
    char path[256], line[1024];
    size_t before = *len;
    FILE *f;

    snprintf(path, sizeof(path), "proto/vectors/%s.hex", name);
    f = fopen(path, "r");
    if (f == NULL)
        fail_msg("%s: cannot be read; tests run in the root of the repository", path);
    while (fgets(line, sizeof(line), f) != NULL)
        if (line[0] != '#')
            *len += line_read(line, path, buf + *len, VECTOR_MAX - *len);
    fclose(f);
    if (*len == before)
        fail_msg("%s: no octets", path);
}

size_t vector_read(const char *name, uint8_t ret[VECTOR_MAX])
{
    size_t len = 0;

    vector_append(name, ret, &len);
    return len;
}
