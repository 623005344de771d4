#undef NDEBUG
#include "tests/lib/handshake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Feeds a copy that is exactly as long as it says: the sanitizer sees any other read. */
static enum dialect_want feed(struct dialect *d, const uint8_t *in, size_t len, size_t *ret_used)
{
    uint8_t *copy = malloc(len);
    enum dialect_want want;

    if (len > 0)
        memcpy(copy, in, len);
    want = dialect_feed(d, len > 0 ? copy : NULL, len, ret_used);
    free(copy);
    assert(*ret_used <= len);
    assert(want != DIALECT_CLOSE || *ret_used == len);
    return want;
}

static void listen_to(struct handshake *h)
{
    assert(h->said_len + h->d.out_len <= sizeof(h->said));
    memcpy(h->said + h->said_len, h->d.out, h->d.out_len);
    h->said_len += h->d.out_len;
    h->d.out_len = 0;
}

/* AUTH, REQUEST and CLOSE stay as they are, whatever is fed. */
static void feeding_changes_nothing(struct handshake *h, enum dialect_want want)
{
    static const uint8_t more[] = {5, 1, 0, 1, 127, 0, 0, 1, 0, 80};
    size_t used;

    assert(feed(&h->d, more, sizeof(more), &used) == want);
    assert(used == (want == DIALECT_CLOSE ? sizeof(more) : 0));
    assert(h->d.out_len == 0);
    assert(feed(&h->d, NULL, 0, &used) == want);
}

static enum dialect_want judge(struct handshake *h, bool admit)
{
    static const struct dialect_credentials wiped;
    enum dialect_want want;

    h->auths++;
    h->credentials = h->d.credentials;
    feeding_changes_nothing(h, DIALECT_AUTH);
    want = dialect_auth_done(&h->d, admit);
    assert(want == (admit ? DIALECT_MORE : DIALECT_CLOSE));
    assert(memcmp(&h->d.credentials, &wiped, sizeof(wiped)) == 0);
    listen_to(h);
    return want;
}

/* Octets up to end have come. */
static void advance(struct handshake *h, bool admit, const uint8_t *in, size_t end)
{
    do {
        size_t used;

        h->want = feed(&h->d, in + h->taken, end - h->taken, &used);
        h->taken += used;
        listen_to(h);
        if (h->want != DIALECT_AUTH)
            break;
        h->want = judge(h, admit);
    } while (h->want == DIALECT_MORE);
}

void handshake_play(struct handshake *h, const struct dialect_policy *policy, bool admit,
                    const uint8_t *in, size_t len, const size_t *cuts, size_t cut_count)
{
    memset(h, 0, sizeof(*h));
    dialect_init(&h->d, policy);
    h->want = DIALECT_MORE;
    for (size_t i = 0; i < cut_count && h->want == DIALECT_MORE; i++)
        advance(h, admit, in, cuts[i]);
    if (h->want == DIALECT_MORE)
        advance(h, admit, in, len);
    if (h->want != DIALECT_MORE)
        feeding_changes_nothing(h, h->want);
    assert((h->want == DIALECT_CLOSE) == (h->d.why != NULL));
}

static bool same_request(const struct request *a, const struct request *b)
{
    return a->version == b->version && a->command == b->command &&
           addr_equal(&a->dest.addr, &b->dest.addr) && strcmp(a->dest.name, b->dest.name) == 0 &&
           a->userid_len == b->userid_len && memcmp(a->userid, b->userid, a->userid_len) == 0;
}

bool handshake_same(const struct handshake *a, const struct handshake *b)
{
    if (a->want != b->want || a->auths != b->auths || a->said_len != b->said_len ||
        memcmp(a->said, b->said, a->said_len) != 0)
        return false;
    if (a->d.version != b->d.version || a->d.method != b->d.method || a->d.word != b->d.word ||
        memcmp(&a->credentials, &b->credentials, sizeof(a->credentials)) != 0)
        return false;
    if (a->want == DIALECT_CLOSE)
        return strcmp(a->d.why, b->d.why) == 0;
    return a->taken == b->taken && same_request(&a->d.request, &b->d.request);
}
