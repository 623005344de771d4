/* socksbench: the load of the bench, and the target it talks to. tests/bench/run drives it. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mode {
    const char *name;
    int (*run)(struct load *load);
    bool udp;
    double seconds; /* unless told otherwise */
} modes[] = {
    {"rate", load_rate, false, 1},        {"rr", load_rr, false, 1},
    {"bulk", load_bulk, false, 1},        {"hold", load_hold, false, 1},
    {"udp-echo", load_udp_echo, true, 1}, {"udp-flood", load_udp_flood, true, 1},
    {"udp-hold", load_hold, true, 1},     {"udp-soak", load_udp_soak, true, 3600},
};

static const char usage_text[] =
    "usage: socksbench target [ADDRESS]\n"
    "       socksbench MODE --target ADDRESS:PORT [options]\n"
    "\n"
    "target   serves until stdin ends; prints its ports: once (for rate), echo (for rr and hold),\n"
    "         sink (for bulk --up), source (for bulk); udp_echo, udp_sink, udp_count\n"
    "rate     new connections, one octet each way\n"
    "rr       round trips of 64 octets\n"
    "bulk     octets one way\n"
    "hold     opens idle connections, says so, waits for a line on stdin\n"
    "udp-echo   datagrams of 64 octets there and back\n"
    "udp-flood  datagrams of 1200 octets one way, by UDP_SEGMENT, through one association\n"
    "udp-hold   as hold, associations\n"
    "udp-soak   opens, uses and closes associations, from 127.0.1.1 and up\n"
    "\n"
    "--server ADDRESS:PORT   through this SOCKS 5 server (without: directly to the target)\n"
    "--streams N             connections at once (default 64)\n"
    "--seconds S             the measured time (default 1); for hold, the longest wait; for soak,\n"
    "                        the limit for all (default 3600)\n"
    "--warm-up S             before that, not counted (default 0.2)\n"
    "--set-up S              limit for opening all connections (default 20)\n"
    "--up                    bulk: towards the target (without: from it)\n"
    "--window N              udp-echo: datagrams on their way for each association (default 8)\n"
    "--rate N                udp-flood: datagrams per second (default: all it can)\n"
    "--counter ADDRESS:PORT  udp-flood: udp_count of the target\n"
    "--silent                udp-hold: no datagram is sent\n"
    "--count N               udp-soak: associations (default 20000)\n"
    "--sources N             udp-soak: client addresses (default 199: each meets every kind)\n"
    "--gated                 wait for a line on stdin before the measured time and after the "
    "result\n"
    "--target-pid PID        tell this process's CPU share too\n"
    "\n"
    "One JSON object per line on stdout. cpu_own and cpu_target are shares of one CPU in the "
    "measured\n"
    "time: where they add up to nearly 1 on one CPU, the load was the bottleneck, not the server.\n"
    "Exit status: 0 counted something and nothing failed, 1 otherwise, 2 usage.\n";

static int usage(const char *problem, const char *what)
{
    fprintf(stderr, "socksbench: %s%s%s\n%s", problem, what ? ": " : "", what ? what : "",
            usage_text);
    return 2;
}

static bool parse_address(const char *text, struct sockaddr_in *ret)
{
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    char *end;

    if (colon == NULL || (size_t)(colon - text) >= sizeof(host))
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    long port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port < 1 || port > 65535)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->sin_family = AF_INET;
    ret->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

static bool parse_number(const char *text, double least, double most, double *ret)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || !(v >= least && v <= most))
        return false;
    *ret = v;
    return true;
}

enum {
    OPT_SERVER = 1,
    OPT_TARGET,
    OPT_STREAMS,
    OPT_SECONDS,
    OPT_WARM_UP,
    OPT_SET_UP,
    OPT_UP,
    OPT_GATED,
    OPT_PID,
    OPT_WINDOW,
    OPT_RATE,
    OPT_COUNTER,
    OPT_SILENT,
    OPT_COUNT,
    OPT_SOURCES
};

static const struct option long_options[] = {
    {"server", required_argument, NULL, OPT_SERVER},
    {"target", required_argument, NULL, OPT_TARGET},
    {"streams", required_argument, NULL, OPT_STREAMS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warm-up", required_argument, NULL, OPT_WARM_UP},
    {"set-up", required_argument, NULL, OPT_SET_UP},
    {"up", no_argument, NULL, OPT_UP},
    {"gated", no_argument, NULL, OPT_GATED},
    {"target-pid", required_argument, NULL, OPT_PID},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"rate", required_argument, NULL, OPT_RATE},
    {"counter", required_argument, NULL, OPT_COUNTER},
    {"silent", no_argument, NULL, OPT_SILENT},
    {"count", required_argument, NULL, OPT_COUNT},
    {"sources", required_argument, NULL, OPT_SOURCES},
    {NULL, 0, NULL, 0},
};

static bool set_udp_option(struct load_options *opt, int option, const char *arg)
{
    double number = 0;
    bool ok = true;

    switch (option) {
    case OPT_WINDOW:
        ok = parse_number(arg, 1, 64, &number);
        opt->window = (unsigned)number;
        return ok;
    case OPT_RATE:
        return parse_number(arg, 1, 1e9, &opt->rate);
    case OPT_COUNTER:
        return parse_address(arg, &opt->counter);
    case OPT_COUNT:
        ok = parse_number(arg, 1, 1e9, &number);
        opt->count = (uint64_t)number;
        return ok;
    case OPT_SOURCES:
        ok = parse_number(arg, 1, 60000, &number);
        opt->sources = (unsigned)number;
        return ok;
    default:
        opt->silent = true;
        return true;
    }
}

static bool set_option(struct load_options *opt, int option, const char *arg)
{
    double number = 0;
    bool ok = true;

    if (option >= OPT_WINDOW)
        return set_udp_option(opt, option, arg);

    switch (option) {
    case OPT_SERVER:
        return parse_address(arg, &opt->server);
    case OPT_TARGET:
        return parse_address(arg, &opt->target);
    case OPT_STREAMS:
        ok = parse_number(arg, 1, 1000000, &number);
        opt->streams = (unsigned)number;
        return ok;
    case OPT_SECONDS:
        return parse_number(arg, 0.01, 3600, &opt->seconds);
    case OPT_WARM_UP:
        return parse_number(arg, 0, 60, &opt->warm_up);
    case OPT_SET_UP:
        return parse_number(arg, 0.1, 600, &opt->set_up);
    case OPT_PID:
        ok = parse_number(arg, 1, 1 << 30, &number);
        opt->target_pid = (pid_t)number;
        return ok;
    case OPT_UP:
        opt->upload = true;
        return true;
    default:
        opt->gated = true;
        return true;
    }
}

static int run_target(int argc, char **argv)
{
    struct in_addr address = {.s_addr = htonl(INADDR_LOOPBACK)};

    if (argc > 3 || (argc == 3 && inet_pton(AF_INET, argv[2], &address) != 1))
        return usage("target takes one IPv4 address", NULL);
    return target_serve(address);
}

static int run_load(const struct mode *mode, int argc, char **argv)
{
    struct load_options opt = {
        .mode = mode->name,
        .udp = mode->udp,
        .streams = mode->run == load_udp_flood ? 1 : 64,
        .seconds = mode->seconds,
        .warm_up = 0.2,
        .set_up = 20,
        .window = 8,
        .sources = 199,
        .count = 20000,
    };
    static struct load load; /* two histograms: large for a stack */
    int option;

    while ((option = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1) {
        if (option == '?')
            return usage("unknown option", NULL);
        if (!set_option(&opt, option, optarg))
            return usage("bad value", optarg);
    }
    if (optind < argc - 1)
        return usage("unexpected argument", argv[optind + 1]);
    if (opt.target.sin_port == 0)
        return usage("--target is missing", NULL);
    if (load_init(&load, &opt))
        return 1;
    int status = mode->run(&load);
    load_fini(&load);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage("what?", NULL);
    if (strcmp(argv[1], "--help") == 0) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (strcmp(argv[1], "target") == 0)
        return run_target(argc, argv);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            return run_load(&modes[i], argc, argv);
    return usage("unknown mode", argv[1]);
}
