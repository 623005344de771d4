/* What is left of a request when a relay has taken it: the association in the relay's name. In-band it
 * holds no descriptor, only what a record needs should the relay never be able to write one;
 * out-of-band it has a control connection. */
#pragma once

#include "shared/n2/n2_client.h"
#include "socksd/session.h"

struct control;

struct association {
    struct n2_assoc n2;
    struct list node; /* in server.associations, once handed over */
    struct server *server;
    struct session *session; /* NULL once it is gone */
    struct control *control; /* out-of-band, once it is opened */
    struct addr client;
    uint64_t started;
    uint32_t generation; /* of the server, when it was opened */
    char audit[]; /* "key\0value\0" ... "\0" */
};

/* audit (session_audit) is copied. NULL without memory. */
struct association *association_new(struct session *x, const struct n2_audit *audit, size_t count);
/* The session is gone and the relay has the leg. */
void association_handed_over(struct association *a);
/* Not known to a relay any more. Accepts NULL. */
void association_free(struct association *a);
/* The relay is gone and with it whatever it would have logged. */
void association_log_lost(const struct association *a, const char *why);
