/* How many associations each owner holds: the authenticated identity, or without one the client's
 * address. Private to n2_server.c and n2_grant.c. */
#pragma once

#include "shared/base/addr.h"
#include "shared/base/idmap.h"

struct n2_owners {
    struct idmap map;
    uint64_t keys[2][2]; /* two hashes are the id: nobody finds two owners with one */
};

struct n2_owner {
    struct idmap_node node;
    uint32_t count;
};

void n2_owners_init(struct n2_owners *o);
/* Nobody holds anything. */
void n2_owners_fini(struct n2_owners *o);
/* One more for this owner; NULL when it has max already (0: no bound) or, with *ret_no_memory, without
 * memory. */
struct n2_owner *n2_owners_add(struct n2_owners *o, const char *owner, const struct addr *client,
                               uint32_t max, bool *ret_no_memory);
void n2_owners_remove(struct n2_owners *o, struct n2_owner *owner);
