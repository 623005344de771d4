#include "shared/n2/n2_owners.h"

#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "shared/base/siphash.h"

void n2_owners_init(struct n2_owners *o)
{
    idmap_init(&o->map);
    secret_random(o->keys, sizeof(o->keys));
}

void n2_owners_fini(struct n2_owners *o)
{
    idmap_fini(&o->map);
}

static void id_of(const struct n2_owners *o, const char *owner, const struct addr *client,
                  uint8_t ret[ID_LEN])
{
    const void *data = owner[0] != '\0' ? (const void *)owner : client->ip;
    size_t len = owner[0] != '\0' ? strlen(owner) : addr_ip_len((enum addr_family)client->family);
    uint64_t h[2] = {siphash(o->keys[0], data, len), siphash(o->keys[1], data, len)};

    h[0] ^= owner[0] == '\0'; /* a name of four octets is no address */
    memcpy(ret, h, ID_LEN);
}

struct n2_owner *n2_owners_add(struct n2_owners *o, const char *owner, const struct addr *client,
                               uint32_t max, bool *ret_no_memory)
{
    uint8_t id[ID_LEN];
    struct idmap_node *known;
    struct n2_owner *x;

    *ret_no_memory = false;
    id_of(o, owner, client, id);
    known = idmap_find(&o->map, id);
    if (known != NULL) {
        x = IDMAP_ENTRY(known, struct n2_owner, node);
        if (max != 0 && x->count >= max)
            return NULL;
        x->count++;
        return x;
    }
    x = calloc(1, sizeof(*x));
    if (x != NULL) {
        memcpy(x->node.id, id, ID_LEN);
        x->count = 1;
        if (idmap_insert(&o->map, &x->node) == 0)
            return x;
        free(x);
    }
    *ret_no_memory = true;
    return NULL;
}

void n2_owners_remove(struct n2_owners *o, struct n2_owner *owner)
{
    if (--owner->count > 0)
        return;
    idmap_remove(&o->map, &owner->node);
    free(owner);
}
