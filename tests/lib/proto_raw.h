/* Protobuf fields written by hand, for messages that our own encoders refuse to make. */
#pragma once

#include "shared/base/buf.h"

void raw_varint(struct buf *b, unsigned field, uint64_t value);
void raw_fixed64(struct buf *b, unsigned field, uint64_t value);
void raw_octets(struct buf *b, unsigned field, const void *octets, size_t n);
void raw_text(struct buf *b, unsigned field, const char *text);
/* A field of type message; inner is emptied and freed. */
void raw_message(struct buf *b, unsigned field, struct buf *inner);
