/* The words that all dialects share. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "shared/socks/socks.h"

static void commands_have_names(void **state)
{
    (void)state;
    assert_string_equal(socks_command_name(SOCKS_CONNECT), "connect");
    assert_string_equal(socks_command_name(SOCKS_BIND), "bind");
    assert_string_equal(socks_command_name(SOCKS_UDP_ASSOCIATE), "udp-associate");
    assert_string_equal(socks_command_name(SOCKS_TRANSPARENT), "transparent");
}

static void what_is_no_command_is_unknown(void **state)
{
    (void)state;
    assert_string_equal(socks_command_name((enum socks_command)0), "unknown");
    assert_string_equal(socks_command_name((enum socks_command)5), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_have_names),
        cmocka_unit_test(what_is_no_command_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
