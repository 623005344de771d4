#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "socksd/users.h"

/* "secret", cheaply. */
#define BCRYPT           "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define BCRYPT_SWORDFISH "$2b$04$bcdefghijklmnopqrstuvuB7jZiJSTR0.EcMf8oDPhNBAKRpjX74W"
#define BCRYPT_EMPTY     "$2b$04$bcdefghijklmnopqrstuvuOFF9hUAokXGSr4phKSq5wFrNwxRPoYq"
#define YESCRYPT         "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0"
/* Has the form of a hash, but its salt cannot be decoded. */
#define BROKEN "$y$j9T$zzz$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0"
#define SHA512_ROUNDS                                                                              \
    "$6$rounds=1000$salt$HNxBeBnDfSfUrTj6KiLnmd7tGCvHEmcExh8kl/S0cZ5WrCciNZgfhbpkeFQ4JfkHX.8vPq45" \
    "lY0iINnCx1Lkm."
#define SHA512                                                                                     \
    "$6$salt$egUxKNxDs8kPfh8iPMNcosMhb2eWah6d3R44JDm5Rj/j/XWR5E33QPd0YmHXoDHOIDR6kL5D3JcQcz0O8FHE" \
    "00"

static struct users *users_of(const char *text, size_t len)
{
    struct users *u = NULL;
    struct err e;

    if (users_parse("users", text, len, &e, &u))
        fail_msg("%s", e.text);
    return u;
}

#define USERS(text) users_of(text, sizeof(text) - 1)

static bool check(const struct users *u, const char *name, const char *password)
{
    return users_check(u, name, strlen(name), password, strlen(password));
}

static void each_kind_of_hash_takes_its_password_and_no_other(void **state)
{
    static const char *const hashes[] = {
        YESCRYPT,
        SHA512,
        BCRYPT,
        "$y$j75$F5Jx5fExrKuPp53xLKQ..1$l5YiXCKNY/N9ezall4xjJAFS/wg.kWVcFXfOzyxVn1.",
        "$gy$j9T$F5Jx5fExrKuPp53xLKQ..1$uE5FcoxTz78xZpMZkpTmj/0MogyeNUSLIjdCxpQjz.8",
        "$7$9U..../....salt$OQWgY5s38LCqLQwTYPN0B6.AIAFQEJNeMViD06TEDl3",
        "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
        SHA512_ROUNDS,
        "$5$rounds=1000$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        char line[256];
        int len = snprintf(line, sizeof(line), "alice:%s\n", hashes[i]);
        struct users *u = users_of(line, (size_t)len);

        if (!check(u, "alice", "secret") || check(u, "alice", "Secret"))
            fail_msg("%s", hashes[i]);
        users_unref(u);
    }
}

static void each_user_has_a_password_of_his_own(void **state)
{
    struct users *u = USERS("zoe:" BCRYPT "\n"
                            "alice:" BCRYPT_SWORDFISH "\n"
                            "b\xc3\xb6rge:" BCRYPT "\n"
                            "nopass:" BCRYPT_EMPTY);

    (void)state;
    assert_int_equal(users_count(u), 4);
    assert_true(check(u, "zoe", "secret"));
    assert_true(check(u, "alice", "swordfish"));
    assert_true(check(u, "b\xc3\xb6rge", "secret"));
    assert_true(check(u, "nopass", ""));
    assert_false(check(u, "zoe", "swordfish"));
    assert_false(check(u, "alice", "secret"));
    assert_false(check(u, "zoe", ""));
    assert_false(check(u, "Zoe", "secret"));
    assert_false(check(u, "", "secret"));
    assert_false(check(u, "zo", "secret"));
    /* The first user's hash stands in for those who do not exist, his password does not. */
    assert_false(check(u, "mallory", "secret"));
    users_unref(u);
}

static void comments_and_blank_lines_are_skipped(void **state)
{
    struct users *u = USERS("# alice:" BCRYPT "\n\n \t \n#\nbob:" BCRYPT "\n\n");

    (void)state;
    assert_int_equal(users_count(u), 1);
    assert_true(check(u, "bob", "secret"));
    assert_false(check(u, "# alice", "secret"));
    users_unref(u);
}

static void nobody_passes_where_there_are_no_users(void **state)
{
    struct users *u = USERS("# nobody yet\n");

    (void)state;
    assert_int_equal(users_count(u), 0);
    assert_false(check(u, "alice", "secret"));
    users_unref(u);
    u = users_of(NULL, 0);
    assert_false(check(u, "", ""));
    users_unref(u);
    assert_false(check(NULL, "alice", "secret"));
}

static void nul_and_overlong_credentials_are_wrong(void **state)
{
    struct users *u = USERS("alice:" BCRYPT "\n");
    char long_text[300];

    (void)state;
    memset(long_text, 'a', sizeof(long_text));
    assert_true(users_check(u, "alice", 5, "secret", 6));
    assert_false(users_check(u, "alice", 5, "secret\0", 7));
    assert_false(users_check(u, "alice", 5, "secret\0x", 8));
    assert_false(users_check(u, "alice\0", 6, "secret", 6));
    assert_false(users_check(u, "alice\0bob", 9, "secret", 6));
    assert_false(users_check(u, long_text, sizeof(long_text), "secret", 6));
    assert_false(users_check(u, "alice", 5, long_text, sizeof(long_text)));
    assert_false(users_check(u, NULL, 0, NULL, 0));
    users_unref(u);
}

static uint64_t cpu_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t cost(const struct users *u, const char *name, const char *password, size_t len)
{
    uint64_t before = cpu_time();

    for (int i = 0; i < 3; i++)
        assert_false(users_check(u, name, strlen(name), password, len));
    return cpu_time() - before;
}

static void an_unknown_user_costs_what_a_known_one_costs(void **state)
{
    struct users *u = USERS("alice:" YESCRYPT "\n");
    struct users *nobody = USERS("");
    struct users *broken = USERS("alice:" BROKEN "\n");
    struct users *cheap = USERS("alice:" BCRYPT "\n");
    uint64_t known, unknown, nul, none, faulty;

    (void)state;
    known = cost(u, "alice", "wrong", 5);
    unknown = cost(u, "mallory", "wrong", 5);
    nul = cost(u, "alice", "wrong\0", 6);
    none = cost(nobody, "alice", "wrong", 5);
    faulty = cost(broken, "mallory", "wrong", 5);
    /* A factor of 3 leaves room for a busy machine; without the hash it is some 10000. */
    assert_true(unknown > known / 3 && known > unknown / 3);
    assert_true(nul > known / 3 && known > nul / 3);
    assert_true(none > known / 3 && known > none / 3);
    assert_true(faulty > known / 3 && known > faulty / 3);
    /* The same kind of hash, not just any. */
    assert_true(cost(cheap, "mallory", "wrong", 5) < known / 3);
    users_unref(u);
    users_unref(nobody);
    users_unref(broken);
    users_unref(cheap);
}

static void a_bad_line_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *sentence;
        size_t len; /* 0: a string */
    } rows[] = {
        {"alice\n", "users:1:6: \":\" and a hash", 0},
        {"ok:" BCRYPT "\n\nalice", "users:3:6: \":\" and a hash", 0},
        {":" BCRYPT "\n", "users:1:1: the name is empty", 0},
        {"alice:\n", "users:1:7: the password is empty", 0},
        {"alice:!\n", "users:1:7: the account is locked", 0},
        {"alice:!" BCRYPT "\n", "users:1:7: the account is locked", 0},
        {"alice:*\n", "users:1:7: the account is locked", 0},
        {"alice:x\n", "users:1:7: not a supported hash", 0},
        {"alice:secret\n", "users:1:7: not a supported hash", 0},
        {"alice:abzlUXK5ed5rs\n", "users:1:7: not a supported hash", 0},
        {"alice:$1$salt$IXp9zPHZ94CMcVBXaZFPN/\n", "users:1:7: not a supported hash", 0},
        {"alice:$apr1$JGEV8GyI$5ayx6ZUk0pEIizL1S1Max0\n", "users:1:7: not a supported hash", 0},
        {"alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "users:1:7: not a supported hash", 0},
        {"alice:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIr\n",
         "users:1:7: not a whole hash", 0},
        {"alice:$2b$04$\n", "users:1:7: not a whole hash", 0},
        {"alice:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$\n", "users:1:7: not a whole hash", 0},
        {"alice:$6$salt\n", "users:1:7: not a whole hash", 0},
        {"alice:$6$\n", "users:1:7: not a whole hash", 0},
        {"alice:" BCRYPT "\r\n", "users:1:67: an octet that no hash has", 0},
        {"alice:" BCRYPT " \n", "users:1:67: an octet that no hash has", 0},
        {"alice:" BCRYPT ":1000\n", "users:1:67: an octet that no hash has", 0},
        {"alice:" BCRYPT "\xff\n", "users:1:67: an octet that no hash has", 0},
        {"a:" BCRYPT "\nb:" BCRYPT "\n\na:" BCRYPT "\n", "users:4:1: this name stands in line 1",
         0},
        {"al\0ice:" BCRYPT "\n", "users:1:3: a NUL octet", 7 + sizeof(BCRYPT)},
        {"# \0\n", "users:1:3: a NUL octet", 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = rows[i].len ? rows[i].len : strlen(rows[i].text);
        struct users *u = NULL;
        struct err e;

        if (users_parse("users", rows[i].text, len, &e, &u) == 0)
            fail_msg("taken: %s", rows[i].text);
        if (strncmp(e.text, rows[i].sentence, strlen(rows[i].sentence)) != 0)
            fail_msg("%s gives \"%s\", not \"%s\"", rows[i].text, e.text, rows[i].sentence);
        assert_null(u);
    }
}

static void a_name_has_at_most_255_octets(void **state)
{
    char text[512];
    struct users *u = NULL;
    struct err e;

    (void)state;
    memset(text, 'a', 255);
    strcpy(text + 255, ":" BCRYPT);
    u = users_of(text, strlen(text));
    assert_true(users_check(u, text, 255, "secret", 6));
    users_unref(u);
    memset(text, 'a', 256);
    strcpy(text + 256, ":" BCRYPT);
    assert_int_equal(users_parse("users", text, strlen(text), &e, &u), -1);
    assert_string_equal(e.text, "users:1:256: the name is longer than 255 octets");
}

static void many_users_are_found(void **state)
{
    char *text = malloc(2000 * 80), *end = text;
    struct users *u;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < 2000; i++)
        end += sprintf(end, "user%d:" BCRYPT "\n", (i * 7919) % 2000);
    u = users_of(text, (size_t)(end - text));
    assert_int_equal(users_count(u), 2000);
    assert_true(check(u, "user0", "secret"));
    assert_true(check(u, "user1999", "secret"));
    assert_false(check(u, "user2000", "secret"));
    users_unref(u);
    free(text);
}

/* --- files --- */

static char folder[64], path[128];

static int folder_make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_users.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/users", folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void a_file_is_loaded_whole(void **state)
{
    FILE *f = fopen(path, "w");
    struct users *u = NULL;
    struct err e;

    (void)state;
    assert_non_null(f);
    fputs("alice:" BCRYPT "\nbob:" BCRYPT, f);
    fclose(f);
    assert_int_equal(users_load(path, &e, &u), 0);
    assert_int_equal(users_count(u), 2);
    /* The snapshot does not change with the file. */
    assert_int_equal(truncate(path, 0), 0);
    assert_true(check(u, "bob", "secret"));
    users_unref(u);
    assert_int_equal(users_load(path, &e, &u), 0);
    assert_int_equal(users_count(u), 0);
    users_unref(u);
}

static void what_is_no_readable_file_is_refused(void **state)
{
    struct users *u = NULL;
    struct err e;

    (void)state;
    assert_int_equal(users_load(path, &e, &u), -1);
    assert_non_null(strstr(e.text, "/users: No such file"));
    assert_int_equal(users_load(folder, &e, &u), -1);
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(users_load(path, &e, &u), -1); /* and does not wait for a writer */
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_null(u);
}

static void a_file_that_is_too_large_is_refused(void **state)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    struct users *u = NULL;
    struct err e;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, USERS_FILE_MAX + 1), 0);
    close(fd);
    assert_int_equal(users_load(path, &e, &u), -1);
    assert_non_null(strstr(e.text, "larger than"));
    assert_int_equal(users_parse("users", "", (size_t)USERS_FILE_MAX + 1, &e, &u), -1);
}

static void a_snapshot_lives_as_long_as_somebody_holds_it(void **state)
{
    struct users *u = USERS("alice:" BCRYPT "\n");

    (void)state;
    assert_ptr_equal(users_ref(u), u);
    users_unref(u);
    assert_true(check(u, "alice", "secret"));
    users_unref(u);
    users_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_hash_takes_its_password_and_no_other),
        cmocka_unit_test(each_user_has_a_password_of_his_own),
        cmocka_unit_test(comments_and_blank_lines_are_skipped),
        cmocka_unit_test(nobody_passes_where_there_are_no_users),
        cmocka_unit_test(nul_and_overlong_credentials_are_wrong),
        cmocka_unit_test(an_unknown_user_costs_what_a_known_one_costs),
        cmocka_unit_test(a_bad_line_is_refused_with_its_place),
        cmocka_unit_test(a_name_has_at_most_255_octets),
        cmocka_unit_test(many_users_are_found),
        cmocka_unit_test_setup_teardown(a_file_is_loaded_whole, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(what_is_no_readable_file_is_refused, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(a_file_that_is_too_large_is_refused, folder_make,
                                        folder_remove),
        cmocka_unit_test(a_snapshot_lives_as_long_as_somebody_holds_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
