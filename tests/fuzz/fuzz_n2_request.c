/* A request from anybody: what decodes can be encoded, and comes back from that the same. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "shared/n2/n2_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct n2_request *r, struct buf *b)
{
    n2_put_request_head(b, &r->head);
    for (size_t i = 0; i < r->call_count; i++) {
        if (r->calls[i].invalid == N2_REFUSAL_NONE)
            n2_put_call(b, &r->calls[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct n2_arena *first = n2_arena_new(), *second = n2_arena_new();
    struct n2_request r, again;
    struct buf a, b;

    buf_init(&a, N2_MESSAGE_MAX);
    buf_init(&b, N2_MESSAGE_MAX);
    if (n2_request_decode(first, data, size, &r) == 0 && r.head.version == N2_VERSION) {
        encode(&r, &a);
        /* Calls that are wrong are not encoded, and without a call it is no request. */
        if (!a.failed && n2_request_decode(second, a.data, a.len, &again) == 0) {
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
