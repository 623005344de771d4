#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/n2/n2_codec.h"
#include "shared/n2/n2_legs.h"

/* A message being filled, or one that waits until the channel takes it. */
struct batch {
    struct list node;
    struct buf body;
    int fds[N2_LEGS_MAX];
    void *owners[N2_LEGS_MAX];
    size_t count;
    size_t handed_back; /* of them, when it fails */
    bool failing;
};

enum { BATCHES_MAX = 64 };

struct n2_leg_sender {
    struct loop_grave grave;
    struct loop *loop;
    struct hot hot;
    struct loop_task flush;
    const struct n2_leg_sender_ops *ops;
    void *arg;
    struct list batches; /* oldest first; the last one is being filled */
    size_t batch_count;
    bool broken, closed;
};

static void batch_free(struct n2_leg_sender *s, struct batch *b)
{
    list_remove(&b->node);
    s->batch_count--;
    buf_fini(&b->body);
    free(b);
}

static struct batch *batch_new(struct n2_leg_sender *s)
{
    struct batch *b = s->batch_count < BATCHES_MAX ? calloc(1, sizeof(*b)) : NULL;

    if (b == NULL)
        return NULL;
    buf_init(&b->body, N2_LEG_MESSAGE_MAX);
    n2_put_legs_head(&b->body);
    list_append(&s->batches, &b->node);
    s->batch_count++;
    return b;
}

/* A callback may close the sender, which comes here again for the same batch: whoever began frees.
 */
static void fail_batch(struct n2_leg_sender *s, struct batch *b)
{
    bool began = !b->failing;

    b->failing = true;
    while (b->handed_back < b->count) {
        size_t i = b->handed_back++;
        if (b->owners[i] != NULL)
            s->ops->failed(s->arg, b->owners[i], b->fds[i]);
        else
            close(b->fds[i]);
    }
    list_remove(&b->node);
    if (began)
        batch_free(s, b);
}

/* 0, or -errno. The kernel holds its own reference to each descriptor once sendmsg returned. */
static int send_batch(struct n2_leg_sender *s, struct batch *b)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int) * N2_LEGS_MAX)];
    } control;
    struct iovec iov = {b->body.data, b->body.len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = CMSG_SPACE(sizeof(int) * b->count),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * b->count);
    memcpy(CMSG_DATA(c), b->fds, sizeof(int) * b->count);
    if (sendmsg(s->hot.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return -errno;
    for (size_t i = 0; i < b->count; i++)
        close(b->fds[i]);
    return 0;
}

static void break_down(struct n2_leg_sender *s)
{
    if (s->broken)
        return;
    s->broken = true;
    while (!list_empty(&s->batches))
        fail_batch(s, LIST_ENTRY(s->batches.next, struct batch, node));
    if (!s->closed)
        s->ops->down(s->arg);
}

static void flush(struct loop_task *t)
{
    struct n2_leg_sender *s = LIST_ENTRY(t, struct n2_leg_sender, flush);

    while (!list_empty(&s->batches)) {
        struct batch *b = LIST_ENTRY(s->batches.next, struct batch, node);
        int rc = b->count > 0 ? send_batch(s, b) : 0;
        if (rc == -EAGAIN || rc == -EINTR || rc == -ENOBUFS || rc == -ETOOMANYREFS) {
            hot_mask(s->loop, &s->hot, EPOLLRDHUP | EPOLLOUT);
            return;
        }
        if (rc != 0) {
            break_down(s);
            return;
        }
        batch_free(s, b);
    }
    hot_mask(s->loop, &s->hot, EPOLLRDHUP);
}

static void on_channel(struct hot *h, uint32_t events)
{
    struct n2_leg_sender *s = LIST_ENTRY(h, struct n2_leg_sender, hot);

    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        break_down(s);
    else
        loop_post(s->loop, &s->flush);
}

static int connect_to(const char *path, struct err *e)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (strlen(path) >= sizeof(un.sun_path))
        return err_set(e, "%s: path too long", path);
    memcpy(un.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, "socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) != 0) {
        err_set(e, "%s: %s", path, strerror(errno));
        close(fd);
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
        (cred.uid != geteuid() && cred.uid != 0 && geteuid() != 0)) {
        close(fd);
        return err_set(e, "%s: belongs to somebody else", path);
    }
    return fd;
}

int n2_leg_sender_open(struct loop *l, const char *path, const struct n2_leg_sender_ops *ops,
                       void *arg, struct n2_leg_sender **ret, struct err *e)
{
    struct n2_leg_sender *s = calloc(1, sizeof(*s));
    int fd = s != NULL ? connect_to(path, e) : err_set(e, "out of memory");

    if (fd < 0) {
        free(s);
        return -1;
    }
    s->loop = l;
    s->ops = ops;
    s->arg = arg;
    list_init(&s->batches);
    loop_task_init(&s->flush, flush);
    hot_init(&s->hot, on_channel);
    if (hot_add(l, &s->hot, fd, EPOLLRDHUP) != 0) {
        close(fd);
        free(s);
        return err_set(e, "epoll: %s", strerror(errno));
    }
    *ret = s;
    return 0;
}

static void sender_free(struct loop_grave *g)
{
    free(LIST_ENTRY(g, struct n2_leg_sender, grave));
}

void n2_leg_sender_close(struct n2_leg_sender *s)
{
    if (s == NULL)
        return;
    s->broken = s->closed = true;
    while (!list_empty(&s->batches))
        fail_batch(s, LIST_ENTRY(s->batches.next, struct batch, node));
    loop_unpost(&s->flush);
    close(hot_remove(s->loop, &s->hot));
    loop_bury(s->loop, &s->grave, sender_free);
}

int n2_leg_send(struct n2_leg_sender *s, const struct n2_attach *a, int fd, void *owner)
{
    struct batch *b =
        list_empty(&s->batches) ? NULL : LIST_ENTRY(s->batches.prev, struct batch, node);
    size_t room = 128 + a->to_client_len + a->to_target_len;

    if (s->broken || a->to_client_len > N2_TO_CLIENT_MAX || a->to_target_len > N2_TO_TARGET_MAX)
        return -1;
    if (b == NULL || b->count == N2_LEGS_MAX || b->body.limit - b->body.len < room)
        b = batch_new(s);
    if (b == NULL)
        return -1;
    size_t before = b->body.len;
    n2_put_attach(&b->body, a);
    if (b->body.failed) {
        b->body.failed = false;
        b->body.len = before;
        return -1;
    }
    b->fds[b->count] = fd;
    b->owners[b->count++] = owner;
    loop_post(s->loop, &s->flush);
    return 0;
}

void n2_leg_forget(struct n2_leg_sender *s, const void *owner)
{
    LIST_FOREACH (node, &s->batches) {
        struct batch *b = LIST_ENTRY(node, struct batch, node);
        for (size_t i = 0; i < b->count; i++) {
            if (b->owners[i] == owner)
                b->owners[i] = NULL;
        }
    }
}
