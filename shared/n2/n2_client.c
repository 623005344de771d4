#include "shared/n2/n2_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shared/base/log.h"
#include "shared/n2/n2_client_impl.h"

enum {
    CALL_TIMEOUT_MS = 2000,
    RETRY_MS = 100,
};

static const struct sm_state states[] = {
    [CLIENT_DOWN] = {"down", SM_TO(CLIENT_HELLO)},
    [CLIENT_HELLO] = {"hello", SM_TO(CLIENT_SYNC) | SM_TO(CLIENT_DOWN)},
    [CLIENT_SYNC] = {"sync", SM_TO(CLIENT_READY) | SM_TO(CLIENT_DOWN)},
    [CLIENT_READY] = {"ready", SM_TO(CLIENT_SYNC) | SM_TO(CLIENT_DOWN)},
};

static void say_hello(struct n2_client *c);

/* ---- messages ---- */

/* Every call below it is answered or given up: nothing that waits or flies is older. */
static uint64_t acked(const struct n2_client *c)
{
    uint64_t least = c->next_call;

    if (c->flying_count > 0 && c->flying[0].id < least)
        least = c->flying[0].id;
    if (c->waiting_count > 0 && c->waiting[0].id < least)
        least = c->waiting[0].id;
    if (c->watch_call != 0 && c->watch_call < least)
        least = c->watch_call;
    return least;
}

void n2_client_put_head(struct n2_client *c, struct buf *b, bool hello)
{
    const struct n2_head head = {
        .version = N2_VERSION,
        .server_id = c->config.server_id,
        .server_epoch = c->config.server_epoch,
        .relay_epoch = hello ? 0 : c->info.epoch,
        .acked = acked(c),
    };

    n2_put_request_head(b, &head);
}

bool n2_client_call(struct n2_client *c, struct n2_call *call, const uint8_t *association)
{
    if (c->waiting_count == N2_CALLS_MAX)
        return false;
    size_t before = c->batch.len;
    call->id = c->next_call++;
    n2_put_call(&c->batch, call);
    if (c->batch.failed) {
        c->batch.failed = false;
        c->batch.len = before;
        return false;
    }
    struct flight *f = &c->waiting[c->waiting_count++];
    f->id = call->id;
    f->what = call->what;
    if (association != NULL)
        memcpy(f->association, association, ID_LEN);
    c->stats.calls++;
    loop_post(c->loop, &c->flush);
    return true;
}

static bool carries_calls(const struct n2_client *c)
{
    return c->sm.state == CLIENT_READY || c->sm.state == CLIENT_SYNC;
}

/* Sends what waits, if nothing flies. */
static void on_flush(struct loop_task *t)
{
    struct n2_client *c = LIST_ENTRY(t, struct n2_client, flush);
    struct buf message;

    if (!carries_calls(c) || n2_exchange_busy(c->calls))
        return;
    n2_assoc_refresh(c);
    if (c->unreleased && c->waiting_count == 0 && c->sm.state == CLIENT_READY) {
        c->unreleased = false;
        n2_client_enter(c, CLIENT_SYNC);
        n2_client_inventory(c);
    }
    if (c->waiting_count == 0)
        return;
    struct flight *swap = c->flying;
    c->flying = c->waiting;
    c->flying_count = c->waiting_count;
    c->waiting = swap;
    c->waiting_count = 0;

    buf_init(&message, N2_MESSAGE_MAX);
    n2_client_put_head(c, &message, false);
    buf_append(&message, c->batch.data, c->batch.len);
    buf_reset(&c->batch);
    c->calls_sent_at = loop_now(c->loop);
    c->stats.messages++;
    if (message.failed ||
        n2_exchange_send(c->calls, message.data, message.len, CALL_TIMEOUT_MS) != 0)
        n2_client_down(c);
    buf_fini(&message);
    if (c->page_owed && carries_calls(c))
        n2_client_ask_page(c); /* now there is room */
}

/* Calls that got no answer, or never left: each kind knows what that means for it. They may queue
 * further calls. */
static void give_up_calls(struct n2_client *c)
{
    size_t flew = c->flying_count, n = flew + c->waiting_count;

    memcpy(c->given_up, c->flying, flew * sizeof(struct flight));
    memcpy(c->given_up + flew, c->waiting, c->waiting_count * sizeof(struct flight));
    c->flying_count = c->waiting_count = 0;
    buf_reset(&c->batch);
    for (size_t i = 0; i < n; i++)
        n2_assoc_unanswered(c, &c->given_up[i], i < flew);
}

/* ---- state ---- */

void n2_client_enter(struct n2_client *c, enum n2_client_state to)
{
    bool was_ready = n2_client_ready(c);

    sm_move(&c->sm, (uint8_t)to);
    if (was_ready != n2_client_ready(c))
        log_info(was_ready ? "relay_down" : "relay_up", LOG_STR("relay", c->info.id),
                 LOG_STR("url", c->url));
    c->ops->changed(c->arg);
}

/* The conversation is over; the lease may still run. */
void n2_client_down(struct n2_client *c)
{
    if (c->sm.state == CLIENT_DOWN)
        return;
    n2_client_enter(c, CLIENT_DOWN);
    c->page_owed = c->missing_owed = false;
    c->watch_stale = n2_exchange_busy(c->watch);
    give_up_calls(c);
    n2_assoc_lose(c, N2_LOSS_CONNECTION);
    if (c->connected)
        loop_timer_start(c->loop, &c->retry, RETRY_MS);
}

void n2_client_believe(struct n2_client *c, uint64_t sent_at)
{
    uint64_t until = sent_at + c->info.lease_ms, now = loop_now(c->loop);

    loop_timer_start(c->loop, &c->lease, until > now ? until - now : 0);
}

static void on_lease_end(struct wheel_timer *t)
{
    struct n2_client *c = LIST_ENTRY(t, struct n2_client, lease);

    c->stats.leases_lost++;
    log_warn("relay_lease_lost", LOG_STR("relay", c->info.id), LOG_U64("held", c->assoc_count));
    n2_client_down(c);
    /* Silent, it may still move what is attached. Gone for a whole lease, it does not come back as
     * itself, and maybe never: nobody will tell us how those streams ended. */
    n2_assoc_lose(c, c->connected ? N2_LOSS_LEASE : N2_LOSS_EPOCH);
}

/* ---- legs ---- */

void n2_client_connect_legs(struct n2_client *c)
{
    struct err e;

    if (c->legs != NULL || c->legs_path[0] == '\0' || c->sm.state != CLIENT_READY)
        return;
    if (n2_leg_sender_open(c->loop, c->legs_path, &n2_assoc_leg_ops, c, &c->legs, &e) != 0) {
        log_warn("relay_legs", LOG_STR("relay", c->info.id), LOG_STR("error", e.text));
        loop_timer_start(c->loop, &c->retry, RETRY_MS);
        return;
    }
    log_info("relay_up", LOG_STR("relay", c->info.id), LOG_STR("url", c->url));
    c->ops->changed(c->arg);
}

static void close_legs(struct n2_client *c)
{
    struct n2_leg_sender *s = c->legs;

    c->legs = NULL;
    n2_leg_sender_close(s);
}

static void on_retry(struct wheel_timer *t)
{
    struct n2_client *c = LIST_ENTRY(t, struct n2_client, retry);

    if (c->sm.state == CLIENT_DOWN && c->connected)
        say_hello(c);
    n2_client_connect_legs(c);
}

/* ---- Hello ---- */

static void say_hello(struct n2_client *c)
{
    struct n2_call call = {.id = c->next_call++, .what = N2_HELLO, .remaining_ms = CALL_TIMEOUT_MS};
    struct buf b;

    if (n2_exchange_busy(c->calls)) {
        loop_timer_start(c->loop, &c->retry, RETRY_MS);
        return;
    }
    call.u.hello = (struct n2_hello){
        .software = c->config.software,
        .protect = c->config.protect,
        .protect_count = c->config.protect_count,
    };
    n2_client_enter(c, CLIENT_HELLO);
    buf_init(&b, N2_MESSAGE_MAX);
    n2_client_put_head(c, &b, true);
    n2_put_call(&b, &call);
    c->flying[0] = (struct flight){.id = call.id, .what = N2_HELLO};
    c->flying_count = 1;
    c->calls_sent_at = loop_now(c->loop);
    if (n2_exchange_send(c->calls, b.data, b.len, CALL_TIMEOUT_MS) != 0)
        n2_client_down(c);
    buf_fini(&b);
}

static void take_hello(struct n2_client *c, const struct n2_reply *r)
{
    const struct n2_answer *a = &r->answers[0];

    if (r->answer_count != 1 || a->what != N2_HELLO) {
        log_error("relay_refused_hello", LOG_STR("url", c->url),
                  LOG_STR("reason", n2_refusal_name(a->refused.code)),
                  LOG_STR("text", a->refused.text));
        n2_client_down(c);
        return;
    }
    bool again = c->known, reborn = again && c->info.epoch != r->relay_epoch;
    n2_client_keep_info(c, &a->u.hello);
    c->info.epoch = r->relay_epoch;
    c->known = true;
    n2_client_believe(c, c->calls_sent_at);
    if (reborn) {
        log_warn("relay_restarted", LOG_STR("relay", c->info.id), LOG_U64("held", c->assoc_count));
        /* Neither its events nor what it said of itself carry over. */
        c->after_seq = 0;
        c->draining = false;
        c->load = (struct n2_load){0};
        close_legs(c);
        n2_assoc_lose(c, N2_LOSS_EPOCH);
        if (c->sm.state != CLIENT_HELLO)
            return;
    }
    /* The relay numbers its events anew only with its epoch, or with ours. */
    n2_client_enter(c, CLIENT_SYNC);
    /* It may hold what we gave up: its lease on us ends a little later than ours on it. */
    if (c->assoc_count > 0 || (again && !reborn)) {
        n2_client_inventory(c);
    } else {
        n2_client_enter(c, CLIENT_READY);
        n2_client_watch(c);
    }
    n2_client_connect_legs(c);
}

/* ---- replies to calls ---- */

static void take_answers(struct n2_client *c, const struct n2_reply *r)
{
    size_t n = c->flying_count;
    bool stale = false;

    for (size_t i = 0; i < n && i < r->answer_count; i++) {
        const struct flight f = c->flying[i];
        const struct n2_answer *a = &r->answers[i];
        if (a->what == N2_NONE && (a->refused.code == N2_STALE || a->refused.code == N2_CONFLICT))
            stale = true;
        if (f.what == N2_INVENTORY && a->what == N2_INVENTORY)
            n2_client_take_inventory(c, &a->u.inventory);
        else
            n2_assoc_take_answer(c, &f, a);
    }
    c->flying_count = 0;
    if (stale)
        n2_client_down(c);
}

/* Only Hello may meet another epoch than the one that we believe in. */
static bool answers_fit(const struct n2_client *c, const struct n2_reply *r)
{
    if (r->answer_count != c->flying_count)
        return false;
    if (c->sm.state != CLIENT_HELLO && r->relay_epoch != c->info.epoch)
        return false;
    for (size_t i = 0; i < c->flying_count; i++) {
        if (r->answers[i].id != c->flying[i].id)
            return false;
    }
    return true;
}

static void on_calls_reply(void *arg, int status, const uint8_t *bytes, size_t len)
{
    struct n2_client *c = arg;
    struct n2_reply r;

    if (c->sm.state == CLIENT_DOWN)
        return; /* an answer to what was given up */
    if (status != 0 || n2_reply_decode(c->arena, bytes, len, &r) != 0 ||
        r.refused.code != N2_REFUSAL_NONE || !answers_fit(c, &r)) {
        c->stats.timeouts += status == -ETIMEDOUT;
        log_warn("relay_unanswered", LOG_STR("relay", c->info.id), LOG_STR("url", c->url),
                 LOG_STR("error", status != 0 ? strerror(-status) : "not an answer"),
                 LOG_U64("calls", c->flying_count));
        n2_client_down(c);
    } else if (c->sm.state == CLIENT_HELLO) {
        c->flying_count = 0;
        take_hello(c, &r);
    } else {
        c->stats.answered += r.answer_count;
        n2_client_believe(c, c->calls_sent_at);
        take_answers(c, &r);
    }
    n2_arena_reset(c->arena);
    loop_post(c->loop, &c->flush);
}

/* ---- the connection ---- */

static void on_up(void *arg)
{
    struct n2_client *c = arg;

    c->connected = true;
    c->stats.connections++;
    if (c->sm.state == CLIENT_DOWN)
        say_hello(c);
}

static void on_down(void *arg)
{
    struct n2_client *c = arg;

    c->connected = false;
    close_legs(c);
    n2_client_down(c);
}

static const struct n2_dialer_ops dialer_ops = {on_up, on_down};

static int dial(struct n2_client *c, struct err *e)
{
    if (n2_dialer_open(c->loop, c->url, &dialer_ops, c, &c->dialer, e) != 0)
        return -1;
    c->calls = n2_exchange_new(c->dialer, on_calls_reply, c);
    c->watch = n2_exchange_new(c->dialer, n2_client_on_watch, c);
    if (c->calls != NULL && c->watch != NULL)
        return 0;
    n2_dialer_close(c->dialer);
    c->dialer = NULL;
    return err_set(e, "out of memory");
}

static void client_free(struct n2_client *c)
{
    n2_dialer_close(c->dialer);
    n2_arena_free(c->arena);
    buf_fini(&c->batch);
    idmap_fini(&c->assocs);
    free(c->waiting);
    free(c->flying);
    free(c->given_up);
    free(c->url);
    free(c);
}

int n2_client_open(struct loop *l, const struct n2_client_config *config,
                   const struct n2_client_ops *ops, void *arg, struct n2_client **ret,
                   struct err *e)
{
    struct n2_client *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return err_set(e, "out of memory");
    c->loop = l;
    c->config = *config;
    c->ops = ops;
    c->arg = arg;
    c->next_call = 1;
    list_init(&c->all);
    list_init(&c->stale);
    idmap_init(&c->assocs);
    /* Room for the head, which is put in front. */
    buf_init(&c->batch, N2_MESSAGE_MAX - 4096);
    sm_init(&c->sm, states, sizeof(states) / sizeof(states[0]), CLIENT_DOWN);
    loop_task_init(&c->flush, on_flush);
    wheel_timer_init(&c->lease, on_lease_end);
    wheel_timer_init(&c->retry, on_retry);
    c->url = strdup(config->url);
    c->arena = n2_arena_new();
    c->waiting = calloc(N2_CALLS_MAX, sizeof(struct flight));
    c->flying = calloc(N2_CALLS_MAX, sizeof(struct flight));
    c->given_up = calloc(2 * N2_CALLS_MAX, sizeof(struct flight));
    if (c->url == NULL || c->arena == NULL || c->waiting == NULL || c->flying == NULL ||
        c->given_up == NULL) {
        client_free(c);
        return err_set(e, "out of memory");
    }
    if (dial(c, e) != 0) {
        client_free(c);
        return -1;
    }
    *ret = c;
    return 0;
}

void n2_client_close(struct n2_client *c)
{
    close_legs(c);
    n2_assoc_lose(c, N2_LOSS_EPOCH);
    loop_unpost(&c->flush);
    loop_timer_stop(c->loop, &c->lease);
    loop_timer_stop(c->loop, &c->retry);
    client_free(c);
}

/* ---- looks ---- */

bool n2_client_ready(const struct n2_client *c)
{
    return c->sm.state == CLIENT_READY && (c->legs != NULL || c->legs_path[0] == '\0');
}

bool n2_client_draining(const struct n2_client *c)
{
    return c->draining;
}

const char *n2_client_state_name(const struct n2_client *c)
{
    return c->draining && n2_client_ready(c) ? "draining" : sm_name(&c->sm);
}

bool n2_client_known(const struct n2_client *c)
{
    return c->known;
}

bool n2_client_serves(const struct n2_client *c, enum n2_kind kind, uint32_t ptcl)
{
    return c->known && ptcl < 256 && (c->info.kinds & 1u << kind) != 0 &&
           (c->info.ptcls[ptcl / 8] & 1u << ptcl % 8) != 0;
}

const struct n2_relay_info *n2_client_info(const struct n2_client *c)
{
    return &c->info;
}

const struct n2_load *n2_client_load(const struct n2_client *c)
{
    return &c->load;
}

const struct n2_client_stats *n2_client_stats(const struct n2_client *c)
{
    return &c->stats;
}

uint32_t n2_client_assocs(const struct n2_client *c)
{
    return c->assoc_count;
}

const char *n2_client_url(const struct n2_client *c)
{
    return c->url;
}
