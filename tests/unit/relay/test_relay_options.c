#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/relay/relay_options.h"

/* A relay that has a key of its own, with memory in it. */
struct some_config {
    struct relay_config base;
    SCHEMA_ITEMS(char *) words;
};

static const struct schema_key relay_keys[] = {
    RELAY_ID_KEY(struct some_config, base),
    RELAY_LIMIT_KEYS(struct some_config, base),
    SCHEMA_LIST("words", STRING, struct some_config, words, .preset = "[one, two]"),
    {0},
};
static const struct schema relay_part = {sizeof(struct some_config), relay_keys, NULL};

static const struct schema_key keys[] = {
    RELAY_SECTIONS(struct some_config, base, &relay_part, "things"),
    {0},
};
static const struct schema some_schema = {sizeof(struct some_config), keys, NULL};

static int load(const struct relay_options *o, struct err *e, struct some_config *ret)
{
    return relay_options_load(o, &some_schema, e, &ret->base);
}

static void options_come_before_the_file_and_the_rest_of_it_stays(void **state)
{
    char file[] = "/tmp/test_relay_optionsXXXXXX";
    static const char text[] = "n2: {listen: [\"ipc:///file\"], lease: 9s, quota: 3}\n"
                               "legs: {listen: [\"unix:/file\"]}\n"
                               "relay: {id: file, words: [three], associations: 4}\n"
                               "status: {listen: [\"unix:/file\"]}\n";
    int fd = mkstemp(file);
    struct relay_options o = {.config = file, .parent_fd = -1};
    struct some_config c;
    struct err e;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    assert_int_equal(load(&o, &e, &c), 0);
    assert_string_equal(c.base.relay.id, "file");
    assert_int_equal(c.base.n2.lease_ms, 9000);
    schema_fini(&some_schema, &c);

    o.n2 = "ipc:///option";
    o.legs = "unix:/option";
    o.status = "unix:/option";
    o.id = "option";
    o.lease = "7s";
    assert_int_equal(load(&o, &e, &c), 0);
    assert_string_equal(c.base.n2.listen.items[0], "ipc:///option");
    assert_string_equal(c.base.legs.listen.items[0], "unix:/option");
    assert_string_equal(c.base.status.listen.items[0], "unix:/option");
    assert_string_equal(c.base.relay.id, "option");
    assert_int_equal(c.base.n2.lease_ms, 7000);
    assert_int_equal(c.base.n2.quota, 3);
    assert_int_equal(c.base.relay.associations, 4);
    assert_int_equal(c.words.count, 1);
    assert_string_equal(c.words.items[0], "three");
    schema_fini(&some_schema, &c);
    unlink(file);
}

/* With the sanitizer, also: nothing is held. */
static void an_option_is_refused_as_its_key_is_in_the_file(void **state)
{
    static const struct {
        struct relay_options o;
        const char *sentence;
    } cases[] = {
        {{.n2 = "ipc:///x", .id = "a b"},
         "--id:1:13: id: 1 to 64 letters, digits, '.', '_' and '-'"},
        {{.n2 = "ipc:///x", .lease = "1ms"}, "--lease:1:29: lease: 1ms is less than 300ms"},
        {{.n2 = "ipc:///x", .legs = "x"}, "--legs:1:17: listen: not of the form unix:/path"},
        {{.n2 = "tcp://127.0.0.1:1"}, "--n2 tcp://127.0.0.1:1 needs --insecure"},
        {{.id = "x"}, "nothing to listen on: give n2.listen in the file, or --n2"},
    };
    static const struct some_config zero;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct some_config c;
        struct err e;
        if (load(&cases[i].o, &e, &c) == 0)
            fail_msg("taken: %s", cases[i].sentence);
        assert_string_equal(e.text, cases[i].sentence);
        assert_memory_equal(&c, &zero, sizeof(c));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_come_before_the_file_and_the_rest_of_it_stays),
        cmocka_unit_test(an_option_is_refused_as_its_key_is_in_the_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
