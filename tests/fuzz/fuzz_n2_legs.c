/* Any octets as Legs. What is one is encoded again, to something that means the same. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/n2/n2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool recode(struct n2_arena *a, const uint8_t *in, size_t len, struct buf *ret)
{
    struct n2_attach attaches[N2_LEGS_MAX];
    int n = n2_legs_decode(a, in, len, attaches);

    assert(n != 0 && n <= N2_LEGS_MAX);
    n2_put_legs_head(ret);
    for (int i = 0; i < n; i++)
        n2_put_attach(ret, &attaches[i]);
    return n > 0 && !ret->failed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct n2_arena *a = n2_arena_new();
    struct buf first, again;

    buf_init(&first, 2 * N2_LEG_MESSAGE_MAX);
    buf_init(&again, 2 * N2_LEG_MESSAGE_MAX);
    if (recode(a, data, size, &first)) {
        assert(recode(a, first.data, first.len, &again));
        assert(first.len == again.len && memcmp(first.data, again.data, first.len) == 0);
    }
    buf_fini(&first);
    buf_fini(&again);
    n2_arena_free(a);
    return 0;
}
