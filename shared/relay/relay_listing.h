/* /associations of a relay: filtered, in the order of ids, a page at a time. */
#pragma once

#include "shared/relay/relay.h"

struct relay_listing {
    /* Passes the filters of q? */
    bool (*wanted)(const struct n2_grant *g, const struct status_query *q);
    void (*put)(const struct n2_grant *g, const struct relay *r, struct json *j);
};

/* For status_pages.associations. */
int relay_listing_page(const struct relay *r, const struct relay_listing *how,
                       const struct status_query *q, struct json *j, struct err *e);
