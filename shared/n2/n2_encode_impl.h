/* Pieces of messages, for n2_encode.c and n2_encode_reply.c alone. Every encoder builds the
 * generated message on the stack, field by field in the order of n2.proto, and packs it behind what
 * the buffer already holds; rooms and what they point at must live until then. */
#pragma once

#include "proto/n2.pb-c.h"
#include "shared/n2/n2_codec.h"

enum { ENC_ENDPOINTS_MAX = N2_DESTINATIONS_MAX };

struct enc_endpoints {
    N2__V1__Endpoint items[ENC_ENDPOINTS_MAX];
    N2__V1__Endpoint *ptrs[ENC_ENDPOINTS_MAX];
    size_t n;
};

void enc_pack(struct buf *b, const ProtobufCMessage *m);
/* NULL is empty. proto3 has no const; the packer does not write. */
char *enc_text(const char *s);
/* NULL is empty, whatever n says. */
ProtobufCBinaryData enc_octets(const void *p, size_t n);
/* NULL, which leaves the field out, for an address without family and port. */
N2__V1__Endpoint *enc_endpoint(const struct addr *a, N2__V1__Endpoint *room);
/* The first ENC_ENDPOINTS_MAX of them. */
void enc_endpoints(const struct addr *a, size_t n, struct enc_endpoints *ret);
