/* What sockscat was asked for, and how its parts tell what became of it.
 *
 *   sockscat.c              main, the subcommands
 *   sockscat_options.c      the command line
 *   sockscat_proxy.c        the connection to the proxy and the handshake
 *   sockscat_pump.c         streams: standard input and output <-> a connection
 *   sockscat_carry.c        datagrams: the same, one by one
 *   sockscat_listen.c       a local port whose users are each served by a process of their own
 *   sockscat_tcp.c, sockscat_udp.c, sockscat_transparent.c     the subcommands */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shared/base/addr.h"
#include "shared/client/socksc.h"

/* Exit codes. */
enum { CAT_DONE = 0, CAT_FAILED = 1, CAT_USAGE = 2 };

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, PROTOCOL_UDP_LITE = 136 };

struct options;

struct subcommand {
    const char *name;
    char letter; /* in the table of options */
    int (*run)(const struct options *o);
    const char *arguments, *help;
    int arguments_min, arguments_max;
};

struct options {
    const struct subcommand *sub;
    enum socksc_version version;
    struct socksc_endpoint proxy;
    struct socksc_endpoint dest; /* bind: the peer, and the port wanted */
    const char *user;
    char password[256]; /* "" = none; longer ones are refused when they are read */
    uint8_t protocol;
    bool has_source, has_listen;
    struct socksc_endpoint source;
    struct addr listen;
    unsigned timeout_s;
    int wait_s; /* -1: the default of what is done */
    bool line, print, verbose, hold;
};

/* Reads the command line; exits for --help, --version and mistakes. o holds a password: wipe it. */
void options_parse(const struct subcommand *subs, int argc, char **argv, struct options *o);

int run_connect(const struct options *o);
int run_bind(const struct options *o);
int run_udp(const struct options *o);
int run_transparent(const struct options *o);

/* "sockscat: ..." on standard error. Returns CAT_FAILED, so that `return tell(...)` reads well. */
int tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One of our own addresses that matter, on standard error: with --print the address alone, to be
 * read by programs; otherwise as a sentence, "sockscat: WORDS ADDRESS". */
void tell_address(const struct options *o, const char *words, const struct addr *a);
