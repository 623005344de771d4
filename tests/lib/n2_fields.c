#include "tests/lib/n2_fields.h"

#include <string.h>

enum { LETTERS_MAX = 4096, LIMIT = 1 << 21 };

const uint8_t fields_zeros[N2_TO_TARGET_MAX + 1];

const char *fields_letters(size_t n)
{
    static char letters[LETTERS_MAX + 1];

    if (letters[0] == '\0')
        memset(letters, 'a', LETTERS_MAX);
    return letters + LETTERS_MAX - n;
}

struct buf fields_buf(void)
{
    struct buf b;

    buf_init(&b, LIMIT);
    return b;
}

struct buf fields_endpoint(size_t ip_len, uint64_t port)
{
    struct buf b = fields_buf();

    raw_octets(&b, ENDPOINT_IP, fields_zeros, ip_len);
    raw_varint(&b, ENDPOINT_PORT, port);
    return b;
}
