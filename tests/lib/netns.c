#include "tests/lib/netns.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *missing = "netns_enter was not called";

static int ip(const char *words)
{
    char command[256];

    int n = snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin ip %s", words);
    return n < (int)sizeof(command) ? system(command) : -1;
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fprintf(stderr, "%s cannot be written\n", path);
    if (fd >= 0)
        close(fd);
}

/* Whoever is not root is so in a user namespace. */
static bool unshare_network(void)
{
    char text[32];

    if (unshare(CLONE_NEWNET) == 0)
        return true;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    put("/proc/self/setgroups", "deny");
    snprintf(text, sizeof(text), "0 %u 1", (unsigned)uid);
    put("/proc/self/uid_map", text);
    snprintf(text, sizeof(text), "0 %u 1", (unsigned)gid);
    put("/proc/self/gid_map", text);
    return true;
}

const char *netns_enter(void)
{
    if (ip("-V >/dev/null 2>&1") != 0)
        missing = "ip is not installed";
    else if (!unshare_network())
        missing = "network namespaces are not permitted";
    else if (ip("link set lo up") != 0 || ip("-6 addr add ::2/128 dev lo") != 0)
        missing = "loopback cannot be set up";
    else
        missing = NULL;
    return missing;
}

const char *netns_missing(void)
{
    return missing;
}

void netns_ip(const char *words)
{
    assert_null(missing);
    assert_int_equal(ip(words), 0);
}
