#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_legs.h"

enum { CHANNELS_MAX = 64, MESSAGES_PER_EVENT = 8, ACCEPT_AGAIN_MS = 100 };

struct channel {
    struct loop_grave grave;
    struct list node;
    struct hot hot;
    struct n2_leg_listener *listener;
};

struct n2_leg_listener {
    struct loop_grave grave;
    struct loop *loop;
    struct hot hot;
    struct wheel_timer accept_again;
    bool starved; /* the last accept found no descriptor */
    char *path;
    uint32_t *uids;
    size_t uid_count;
    const struct n2_leg_listener_ops *ops;
    void *arg;
    struct n2_arena *arena;
    struct list channels;
    size_t channel_count;
    struct n2_leg_listener_stats stats;
    uint8_t body[N2_LEG_MESSAGE_MAX];
};

static void channel_free(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct channel, grave));
}

static void channel_close(struct channel *c)
{
    close(hot_remove(c->listener->loop, &c->hot));
    list_remove(&c->node);
    c->listener->channel_count--;
    loop_bury(c->listener->loop, &c->grave, channel_free);
}

/* LEG_PLAIN_FD is a connected TCP socket; no other kind is served. It does not block any more: a
 * sender that left it blocking would stop us all. */
static bool leg_fits(const struct n2_attach *a, int fd)
{
    int protocol = 0, listening = 0, one = 1;
    socklen_t len = sizeof(int);
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);

    if (a->kind != N2_LEG_PLAIN_FD || a->role != N2_ROLE_CLIENT)
        return false;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) != 0 || protocol != IPPROTO_TCP)
        return false;
    if (ioctl(fd, FIONBIO, &one) != 0)
        return false;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0)
        return true;
    /* A client that has reset meanwhile has no peer any more, and is still a TCP socket: the
     * association must learn that it is gone. A listening socket never had one. */
    len = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && !listening;
}

/* Collects the descriptors of a message, all of them, whatever a hostile sender wrapped. */
static size_t take_fds(struct msghdr *msg, int *fds, size_t cap)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (n < cap)
                fds[n++] = fd;
            else
                close(fd);
        }
    }
    return n;
}

static void take_message(struct n2_leg_listener *l, const uint8_t *body, size_t len, int flags,
                         int *fds, size_t fd_count)
{
    struct n2_attach attaches[N2_LEGS_MAX];
    int n = (flags & MSG_TRUNC) ? -1 : n2_legs_decode(l->arena, body, len, attaches);

    l->stats.messages++;
    /* With too few descriptors nobody can say whose are missing: none is used. */
    bool whole = n >= 0 && !(flags & MSG_CTRUNC) && (size_t)n == fd_count;
    if (!whole) {
        l->stats.bad_messages++;
        log_warn("legs_bad_message", LOG_I64("attaches", n), LOG_U64("descriptors", fd_count),
                 LOG_BOOL("truncated", (flags & (MSG_TRUNC | MSG_CTRUNC)) != 0));
        for (size_t i = 0; i < fd_count; i++)
            close(fds[i]);
    }
    for (int i = 0; i < n; i++) {
        int fd = whole ? fds[i] : -1;
        if (fd >= 0 && !leg_fits(&attaches[i], fd)) {
            l->stats.bad_descriptors++;
            close(fd);
            fd = -1;
        }
        l->stats.legs++;
        l->ops->attach(l->arg, &attaches[i], fd);
    }
    n2_arena_reset(l->arena);
}

enum received { RECEIVED, RECEIVED_NOTHING, RECEIVED_END };

static enum received receive_one(struct channel *c)
{
    struct n2_leg_listener *l = c->listener;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * N2_LEGS_MAX)];
    } control;
    struct iovec iov = {l->body, sizeof(l->body)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof(control.room),
    };
    int fds[N2_LEGS_MAX];

    ssize_t n = recvmsg(c->hot.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? RECEIVED_NOTHING : RECEIVED_END;
    size_t fd_count = take_fds(&msg, fds, N2_LEGS_MAX);
    if (n == 0 && fd_count == 0)
        return RECEIVED_END;
    take_message(l, l->body, (size_t)n, msg.msg_flags, fds, fd_count);
    return RECEIVED;
}

static void on_channel(struct hot *h, uint32_t events)
{
    struct channel *c = LIST_ENTRY(h, struct channel, hot);

    if (!(events & EPOLLIN)) {
        channel_close(c);
        return;
    }
    enum received r = RECEIVED;
    /* A callback may have closed the listener, and this channel with it. */
    for (int i = 0; i < MESSAGES_PER_EVENT && r == RECEIVED && c->hot.fd >= 0; i++)
        r = receive_one(c);
    if (r == RECEIVED_END)
        channel_close(c);
}

static bool peer_allowed(const struct n2_leg_listener *l, int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
        return false;
    if (cred.uid == 0 || cred.uid == geteuid())
        return true;
    for (size_t i = 0; i < l->uid_count; i++) {
        if (cred.uid == l->uids[i])
            return true;
    }
    return false;
}

static void on_accept_again(struct wheel_timer *t)
{
    struct n2_leg_listener *l = LIST_ENTRY(t, struct n2_leg_listener, accept_again);

    hot_mask(l->loop, &l->hot, EPOLLIN);
}

/* Who waits in the queue is readable for ever: without a pause, being out of descriptors would take
 * all of the processor as well. */
static void pause_accepting(struct n2_leg_listener *l)
{
    if (!l->starved)
        log_warn("legs_accept_failed", LOG_STR("path", l->path), LOG_STR("error", strerror(errno)));
    l->starved = true;
    hot_mask(l->loop, &l->hot, 0);
    loop_timer_start(l->loop, &l->accept_again, ACCEPT_AGAIN_MS);
}

static void on_connect(struct hot *h, uint32_t events)
{
    struct n2_leg_listener *l = LIST_ENTRY(h, struct n2_leg_listener, hot);
    (void)events;

    int fd = accept4(h->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            pause_accepting(l);
        return;
    }
    l->starved = false;
    struct channel *c = NULL;
    if (!peer_allowed(l, fd)) {
        l->stats.refused_peers++;
        log_warn("legs_peer_refused", LOG_STR("path", l->path));
    } else if (l->channel_count < CHANNELS_MAX) {
        c = calloc(1, sizeof(*c));
    }
    if (c == NULL) {
        close(fd);
        return;
    }
    c->listener = l;
    hot_init(&c->hot, on_channel);
    if (hot_add(l->loop, &c->hot, fd, EPOLLIN) != 0) {
        close(fd);
        free(c);
        return;
    }
    list_append(&l->channels, &c->node);
    l->channel_count++;
}

/* Binds under a fresh name's rules: a file that nobody listens on is a leftover and is replaced. */
static int listen_on(const char *path, bool others, struct err *e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(un.sun_path))
        return err_set(e, "%s: path too long", path);
    memcpy(un.sun_path, path, strlen(path));
    int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0 || fd < 0) {
        err_set(e, "socket: %s", strerror(errno));
        goto out_close;
    }
    if (connect(probe, (struct sockaddr *)&un, sizeof(un)) != 0 && errno == ECONNREFUSED)
        unlink(path);
    mode_t old = umask(others ? 0111 : 0177);
    int rc = bind(fd, (struct sockaddr *)&un, sizeof(un));
    umask(old);
    if (rc != 0 || listen(fd, CHANNELS_MAX) != 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        goto out_close;
    }
    close(probe);
    return fd;
out_close:
    if (probe >= 0)
        close(probe);
    if (fd >= 0)
        close(fd);
    return -1;
}

static void listener_free(struct loop_grave *g)
{
    struct n2_leg_listener *l = LIST_ENTRY(g, struct n2_leg_listener, grave);

    n2_arena_free(l->arena);
    free(l->uids);
    free(l->path);
    free(l);
}

int n2_leg_listener_open(struct loop *loop, const char *path, const uint32_t *uids,
                         size_t uid_count, const struct n2_leg_listener_ops *ops, void *arg,
                         struct n2_leg_listener **ret, struct err *e)
{
    struct n2_leg_listener *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return err_set(e, "out of memory");
    l->loop = loop;
    l->ops = ops;
    l->arg = arg;
    list_init(&l->channels);
    l->path = strdup(path);
    l->arena = n2_arena_new();
    l->uids = calloc(uid_count + 1, sizeof(*l->uids));
    if (l->path == NULL || l->arena == NULL || l->uids == NULL) {
        listener_free(&l->grave);
        return err_set(e, "out of memory");
    }
    for (size_t i = 0; i < uid_count; i++)
        l->uids[l->uid_count++] = uids[i];
    wheel_timer_init(&l->accept_again, on_accept_again);
    hot_init(&l->hot, on_connect);
    int fd = listen_on(path, uid_count > 0, e);
    if (fd < 0 || hot_add(loop, &l->hot, fd, EPOLLIN) != 0) {
        if (fd >= 0)
            close(fd);
        listener_free(&l->grave);
        return -1;
    }
    *ret = l;
    return 0;
}

void n2_leg_listener_close(struct n2_leg_listener *l)
{
    if (l == NULL)
        return;
    while (!list_empty(&l->channels))
        channel_close(LIST_ENTRY(l->channels.next, struct channel, node));
    loop_timer_stop(l->loop, &l->accept_again);
    close(hot_remove(l->loop, &l->hot));
    unlink(l->path);
    loop_bury(l->loop, &l->grave, listener_free);
}

const struct n2_leg_listener_stats *n2_leg_listener_stats(const struct n2_leg_listener *l)
{
    return &l->stats;
}
