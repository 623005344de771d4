#include "socksd/cmd/sockscat_pump.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "socksd/cmd/sockscat_proxy.h"

enum { GRACE_MS = 5000 };

/* One direction. It waits to read when it holds nothing, else to write. */
struct flow {
    const char *from_name, *to_name;
    int from, to;
    size_t chunk; /* a write of so many octets does not block when poll says POLLOUT */
    bool to_socket, over, failed;
    bool from_failed; /* in particular: it was not `to` that failed */
    size_t at, len;
    uint8_t buf[65536];
};

static bool is_socket(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Pipes and terminals are not made non-blocking, because others share them. */
static size_t chunk_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
        return PIPE_BUF;
    return SIZE_MAX;
}

static void flow_init(struct flow *f, int from, const char *from_name, int to, const char *to_name)
{
    f->from = from;
    f->to = to;
    f->from_name = from_name;
    f->to_name = to_name;
    f->to_socket = is_socket(to);
    f->chunk = chunk_of(to);
    f->over = f->failed = f->from_failed = false;
    f->at = f->len = 0;
}

static void flow_fail(struct flow *f, const char *where, int error)
{
    tell("%s: %s", where, strerror(error));
    f->over = f->failed = true;
}

static void flow_end(struct flow *f)
{
    f->over = true;
    if (f->to_socket)
        shutdown(f->to, SHUT_WR);
    else
        close(f->to);
}

static void flow_read(struct flow *f)
{
    ssize_t n = read(f->from, f->buf, sizeof(f->buf));

    if (n > 0) {
        f->at = 0;
        f->len = (size_t)n;
    } else if (n == 0) {
        flow_end(f);
    } else if (errno != EAGAIN && errno != EINTR) {
        flow_fail(f, f->from_name, errno);
        f->from_failed = true;
    }
}

static void flow_write(struct flow *f)
{
    size_t most = f->len < f->chunk ? f->len : f->chunk;
    ssize_t n;

    if (f->to_socket)
        n = send(f->to, f->buf + f->at, most, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        n = write(f->to, f->buf + f->at, most);
    if (n >= 0) {
        f->at += (size_t)n;
        f->len -= (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        flow_fail(f, f->to_name, errno);
    }
}

static struct pollfd flow_poll(const struct flow *f)
{
    if (f->over)
        return (struct pollfd){.fd = -1};
    if (f->len > 0)
        return (struct pollfd){.fd = f->to, .events = POLLOUT};
    return (struct pollfd){.fd = f->from, .events = POLLIN};
}

static void flow_step(struct flow *f, const struct pollfd *p)
{
    if (p->fd < 0 || p->revents == 0)
        return;
    if (f->len > 0)
        flow_write(f);
    else
        flow_read(f);
}

/* Nobody reads from the connection any more: a reset would go unseen while standard input is
 * silent. */
static void notice_reset(struct flow *up, int connection)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(connection, SOL_SOCKET, SO_ERROR, &error, &len);
    flow_fail(up, up->to_name, error != 0 ? error : ECONNRESET);
}

/* Until both directions are over, or the control connection has been gone for too long. */
static bool run(struct flow *up, struct flow *down, int control)
{
    uint64_t end_ms = 0;

    while (!up->over || !down->over) {
        bool watch = down->over && up->len == 0;
        struct pollfd p[4] = {
            flow_poll(up), flow_poll(down), {control, POLLIN, 0}, {watch ? down->from : -1, 0, 0}};
        uint64_t now = now_ms();

        if (end_ms != 0 && now >= end_ms)
            return false;
        if (poll(p, 4, end_ms != 0 ? (int)(end_ms - now) : -1) < 0)
            continue;
        flow_step(up, &p[0]);
        flow_step(down, &p[1]);
        if (p[2].revents != 0 && !proxy_holds(control)) {
            control = -1;
            end_ms = now_ms() + GRACE_MS;
        }
        if ((p[3].revents & (POLLERR | POLLHUP)) != 0 && !up->over)
            notice_reset(up, down->from);
        if (down->failed || up->from_failed) /* nobody is left to speak for */
            return true;
    }
    return true;
}

int pump(int in, int out, int connection, int control)
{
    struct flow up, down;

    flow_init(&up, in, "input", connection, "connection");
    flow_init(&down, connection, "connection", out, "output");
    if (!run(&up, &down, control))
        return tell("the proxy ended the association");
    return up.failed || down.failed ? CAT_FAILED : CAT_DONE;
}
