/* What every message codec owes, checked with a golden message. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Decodes in; when that took octets, encodes the message again into out (size octets) and sets
 * *ret_out to the encoder's result. Returns the decoder's. */
typedef int codec_recode(const uint8_t *in, size_t len, uint8_t *out, size_t size, size_t *ret_out);

/* Fails the test unless proto/vectors/NAME.hex decodes whole and encodes to the same octets, each
 * beginning of it asks for more, octets behind it are left alone, and an encoder with one octet too
 * few writes nothing outside. */
void codec_keeps_promises(const char *vector, codec_recode *recode);
