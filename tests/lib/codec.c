#include "tests/lib/codec.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shared/socks/socks.h"
#include "tests/lib/vectors.h"

/* Recodes a copy of exactly len octets, into exactly size octets: the sanitizer sees any other. */
static int recode_exactly(codec_recode *recode, const uint8_t *in, size_t len, uint8_t *ret,
                          size_t size, size_t *ret_out)
{
    uint8_t *from = malloc(len), *to = malloc(size);
    int taken;

    memcpy(from, in, len);
    *ret_out = 0;
    taken = recode(from, len, to, size, ret_out);
    memcpy(ret, to, *ret_out);
    free(from);
    free(to);
    return taken;
}

void codec_keeps_promises(const char *vector, codec_recode *recode)
{
    uint8_t in[VECTOR_MAX], out[VECTOR_MAX];
    size_t len = vector_read(vector, in), out_len;

    assert_int_equal(recode_exactly(recode, in, len, out, len, &out_len), len);
    assert_int_equal(out_len, len);
    assert_memory_equal(in, out, len);

    for (size_t n = 0; n < len; n++)
        assert_int_equal(recode_exactly(recode, in, n, out, len, &out_len), SOCKS_MORE);

    assert_int_equal(recode_exactly(recode, in, len, out, len - 1, &out_len), len);
    assert_int_equal(out_len, 0);

    for (size_t more = 1; more <= 32; more++) {
        memset(in + len, 0xa5, more);
        assert_int_equal(recode_exactly(recode, in, len + more, out, len, &out_len), len);
        assert_memory_equal(in, out, len);
    }
}
