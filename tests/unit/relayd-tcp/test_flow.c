/* Associations of relayd-tcp over a real link: what tests/contract/n2 cannot see or bring about. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relayd-tcp/tcp_relay.h"
#include "shared/n2/n2_legs.h"
#include "shared/net/sockaddr.h"
#include "tests/lib/loop_run.h"
#include "tests/lib/n2_asker.h"
#include "tests/lib/sockpairs.h"

/* Not what the preset says, so that a relay that runs does not matter. */
enum { QUIET_MS = 300, TRANSPARENT_FIRST = 22024, TRANSPARENT_LAST = 22055 };

struct bench {
    struct loop loop;
    char url[64], legs[64];
    struct tcp_relay relay;
    struct asker asker;
    struct n2_leg_sender *sender;
    int listening; /* a target */
    uint16_t port;
    uint32_t opens;     /* the last one's id */
    struct addr client; /* of TRANSPARENT */
};

static struct addr at(const char *ip, uint16_t port)
{
    struct addr a;

    assert_true(addr_parse_ip(ip, &a));
    a.port = port;
    return a;
}

/* ---- asking ---- */

static const struct n2_answer *open_it(struct bench *b, enum n2_kind kind, const struct addr *to)
{
    const struct n2_open open = {
        .association = asker_id(++b->opens),
        .kind = kind,
        .ptcl = IPPROTO_TCP,
        .client = b->client,
        .destinations = to,
        .destination_count = to != NULL ? 1 : 0,
        .client_local = at("127.0.0.1", 0),
        .owner = "",
    };
    struct n2_call call = {.what = N2_OPEN, .u.open = &open};

    return &asker_ask(&b->asker, &call, 1)->answers[0];
}

static void leg_failed(void *arg, void *owner, int fd)
{
    (void)arg;
    (void)owner;
    (void)fd;
    fail_msg("the leg channel failed");
}

static void legs_down(void *arg)
{
    (void)arg;
}

/* Returns the client's end. */
static int attach(struct bench *b, const uint8_t *ticket)
{
    static const struct n2_leg_sender_ops ops = {leg_failed, legs_down};
    const struct n2_attach a = {
        .association = asker_id(b->opens), .ticket = ticket, .kind = N2_LEG_PLAIN_FD};
    struct err e;
    int near, far;

    sockpair_tcp(0, &near, &far);
    if (b->sender == NULL && n2_leg_sender_open(&b->loop, b->legs, &ops, b, &b->sender, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(n2_leg_send(b->sender, &a, near, NULL), 0);
    loop_run_for(&b->loop, 50);
    return far;
}

/* ---- limits ---- */

static void an_update_ends_a_stream_that_is_idle_for_longer_already(void **state)
{
    struct bench *b = *state;
    const struct addr to = at("127.0.0.1", b->port);
    struct n2_call update = {.what = N2_UPDATE,
                             .u.update = {asker_id(1), 1, {.idle_ms = 100}, NULL}};
    uint8_t ticket[N2_TICKET_LEN];

    memcpy(ticket, open_it(b, N2_CONNECT, &to)->u.open.ticket, N2_TICKET_LEN);
    int far = attach(b, ticket);
    assert_int_equal(b->relay.stats.attached, 1);
    asker_acknowledge(&b->asker);
    loop_run_for(&b->loop, 200);
    const struct n2_reply *r = asker_ask(&b->asker, &update, 1);
    assert_int_equal(r->answers[0].u.update_revision, 1);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->events[0].type, N2_EVENT_ENDED);
    assert_int_equal(seen->events[0].end, N2_END_IDLE);
    assert_int_equal(b->relay.stats.attached, 0);
    close(far);
}

/* ---- BIND ---- */

static int connect_to(const struct addr *to)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void without_a_descriptor_for_its_peer_a_bind_fails_and_does_not_spin(void **state)
{
    struct bench *b = *state;
    struct rlimit before, less;

    const struct n2_answer *a = open_it(b, N2_BIND, NULL);
    assert_true(a->u.open.opened);
    struct addr bound = a->u.open.bound;
    int peer = connect_to(&bound), highest = fcntl(0, F_DUPFD, 0);
    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    less = before;
    less.rlim_cur = (rlim_t)highest;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    uint64_t turns = loop_run_for(&b->loop, QUIET_MS);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_true(turns < 50);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->events[0].type, N2_EVENT_FAILED);
    assert_int_equal(seen->events[0].failed.code, N2_FULL);
    assert_int_equal(b->relay.stats.flows, 0);
    close(peer);
}

/* ---- TRANSPARENT ---- */

/* A socket that a client will connect from. */
static int client_socket(struct bench *b)
{
    const struct addr any = at("127.0.0.1", 0);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&any, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
    assert_true(sockaddr_local(fd, &b->client));
    return fd;
}

static void connect_from(int fd, const struct addr *to)
{
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(to, &ss);

    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
}

static void a_transparent_flow_ends_when_no_descriptor_is_left_for_its_target(void **state)
{
    struct bench *b = *state;
    const struct addr to = at("127.0.0.1", b->port);
    struct rlimit before, less;
    int fd = client_socket(b);

    const struct n2_answer *a = open_it(b, N2_TRANSPARENT, &to);
    assert_true(a->u.open.opened);
    struct addr bound = a->u.open.bound;
    asker_acknowledge(&b->asker);
    connect_from(fd, &bound);
    int highest = fcntl(0, F_DUPFD, 0);
    close(highest);
    getrlimit(RLIMIT_NOFILE, &before);
    less = before;
    less.rlim_cur = (rlim_t)highest + 1; /* the client's */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
    loop_run_for(&b->loop, 100);
    setrlimit(RLIMIT_NOFILE, &before);
    const struct n2_watch_answer *seen = asker_events(&b->asker, 0);
    assert_int_equal(seen->events[0].type, N2_EVENT_ENDED);
    assert_int_equal(seen->events[0].end, N2_END_RELAY_ERROR);
    assert_true(addr_equal(&seen->events[0].peer, &b->client));
    close(fd);
}

/* A listener whose queue is full: SYNs to it are dropped. *ret_fds: what has to be closed. */
static struct addr silent(int ret_fds[5])
{
    uint16_t port;

    ret_fds[0] = sock_listen(0, &port);
    const struct addr to = at("127.0.0.1", port);
    struct sockaddr_storage ss;
    socklen_t len = sockaddr_from(&to, &ss);
    for (int i = 1; i < 5; i++) {
        ret_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(ret_fds[i], (struct sockaddr *)&ss, len);
    }
    return to;
}

/* Its client's socket is lent to the loop, its target is dialled: all of that is given back. */
static void a_transparent_flow_gives_everything_back_in_each_state(void **state)
{
    struct bench *b = *state;
    const struct addr to = at("127.0.0.1", b->port);
    int queue[5];
    const struct addr nowhere = silent(queue);
    struct n2_call release = {.what = N2_RELEASE};
    int fds[3];

    for (int i = 0; i < 3; i++) {
        fds[i] = client_socket(b);
        struct addr bound = open_it(b, N2_TRANSPARENT, i == 1 ? &nowhere : &to)->u.open.bound;
        if (i > 0) /* the first one awaits its client */
            connect_from(fds[i], &bound);
    }
    loop_run_for(&b->loop, 100);
    assert_int_equal(b->relay.stats.flows, 3);
    assert_int_equal(b->relay.stats.attached, 1);
    assert_int_equal(ports_stats(b->relay.ports).claims, b->relay.stats.flows);
    for (uint32_t i = 1; i <= 3; i++) {
        release.u.release = asker_id(i);
        asker_ask(&b->asker, &release, 1);
    }
    assert_int_equal(b->relay.stats.flows, 0);
    assert_int_equal(b->relay.stats.attached, 0);
    assert_int_equal(ports_stats(b->relay.ports).claims, 0);
    for (int i = 0; i < 5; i++)
        close(queue[i]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* ---- what is never dialled ---- */

static void our_own_listeners_are_refused_however_they_are_spelt(void **state)
{
    static const char *const spellings[] = {"127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0",
                                            "::ffff:0.0.0.0", "::"};
    struct bench *b = *state;

    b->relay.base.own[b->relay.base.own_count++] = at("127.0.0.1", b->port);
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        const struct addr to = at(spellings[i], b->port);
        const struct n2_answer *a = open_it(b, N2_CONNECT, &to);
        assert_int_equal(a->what, N2_NONE);
        assert_int_equal(a->refused.code, N2_POLICY);
    }
    assert_int_equal(b->relay.stats.flows, 0);
}

static void a_listener_on_every_address_is_refused_at_each(void **state)
{
    static const char *const spellings[] = {"127.0.0.1", "127.9.9.9", "::1", "0.0.0.0"};
    struct bench *b = *state;

    b->relay.base.own[b->relay.base.own_count++] = at("::", b->port);
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        const struct addr to = at(spellings[i], b->port);
        assert_int_equal(open_it(b, N2_CONNECT, &to)->refused.code, N2_POLICY);
    }
    const struct addr elsewhere = at("192.0.2.1", b->port);
    assert_int_not_equal(open_it(b, N2_CONNECT, &elsewhere)->refused.code, N2_POLICY);
}

/* ---- setting the bench ---- */

static int set_bench(void **state)
{
    static const enum n2_kind kinds[] = {N2_CONNECT, N2_BIND, N2_TRANSPARENT};
    const struct ports_config ports = {TRANSPARENT_FIRST, TRANSPARENT_LAST, 0, 0};
    struct bench *b = calloc(1, sizeof(*b));
    const char *const urls[] = {b->url};
    const struct n2_server_config c = {.urls = urls,
                                       .url_count = 1,
                                       .legs = b->legs,
                                       .relay_id = "relay",
                                       .software = "test",
                                       .kinds = kinds,
                                       .kind_count = 3,
                                       .capacity = 100,
                                       .quota = 100,
                                       .lease_ms = 60000};
    struct err e;

    *state = b;
    snprintf(b->url, sizeof(b->url), "ipc:///tmp/test_flow_%d.ipc", (int)getpid());
    snprintf(b->legs, sizeof(b->legs), "/tmp/test_flow_%d.legs", (int)getpid());
    assert_int_equal(loop_init(&b->loop), 0);
    b->relay.base.loop = &b->loop;
    strcpy(b->relay.base.id, "relay");
    b->relay.base.capacity = 100;
    b->relay.base.config = &b->relay.config.base;
    b->relay.config = (struct tcp_config){
        .base.relay.idle_ms = 3600000,
        .connect_ms = 1000,
        .half_closed_ms = 600000,
        .unused_ms = 30000,
        .transparent_ports = {ports.first, ports.last},
    };
    b->relay.ports = ports_new(&ports);
    b->relay.accept_ports = accept_ports_new(&b->relay, 8);
    b->relay.pump = stream_pump_new(&b->loop, &(struct stream_pump_config){0});
    if (n2_server_open(&b->loop, &c, &flow_service, &b->relay, &b->relay.base.n2, &e) != 0)
        fail_msg("%s", e.text);
    b->listening = sock_listen(16, &b->port);
    asker_open(&b->asker, &b->loop, b->url, "server");
    return 0;
}

static int clear_bench(void **state)
{
    struct bench *b = *state;

    asker_close(&b->asker);
    n2_leg_sender_close(b->sender);
    n2_server_close(b->relay.base.n2);
    assert_int_equal(b->relay.stats.flows, 0);
    accept_ports_free(b->relay.accept_ports);
    ports_free(b->relay.ports);
    loop_fini(&b->loop);
    stream_pump_free(b->relay.pump);
    close(b->listening);
    free(b);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_bench, clear_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_update_ends_a_stream_that_is_idle_for_longer_already),
        TEST(without_a_descriptor_for_its_peer_a_bind_fails_and_does_not_spin),
        TEST(a_transparent_flow_ends_when_no_descriptor_is_left_for_its_target),
        TEST(a_transparent_flow_gives_everything_back_in_each_state),
        TEST(our_own_listeners_are_refused_however_they_are_spelt),
        TEST(a_listener_on_every_address_is_refused_at_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
