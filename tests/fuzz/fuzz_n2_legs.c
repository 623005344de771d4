/* A message on the leg channel: what decodes can be encoded, and comes back the same. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/n2/n2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct n2_attach *list, int n, struct buf *b)
{
    n2_put_legs_head(b);
    for (int i = 0; i < n; i++)
        n2_put_attach(b, &list[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct n2_arena *first = n2_arena_new(), *second = n2_arena_new();
    struct n2_attach list[N2_LEGS_MAX], again[N2_LEGS_MAX];
    struct buf a, b;

    buf_init(&a, N2_MESSAGE_MAX);
    buf_init(&b, N2_MESSAGE_MAX);
    int n = n2_legs_decode(first, data, size, list);
    if (n > 0) {
        encode(list, n, &a);
        assert(n2_legs_decode(second, a.data, a.len, again) == n);
        encode(again, n, &b);
        assert(b.len == a.len && memcmp(a.data, b.data, a.len) == 0);
    }
    buf_fini(&a);
    buf_fini(&b);
    n2_arena_free(first);
    n2_arena_free(second);
    return 0;
}
