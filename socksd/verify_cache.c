#include "socksd/verify_cache.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "shared/base/secret.h"

void verify_key_draw(struct verify_key *ret)
{
    secret_random(ret->octets, sizeof(ret->octets));
}

bool verify_digest(const struct verify_key *key, const struct verify_part *parts, size_t count,
                   uint8_t ret[DIGEST_LEN])
{
    uint8_t message[VERIFY_PARTS_MAX * (1 + VERIFY_PART_MAX)];
    size_t len = 0;
    bool done;

    assert(count <= VERIFY_PARTS_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(parts[i].len <= VERIFY_PART_MAX);
        message[len++] = (uint8_t)parts[i].len;
        if (parts[i].len > 0)
            memcpy(message + len, parts[i].octets, parts[i].len);
        len += parts[i].len;
    }
    done = HMAC(EVP_sha256(), key->octets, sizeof(key->octets), message, len, ret, NULL) != NULL;
    secret_wipe(message, len);
    return done;
}

int verify_cache_init(struct verify_cache *c, size_t entries, uint64_t keep_ms)
{
    c->keep_ms = keep_ms;
    return digest_table_init(&c->table, keep_ms > 0 ? entries : 0, sizeof(struct digest_record));
}

void verify_cache_fini(struct verify_cache *c)
{
    digest_table_fini(&c->table);
}

bool verify_cache_has(struct verify_cache *c, const uint8_t digest[DIGEST_LEN], uint64_t now)
{
    return digest_table_find(&c->table, digest, now) != NULL;
}

void verify_cache_add(struct verify_cache *c, const uint8_t digest[DIGEST_LEN], uint64_t now)
{
    struct digest_record *r = digest_table_put(&c->table, digest, now);

    if (r)
        r->until = now + c->keep_ms;
}

void verify_cache_clear(struct verify_cache *c)
{
    digest_table_clear(&c->table);
}
