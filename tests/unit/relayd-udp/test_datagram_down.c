/* Datagrams of targets: who may send to a client, and what it is told of the sender. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64, HEADER = 10 };

static const struct n2_limits no_limits;

/* One association whose client has sent to a target, and where that came from. */
struct scene {
    struct assoc_bench *b;
    int client, target;
    struct addr client_at, target_at;
    struct addr relay, outer;
};

static struct scene scene_of(struct assoc_bench *b)
{
    struct scene s = {.b = b};

    assoc_bench_start(b, SOCKETS);
    s.client = assoc_socket(b, "127.0.0.1", 0, &s.client_at);
    s.target = assoc_socket(b, "127.0.0.1", 0, &s.target_at);
    s.relay = assoc_open(b, 1, "127.0.0.1");
    assoc_send(s.client, &s.relay, &s.target_at, "hello");
    s.outer = assoc_hears(b, s.target, "hello");
    return s;
}

/* ---- who is let in ---- */

static void who_was_sent_to_may_answer_from_any_port(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr other_at;
    int other_port = assoc_socket(s.b, "127.0.0.1", 0, &other_at);
    (void)state;

    assoc_send_raw(s.target, &s.outer, "answer", 6);
    assoc_hears_from(s.b, s.client, &s.target_at, "answer");
    assoc_send_raw(other_port, &s.outer, "from elsewhere", 14);
    assoc_hears_from(s.b, s.client, &other_at, "from elsewhere");
    const struct n2_answer *a = assoc_release(s.b, 1);
    assert_int_equal(a->u.release.counters.datagrams_down, 2);
    assert_int_equal(a->u.release.counters.octets_down, 20);
    assert_int_equal(a->u.release.counters.dropped, 0);
    assoc_bench_free(s.b);
}

static void who_was_not_sent_to_is_not_let_in(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr other_at;
    int other = assoc_socket(s.b, "127.0.0.2", 0, &other_at);
    (void)state;

    assoc_send_raw(other, &s.outer, "let me in", 9);
    assoc_dropped(s.b, DROP_PEER, 1);
    assert_true(assoc_silent(s.client));
    assoc_send(s.client, &s.relay, &other_at, "hello");
    assoc_hears(s.b, other, "hello");
    assoc_send_raw(other, &s.outer, "now", 3);
    assoc_hears_from(s.b, s.client, &other_at, "now");
    assert_int_equal(assoc_release(s.b, 1)->u.release.counters.dropped, 1);
    assoc_bench_free(s.b);
}

/* As the rules would let the client send there. */
static void filtering_may_be_left_to_the_rules(void **state)
{
    const struct prefix network = {.family = ADDR_IPV4, .bits = 24, .ip = {127, 0, 0}};
    const struct n2_rule rule = {.allow = true,
                                 .opens_special = true,
                                 .any_port = true,
                                 .networks = &network,
                                 .network_count = 1};
    const struct n2_rules rules = {&rule, 1};
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr allowed_at;
    (void)state;

    b->relay.config.filtering = UDP_ENDPOINT_INDEPENDENT;
    struct scene s = scene_of(b);
    int allowed = assoc_socket(b, "127.0.0.2", 0, &allowed_at);
    int denied = assoc_socket(b, "127.0.1.2", 0, NULL);
    assoc_update(b, 1, 1, no_limits, &rules);
    assoc_send_raw(denied, &s.outer, "no", 2);
    assoc_dropped(b, DROP_PEER, 1);
    assoc_send_raw(allowed, &s.outer, "yes", 3);
    assoc_hears_from(b, s.client, &allowed_at, "yes");
    assoc_bench_free(b);
}

static void new_rules_shut_out_whom_they_deny(void **state)
{
    const struct prefix network = {.family = ADDR_IPV4, .bits = 32, .ip = {127, 0, 0, 2}};
    const struct n2_rule rule = {.allow = true,
                                 .opens_special = true,
                                 .any_port = true,
                                 .networks = &network,
                                 .network_count = 1};
    const struct n2_rules rules = {&rule, 1};
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr kept_at;
    int kept = assoc_socket(s.b, "127.0.0.2", 0, &kept_at);
    (void)state;

    assoc_send(s.client, &s.relay, &kept_at, "hello");
    assoc_hears(s.b, kept, "hello");
    assoc_update(s.b, 1, 1, no_limits, &rules);
    assoc_send_raw(s.target, &s.outer, "late", 4);
    assoc_dropped(s.b, DROP_PEER, 1);
    assoc_send_raw(kept, &s.outer, "still here", 10);
    assoc_hears_from(s.b, s.client, &kept_at, "still here");
    assoc_bench_free(s.b);
}

/* Only the least recently sent to of so many is forgotten. */
static void peers_are_bounded(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr second_at;
    (void)state;

    b->relay.config.peers = 1;
    struct scene s = scene_of(b);
    int second = assoc_socket(b, "127.0.0.2", 0, &second_at);
    assoc_send(s.client, &s.relay, &second_at, "hello");
    assoc_hears(b, second, "hello");
    assoc_send_raw(s.target, &s.outer, "forgotten", 9);
    assoc_dropped(b, DROP_PEER, 1);
    assoc_send_raw(second, &s.outer, "known", 5);
    assoc_hears_from(b, s.client, &second_at, "known");
    assoc_bench_free(b);
}

/* Who answers before it is sent to again by the way that is remembered. */
static void the_way_taken_before_lets_its_target_in_again(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    struct addr second_at;
    (void)state;

    b->relay.config.peers = 1;
    struct scene s = scene_of(b);
    int second = assoc_socket(b, "127.0.0.2", 0, &second_at);
    assoc_send(s.client, &s.relay, &second_at, "hello");
    assoc_hears(b, second, "hello");
    assoc_send(s.client, &s.relay, &s.target_at, "one");
    assoc_send(s.client, &s.relay, &s.target_at, "two");
    assoc_hears(b, s.target, "one");
    assoc_hears(b, s.target, "two");
    assoc_send_raw(s.target, &s.outer, "back", 4);
    assoc_hears_from(b, s.client, &s.target_at, "back");
    assoc_bench_free(b);
}

/* ---- what arrives ---- */

static void what_does_not_fit_behind_a_header_is_dropped(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    const int room = 1 << 20;
    char *octets = malloc(ENGINE_PAYLOAD_MAX + 1);
    (void)state;

    memset(octets, 'x', ENGINE_PAYLOAD_MAX);
    octets[ENGINE_PAYLOAD_MAX] = '\0';
    setsockopt(s.client, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    assoc_send_raw(s.target, &s.outer, octets, ENGINE_PAYLOAD_MAX);
    assoc_dropped(s.b, DROP_TOO_LONG, 1);
    assoc_send_raw(s.target, &s.outer, octets, ENGINE_PAYLOAD_MAX - HEADER + 1);
    assoc_dropped(s.b, DROP_TOO_LONG, 2);
    octets[ENGINE_PAYLOAD_MAX - HEADER] = '\0';
    assoc_send_raw(s.target, &s.outer, octets, ENGINE_PAYLOAD_MAX - HEADER);
    assoc_hears_from(s.b, s.client, &s.target_at, octets);
    free(octets);
    assoc_bench_free(s.b);
}

static void an_empty_answer_arrives_with_its_header(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    (void)state;

    assoc_send_raw(s.target, &s.outer, "", 0);
    assoc_hears_from(s.b, s.client, &s.target_at, "");
    assoc_bench_free(s.b);
}

static void many_answers_arrive_in_their_order(void **state)
{
    enum { MANY = 100 };
    struct scene s = scene_of(assoc_bench_new(PORTS));
    const int room = 1 << 20;
    char text[16];
    (void)state;

    setsockopt(s.client, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assoc_send_raw(s.target, &s.outer, text, strlen(text));
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assoc_hears_from(s.b, s.client, &s.target_at, text);
    }
    assoc_bench_free(s.b);
}

/* A client with several ways to us gets its answers by the one that it took. */
static void answers_leave_from_where_the_client_sent_to(void **state)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);
    (void)state;

    b->bind = assoc_at("0.0.0.0:0");
    struct scene s = scene_of(b);
    struct addr by_another = s.relay;
    uint8_t octets[64];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);

    by_another.ip[3] = 5;
    assoc_send(s.client, &by_another, &s.target_at, "this way");
    s.outer = assoc_hears(b, s.target, "this way");
    s.outer.ip[0] = 127, s.outer.ip[3] = 1;
    assoc_send_raw(s.target, &s.outer, "and back", 8);
    ASSOC_WAIT(b,
               recvfrom(s.client, octets, sizeof(octets), 0, (struct sockaddr *)&from, &len) > 0);
    assert_int_equal(ntohs(from.sin_port), s.relay.port);
    assert_int_equal(ntohl(from.sin_addr.s_addr), 0x7f000005);
    assoc_bench_free(b);
}

/* An ICMP error is not the end of anything. */
static void nobody_at_the_target_ends_nothing(void **state)
{
    struct scene s = scene_of(assoc_bench_new(PORTS));
    struct addr nobody = s.relay;
    (void)state;

    nobody.port = 1;
    for (int i = 0; i < 3; i++) {
        assoc_send(s.client, &s.relay, &nobody, "anybody?");
        assoc_send(s.client, &s.relay, &s.target_at, "you?");
        assoc_hears(s.b, s.target, "you?");
        assoc_send_raw(s.target, &s.outer, "yes", 3);
        assoc_hears_from(s.b, s.client, &s.target_at, "yes");
    }
    assert_int_equal(s.b->relay.stats.associations, 1);
    assoc_bench_free(s.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_was_sent_to_may_answer_from_any_port),
        cmocka_unit_test(who_was_not_sent_to_is_not_let_in),
        cmocka_unit_test(filtering_may_be_left_to_the_rules),
        cmocka_unit_test(new_rules_shut_out_whom_they_deny),
        cmocka_unit_test(peers_are_bounded),
        cmocka_unit_test(the_way_taken_before_lets_its_target_in_again),
        cmocka_unit_test(what_does_not_fit_behind_a_header_is_dropped),
        cmocka_unit_test(an_empty_answer_arrives_with_its_header),
        cmocka_unit_test(many_answers_arrive_in_their_order),
        cmocka_unit_test(answers_leave_from_where_the_client_sent_to),
        cmocka_unit_test(nobody_at_the_target_ends_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
