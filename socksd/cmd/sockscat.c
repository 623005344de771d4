/* sockscat: to SOCKS what netcat is to TCP. See sockscat.1. */
#include "socksd/cmd/sockscat.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "shared/base/secret.h"

static const struct subcommand subcommands[] = {
    {"connect", 'c', run_connect, "HOST PORT", "a TCP connection through the proxy", 2, 2},
    {"bind", 'b', run_bind, "[PEER]", "one TCP connection to the proxy, from PEER or anybody", 0,
     1},
    {"udp", 'u', run_udp, "HOST PORT", "datagrams through the proxy, each with a SOCKS header", 2,
     2},
    {"transparent", 't', run_transparent, "HOST PORT", "plain packets that the proxy forwards", 2,
     2},
    {.name = NULL},
};

int tell(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "sockscat: %s\n", text);
    return CAT_FAILED;
}

void tell_address(const struct options *o, const char *words, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    addr_format(a, text);
    if (o->print)
        fprintf(stderr, "%s\n", text);
    else
        tell("%s %s", words, text);
}

/* A caller may have closed some of them: no socket shall stand in their place. */
static void open_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    close(fd);
}

int main(int argc, char **argv)
{
    struct options o;
    int code;

    signal(SIGPIPE, SIG_IGN);
    open_standard_descriptors();
    options_parse(subcommands, argc, argv, &o);
    code = o.sub->run(&o);
    secret_wipe(o.password, sizeof(o.password));
    return code;
}
