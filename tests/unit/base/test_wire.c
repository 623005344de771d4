#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "shared/base/wire.h"

static void fields_are_read_in_network_order(void **state)
{
    const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct wire_reader r = wire_read(in, sizeof(in));

    (void)state;
    assert_int_equal(wire_u8(&r), 1);
    assert_int_equal(wire_u16(&r), 0x0203);
    assert_int_equal(wire_u32(&r), 0x04050607);
    assert_int_equal(wire_left(&r), 2);
    assert_ptr_equal(wire_bytes(&r, 2), in + 7);
    assert_int_equal(wire_left(&r), 0);
    assert_true(r.ok);
}

static void the_highest_octet_does_not_spoil_the_sign(void **state)
{
    const uint8_t in[] = {0xff, 0xfe, 0xfd, 0xfc, 0xff, 0xfe};
    struct wire_reader r = wire_read(in, sizeof(in));

    (void)state;
    assert_true(wire_u32(&r) == UINT32_C(0xfffefdfc));
    assert_int_equal(wire_u16(&r), 0xfffe);
}

static void reading_past_the_end_fails_and_stays_failed(void **state)
{
    const uint8_t in[] = {1, 2, 3};
    struct wire_reader r = wire_read(in, sizeof(in));

    (void)state;
    assert_int_equal(wire_u32(&r), 0);
    assert_false(r.ok);
    assert_int_equal(wire_u8(&r), 0); /* one octet is there, but the error sticks */
    assert_null(wire_bytes(&r, 0));
    assert_int_equal(wire_left(&r), 0);
    assert_int_equal(r.at, 0);
}

static void a_length_near_the_largest_number_does_not_wrap(void **state)
{
    const uint8_t in[] = {1, 2, 3};
    struct wire_reader r = wire_read(in, sizeof(in));

    (void)state;
    wire_u8(&r);
    assert_null(wire_bytes(&r, SIZE_MAX));
    assert_false(r.ok);

    uint8_t out[4] = {0};
    struct wire_writer w = wire_write(out, sizeof(out));
    wire_put_u8(&w, 1);
    wire_put_bytes(&w, in, SIZE_MAX);
    assert_false(w.ok);
    assert_int_equal(w.at, 1);
}

static void nothing_can_be_read_from_nothing(void **state)
{
    struct wire_reader r = wire_read(NULL, 0);

    (void)state;
    assert_non_null(wire_bytes(&r, 0));
    assert_true(r.ok);
    assert_int_equal(wire_u8(&r), 0);
    assert_false(r.ok);
}

static void fields_are_written_in_network_order(void **state)
{
    const uint8_t expected[] = {1, 2, 3, 0xf4, 5, 6, 7, 8, 9};
    uint8_t out[sizeof(expected)];
    struct wire_writer w = wire_write(out, sizeof(out));

    (void)state;
    wire_put_u8(&w, 1);
    wire_put_u16(&w, 0x0203);
    wire_put_u32(&w, UINT32_C(0xf4050607));
    wire_put_bytes(&w, "\x08\x09", 2);
    wire_put_bytes(&w, NULL, 0);
    assert_true(w.ok);
    assert_int_equal(w.at, sizeof(expected));
    assert_memory_equal(out, expected, sizeof(expected));
}

static void writing_past_the_end_writes_nothing_and_stays_failed(void **state)
{
    uint8_t out[4] = {0xaa, 0xaa, 0xaa, 0xaa};
    const uint8_t expected[4] = {1, 0xaa, 0xaa, 0xaa};
    struct wire_writer w = wire_write(out, 3);

    (void)state;
    wire_put_u8(&w, 1);
    wire_put_u32(&w, 2);
    assert_false(w.ok);
    wire_put_u8(&w, 3);
    wire_put_bytes(&w, "x", 1);
    assert_int_equal(w.at, 1);
    assert_memory_equal(out, expected, sizeof(out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_read_in_network_order),
        cmocka_unit_test(the_highest_octet_does_not_spoil_the_sign),
        cmocka_unit_test(reading_past_the_end_fails_and_stays_failed),
        cmocka_unit_test(a_length_near_the_largest_number_does_not_wrap),
        cmocka_unit_test(nothing_can_be_read_from_nothing),
        cmocka_unit_test(fields_are_written_in_network_order),
        cmocka_unit_test(writing_past_the_end_writes_nothing_and_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
