/* UTF-8 (RFC 3629): what may go as it is into a text that must be valid. Pure. */
#pragma once

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD, for each octet that belongs to no character */

/* Octets of the character at the start of text: 1 to 4; 0 when no well-formed one stands there
 * (overlong, surrogate, above U+10FFFF, cut short) or len is 0. */
size_t utf8_char(const void *text, size_t len);
