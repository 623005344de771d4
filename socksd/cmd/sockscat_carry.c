#include "socksd/cmd/sockscat_carry.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shared/net/sockaddr.h"
#include "socksd/cmd/sockscat_proxy.h"

enum { DATAGRAM_MAX = 65507, BUFFER = 65536 };

struct carrier {
    const struct options *o;
    const struct local *l;
    const struct carried *c;
    bool in_ended, failed;
    uint64_t moved_ms; /* when something moved last */
    size_t line_len;   /* --line: the beginning of one, in `line` */
    uint8_t line[BUFFER];
};

static size_t payload_max(const struct carrier *k)
{
    return DATAGRAM_MAX - k->c->header_len;
}

static bool fail(struct carrier *k)
{
    k->failed = true;
    return false;
}

/* An ICMP error about an earlier datagram is reported in place of this one: it is sent once more.
 */
static bool send_up(struct carrier *k, const uint8_t *payload, size_t len)
{
    struct iovec parts[2] = {{(void *)k->c->header, k->c->header_len}, {(void *)payload, len}};
    const struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};

    for (int attempt = 0; attempt < 2; attempt++)
        if (sendmsg(k->c->relay, &m, MSG_NOSIGNAL) >= 0)
            return true;
    if (k->o->verbose || !k->l->sockets)
        tell("a datagram of %zu octets: %s", len, strerror(errno));
    return k->l->sockets || errno == ECONNREFUSED ? true : fail(k);
}

/* Sends the lines that are whole; at the end of input also the one that is not. */
static bool send_lines(struct carrier *k)
{
    uint8_t *at = k->line, *end;
    bool good = true;

    while (good && (end = memchr(at, '\n', k->line_len)) != NULL) {
        good = send_up(k, at, (size_t)(end - at));
        k->line_len -= (size_t)(end + 1 - at);
        at = end + 1;
    }
    memmove(k->line, at, k->line_len);
    if (k->line_len > payload_max(k)) {
        tell("a line is longer than a datagram: more than %zu octets", payload_max(k));
        return fail(k);
    }
    if (k->in_ended && good && k->line_len > 0)
        good = send_up(k, k->line, k->line_len);
    return good;
}

static void from_input(struct carrier *k)
{
    bool by_line = k->o->line;
    uint8_t *at = k->line + k->line_len;
    size_t room = by_line ? sizeof(k->line) - k->line_len : payload_max(k);
    ssize_t n = read(k->l->in, at, room);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        tell("input: %s", strerror(errno));
        fail(k);
        return;
    }
    k->moved_ms = now_ms();
    k->in_ended = n == 0;
    if (by_line) {
        k->line_len += (size_t)n;
        send_lines(k);
    } else if (n > 0) {
        send_up(k, at, (size_t)n);
    }
}

static void from_local(struct carrier *k)
{
    ssize_t n = recv(k->l->in, k->line, sizeof(k->line), MSG_DONTWAIT);

    if (n < 0)
        return;
    k->moved_ms = now_ms();
    send_up(k, k->line, (size_t)n);
}

static bool write_all(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t n = writev(fd, parts, count);

        if (n < 0 && errno == EAGAIN)
            poll(&(struct pollfd){fd, POLLOUT, 0}, 1, -1);
        else if (n < 0 && errno != EINTR)
            return false;
        for (; count > 0 && n >= (ssize_t)parts->iov_len; parts++, count--)
            n -= (ssize_t)parts->iov_len;
        if (count > 0 && n > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + n;
            parts->iov_len -= (size_t)n;
        }
    }
    return true;
}

static void deliver(struct carrier *k, uint8_t *payload, size_t len)
{
    struct iovec parts[2] = {{payload, len}, {"\n", k->o->line ? 1 : 0}};
    struct sockaddr_storage ss;

    if (k->l->sockets) {
        sendto(k->l->out, payload, len, MSG_DONTWAIT, (struct sockaddr *)&ss,
               sockaddr_from(&k->l->to, &ss));
        return;
    }
    if (!write_all(k->l->out, parts, 2)) {
        tell("output: %s", strerror(errno));
        fail(k);
    }
}

static void from_relay(struct carrier *k)
{
    uint8_t buf[BUFFER];
    struct socksc_endpoint sender = {.port = 0};
    ssize_t n = recv(k->c->relay, buf, sizeof(buf), MSG_DONTWAIT);
    size_t header = 0;

    if (n < 0) {
        if (errno == ECONNREFUSED && k->o->verbose)
            tell("nobody receives our datagrams: %s", strerror(errno));
        return;
    }
    if (k->c->header_len > 0) {
        header = socksc_udp_decode(buf, (size_t)n, &sender);
        if (header == 0) {
            if (k->o->verbose)
                tell("dropped a datagram of %zd octets with a bad header", n);
            return;
        }
        if (k->o->verbose)
            tell("%zu octets from %s port %u", (size_t)n - header, sender.host,
                 (unsigned)sender.port);
    }
    k->moved_ms = now_ms();
    deliver(k, buf + header, (size_t)n - header);
}

/* Milliseconds until it is over; -1: that is not foreseen. */
static int left_ms(const struct carrier *k)
{
    uint64_t end = k->moved_ms + k->l->wait_s * UINT64_C(1000), now = now_ms();

    if (!k->in_ended && !k->l->sockets)
        return -1;
    return end > now ? (int)(end - now) : 0;
}

int carry(const struct options *o, const struct local *l, const struct carried *c)
{
    struct carrier k = {.o = o, .l = l, .c = c, .moved_ms = now_ms()};

    while (!k.failed) {
        struct pollfd p[3] = {
            {c->relay, POLLIN, 0}, {c->control, POLLIN, 0}, {k.in_ended ? -1 : l->in, POLLIN, 0}};
        int n = poll(p, 3, left_ms(&k));

        if (n == 0)
            return CAT_DONE;
        if (n < 0)
            continue;
        if (p[0].revents != 0)
            from_relay(&k);
        if (p[1].revents != 0 && !proxy_holds(c->control))
            return tell("the proxy ended the association");
        if (l->sockets && (p[2].revents & POLLHUP) != 0)
            return CAT_DONE; /* whoever listens for it is gone */
        if (p[2].revents != 0)
            l->sockets ? from_local(&k) : from_input(&k);
    }
    return CAT_FAILED;
}
