#include "socksd/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/base/log.h"
#include "shared/base/secret.h"
#include "shared/base/sm.h"

enum {
    DELAY_FIRST_MS = 100,
    DELAY_MOST_MS = 5000,
    LIFE_MS = 10000, /* who lived so long did not die of its start */
};

static const struct sm_state states[] = {
    [CHILD_RUNNING] = {"running", SM_TO(CHILD_WAITING) | SM_TO(CHILD_STOPPING)},
    [CHILD_WAITING] = {"waiting", SM_TO(CHILD_RUNNING) | SM_TO(CHILD_GONE)},
    [CHILD_STOPPING] = {"stopping", SM_TO(CHILD_GONE)},
    [CHILD_GONE] = {"gone", 0},
};

struct child {
    struct list node;
    struct loop *loop;
    struct children *children; /* NULL: forgotten, to be freed when its handle has closed */
    struct sm sm;
    uint64_t since;
    uint64_t restarts;
    uint64_t delay_ms; /* before the next restart */
    struct wheel_timer restart;
    uv_process_t process; /* from uv_spawn until on_closed */
    bool process_open;
    int parent_fd; /* our end of its pipe */
    char *name, *program;
    char **argv;
};

struct children {
    struct loop_grave grave;
    struct loop *loop;
    struct list children;
    size_t count;
    struct wheel_timer deadline;
    struct loop_task drained;
    bool draining;
    void (*gone)(void *arg);
    void *gone_arg;
};

#define CHILD(n) LIST_ENTRY(n, struct child, node)

static void child_move(struct child *k, enum child_state to)
{
    sm_move(&k->sm, (uint8_t)to);
    k->since = loop_now(k->loop);
}

/* ---- memory ---- */

static void child_free(struct child *k)
{
    for (char **arg = k->argv; arg != NULL && *arg != NULL; arg++)
        free(*arg);
    free(k->argv);
    free(k->name);
    free(k->program);
    free(k);
}

static void on_closed(uv_handle_t *h)
{
    struct child *k = h->data;

    k->process_open = false;
    if (k->children == NULL)
        child_free(k);
}

static void close_process(struct child *k)
{
    if (k->process_open && !uv_is_closing((uv_handle_t *)&k->process))
        uv_close((uv_handle_t *)&k->process, on_closed);
}

static void close_pipe(struct child *k)
{
    if (k->parent_fd >= 0)
        close(k->parent_fd);
    k->parent_fd = -1;
}

/* The way out of children. */
static void child_forget(struct child *k)
{
    list_remove(&k->node);
    loop_timer_stop(k->loop, &k->restart);
    close_pipe(k);
    k->children = NULL;
    if (k->process_open)
        close_process(k);
    else
        child_free(k);
}

/* argv[0], the arguments of config, --parent-fd and its number, NULL. */
static char **argv_new(const char *program, const char *const *args)
{
    char number[12];
    size_t count = 0, n = 0;
    bool whole = true;

    while (args != NULL && args[count] != NULL)
        count++;
    char **argv = calloc(count + 4, sizeof(argv[0]));
    if (argv == NULL)
        return NULL;
    snprintf(number, sizeof(number), "%d", CHILDREN_PARENT_FD);
    argv[n++] = strdup(program);
    for (size_t i = 0; i < count; i++)
        argv[n++] = strdup(args[i]);
    argv[n++] = strdup("--parent-fd");
    argv[n++] = strdup(number);
    for (size_t i = 0; i < n; i++)
        whole = whole && argv[i] != NULL;
    if (whole)
        return argv;
    for (size_t i = 0; i < n; i++)
        free(argv[i]);
    free(argv);
    return NULL;
}

/* ---- a process ---- */

static void on_exit_status(uv_process_t *p, int64_t code, int signal);

/* A pipe rather than a socket pair: nothing could come back this way by mistake. */
static int spawn(struct child *k)
{
    int ends[2];
    uv_stdio_container_t stdio[CHILDREN_PARENT_FD + 1] = {
        {.flags = UV_IGNORE}, /* libuv: /dev/null */
        {.flags = UV_INHERIT_FD, .data.fd = STDOUT_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
    };
    const uv_process_options_t o = {
        .exit_cb = on_exit_status,
        .file = k->program,
        .args = k->argv,
        /* A session of its own. Without it, Ctrl-C at a terminal would end the streams at once,
         * while we still mean to let them finish. */
        .flags = UV_PROCESS_DETACHED,
        .stdio = stdio,
        .stdio_count = CHILDREN_PARENT_FD + 1,
    };

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    stdio[CHILDREN_PARENT_FD] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = ends[0]};
    int rc = uv_spawn(&k->loop->uv, &k->process, &o);
    k->process.data = k;
    k->process_open = true; /* also when it failed */
    close(ends[0]);
    if (rc != 0) {
        close(ends[1]);
        close_process(k);
        return rc;
    }
    k->parent_fd = ends[1];
    log_info("child_started", LOG_STR("name", k->name), LOG_STR("program", k->program),
             LOG_U64("pid", (uint64_t)k->process.pid));
    return 0;
}

/* 75 % to 125 % of ms, so that children that die together do not come back together for ever. */
static uint64_t with_jitter(uint64_t ms)
{
    uint32_t random;

    secret_random(&random, sizeof(random));
    return ms - ms / 4 + random % (ms / 2 + 1);
}

/* Sets the restart going and returns in how many milliseconds it comes. */
static uint64_t restart_later(struct child *k)
{
    uint64_t ms = with_jitter(k->delay_ms);

    k->delay_ms = k->delay_ms * 2 < DELAY_MOST_MS ? k->delay_ms * 2 : DELAY_MOST_MS;
    loop_timer_start(k->loop, &k->restart, ms);
    return ms;
}

static void on_restart(struct wheel_timer *t)
{
    struct child *k = LIST_ENTRY(t, struct child, restart);
    int rc;

    if (k->process_open) { /* libuv has not let go of the old one yet */
        loop_timer_start(k->loop, t, 0);
        return;
    }
    k->restarts++;
    rc = spawn(k);
    if (rc == 0) {
        child_move(k, CHILD_RUNNING);
        return;
    }
    log_error("child_not_started", LOG_STR("name", k->name), LOG_STR("program", k->program),
              LOG_ERRNO("error", -rc), LOG_U64("restart_ms", restart_later(k)));
}

/* ---- ends ---- */

static void check_drained(struct children *c)
{
    LIST_FOREACH(it, &c->children)
    {
        if (CHILD(it)->sm.state != CHILD_GONE)
            return;
    }
    loop_timer_stop(c->loop, &c->deadline);
    loop_post(c->loop, &c->drained);
}

static void on_drained(struct loop_task *t)
{
    struct children *c = LIST_ENTRY(t, struct children, drained);
    void (*gone)(void *arg) = c->gone;

    c->gone = NULL;
    if (gone != NULL)
        gone(c->gone_arg); /* c may be gone after this */
}

static void log_exit(const struct child *k, int64_t code, int signal, uint64_t lived_ms)
{
    struct log_field cause = LOG_I64("code", code);
    char name[16];

    if (signal != 0) {
        const char *abbreviation = sigabbrev_np(signal);
        snprintf(name, sizeof(name), abbreviation != NULL ? "SIG%s" : "%s%d",
                 abbreviation != NULL ? abbreviation : "", signal);
        cause = (struct log_field)LOG_STR("signal", name);
    }
    log_info("child_exited", LOG_STR("name", k->name), LOG_U64("pid", (uint64_t)k->process.pid),
             cause, LOG_U64("lived_ms", lived_ms));
}

static void on_exit_status(uv_process_t *p, int64_t code, int signal)
{
}
