#include "shared/n2/n2.h"

static const char *const refusals[N2_REFUSAL_CODES] = {
    "none",        "draining", "full",  "no_port",  "cannot_bind", "policy", "unsupported",
    "unreachable", "expired",  "stale", "conflict", "bad",
};
static const char *const causes[N2_CAUSES] = {
    "none", "general", "network_unreachable", "host_unreachable", "refused", "timed_out", "ttl_expired",
};
static const char *const kinds[N2_KINDS] = {
    "none", "connect", "bind", "next-hop", "udp-associate", "transparent",
};
#define END_WORD(symbol, word) word,
static const char *const ends[N2_END_COUNT] = {N2_ENDS(END_WORD)};

const char *n2_refusal_name(enum n2_refusal_code code)
{
    return (unsigned)code < N2_REFUSAL_CODES ? refusals[code] : "unknown";
}

const char *n2_cause_name(enum n2_cause cause)
{
    return (unsigned)cause < N2_CAUSES ? causes[cause] : "unknown";
}

const char *n2_end_name(enum n2_end end)
{
    return (unsigned)end < N2_END_COUNT ? ends[end] : "unknown";
}

const char *n2_kind_name(enum n2_kind kind)
{
    return (unsigned)kind < N2_KINDS ? kinds[kind] : "unknown";
}
