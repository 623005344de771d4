#include "shared/daemon/status_listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/addr.h"
#include "shared/net/sockaddr.h"

#define BACKLOG     64
#define UNIX_PREFIX "unix:"

/* Fills path (and tcp) or *ret_addr. */
static int parse(struct status_listen *l, const char *spec, struct addr *ret_addr, struct err *e)
{
    const char *path = spec + strlen(UNIX_PREFIX);

    *l = (struct status_listen){.fd = -1, .tcp = true};
    if (strncmp(spec, UNIX_PREFIX, strlen(UNIX_PREFIX)) != 0) {
        if (!addr_parse(spec, ret_addr))
            return err_set(e, "'%s' is neither unix:/PATH nor ADDRESS:PORT", spec);
        return 0;
    }
    l->tcp = false;
    if (path[0] == '\0')
        return err_set(e, "'%s' lacks the path", spec);
    if (strlen(path) >= sizeof(l->path))
        return err_set(e, "'%s' is too long: a path may have %zu octets", spec,
                       sizeof(l->path) - 1);
    strcpy(l->path, path);
    return 0;
}

int status_listen_check(const char *spec, struct err *e)
{
    struct status_listen l;
    struct addr addr;

    return parse(&l, spec, &addr, e);
}

static socklen_t unix_address(const char *path, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    strcpy(ret->sun_path, path);
    return sizeof(*ret);
}

/* 0 when the socket file at the path belongs to nobody. */
static int check_stale(const char *path, struct err *e)
{
    struct sockaddr_un sun;
    socklen_t len = unix_address(path, &sun);
    struct stat st;
    int fd, rc, error;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : err_set(e, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, "%s exists and is not a socket", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    rc = connect(fd, (struct sockaddr *)&sun, len);
    error = errno;
    close(fd);
    if (rc == 0 || error == EAGAIN)
        return err_set(e, "%s: another process listens there", path);
    if (error != ECONNREFUSED && error != ENOENT)
        return err_set(e, "%s: is it still in use? %s", path, strerror(error));
    return 0;
}

static int bind_unix(struct status_listen *l, mode_t mode, struct err *e)
{
    struct sockaddr_un sun;
    socklen_t len = unix_address(l->path, &sun);
    struct stat st;

    /* The file is born with this mode less the umask, never with more. */
    if (fchmod(l->fd, mode) != 0)
        return err_set(e, "%s: %s", l->path, strerror(errno));
    if (bind(l->fd, (struct sockaddr *)&sun, len) != 0) {
        if (errno != EADDRINUSE)
            return err_set(e, "%s: %s", l->path, strerror(errno));
        if (check_stale(l->path, e) != 0)
            return -1;
        unlink(l->path);
        if (bind(l->fd, (struct sockaddr *)&sun, len) != 0)
            return err_set(e, "%s: %s", l->path, strerror(errno));
    }
    if (lstat(l->path, &st) != 0)
        return err_set(e, "%s: %s", l->path, strerror(errno));
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if (chmod(l->path, mode) != 0)
        return err_set(e, "%s: %s", l->path, strerror(errno));
    return 0;
}

static int bind_tcp(struct status_listen *l, const struct addr *addr, const char *spec,
                    struct err *e)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(addr, &ss);
    const int on = 1;

    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* "0.0.0.0:9080" and "[::]:9080" may stand in one list. */
    if (addr->family == ADDR_IPV6)
        setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(l->fd, (struct sockaddr *)&ss, len) != 0)
        return err_set(e, "%s: %s", spec, strerror(errno));
    return 0;
}

int status_listen_open(struct status_listen *l, const char *spec, mode_t mode, struct err *e)
{
    struct addr addr;
    int family, rc;

    if (parse(l, spec, &addr, e) != 0)
        return -1;
    family = !l->tcp ? AF_UNIX : addr.family == ADDR_IPV6 ? AF_INET6 : AF_INET;
    l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return err_set(e, "%s: %s", spec, strerror(errno));
    rc = l->tcp ? bind_tcp(l, &addr, spec, e) : bind_unix(l, mode, e);
    if (rc == 0 && listen(l->fd, BACKLOG) != 0)
        rc = err_set(e, "%s: %s", spec, strerror(errno));
    if (rc != 0)
        status_listen_close(l);
    return rc;
}

void status_listen_close(struct status_listen *l)
{
    struct stat st;

    if (l->fd < 0)
        return;
    /* A successor may have taken the path meanwhile. l->ino is 0 when we never made a file. */
    if (!l->tcp && l->ino != 0 && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
        st.st_ino == l->ino)
        unlink(l->path);
    close(l->fd);
    l->fd = -1;
}
