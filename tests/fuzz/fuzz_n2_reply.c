/* A reply from a relay that may be anybody: what decodes can be encoded, and comes back the same. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/n2/n2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct n2_reply *r, struct buf *b)
{
    n2_put_reply_head(b, r->relay_epoch, &r->refused);
    for (size_t i = 0; i < r->answer_count; i++)
        n2_put_answer(b, &r->answers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct n2_arena *first = n2_arena_new(), *second = n2_arena_new();
    struct n2_reply r, again;
    struct buf a, b;

    buf_init(&a, N2_MESSAGE_MAX);
    buf_init(&b, N2_MESSAGE_MAX);
    if (n2_reply_decode(first, data, size, &r) == 0) {
        encode(&r, &a);
        if (!a.failed) {
            assert(n2_reply_decode(second, a.data, a.len, &again) == 0);
            encode(&again, &b);
            assert(b.len == a.len && memcmp(a.data, b.data, a.len) == 0);
        }
    }
    buf_fini(&a);
    buf_fini(&b);
    n2_arena_free(first);
    n2_arena_free(second);
    return 0;
}
