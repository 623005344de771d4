/* What can be said of a name without asking anybody. Pure. */
#pragma once

#include "shared/base/addr.h"

/* Lower case, without the dot at the end: the one form in which names are compared and asked for.
 * False, with ret empty, for what cannot be the name of a host: nothing, more than DEST_NAME_MAX
 * octets, octets that are not visible ASCII, or a backslash (RFC 1035 section 5.1: with an escape
 * the same name could be written in ways that rules do not recognise). */
bool resolve_name_normal(const char *name, char ret[DEST_NAME_MAX + 1]);
/* The addresses of a normal name that needs no query, with port 0: itself, if it is a literal (an
 * IPv4-mapped one as IPv4); ::1 and 127.0.0.1, if it is localhost or below it (RFC 6761 section
 * 6.3). Their number; 0 for all others. */
size_t resolve_name_known(const char *normal, struct addr ret[2]);
