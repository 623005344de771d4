/* Requests about connections, and what is made of the answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/nat/conntrack.h"

enum { TIME_WAIT = 7, ESTABLISHED = 3, CLOSED = 8, TCP = 6, UDP = 17 };

static struct ct_name name(const char *source, const char *dest, uint8_t ptcl)
{
    struct ct_name n = {.ptcl = ptcl};

    assert_true(addr_parse(source, &n.source));
    assert_true(addr_parse(dest, &n.dest));
    return n;
}

/* A request to delete that names nobody deletes everything that the host has. */
static void no_request_to_forget_goes_without_a_name(void **state)
{
    struct ct_name who = name("[2001:db8::1]:1", "[2001:db8::2]:2", TCP);
    struct netlink n = {.seq = 0};
    struct nl_buf b;
    size_t len;
    (void)state;

    for (size_t size = 0; size < 2048; size += 4) {
        uint8_t *room = malloc(size + 1);
        assert_non_null(room);
        nl_init(&b, room, size);
        ct_put_delete(&b, &n, &who);
        if (b.full)
            assert_int_equal(b.len, 0);
        else
            assert_non_null(netlink_attr((struct nlmsghdr *)(void *)room, CTA_TUPLE_ORIG, &len));
        assert_int_equal(b.full, b.len == 0);
        free(room);
    }
}

static void put_tuple(struct nl_buf *b, uint16_t type, const struct addr *from,
                      const struct addr *to, uint8_t ptcl)
{
    uint16_t ports[] = {(uint16_t)(from->port << 8 | from->port >> 8),
                        (uint16_t)(to->port << 8 | to->port >> 8)};
    bool v4 = from->family == ADDR_IPV4;
    struct nlattr *tuple = nl_nest(b, type), *nest = nl_nest(b, CTA_TUPLE_IP);

    nl_put(b, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, from->ip, addr_ip_len(from->family));
    nl_put(b, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, to->ip, addr_ip_len(to->family));
    nl_nest_end(b, nest);
    nest = nl_nest(b, CTA_TUPLE_PROTO);
    nl_put_u8(b, CTA_PROTO_NUM, ptcl);
    nl_put(b, CTA_PROTO_SRC_PORT, &ports[0], 2);
    nl_put(b, CTA_PROTO_DST_PORT, &ports[1], 2);
    nl_nest_end(b, nest);
    nl_nest_end(b, tuple);
}

static void put_counters(struct nl_buf *b, uint16_t type, uint64_t packets, uint64_t octets)
{
    struct nlattr *nest = nl_nest(b, type);

    nl_put_be64(b, CTA_COUNTERS_PACKETS, packets);
    nl_put_be64(b, CTA_COUNTERS_BYTES, octets);
    nl_nest_end(b, nest);
}

static void put_tcp_state(struct nl_buf *b, uint8_t tcp_state)
{
    struct nlattr *info = nl_nest(b, CTA_PROTOINFO), *tcp = nl_nest(b, CTA_PROTOINFO_TCP);

    nl_put_u8(b, CTA_PROTOINFO_TCP_STATE, tcp_state);
    nl_nest_end(b, tcp);
    nl_nest_end(b, info);
}

/* An event as the kernel sends it; tcp_state 0: none. */
static struct nlmsghdr *event(struct nl_buf *b, uint8_t *room, size_t size, bool destroyed,
                              const struct ct_name *who, uint32_t mark, uint8_t tcp_state)
{
    struct netlink n = {.seq = 0};

    nl_init(b, room, size);
    nl_message(b, &n,
               NFNL_SUBSYS_CTNETLINK << 8 | (destroyed ? IPCTNL_MSG_CT_DELETE : IPCTNL_MSG_CT_NEW),
               0, who->source.family == ADDR_IPV4 ? AF_INET : AF_INET6, 0);
    put_tuple(b, CTA_TUPLE_ORIG, &who->source, &who->dest, who->ptcl);
    put_tuple(b, CTA_TUPLE_REPLY, &who->dest, &who->source, who->ptcl);
    put_counters(b, CTA_COUNTERS_ORIG, 11, 1100);
    put_counters(b, CTA_COUNTERS_REPLY, 22, 2200);
    if (mark != 0)
        nl_put_be32(b, CTA_MARK, mark);
    nl_put_be32(b, CTA_ID, 99);
    if (tcp_state != 0)
        put_tcp_state(b, tcp_state);
    assert_false(b->full);
    return (struct nlmsghdr *)(void *)room;
}

static void an_event_is_read_as_it_is(void **state)
{
    _Alignas(8) uint8_t room[1024];
    struct ct_name who[] = {name("192.0.2.1:40000", "198.51.100.1:30000", TCP),
                            name("[2001:db8::1]:40000", "[2001:db8::2]:30000", TCP)};
    static const struct {
        uint8_t tcp_state, phase;
    } phases[] = {{ESTABLISHED, CT_OPEN}, {TIME_WAIT, CT_FINISHED}, {CLOSED, CT_RESET}};
    struct nl_buf b;
    struct ct_state s;
    (void)state;

    for (int i = 0; i < 2; i++) {
        for (int p = 0; p < 3; p++) {
            assert_true(ct_decode(
                event(&b, room, sizeof(room), p == 1, &who[i], 0x4e010100, phases[p].tcp_state),
                &s));
            assert_true(addr_equal(&s.name.source, &who[i].source));
            assert_true(addr_equal(&s.name.dest, &who[i].dest));
            assert_true(addr_equal(&s.replies_from, &who[i].dest));
            assert_int_equal(s.name.ptcl, TCP);
            assert_int_equal(s.mark, 0x4e010100);
            assert_int_equal(s.id, 99);
            assert_int_equal(s.phase, phases[p].phase);
            assert_int_equal(s.destroyed, p == 1);
            assert_int_equal(s.counts.packets_out, 11);
            assert_int_equal(s.counts.octets_in, 2200);
        }
    }
}

static void what_is_cut_short_is_no_connection_and_no_harm(void **state)
{
    _Alignas(8) uint8_t whole[1024];
    struct ct_name who = name("192.0.2.1:40000", "198.51.100.1:30000", TCP);
    struct nl_buf b;
    struct ct_state s;
    (void)state;

    event(&b, whole, sizeof(whole), true, &who, 1, TIME_WAIT);
    for (uint32_t len = sizeof(struct nlmsghdr) + 4; len < b.len; len++) {
        struct nlmsghdr *m = malloc(len);
        assert_non_null(m);
        memcpy(m, whole, len);
        m->nlmsg_len = len;
        ct_decode(m, &s);
        free(m);
    }
    struct nlmsghdr *m = (struct nlmsghdr *)(void *)whole;
    m->nlmsg_type = NLMSG_DONE;
    assert_false(ct_decode(m, &s));
}

/* The filter runs in the kernel on any socket: datagrams between two of ours will do. */
static bool passes(int fds[2], const struct nl_buf *b)
{
    uint8_t octets[1024];

    assert_int_equal(send(fds[0], b->data, b->len, 0), (ssize_t)b->len);
    return recv(fds[1], octets, sizeof(octets), MSG_DONTWAIT) > 0;
}

static void the_filter_lets_ends_of_our_mark_pass_and_nothing_else(void **state)
{
    _Alignas(8) uint8_t room[1024];
    struct ct_name tcp = name("192.0.2.1:40000", "198.51.100.1:30000", TCP);
    struct ct_name udp = name("192.0.2.1:40000", "198.51.100.1:30000", UDP);
    static const struct {
        bool destroyed, passes;
        uint32_t mark;
        uint8_t tcp_state;
    } cases[] = {
        {true, true, 0x4e010100, ESTABLISHED},   {true, true, 0x4e01ff07, 0},
        {true, false, 0x4e020100, ESTABLISHED},  {true, false, 0, ESTABLISHED},
        {false, true, 0x4e010100, TIME_WAIT},    {false, true, 0x4e010100, CLOSED},
        {false, false, 0x4e010100, ESTABLISHED}, {false, false, 0x4e010100, 0},
        {false, false, 0x4e020100, TIME_WAIT},   {false, false, 0, TIME_WAIT},
    };
    struct nl_buf b;
    int fds[2];
    (void)state;

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    assert_int_equal(ct_filter_events(fds[1], 0x4e010000, 0xffff0000), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        event(&b, room, sizeof(room), cases[i].destroyed, cases[i].tcp_state != 0 ? &tcp : &udp,
              cases[i].mark, cases[i].tcp_state);
        assert_int_equal(passes(fds, &b), cases[i].passes);
    }
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_request_to_forget_goes_without_a_name),
        cmocka_unit_test(an_event_is_read_as_it_is),
        cmocka_unit_test(what_is_cut_short_is_no_connection_and_no_harm),
        cmocka_unit_test(the_filter_lets_ends_of_our_mark_pass_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
