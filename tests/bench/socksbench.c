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
} modes[] = {
    {"rate", load_rate},
    {"rr", load_rr},
    {"bulk", load_bulk},
    {"hold", load_hold},
};

static const char usage_text[] =
    "usage: socksbench target [ADDRESS]\n"
    "       socksbench rate|rr|bulk|hold --target ADDRESS:PORT [options]\n"
    "\n"
    "target   serves until stdin ends; prints its ports: once (for rate), echo (for rr and hold),\n"
    "         sink (for bulk --up), source (for bulk)\n"
    "rate     new connections, one octet each way\n"
    "rr       round trips of 64 octets\n"
    "bulk     octets one way\n"
    "hold     opens idle connections, says so, waits for a line on stdin\n"
    "\n"
    "--server ADDRESS:PORT   through this SOCKS 5 server (without: directly to the target)\n"
    "--streams N             connections at once (default 64)\n"
    "--seconds S             the measured time (default 1); for hold, the longest wait\n"
    "--warm-up S             before that, not counted (default 0.2)\n"
    "--set-up S              limit for opening all connections (default 20)\n"
    "--up                    bulk: towards the target (without: from it)\n"
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
    OPT_PID
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
    {NULL, 0, NULL, 0},
};

static bool set_option(struct load_options *opt, int option, const char *arg)
{
    double number = 0;
    bool ok = true;

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
        .mode = mode->name, .streams = 64, .seconds = 1, .warm_up = 0.2, .set_up = 20};
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
