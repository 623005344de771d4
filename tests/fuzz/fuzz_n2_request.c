/* Any octets as a Request. What is a good one is encoded again, to something that means the same.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/n2/n2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool recode(struct n2_arena *a, const uint8_t *in, size_t len, struct buf *ret)
{
    struct n2_request r;

    if (n2_request_decode(a, in, len, &r) != 0 || r.head.version != N2_VERSION)
        return false;
    n2_put_request_head(ret, &r.head);
    for (size_t i = 0; i < r.call_count; i++) {
        if (r.calls[i].invalid != N2_REFUSAL_NONE)
            return false;
        n2_put_call(ret, &r.calls[i]);
    }
    return !ret->failed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct n2_arena *a = n2_arena_new();
    struct buf first, again;

    buf_init(&first, N2_MESSAGE_MAX);
    buf_init(&again, N2_MESSAGE_MAX);
    if (recode(a, data, size, &first)) {
        assert(recode(a, first.data, first.len, &again));
        assert(first.len == again.len && memcmp(first.data, again.data, first.len) == 0);
    }
    buf_fini(&first);
    buf_fini(&again);
    n2_arena_free(a);
    return 0;
}
