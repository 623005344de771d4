/* Messages to nf_tables, octet by octet, and in too little room. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "shared/nat/house.h"
#include "shared/nat/nft_rule.h"

static const struct house house = {.owner = "relayd-x",
                                   .guard = "relayd-x-guard",
                                   .mark = 0x4e010000,
                                   .mask = 0xffff0000,
                                   .tag_mask = 0x0000ff00,
                                   .ports = {30000, 30999},
                                   .out_ports = {32768, 60999},
                                   .capacity = 1000,
                                   .persists = true};

static struct addr address(const char *text)
{
    struct addr a;

    assert_true(addr_parse(text, &a));
    return a;
}

static void a_tag_is_put_into_its_bits_of_the_mark(void **state)
{
    (void)state;
    assert_int_equal(house_mark(&house, 1), 0x4e010100);
    assert_int_equal(house_mark(&house, 255), 0x4e01ff00);
}

/* The value of the key (or data) of the only element of the message in b. */
static const uint8_t *value(const struct nl_buf *b, uint16_t which, size_t *ret_len)
{
    size_t len;
    const void *p = netlink_attr((const struct nlmsghdr *)(const void *)b->data,
                                 NFTA_SET_ELEM_LIST_ELEMENTS, &len);
    p = netlink_nested(p, len, NFTA_LIST_ELEM, &len);
    p = netlink_nested(p, len, which, &len);
    return netlink_nested(p, len, NFTA_DATA_VALUE, ret_len);
}

static void put_one(struct nl_buf *b, uint8_t *room, size_t size, bool add, const char *source,
                    const char *bound, const char *target, const char *from)
{
    struct netlink n = {.seq = 7};
    struct addr a[] = {address(source), address(bound), address(target), address(from)};
    struct house_element e = {
        .source = &a[0], .bound = &a[1], .target = &a[2], .from = &a[3], .ptcl = 6, .tag = 2};
    uint32_t seq;

    nl_init(b, room, size);
    struct house_elements l = house_elements_begin(&house, b, &n, add, a[0].family, &seq);
    house_elements_put(&house, &l, &e);
    house_elements_end(&l);
    assert_int_equal(seq, 8);
}

static void an_ipv4_element_is_as_drawn(void **state)
{
    static const uint8_t key[] = {6, 0, 0,  0, 192, 0, 2,    1,    0xc0, 0x01,
                                  0, 0, 10, 1, 2,   3, 0x75, 0x30, 0,    0};
    uint8_t data[] = {198, 51, 100, 7, 0, 80, 0, 0, 203, 0, 113, 9, 0, 0, 0, 0};
    uint32_t mark = 0x4e010200;
    _Alignas(8) uint8_t room[512];
    struct nl_buf b;
    size_t len;
    (void)state;

    memcpy(data + 12, &mark, sizeof(mark));
    put_one(&b, room, sizeof(room), true, "192.0.2.1:49153", "10.1.2.3:30000", "198.51.100.7:80",
            "203.0.113.9:0");
    assert_false(b.full);
    const uint8_t *p = value(&b, NFTA_SET_ELEM_KEY, &len);
    assert_int_equal(len, sizeof(key));
    assert_memory_equal(p, key, sizeof(key));
    p = value(&b, NFTA_SET_ELEM_DATA, &len);
    assert_int_equal(len, sizeof(data));
    assert_memory_equal(p, data, sizeof(data));
}

static void an_ipv6_element_is_as_drawn(void **state)
{
    _Alignas(8) uint8_t room[512];
    struct nl_buf b;
    size_t len;
    (void)state;

    put_one(&b, room, sizeof(room), true, "[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::3]:3",
            "[2001:db8::4]:0");
    const uint8_t *p = value(&b, NFTA_SET_ELEM_KEY, &len);
    assert_int_equal(len, 44);
    assert_int_equal(p[0], 6);
    assert_int_equal(p[19], 1); /* source */
    assert_int_equal(p[21], 1);
    assert_int_equal(p[39], 2); /* BND */
    assert_int_equal(p[41], 2);
    p = value(&b, NFTA_SET_ELEM_DATA, &len);
    assert_int_equal(len, 40);
    assert_int_equal(p[15], 3);
    assert_int_equal(p[17], 3);
    assert_int_equal(p[35], 4);
}

static void to_delete_only_the_key_is_needed(void **state)
{
    _Alignas(8) uint8_t room[512];
    struct nl_buf b;
    size_t len;
    (void)state;

    put_one(&b, room, sizeof(room), false, "192.0.2.1:1", "10.1.2.3:2", "198.51.100.7:80",
            "203.0.113.9:0");
    assert_non_null(value(&b, NFTA_SET_ELEM_KEY, &len));
    assert_null(value(&b, NFTA_SET_ELEM_DATA, &len));
}

static void put_all(struct nl_buf *b, struct netlink *n)
{
    struct addr bound = address("[2001:db8::2]:30000");

    nft_batch_begin(b, n);
    house_put_owner(&house, b, n);
    house_put_guard(&house, b, n);
    house_put_tag(&house, b, n, 1);
    house_put_lease(&house, b, n, 1, 5000);
    house_put_held(&house, b, n, true, 6, &bound);
    house_put_removal(b, n, house.guard);
    nft_batch_end(b, n);
}

/* Each buffer is as large as it says, so that a sanitizer sees one octet too many. */
static void in_too_little_room_it_says_so_and_nothing_more(void **state)
{
    struct netlink n = {.seq = 0};
    static _Alignas(8) uint8_t plenty[64 * 1024];
    struct nl_buf b;
    (void)state;

    nl_init(&b, plenty, sizeof(plenty));
    put_all(&b, &n);
    assert_false(b.full);
    size_t needed = b.len;
    for (size_t size = 0; size <= needed; size += 4) {
        uint8_t *room = malloc(size + 1);
        assert_non_null(room);
        nl_init(&b, room, size);
        put_all(&b, &n);
        assert_int_equal(b.full, size < needed);
        assert_true(b.len <= size);
        free(room);
    }
}

static void a_full_buffer_is_not_sent(void **state)
{
    struct netlink n = {.seq = 0};
    struct nl_buf b;
    uint8_t room[8];
    (void)state;

    nl_init(&b, room, sizeof(room));
    nft_batch_begin(&b, &n);
    assert_true(b.full);
    assert_true(netlink_send(&n, &b) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_is_put_into_its_bits_of_the_mark),
        cmocka_unit_test(an_ipv4_element_is_as_drawn),
        cmocka_unit_test(an_ipv6_element_is_as_drawn),
        cmocka_unit_test(to_delete_only_the_key_is_needed),
        cmocka_unit_test(in_too_little_room_it_says_so_and_nothing_more),
        cmocka_unit_test(a_full_buffer_is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
