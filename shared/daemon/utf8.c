#include "shared/daemon/utf8.h"

#include <stdint.h>

size_t utf8_char(const void *text, size_t len)
{
    /* RFC 3629 section 4: the second octet's range depends on the first; the others are 80-BF. */
    static const struct {
        uint8_t first, last, low, high;
        size_t len;
    } rows[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    const uint8_t *p = text;

    if (len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        if (p[0] < rows[row].first || p[0] > rows[row].last)
            continue;
        if (len < rows[row].len || p[1] < rows[row].low || p[1] > rows[row].high)
            return 0;
        for (size_t i = 2; i < rows[row].len; i++)
            if (p[i] < 0x80 || p[i] > 0xbf)
                return 0;
        return rows[row].len;
    }
    return 0;
}
