/* What waits for names takes memory: bounded over all, and nobody takes what the next one needs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/lib/assoc_bench.h"

enum { PORTS = 8, SOCKETS = 64, RETRY_MS = 250, PORT = 9 };
/* A payload, and what it takes at most with what it costs to keep it. */
enum { LEN = 1000, PLACE = LEN + 64 };

/* A client with an association. */
struct sender {
    struct assoc_bench *b;
    int fd;
    struct addr relay;
};

/* There is memory for so many payloads, not for one more. No name is answered. */
static struct assoc_bench *bench_of(size_t places)
{
    struct assoc_bench *b = assoc_bench_new(PORTS);

    assert_true(places * PLACE < (places + 1) * LEN);
    b->dns_retry_ms = RETRY_MS;
    b->relay.config.pending_octets = places * PLACE;
    assoc_bench_start(b, SOCKETS);
    dnsserver_behave(b->dns, "silent.example", 0, DNSSERVER_SILENT);
    return b;
}

static struct sender sender_of(struct assoc_bench *b, uint32_t number, const char *client)
{
    return (struct sender){b, assoc_socket(b, client, 0, NULL), assoc_open(b, number, client)};
}

static const char *payload(void)
{
    static char text[LEN + 1];

    memset(text, 'x', LEN);
    return text;
}

static void send_many(const struct sender *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assoc_send_name(s->fd, &s->relay, "silent.example", PORT, payload());
}

static void is(struct assoc_bench *b, uint64_t waiting, uint64_t dropped)
{
    ASSOC_WAIT(b, b->relay.stats.names_waiting == waiting &&
                      b->relay.stats.dropped[DROP_NAME_QUEUE] == dropped);
    assert_in_range(b->relay.stats.names_octets, waiting * LEN, waiting * PLACE);
}

static void all_that_waits_for_names_is_bounded_in_memory(void **state)
{
    struct assoc_bench *b = bench_of(4);
    const struct sender senders[] = {sender_of(b, 1, "127.0.0.1"), sender_of(b, 2, "127.0.0.2"),
                                     sender_of(b, 3, "127.0.0.3")};
    (void)state;

    send_many(&senders[0], 2);
    is(b, 2, 0);
    send_many(&senders[1], 1);
    is(b, 3, 0);
    send_many(&senders[2], 1);
    is(b, 4, 0);
    for (uint64_t i = 0; i < 3; i++) {
        send_many(&senders[i], 1);
        is(b, 4, i + 1);
    }
    for (uint32_t number = 1; number <= 3; number++)
        assoc_release(b, number);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

/* Who comes first has half of it at most, the next one half of what is left, and so on. */
static void nobody_holds_more_than_is_left_for_others(void **state)
{
    struct assoc_bench *b = bench_of(4);
    const struct sender first = sender_of(b, 1, "127.0.0.1"), second = sender_of(b, 2, "127.0.0.2"),
                        third = sender_of(b, 3, "127.0.0.3");
    (void)state;

    send_many(&first, 4);
    is(b, 2, 2);
    send_many(&second, 4);
    is(b, 3, 5);
    send_many(&third, 4);
    is(b, 4, 8);
    assoc_release(b, 1);
    is(b, 2, 8);
    send_many(&second, 2); /* what the first one had is there for all */
    is(b, 3, 9);
    assoc_release(b, 2);
    assoc_release(b, 3);
    assoc_nothing_is_held(b);
    assoc_bench_free(b);
}

static void less_memory_since_a_reload_takes_nothing_from_what_waits(void **state)
{
    struct assoc_bench *b = bench_of(4);
    const struct sender first = sender_of(b, 1, "127.0.0.1"), second = sender_of(b, 2, "127.0.0.2");
    (void)state;

    send_many(&first, 2);
    is(b, 2, 0);
    b->relay.config.pending_octets = PLACE;
    send_many(&second, 1);
    is(b, 2, 1);
    assoc_release(b, 1);
    is(b, 0, 1);
    send_many(&second, 2);
    is(b, 1, 2);
    assoc_bench_free(b);
}

/* A name that is answered when this is said. */
static void send_slow(const struct sender *s, const char *name, uint16_t port)
{
    dnsserver_address(s->b->dns, name, 300, "127.0.0.1");
    dnsserver_behave(s->b->dns, name, 0, DNSSERVER_SILENT);
    assoc_send_name(s->fd, &s->relay, name, port, payload());
}

static void answer(struct assoc_bench *b, const char *name, int target)
{
    dnsserver_behave(b->dns, name, 0, DNSSERVER_RIGHT);
    assoc_hears(b, target, payload());
}

static void an_answer_gives_the_memory_back(void **state)
{
    struct assoc_bench *b = bench_of(3);
    const struct sender one = sender_of(b, 1, "127.0.0.1");
    struct addr target_at;
    int target = assoc_socket(b, "127.0.0.1", 0, &target_at);
    (void)state;

    send_slow(&one, "one.example", target_at.port);
    is(b, 1, 0);
    answer(b, "one.example", target);
    is(b, 0, 0);
    send_slow(&one, "two.example", target_at.port);
    send_many(&one, 2);
    is(b, 2, 1);
    answer(b, "two.example", target); /* something waits still */
    is(b, 1, 1);
    send_many(&one, 2);
    is(b, 2, 2);
    assoc_bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_waits_for_names_is_bounded_in_memory),
        cmocka_unit_test(nobody_holds_more_than_is_left_for_others),
        cmocka_unit_test(less_memory_since_a_reload_takes_nothing_from_what_waits),
        cmocka_unit_test(an_answer_gives_the_memory_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
