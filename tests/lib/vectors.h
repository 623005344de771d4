/* Golden octets: proto/vectors/NAME.hex, one message per file. Lines that start with '#' are
 * comments, the others hold octets as two hexadecimal digits, separated by spaces.
 *
 * Read relative to the root of the repository, where tests run. A file that is missing, malformed
 * or too long fails the test. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define VECTOR_MAX 1024

/* Returns the number of octets, never 0. */
size_t vector_read(const char *name, uint8_t ret[VECTOR_MAX]);
/* Writes the octets behind those that *len counts, so that messages make a conversation. */
void vector_append(const char *name, uint8_t buf[VECTOR_MAX], size_t *len);
