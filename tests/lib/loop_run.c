#include "tests/lib/loop_run.h"

static void on_time(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

/* The loop's own handles do not keep it alive; the timer does. */
static bool run(struct loop *l, bool (*done)(void *arg), void *arg, unsigned ms)
{
    uv_timer_t timer;
    bool over = false, reached = done != NULL && done(arg);

    uv_update_time(&l->uv);
    uv_timer_init(&l->uv, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, ms, 0);
    while (!over && !reached) {
        uv_run(&l->uv, UV_RUN_ONCE);
        reached = done != NULL && done(arg);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&l->uv, UV_RUN_NOWAIT);
    return reached;
}

bool loop_run_until(struct loop *l, bool (*done)(void *arg), void *arg, unsigned ms)
{
    return run(l, done, arg, ms);
}

uint64_t loop_run_for(struct loop *l, unsigned ms)
{
    uint64_t before = l->iterations;

    run(l, NULL, NULL, ms);
    return l->iterations - before;
}
