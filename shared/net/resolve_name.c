#include "shared/net/resolve_name.h"

#include <string.h>

bool resolve_name_normal(const char *name, char ret[DEST_NAME_MAX + 1])
{
    size_t len = strnlen(name, DEST_NAME_MAX + 1);

    ret[0] = '\0';
    if (len > DEST_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '\\')
            return false;
    if (len > 0 && name[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++)
        ret[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    ret[len] = '\0';
    return len > 0;
}

static bool is_localhost(const char *name)
{
    static const char word[] = "localhost";
    size_t len = strlen(name), word_len = sizeof(word) - 1;

    return len >= word_len && strcmp(name + len - word_len, word) == 0 &&
           (len == word_len || name[len - word_len - 1] == '.');
}

size_t resolve_name_known(const char *normal, struct addr ret[2])
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
    struct addr literal;

    if (addr_parse_ip(normal, &literal)) {
        ret[0] = addr_unmap(&literal);
        return 1;
    }
    if (!is_localhost(normal))
        return 0;
    ret[0] = addr_ipv6(loopback6, 0);
    ret[1] = addr_ipv4(loopback4, 0);
    return 2;
}
