#include "socksd/verify.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base/secret.h"
#include "socksd/verify_cache.h"

enum { IDLE, WAITING, QUEUED, RUNNING, ANSWERING };

static const struct sm_state states[] = {
    [IDLE] = {"idle", SM_TO(WAITING) | SM_TO(QUEUED) | SM_TO(RUNNING) | SM_TO(ANSWERING)},
    [WAITING] = {"waiting", SM_TO(IDLE)},
    [QUEUED] = {"queued", SM_TO(IDLE)},
    [RUNNING] = {"running", SM_TO(IDLE) | SM_TO(ANSWERING)},
    [ANSWERING] = {"answering", SM_TO(IDLE)},
};

/* One hash at a time. Has all that the thread and its aftermath need, as the request may be gone.
 */
struct slot {
    uv_work_t work;
    struct verify *verify;
    struct verify_request *request; /* NULL: cancelled */
    struct users *users;            /* a reference; NULL: nobody */
    bool taken;
    bool right; /* written by the thread */
    struct penalty_keys keys;
    uint8_t credentials[DIGEST_LEN];
    uint8_t user[USERS_NAME_MAX], password[USERS_PASSWORD_MAX];
    size_t user_len, password_len;
};

struct verify {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct verify_config config;
    struct verify_key key;
    struct verify_cache cache;
    struct penalty penalty;
    struct users *users;
    struct list queue;  /* QUEUED, first come first served */
    struct list timed;  /* WAITING and ANSWERING, by due */
    struct list firing; /* those of timed whose time has come, while they are dealt with */
    struct verify_stats stats;
    unsigned handles; /* the timer, and each running slot: what verify_close waits for */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    struct slot slots[];
};

#define REQUEST(n) LIST_ENTRY(n, struct verify_request, node)

static void on_timer(uv_timer_t *timer);
static void admit(struct verify *v, struct verify_request *r);

/* --- what is due later --- */

static void timer_arm(struct verify *v)
{
    uint64_t now = uv_now(v->loop), due;

    if (v->closing)
        return;
    if (list_empty(&v->timed)) {
        uv_timer_stop(&v->timer);
        return;
    }
    due = REQUEST(v->timed.next)->due;
    uv_timer_start(&v->timer, on_timer, due > now ? due - now : 0, 0);
}

/* Behind those that are due at the same time. */
static void timed_insert(struct verify *v, struct verify_request *r, uint64_t due)
{
    struct list *after = v->timed.prev;

    r->due = due;
    while (after != &v->timed && REQUEST(after)->due > due)
        after = after->prev;
    list_append(after->next, &r->node);
    v->stats.delayed++;
    if (v->timed.next == &r->node)
        timer_arm(v);
}

/* From timed or firing. */
static void timed_remove(struct verify *v, struct verify_request *r)
{
    list_remove(&r->node);
    v->stats.delayed--;
    if (list_empty(&v->timed))
        uv_timer_stop(&v->timer); /* it would keep the loop alive for nothing */
}

static bool delays_are_full(const struct verify *v)
{
    return v->stats.delayed >= v->config.delayed;
}

/* Ends r after delay; at once (but not before the caller returns) if too many are held back. */
static void answer(struct verify *v, struct verify_request *r, enum verify_outcome outcome,
                   uint64_t delay)
{
    uint64_t *counter = outcome == VERIFY_RIGHT   ? &v->stats.right
                        : outcome == VERIFY_WRONG ? &v->stats.wrong
                                                  : &v->stats.busy;

    ++*counter;
    r->outcome = outcome;
    sm_move(&r->sm, ANSWERING);
    timed_insert(v, r, uv_now(v->loop) + (delays_are_full(v) ? 0 : delay));
}

static void fire(struct verify *v, struct verify_request *r)
{
    bool answered = r->sm.state == ANSWERING;

    timed_remove(v, r);
    sm_move(&r->sm, IDLE);
    if (answered)
        r->cb(r, r->outcome);
    else
        admit(v, r);
}

/* A callback may start, cancel and close: so firing is looked at anew each time, and what becomes
 * due meanwhile goes to timed. */
static void on_timer(uv_timer_t *timer)
{
    struct verify *v = timer->data;
    uint64_t now = uv_now(v->loop);

    while (!list_empty(&v->timed) && REQUEST(v->timed.next)->due <= now) {
        struct list *node = v->timed.next;

        list_remove(node);
        list_append(&v->firing, node);
    }
    while (!list_empty(&v->firing))
        fire(v, REQUEST(v->firing.next));
    timer_arm(v);
}

/* --- threads --- */

static void on_thread(uv_work_t *work)
{
    struct slot *s = work->data;

    s->right = users_check(s->users, s->user, s->user_len, s->password, s->password_len);
}

static void handle_gone(struct verify *v)
{
    if (--v->handles > 0)
        return;
    penalty_fini(&v->penalty);
    verify_cache_fini(&v->cache);
    secret_wipe(&v->key, sizeof(v->key));
    if (v->closed)
        v->closed(v->closed_arg);
    free(v);
}

/* Books what the thread found; returns how long the answer is held back. */
static uint64_t book(struct verify *v, const struct slot *s)
{
    uint64_t now = uv_now(v->loop);

    if (!s->right)
        return penalty_fail(&v->penalty, &s->keys, now);
    penalty_succeed(&v->penalty, &s->keys, now);
    if (s->users == v->users)
        verify_cache_add(&v->cache, s->credentials, now);
    return 0;
}

static void slot_release(struct slot *s)
{
    secret_wipe(s->user, sizeof(s->user));
    secret_wipe(s->password, sizeof(s->password));
    users_unref(s->users);
    s->users = NULL;
    s->request = NULL;
    s->taken = false;
    s->verify->stats.running--;
}

static struct slot *slot_find(struct verify *v)
{
    for (unsigned i = 0; i < v->config.concurrent; i++)
        if (!v->slots[i].taken)
            return &v->slots[i];
    return NULL;
}

static void queue_pump(struct verify *v)
{
    while (!list_empty(&v->queue) && slot_find(v)) {
        struct verify_request *r = REQUEST(v->queue.next);

        list_remove(&r->node);
        v->stats.queued--;
        sm_move(&r->sm, IDLE);
        admit(v, r);
    }
}

/* status is not 0 only when verify_close kept the thread from beginning. */
static void on_thread_done(uv_work_t *work, int status)
{
    struct slot *s = work->data;
    struct verify *v = s->verify;
    struct verify_request *r = s->request;
    uint64_t delay = status == 0 ? book(v, s) : 0;
    bool right = s->right;

    slot_release(s);
    if (r)
        answer(v, r, right ? VERIFY_RIGHT : VERIFY_WRONG, delay);
    if (!v->closing)
        queue_pump(v);
    handle_gone(v);
}

static void run(struct verify *v, struct slot *s, struct verify_request *r)
{
    penalty_begin(&v->penalty, &r->keys, uv_now(v->loop));
    s->verify = v;
    s->request = r;
    s->users = v->users ? users_ref(v->users) : NULL;
    s->taken = true;
    s->right = false;
    s->keys = r->keys;
    memcpy(s->credentials, r->credentials, sizeof(s->credentials));
    s->user_len = r->user_len;
    s->password_len = r->password_len;
    if (r->user_len > 0)
        memcpy(s->user, r->user, r->user_len);
    if (r->password_len > 0)
        memcpy(s->password, r->password, r->password_len);
    s->work.data = s;
    v->stats.running++;
    v->handles++;
    sm_move(&r->sm, RUNNING);
    /* Cannot fail: it does only without a function to run. */
    uv_queue_work(v->loop, &s->work, on_thread, on_thread_done);
}

/* --- attempts --- */

/* r is idle and in no list: lets it wait, queue or run, or turns it away. */
static void admit(struct verify *v, struct verify_request *r)
{
    uint64_t now = uv_now(v->loop), wait = penalty_wait(&v->penalty, &r->keys, now);
    struct slot *s = slot_find(v);

    if (wait > 0 && !delays_are_full(v)) {
        v->stats.waited++;
        sm_move(&r->sm, WAITING);
        timed_insert(v, r, now + wait);
    } else if (wait == 0 && s) {
        run(v, s, r);
    } else if (wait == 0 && v->stats.queued < v->config.queue) {
        sm_move(&r->sm, QUEUED);
        list_append(&v->queue, &r->node);
        v->stats.queued++;
    } else {
        answer(v, r, VERIFY_BUSY, 0);
    }
}

/* An IPv6 source is its /64: one subscriber has at least that. */
static bool make_digests(const struct verify *v, struct verify_request *r,
                         const struct addr *source)
{
    struct addr a = addr_unmap(source);
    const struct verify_part ip = {a.ip, a.family == ADDR_IPV6 ? 8 : addr_ip_len(a.family)};
    const struct verify_part user = {r->user, r->user_len};
    const struct verify_part password = {r->password, r->password_len};
    const struct verify_part source_parts[] = {{"source", 6}, ip};
    const struct verify_part pair_parts[] = {{"pair", 4}, ip, user};
    const struct verify_part credentials_parts[] = {{"credentials", 11}, user, password};

    return verify_digest(&v->key, source_parts, 2, r->keys.source) &&
           verify_digest(&v->key, pair_parts, 3, r->keys.pair) &&
           verify_digest(&v->key, credentials_parts, 3, r->credentials);
}

void verify_request_init(struct verify_request *r)
{
    memset(r, 0, sizeof(*r));
    list_init(&r->node);
    sm_init(&r->sm, states, sizeof(states) / sizeof(states[0]), IDLE);
}

void verify_start(struct verify *v, struct verify_request *r, const struct addr *source,
                  const void *user, size_t user_len, const void *password, size_t password_len,
                  verify_cb cb)
{
    assert(!v->closing && r->sm.state == IDLE);
    assert(user_len <= USERS_NAME_MAX && password_len <= USERS_PASSWORD_MAX);
    r->verify = v;
    r->cb = cb;
    r->user = user;
    r->user_len = user_len;
    r->password = password;
    r->password_len = password_len;
    if (!make_digests(v, r, source)) {
        answer(v, r, VERIFY_BUSY, 0);
    } else if (verify_cache_has(&v->cache, r->credentials, uv_now(v->loop))) {
        v->stats.remembered++;
        answer(v, r, VERIFY_RIGHT, 0);
    } else {
        admit(v, r);
    }
}

static void slot_detach(struct verify *v, const struct verify_request *r)
{
    for (unsigned i = 0; i < v->config.concurrent; i++)
        if (v->slots[i].request == r)
            v->slots[i].request = NULL;
}

void verify_cancel(struct verify_request *r)
{
    struct verify *v = r->verify;

    switch (r->sm.state) {
    case IDLE:
        return;
    case QUEUED:
        list_remove(&r->node);
        v->stats.queued--;
        break;
    case RUNNING:
        slot_detach(v, r);
        break;
    default:
        timed_remove(v, r);
        break;
    }
    if (r->sm.state != ANSWERING)
        v->stats.cancelled++;
    sm_move(&r->sm, IDLE);
}

struct verify_stats verify_stats(const struct verify *v)
{
    return v->stats;
}

/* --- life --- */

static int parts_init(struct verify *v)
{
    if (penalty_init(&v->penalty, &v->config.penalty))
        return -1;
    if (verify_cache_init(&v->cache, v->config.cache_entries, v->config.cache_ms)) {
        penalty_fini(&v->penalty);
        return -1;
    }
    return 0;
}

struct verify *verify_new(uv_loop_t *loop, const struct verify_config *config, struct users *users)
{
    struct verify *v;

    assert(config->concurrent >= 1 && config->concurrent <= VERIFY_CONCURRENT_MAX);
    v = calloc(1, sizeof(*v) + config->concurrent * sizeof(v->slots[0]));
    if (!v)
        return NULL;
    v->loop = loop;
    v->config = *config;
    if (parts_init(v)) {
        free(v);
        return NULL;
    }
    verify_key_draw(&v->key);
    v->users = users ? users_ref(users) : NULL;
    list_init(&v->queue);
    list_init(&v->timed);
    list_init(&v->firing);
    uv_timer_init(loop, &v->timer); /* never fails */
    v->timer.data = v;
    v->handles = 1;
    return v;
}

void verify_set_users(struct verify *v, struct users *users)
{
    struct users *old = v->users;

    if (users == old)
        return;
    v->users = users ? users_ref(users) : NULL;
    users_unref(old);
    verify_cache_clear(&v->cache);
}

static void list_cancel(struct list *head)
{
    while (!list_empty(head))
        verify_cancel(REQUEST(head->next));
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

void verify_close(struct verify *v, void (*closed)(void *arg), void *arg)
{
    v->closing = true;
    v->closed = closed;
    v->closed_arg = arg;
    list_cancel(&v->queue);
    list_cancel(&v->timed);
    list_cancel(&v->firing);
    for (unsigned i = 0; i < v->config.concurrent; i++) {
        struct slot *s = &v->slots[i];

        if (s->request)
            verify_cancel(s->request);
        if (s->taken)
            uv_cancel((uv_req_t *)&s->work); /* fails if it runs: then it runs to its end */
    }
    users_unref(v->users);
    v->users = NULL;
    uv_close((uv_handle_t *)&v->timer, on_timer_closed);
}
