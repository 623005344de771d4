#include "socksd/cmd/sockscat_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "socksd/cmd/sockscat_proxy.h"

enum { SILENT_USER_S = 120 }; /* RFC 4787 section 4.3 wants two minutes at least */

/* Users that are served; fd is our end of a socket pair whose other end only the user's process
 * has, so that a hang-up says that it is gone. */
struct users {
    int listener;
    size_t count;
    struct user {
        int fd;
        struct addr addr;
    } user[LISTEN_USERS_MAX];
};

/* What a new process needs to know. */
struct birth {
    bool child;
    int pair; /* child: its end */
};

static int listener_open(const struct options *o, int type, struct users *u)
{
    struct addr bound;

    signal(SIGCHLD, SIG_IGN); /* nobody waits for the exit codes */
    u->count = 0;
    u->listener = socket_bound(type, 0, &o->listen);
    if (u->listener < 0)
        return -1;
    if (type == SOCK_STREAM && listen(u->listener, 128) != 0) {
        tell("listen: %s", strerror(errno));
        close(u->listener);
        return -1;
    }
    fcntl(u->listener, F_SETFL, fcntl(u->listener, F_GETFL) | O_NONBLOCK);
    if (sockaddr_local(u->listener, &bound))
        tell_address(o, "listening on", &bound);
    return 0;
}

/* Forks. In the child, everything of the other users is closed. 0, or -1 after telling why not. */
static int user_new(struct users *u, const struct addr *addr, struct birth *ret)
{
    pid_t parent = getpid(), child;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        tell("a new user: %s", strerror(errno));
        return -1;
    }
    child = fork();
    if (child < 0) {
        tell("a new user: %s", strerror(errno));
        close(pair[0]);
        close(pair[1]);
        return -1;
    }
    *ret = (struct birth){.child = child == 0, .pair = pair[1]};
    if (child > 0) {
        close(pair[1]);
        u->user[u->count++] = (struct user){.fd = pair[0], .addr = *addr};
        return 0;
    }
    /* It does not outlive us. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
        _exit(CAT_FAILED);
    close(pair[0]);
    for (size_t i = 0; i < u->count; i++)
        close(u->user[i].fd);
    return 0;
}

/* Waits until the listener is readable, or somebody is gone, who is forgotten. */
static bool listener_ready(struct users *u, bool full_waits)
{
    struct pollfd p[LISTEN_USERS_MAX + 1];
    bool full = u->count == LISTEN_USERS_MAX;

    for (size_t i = 0; i < u->count; i++)
        p[i] = (struct pollfd){.fd = u->user[i].fd};
    p[u->count] = (struct pollfd){.fd = full && full_waits ? -1 : u->listener, .events = POLLIN};
    if (poll(p, u->count + 1, -1) < 0)
        return false;

    bool ready = p[u->count].revents != 0;

    for (size_t i = u->count; i-- > 0;)
        if (p[i].revents != 0) {
            close(u->user[i].fd);
            u->user[i] = u->user[--u->count];
        }
    return ready;
}

int listen_tcp(const struct options *o, int (*serve)(const struct options *o, int connection))
{
    struct users u;
    const struct addr nobody = {.family = ADDR_NONE};
    struct birth b;

    if (listener_open(o, SOCK_STREAM, &u) != 0)
        return CAT_FAILED;
    for (;;) {
        int fd;

        if (!listener_ready(&u, true))
            continue;
        fd = accept4(u.listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                poll(NULL, 0, 100); /* until somebody is gone */
            continue;
        }
        if (user_new(&u, &nobody, &b) == 0 && b.child) {
            close(u.listener);
            exit(serve(o, fd));
        }
        close(fd);
    }
}

static struct user *user_find(struct users *u, const struct addr *addr)
{
    for (size_t i = 0; i < u->count; i++)
        if (addr_equal(&u->user[i].addr, addr))
            return &u->user[i];
    return NULL;
}

static void user_serve(const struct options *o, const struct users *u, const struct addr *addr,
                       int pair, int (*serve)(const struct options *o, const struct local *user))
{
    const struct local l = {
        .in = pair,
        .out = u->listener,
        .sockets = true,
        .to = *addr,
        .wait_s = o->wait_s >= 0 ? (unsigned)o->wait_s : SILENT_USER_S,
    };

    exit(serve(o, &l));
}

int listen_udp(const struct options *o,
               int (*serve)(const struct options *o, const struct local *user))
{
    struct users u;
    uint8_t buf[65536];
    struct birth b;

    if (listener_open(o, SOCK_DGRAM, &u) != 0)
        return CAT_FAILED;
    for (;;) {
        struct sockaddr_storage ss;
        socklen_t ss_len = sizeof(ss);
        struct addr from;
        struct user *user;
        ssize_t n;

        if (!listener_ready(&u, false))
            continue;
        n = recvfrom(u.listener, buf, sizeof(buf), 0, (struct sockaddr *)&ss, &ss_len);
        if (n < 0 || !sockaddr_to((struct sockaddr *)&ss, &from))
            continue;
        user = user_find(&u, &from);
        if (user == NULL && u.count < LISTEN_USERS_MAX && user_new(&u, &from, &b) == 0) {
            if (b.child)
                user_serve(o, &u, &from, b.pair, serve);
            user = &u.user[u.count - 1];
        }
        if (user != NULL) /* what does not fit is dropped, as datagrams are */
            send(user->fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}
