#include "socksd/children.h"

#include <assert.h>
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
#include "socksd/child_command.h"

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
    uint64_t since;   /* in this state */
    uint64_t started; /* the last time */
    uint64_t restarts;
    uint64_t delay_ms; /* before the next restart */
    struct wheel_timer restart;
    uv_process_t process; /* from uv_spawn until on_closed */
    bool process_open;
    int parent_fd; /* our end of its pipe */
    char *name;
    struct child_command command;
};

struct children {
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
    child_command_fini(&k->command);
    free(k->name);
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
        .file = k->command.program,
        .args = k->command.argv,
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
    k->started = loop_now(k->loop);
    log_info("child_started", LOG_STR("name", k->name), LOG_STR("program", k->command.program),
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
    log_error("child_not_started", LOG_STR("name", k->name), LOG_STR("program", k->command.program),
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

static void log_exit(const struct child *k, int64_t code, int signal, const uint64_t *restart_ms)
{
    char name[16] = "";
    struct log_field fields[6] = {
        LOG_STR("name", k->name),
        LOG_U64("pid", (uint64_t)k->process.pid),
        LOG_I64("code", code),
        LOG_U64("lived_ms", loop_now(k->loop) - k->started),
    };

    if (signal != 0) {
        snprintf(name, sizeof(name), "%d", signal);
        if (sigabbrev_np(signal) != NULL)
            snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(signal));
        fields[2] = (struct log_field)LOG_STR("signal", name);
    }
    if (restart_ms != NULL)
        fields[4] = (struct log_field)LOG_U64("restart_ms", *restart_ms);
    log_emit(restart_ms != NULL ? LOG_WARN : LOG_INFO, "child_exited", fields);
}

static void on_exit_status(uv_process_t *p, int64_t code, int signal)
{
    struct child *k = p->data;

    if (k->sm.state == CHILD_STOPPING) {
        child_move(k, CHILD_GONE);
        log_exit(k, code, signal, NULL);
    } else {
        if (loop_now(k->loop) - k->started >= LIFE_MS)
            k->delay_ms = DELAY_FIRST_MS;
        child_move(k, CHILD_WAITING);
        uint64_t ms = restart_later(k);
        log_exit(k, code, signal, &ms);
    }
    close_pipe(k);
    close_process(k);
    if (k->children->draining)
        check_drained(k->children);
}

static void on_drain_deadline(struct wheel_timer *t)
{
    struct children *c = LIST_ENTRY(t, struct children, deadline);

    LIST_FOREACH(it, &c->children)
    {
        struct child *k = CHILD(it);
        if (k->sm.state != CHILD_STOPPING)
            continue;
        log_warn("child_killed", LOG_STR("name", k->name),
                 LOG_U64("pid", (uint64_t)k->process.pid));
        uv_process_kill(&k->process, SIGKILL);
    }
}

static void child_stop(struct child *k)
{
    switch (k->sm.state) {
    case CHILD_RUNNING:
        child_move(k, CHILD_STOPPING);
        uv_process_kill(&k->process, SIGTERM);
        break;
    case CHILD_WAITING:
        loop_timer_stop(k->loop, &k->restart);
        child_move(k, CHILD_GONE);
        break;
    default:
        break;
    }
}

void children_drain(struct children *c, uint64_t deadline_ms, void (*gone)(void *arg), void *arg)
{
    c->draining = true;
    c->gone = gone;
    c->gone_arg = arg;
    LIST_FOREACH(it, &c->children)
    {
        child_stop(CHILD(it));
    }
    loop_timer_stop(c->loop, &c->deadline);
    if (deadline_ms > 0)
        loop_timer_start(c->loop, &c->deadline, deadline_ms);
    else
        on_drain_deadline(&c->deadline);
    check_drained(c);
}

/* ---- life ---- */

static struct child *child_new(struct children *c, const struct child_config *config)
{
    struct child *k = calloc(1, sizeof(*k));

    if (k == NULL)
        return NULL;
    k->loop = c->loop;
    k->children = c;
    k->parent_fd = -1;
    k->delay_ms = DELAY_FIRST_MS;
    list_init(&k->node);
    wheel_timer_init(&k->restart, on_restart);
    sm_init(&k->sm, states, sizeof(states) / sizeof(states[0]), CHILD_RUNNING);
    k->since = loop_now(c->loop);
    k->name = strdup(config->name);
    if (k->name == NULL || child_command_init(&k->command, config) != 0) {
        child_free(k);
        return NULL;
    }
    return k;
}

int children_add(struct children *c, const struct child_config *config, struct err *e)
{
    struct child *k;
    int rc;

    assert(!c->draining);
    k = child_new(c, config);
    if (k == NULL)
        return err_set(e, "%s: out of memory", config->name);
    rc = spawn(k);
    if (rc != 0) {
        child_command_error(&k->command, -rc, e);
        child_forget(k);
        return -1;
    }
    list_append(&c->children, &k->node);
    c->count++;
    return 0;
}

size_t children_count(const struct children *c)
{
    return c->count;
}

void children_each(const struct children *c, void (*fn)(void *arg, const struct child_info *child),
                   void *arg)
{
    LIST_FOREACH(it, &c->children)
    {
        const struct child *k = CHILD(it);
        bool running = k->sm.state == CHILD_RUNNING || k->sm.state == CHILD_STOPPING;
        const struct child_info info = {
            .name = k->name,
            .program = k->command.program,
            .state = (enum child_state)k->sm.state,
            .state_name = sm_name(&k->sm),
            .pid = running ? k->process.pid : 0,
            .restarts = k->restarts,
            .since = k->since,
        };
        fn(arg, &info);
    }
}

int children_new(struct loop *l, struct children **ret)
{
    struct children *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return -ENOMEM;
    c->loop = l;
    list_init(&c->children);
    wheel_timer_init(&c->deadline, on_drain_deadline);
    loop_task_init(&c->drained, on_drained);
    *ret = c;
    return 0;
}

void children_free(struct children *c)
{
    if (c == NULL)
        return;
    loop_timer_stop(c->loop, &c->deadline);
    loop_unpost(&c->drained);
    while (!list_empty(&c->children))
        child_forget(CHILD(c->children.next));
    free(c);
}
