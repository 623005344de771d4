#include "shared/daemon/boot.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

void boot_process(bool batch)
{
    struct sched_param none = {0};
    struct rlimit lim;

    signal(SIGPIPE, SIG_IGN);
    if (batch)
        sched_setscheduler(0, SCHED_BATCH, &none);
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
}

static void ask_drain(struct boot *b, const char *why)
{
    bool again = b->draining;

    b->draining = true;
    b->asked(b->arg, again ? BOOT_STOP : BOOT_DRAIN, why);
}

static void on_signal(uv_signal_t *s, int number)
{
    struct boot *b = s->data;

    if (number == SIGHUP)
        b->asked(b->arg, BOOT_RELOAD, "SIGHUP");
    else
        ask_drain(b, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* The parent never writes; readable means that it is gone. */
static void on_parent(uv_poll_t *p, int status, int events)
{
    struct boot *b = p->data;
    (void)status;
    (void)events;

    uv_poll_stop(p);
    if (!b->draining)
        ask_drain(b, "parent gone");
}

static void start_signal(struct boot *b, uv_signal_t *s, int number)
{
    uv_signal_init(&b->loop->uv, s);
    s->data = b;
    uv_signal_start(s, on_signal, number);
    uv_unref((uv_handle_t *)s);
}

int boot_start(struct boot *b, struct loop *l, int parent_fd,
               void (*asked)(void *arg, enum boot_ask what, const char *why), void *arg,
               struct err *e)
{
    *b = (struct boot){.loop = l, .asked = asked, .arg = arg, .parent_fd = parent_fd};
    if (parent_fd >= 0) {
        if (uv_poll_init(&l->uv, &b->parent, parent_fd) != 0)
            return err_set(e, "--parent-fd %d: not a descriptor that can be watched", parent_fd);
        b->parent.data = b;
        b->has_parent = true;
        uv_poll_start(&b->parent, UV_READABLE | UV_DISCONNECT, on_parent);
        uv_unref((uv_handle_t *)&b->parent);
    }
    start_signal(b, &b->term, SIGTERM);
    start_signal(b, &b->interrupt, SIGINT);
    start_signal(b, &b->hangup, SIGHUP);
    return 0;
}

void boot_stop(struct boot *b)
{
    uv_close((uv_handle_t *)&b->term, NULL);
    uv_close((uv_handle_t *)&b->interrupt, NULL);
    uv_close((uv_handle_t *)&b->hangup, NULL);
    if (b->has_parent)
        uv_close((uv_handle_t *)&b->parent, NULL);
}

bool boot_parent_gone(const struct boot *b)
{
    struct pollfd p = {.fd = b->parent_fd, .events = POLLIN};

    return b->has_parent && poll(&p, 1, 0) > 0;
}

uint32_t boot_descriptor_limit(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return 1024;
    return lim.rlim_cur < UINT32_MAX ? (uint32_t)lim.rlim_cur : UINT32_MAX;
}

uint32_t boot_descriptors_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint32_t n = 0;

    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}
