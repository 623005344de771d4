/* One neutral reply word for all dialects, and what each dialect says for it.
 *
 * Inside, the words are kept apart even where a dialect has one code for several of them; they are
 * encoded at the edge. SOCKS 5: RFC 1928 section 6. SOCKS 4: 90 granted, 91 rejected or failed. */
#pragma once

#include <stdint.h>

/* clang-format off */
/*    word                       name               SOCKS 5  SOCKS 4  sentence */
#define REPLY_WORDS(X)                                                                             \
    X(REPLY_SUCCEEDED,           succeeded,             0x00, 90, "succeeded")                     \
    X(REPLY_GENERAL_FAILURE,     general_failure,       0x01, 91, "general failure")               \
    X(REPLY_DENIED,              denied,                0x02, 91, "not allowed by ruleset")        \
    X(REPLY_NETWORK_UNREACHABLE, network_unreachable,   0x03, 91, "network unreachable")           \
    X(REPLY_HOST_UNREACHABLE,    host_unreachable,      0x04, 91, "host unreachable")              \
    X(REPLY_NAME_NOT_FOUND,      name_not_found,        0x04, 91, "name not found")                \
    X(REPLY_REFUSED,             refused,               0x05, 91, "connection refused")            \
    X(REPLY_TIMED_OUT,           timed_out,             0x06, 91, "timed out")                     \
    X(REPLY_COMMAND_UNSUPPORTED, command_unsupported,   0x07, 91, "command not supported")         \
    X(REPLY_ADDRESS_UNSUPPORTED, address_unsupported,   0x08, 91, "address type not supported")    \
    X(REPLY_PROTOCOL_UNSUPPORTED, protocol_unsupported, 0x09, 91, "protocol not supported")        \
    X(REPLY_OVERLOADED,          overloaded,            0x01, 91, "no relay could take it")
/* clang-format on */

#define REPLY_ENUM(word, name, v5, v4, sentence) word,
enum reply_word { REPLY_WORDS(REPLY_ENUM) REPLY_COUNT };
#undef REPLY_ENUM

/* A value that is none of the words (of a newer peer, say) counts as REPLY_GENERAL_FAILURE. */
uint8_t reply_socks5(enum reply_word word);
uint8_t reply_socks4(enum reply_word word);
const char *reply_name(enum reply_word word);     /* "refused": lower case, for metrics and logs */
const char *reply_sentence(enum reply_word word); /* "connection refused" */
