/* A stream in both directions, until both have ended. */
#pragma once

/* Octets of `in` go to the connection, those of the connection to `out`; the end of one direction
 * is passed on and the other goes on. in and out may be one socket. control is another connection
 * that must stay (TRANSPARENT), or -1: when it ends, the stream gets a few seconds to end as well.
 * out is closed, the others are left open. An exit code, after telling what went wrong. */
int pump(int in, int out, int connection, int control);
