/* The sets that rules are made of: networks, words (users, names), ports.
 *
 * A set is zeroed memory to begin with, is filled by add, closed once by seal, and immutable from
 * then on. Every lookup is a binary search, so that a rule may hold a long list. Pure but for
 * memory; add returns 0, or -1 when memory is short or the set is full (SET_MAX items), with the
 * set as it was. fini accepts a zeroed set. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

#define SET_MAX 65536

/* Networks. Sealed: sorted, none inside another. */
struct netset {
    struct prefix *items;
    size_t count, room;
};

int netset_add(struct netset *s, const struct prefix *p);
void netset_seal(struct netset *s);
void netset_fini(struct netset *s);
bool netset_contains(const struct netset *s, const struct addr *a);

/* How much of p one member covers. SET_PART: some members lie inside p (together they may cover
 * it). */
enum set_cover { SET_NONE, SET_PART, SET_ALL };
enum set_cover netset_cover(const struct netset *s, const struct prefix *p);

/* Words, compared octet by octet. */
struct wordset {
    char **items;
    size_t count, room;
};

int wordset_add(struct wordset *s, const char *word); /* copies it */
void wordset_seal(struct wordset *s);
void wordset_fini(struct wordset *s);
bool wordset_contains(const struct wordset *s, const char *word);

/* Ports. Sealed: sorted, neither overlapping nor touching. */
struct portset {
    struct port_span *items;
    size_t count, room;
};

int portset_add(struct portset *s, struct port_span span);
void portset_seal(struct portset *s);
void portset_fini(struct portset *s);
bool portset_contains(const struct portset *s, uint16_t port);
bool portset_is_full(const struct portset *s); /* every port from 1 to 65535 */

/* Host names live in a wordset in one form: lower case (ASCII only), no trailing dot; the pattern
 * "*.example.net" is the word ".example.net". */
struct host_name {
    char text[DEST_NAME_MAX + 1]; /* in that form */
};

/* A name as a client sent it, 0 to DEST_NAME_MAX octets; one trailing dot is ignored. False, with
 * *ret undefined, if it cannot be a host name: an empty label, or an octet other than letters,
 * digits, '-', '_', '.' and those above ASCII. (A resolver would give some of them a meaning:
 * "e\vil.net" is asked for as evil.net, "fe80::1%eth0" has a scope.) */
bool host_name_from_client(const char *name, struct host_name *ret);
/* A name or pattern from the configuration, in the form for wordset_add. Stricter: no label above
 * 63 octets; the last one is not a number ("10.0.0" is a mistyped address); `*` only as the whole
 * first label of several. */
bool host_name_from_pattern(const char *pattern, struct host_name *ret);
/* True if the set holds the name, or a pattern for any of the domains that it lies under: "*.b.c"
 * takes a.b.c and x.a.b.c, not b.c. */
bool host_name_matches(const struct wordset *s, const struct host_name *name);
