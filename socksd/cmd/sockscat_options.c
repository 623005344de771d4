/* The command line. The table of options is the help text, too; what a subcommand does not know is
 * a mistake and not ignored. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "socksd/cmd/sockscat.h"

static const struct row {
    char letter;
    const char *name, *argument;
    const char *subs; /* letters of subcommands; NULL: all */
    const char *help;
} rows[] = {
    {'x', "proxy", "HOST:PORT", NULL, "the proxy; else $SOCKSCAT_PROXY, else 127.0.0.1:1080"},
    {'5', "socks5", NULL, NULL, "speak SOCKS 5 (the default)"},
    {'4', "socks4", NULL, "cb", "speak SOCKS 4: addresses only"},
    {'a', "socks4a", NULL, "cb", "speak SOCKS 4a; -4a does, too"},
    {'u', "user", "NAME", NULL, "user name, or user id of SOCKS 4"},
    {'f', "password-file", "FILE", NULL, "its first line; else $SOCKSCAT_PASSWORD"},
    {'t', "timeout", "SECONDS", NULL, "for the proxy to be reached and to answer (60)"},
    {'P', "port", "PORT", "b", "the port that the proxy should listen on"},
    {'p', "ptcl", "PROTOCOL", "t", "tcp, udp, udp-lite, sctp, dccp or a number; tcp if not given"},
    {'s', "source", "HOST:PORT", "ut", "where our packets come from"},
    {'l', "listen", "ADDRESS:PORT", "cut", "carry what uses this local port, not standard input"},
    {'H', "hold", NULL, "t", "send nothing: hold the association until standard input ends"},
    {'L', "line", NULL, "ut", "a datagram is a line, not a read"},
    {'w', "wait", "SECONDS", "ut",
     "for datagrams after the end of standard input (1),"
     " or of a local user that is silent (120)"},
    {'n', "print", NULL, NULL, "standard error begins with our bound address, alone on its line"},
    {'v', "verbose", NULL, NULL, "tell more on standard error"},
    {'h', "help", NULL, NULL, "this"},
    {'V', "version", NULL, NULL, "the version"},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void help(const struct subcommand *subs)
{
    printf("usage: sockscat SUBCOMMAND [OPTIONS] ARGUMENTS\n\n");
    for (const struct subcommand *s = subs; s->name != NULL; s++)
        printf("  %-11s %-10s  %s\n", s->name, s->arguments, s->help);
    printf("\n");
    for (const struct row *r = rows; r < rows + ROWS; r++) {
        char form[64];

        snprintf(form, sizeof(form), "-%c, --%s %s", r->letter, r->name,
                 r->argument != NULL ? r->argument : "");
        printf("  %-29s %s\n", form, r->help);
        if (r->subs == NULL)
            continue;
        printf("  %-29s   only:", "");
        for (const struct subcommand *s = subs; s->name != NULL; s++)
            if (strchr(r->subs, s->letter) != NULL)
                printf(" %s", s->name);
        printf("\n");
    }
    printf("\nExit code: 0 done, 1 refused or failed, 2 a mistake on the command line.\n");
}

static _Noreturn void mistake(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void mistake(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    tell("%s; sockscat --help tells more", text);
    exit(CAT_USAGE);
}

/* ---- words into values ---- */

static unsigned number(const char *what, const char *text, unsigned max)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n > max)
        mistake("%s is a number from 0 to %u, not \"%s\"", what, max, text);
    return (unsigned)n;
}

/* Without the brackets of IPv6. */
static void host_copy(const char *what, const char *text, size_t len, char ret[256])
{
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len > 255)
        mistake("%s: a host is 1 to 255 octets", what);
    memcpy(ret, text, len);
    ret[len] = '\0';
}

/* "HOST:PORT" */
static struct socksc_endpoint endpoint(const char *what, const char *text)
{
    const char *colon = strrchr(text, ':');
    struct socksc_endpoint e = {.port = 0};

    if (colon == NULL)
        mistake("%s is HOST:PORT, not \"%s\"", what, text);
    host_copy(what, text, (size_t)(colon - text), e.host);
    if (strchr(e.host, ':') != NULL && text[0] != '[')
        mistake("%s: an IPv6 address stands in brackets, [ADDRESS]:PORT", what);
    e.port = (uint16_t)number(what, colon + 1, UINT16_MAX);
    return e;
}

static uint8_t protocol(const char *text)
{
    static const struct {
        const char *name;
        uint8_t number;
    } known[] = {
        {"tcp", PROTOCOL_TCP}, {"udp", PROTOCOL_UDP}, {"udp-lite", PROTOCOL_UDP_LITE},
        {"sctp", 132},         {"dccp", 33},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(text, known[i].name) == 0)
            return known[i].number;
    return (uint8_t)number("--ptcl", text, UINT8_MAX);
}

static void password_keep(struct options *o, const char *where, const char *text, size_t len)
{
    if (len == 0 || len >= sizeof(o->password))
        mistake("%s: a password is 1 to 255 octets", where);
    memcpy(o->password, text, len);
    o->password[len] = '\0';
}

static void password_read(struct options *o, const char *path)
{
    char *line = NULL;
    size_t size = 0;
    FILE *f = fopen(path, "re");
    ssize_t len = f != NULL ? getline(&line, &size, f) : -1;

    if (f == NULL)
        mistake("--password-file %s: %s", path, strerror(errno));
    fclose(f);
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    password_keep(o, path, line, len > 0 ? (size_t)len : 0);
    explicit_bzero(line, size);
    free(line);
}

/* ---- the whole ---- */

/* clang-format off */
static void keep(const struct subcommand *subs, struct options *o, int letter, const char *value)
{
    switch (letter) {
    case 'x': o->proxy = endpoint("--proxy", value); break;
    case '5': o->version = SOCKSC_SOCKS5; break;
    case '4': o->version = SOCKSC_SOCKS4; break;
    case 'a': o->version = SOCKSC_SOCKS4A; break;
    case 'u': o->user = value; break;
    case 'f': password_read(o, value); break;
    case 't': o->timeout_s = number("--timeout", value, 86400); break;
    case 'P': o->dest.port = (uint16_t)number("--port", value, UINT16_MAX); break;
    case 'p': o->protocol = protocol(value); break;
    case 's':
        o->source = endpoint("--source", value);
        o->has_source = true;
        break;
    case 'l':
        if (!addr_parse(value, &o->listen))
            mistake("--listen is ADDRESS:PORT, not \"%s\"", value);
        o->has_listen = true;
        break;
    case 'H': o->hold = true; break;
    case 'L': o->line = true; break;
    case 'w': o->wait_s = (int)number("--wait", value, 86400); break;
    case 'n': o->print = true; break;
    case 'v': o->verbose = true; break;
    case 'h': help(subs); exit(CAT_DONE);
    case 'V': puts("sockscat " VERSION); exit(CAT_DONE);
    default: tell("sockscat --help tells more"); exit(CAT_USAGE);
    }
}
/* clang-format on */

static const struct row *row_of(int letter)
{
    for (const struct row *r = rows; r < rows + ROWS; r++)
        if (r->letter == letter)
            return r;
    return NULL;
}

static void parse_words(const struct subcommand *subs, int argc, char **argv, struct options *o)
{
    struct option longs[ROWS + 1] = {0};
    char shorts[2 * ROWS + 1], *at = shorts;
    int letter;

    for (size_t i = 0; i < ROWS; i++) {
        longs[i] = (struct option){rows[i].name, rows[i].argument != NULL ? required_argument : 0,
                                   NULL, rows[i].letter};
        *at++ = rows[i].letter;
        if (rows[i].argument != NULL)
            *at++ = ':';
    }
    *at = '\0';
    while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct row *r = row_of(letter);

        if (o->sub != NULL && r != NULL && r->subs != NULL &&
            strchr(r->subs, o->sub->letter) == NULL)
            mistake("--%s is not for %s", r->name, o->sub->name);
        keep(subs, o, letter, optarg);
    }
}

static const struct subcommand *subcommand_of(const struct subcommand *subs, const char *word)
{
    for (const struct subcommand *s = subs; s->name != NULL; s++)
        if (strcmp(s->name, word) == 0)
            return s;
    mistake("\"%s\" is no subcommand", word);
}

static void parse_arguments(struct options *o, int count, char **words)
{
    if (count < o->sub->arguments_min || count > o->sub->arguments_max)
        mistake("usage: sockscat %s [OPTIONS] %s", o->sub->name, o->sub->arguments);
    if (count > 0)
        host_copy(o->sub->arguments, words[0], strlen(words[0]), o->dest.host);
    if (count > 1)
        o->dest.port = (uint16_t)number("PORT", words[1], UINT16_MAX);
}

/* What we send ourselves; of any other protocol we only hold the association. */
static void check_protocol(struct options *o)
{
    bool datagrams = o->protocol == PROTOCOL_UDP || o->protocol == PROTOCOL_UDP_LITE;

    if (o->protocol != PROTOCOL_TCP && !datagrams)
        o->hold = true;
    if (!datagrams && (o->line || o->wait_s >= 0))
        mistake("--line and --wait are about datagrams");
}

static void check_socks4(const struct options *o)
{
    struct addr a;
    bool address = addr_parse_ip(o->dest.host, &a);

    if (o->password[0] != '\0')
        mistake("SOCKS 4 knows no password");
    if (address && addr_unmap(&a).family != ADDR_IPV4)
        mistake("SOCKS 4 knows no IPv6");
    if (!address && o->dest.host[0] != '\0' && o->version == SOCKSC_SOCKS4)
        mistake("SOCKS 4 carries no names, SOCKS 4a does: --socks4a");
}

static void check_together(struct options *o)
{
    const char *password = getenv("SOCKSCAT_PASSWORD"), *proxy = getenv("SOCKSCAT_PROXY");

    if (o->proxy.host[0] == '\0')
        o->proxy = endpoint("$SOCKSCAT_PROXY", proxy != NULL ? proxy : "127.0.0.1:1080");
    if (o->user != NULL && o->version == SOCKSC_SOCKS5 && o->password[0] == '\0') {
        if (password == NULL)
            mistake("--user needs --password-file or $SOCKSCAT_PASSWORD");
        password_keep(o, "$SOCKSCAT_PASSWORD", password, strlen(password));
    }
    if (o->user != NULL && (strlen(o->user) > 255 || o->user[0] == '\0'))
        mistake("--user: a user name is 1 to 255 octets");
    if (o->user == NULL && o->password[0] != '\0')
        mistake("--password-file needs --user");
    if (o->version != SOCKSC_SOCKS5)
        check_socks4(o);
    if (o->sub->letter == 't')
        check_protocol(o);
    if (o->hold && (o->has_listen || o->line || o->wait_s >= 0))
        mistake("--hold sends nothing: --listen, --line and --wait do not go with it");
    if (o->has_listen && o->line)
        mistake("--line is about standard input: it does not go with --listen");
}

void options_parse(const struct subcommand *subs, int argc, char **argv, struct options *o)
{
    *o = (struct options){.protocol = PROTOCOL_TCP, .timeout_s = 60, .wait_s = -1};
    opterr = 1;
    if (argc < 2)
        mistake("a subcommand is missing");
    if (argv[1][0] == '-') {
        parse_words(subs, argc, argv, o);
        mistake("the subcommand comes first");
    }
    o->sub = subcommand_of(subs, argv[1]);
    argv[1] = argv[0]; /* getopt's messages begin with it */
    parse_words(subs, argc - 1, argv + 1, o);
    parse_arguments(o, argc - 1 - optind, argv + 1 + optind);
    check_together(o);
}
