/* Plays a client's octets, cut into pieces, to a dialect, as a session would, and keeps what came
 * of it. On the way the promises of socksd/dialect.h that hold for any input are asserted: octets
 * counted rightly, every read inside the piece, lasting wants, credentials wiped. No test library
 * is used, so that fuzz targets link it too. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "socksd/dialect.h"

struct handshake {
    struct dialect d;
    enum dialect_want want; /* the last: MORE, REQUEST or CLOSE */
    uint8_t said[DIALECT_OUT_MAX];
    size_t said_len;
    size_t taken;   /* with CLOSE: whatever was there */
    unsigned auths; /* how often AUTH was raised, and with what */
    struct dialect_credentials credentials;
};

/* The client sends in up to the first cut, then up to the second, ..., then the rest; cuts ascend.
 * admit is the answer to AUTH. policy must outlive h. */
void handshake_play(struct handshake *h, const struct dialect_policy *policy, bool admit,
                    const uint8_t *in, size_t len, const size_t *cuts, size_t cut_count);
/* Whether a client and a session would see the same. */
bool handshake_same(const struct handshake *a, const struct handshake *b);
