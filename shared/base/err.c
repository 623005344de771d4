#include "shared/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Both go through a copy: an argument may well be the sentence that is about to be replaced. */

int err_set(struct err *e, const char *format, ...)
{
    struct err fresh;
    va_list args;

    if (e == NULL)
        return -1;
    va_start(args, format);
    vsnprintf(fresh.text, sizeof(fresh.text), format, args);
    va_end(args);
    memcpy(e->text, fresh.text, sizeof(e->text));
    return -1;
}

int err_wrap(struct err *e, const char *format, ...)
{
    struct err fresh;
    va_list args;
    size_t len, rest;

    if (e == NULL)
        return -1;
    va_start(args, format);
    vsnprintf(fresh.text, sizeof(fresh.text) - 2, format, args);
    va_end(args);
    len = strlen(fresh.text);
    memcpy(fresh.text + len, ": ", 2);
    len += 2;
    rest = strnlen(e->text, sizeof(fresh.text) - len - 1);
    memcpy(fresh.text + len, e->text, rest);
    fresh.text[len + rest] = '\0';
    memcpy(e->text, fresh.text, sizeof(e->text));
    return -1;
}
