/* The users and their password hashes, as an immutable snapshot of an htpasswd-style file.
 *
 *   # comment
 *   alice:$y$j9T$...        name, ':', hash of crypt(5)
 *
 * Hashes: yescrypt ($y$), gost-yescrypt ($gy$), scrypt ($7$), bcrypt ($2a$, $2b$, $2y$), SHA-512
 * ($6$), SHA-256 ($5$); `mkpasswd` and `htpasswd -B` make such. Refused at load, each with
 * FILE:LINE:COLUMN (columns count octets): weaker hashes, locked accounts, what is no whole hash; a
 * name that is empty, longer than 255 octets (RFC 1929) or in the file twice; NUL anywhere. Blank
 * lines are skipped. A file without users is right: nobody passes.
 *
 * Snapshots are counted: who keeps a pointer takes a reference. The count is touched on the loop
 * thread only; everything else of a snapshot never changes, so that users_check may run on another
 * thread as long as its caller holds a reference.
 *
 * users.c is the only file that includes crypt.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shared/base/err.h"

#define USERS_FILE_MAX (16 * 1024 * 1024)
#define USERS_NAME_MAX 255
/* Longer passwords do not exist (RFC 1929). */
#define USERS_PASSWORD_MAX 255

struct users;

/* Reads a whole file. On success *ret is the caller's reference; otherwise -1 with the sentence. */
int users_load(const char *path, struct err *e, struct users **ret);
/* The same from text; name stands for the file in errors. */
int users_parse(const char *name, const char *text, size_t len, struct err *e, struct users **ret);

struct users *users_ref(struct users *u);
void users_unref(struct users *u); /* accepts NULL */
size_t users_count(const struct users *u);

/* True if there is such a user and the password is right. Takes tens of milliseconds and memory:
 * call it off the loop. Any thread.
 *
 * No oracle: for an unknown name the same hashing is done with the hash of the file's first user
 * (files should keep to one kind of hash), and the result is compared in constant time. u may be
 * NULL: there are no users. Name and password may hold any octets; a password with a NUL is never
 * right. At most USERS_NAME_MAX and USERS_PASSWORD_MAX octets; more is wrong. */
bool users_check(const struct users *u, const void *name, size_t name_len, const void *password,
                 size_t password_len);
