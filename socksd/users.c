#include "socksd/users.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/secret.h"

struct user {
    const char *name; /* in text; the ':' behind it has become NUL */
    const char *hash; /* in text, ends with NUL */
    size_t line;
};

struct users {
    unsigned references;
    char *text;
    size_t text_len;
    size_t count, room;
    struct user *items; /* sorted by name */
    const char *dummy;  /* what an unknown user's password is hashed with */
};

/* What an unknown user's password costs where there is no user at all: yescrypt with the usual
 * parameters. Nobody's hash: it has none behind its salt. */
static const char dummy_hash[] = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$";

/* --- hashes --- */

/* A hash is its prefix and then fields between '$'; the last field is the hash proper. */
static const struct {
    const char *prefix;
    unsigned fewest, most; /* fields */
    size_t last;           /* octets of the last one */
} methods[] = {
    {"$y$", 3, 3, 43},  /* parameters, salt, hash */
    {"$gy$", 3, 3, 43}, /* likewise */
    {"$7$", 2, 2, 43},  /* parameters and salt, hash */
    {"$2a$", 2, 2, 53}, /* cost, salt and hash */
    {"$2b$", 2, 2, 53}, /* likewise */
    {"$2y$", 2, 2, 53}, /* likewise */
    {"$6$", 2, 3, 86},  /* rounds=N if given, salt, hash */
    {"$5$", 2, 3, 43},  /* likewise */
};

static bool is_well_formed(const char *fields, unsigned fewest, unsigned most, size_t last)
{
    unsigned count = 1;

    for (const char *dollar; (dollar = strchr(fields, '$')); fields = dollar + 1)
        count++;
    return count >= fewest && count <= most && strlen(fields) == last;
}

/* The whole alphabet of crypt(5): visible ASCII but for a few. */
static bool is_hash_octet(char c)
{
    return c > ' ' && c < 0x7f && !strchr("!*:;\\", c);
}

/* NULL if the hash can be used; otherwise what is wrong with it, with its offset. */
static const char *hash_fault(const char *hash, size_t *ret_at)
{
    *ret_at = 0;
    if (hash[0] == '\0')
        return "the password is empty";
    if (hash[0] == '!' || hash[0] == '*')
        return "the account is locked; leave the line out";
    for (const char *c = hash; *c != '\0'; c++)
        if (!is_hash_octet(*c)) {
            *ret_at = (size_t)(c - hash);
            return "an octet that no hash has";
        }
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        size_t len = strlen(methods[i].prefix);

        if (strncmp(hash, methods[i].prefix, len) != 0)
            continue;
        if (!is_well_formed(hash + len, methods[i].fewest, methods[i].most, methods[i].last) ||
            strlen(hash) >= CRYPT_OUTPUT_SIZE || crypt_checksalt(hash) == CRYPT_SALT_INVALID)
            return "not a whole hash of its method";
        return NULL;
    }
    return "not a supported hash: yescrypt, scrypt, bcrypt, SHA-512 or SHA-256 of crypt(5)";
}

/* --- the file --- */

/* A line of the file, or what is left of it. */
struct line {
    const char *file;
    char *text;
    size_t len, number;
};

static int line_err(const struct line *l, size_t offset, struct err *e, const char *sentence)
{
    return err_set(e, "%s:%zu:%zu: %s", l->file, l->number, offset + 1, sentence);
}

static int add_user(struct users *u, const struct line *l, size_t name_len, struct err *e)
{
    if (u->count == u->room) {
        size_t room = u->room ? u->room * 2 : 16;
        struct user *items = realloc(u->items, room * sizeof(*items));

        if (!items)
            return line_err(l, 0, e, "out of memory");
        u->items = items;
        u->room = room;
    }
    u->items[u->count++] = (struct user){l->text, l->text + name_len + 1, l->number};
    return 0;
}

static int parse_line(struct users *u, const struct line *l, struct err *e)
{
    char *nul = memchr(l->text, '\0', l->len);
    char *colon = memchr(l->text, ':', l->len);
    size_t name_len, fault_at;
    const char *fault;

    if (nul)
        return line_err(l, (size_t)(nul - l->text), e, "a NUL octet");
    if (l->text[0] == '#' || strspn(l->text, " \t") == l->len)
        return 0;
    if (!colon)
        return line_err(l, l->len, e, "\":\" and a hash are expected behind the name");
    name_len = (size_t)(colon - l->text);
    if (name_len == 0)
        return line_err(l, 0, e, "the name is empty");
    if (name_len > USERS_NAME_MAX)
        return line_err(l, USERS_NAME_MAX, e, "the name is longer than 255 octets");
    fault = hash_fault(colon + 1, &fault_at);
    if (fault)
        return line_err(l, name_len + 1 + fault_at, e, fault);
    *colon = '\0';
    return add_user(u, l, name_len, e);
}

static int compare_users(const void *left, const void *right)
{
    const struct user *a = left, *b = right;
    int order = strcmp(a->name, b->name);

    return order ? order : (a->line > b->line) - (a->line < b->line);
}

static int sort_users(struct users *u, const char *file, struct err *e)
{
    qsort(u->items, u->count, sizeof(*u->items), compare_users);
    for (size_t i = 1; i < u->count; i++)
        if (strcmp(u->items[i].name, u->items[i - 1].name) == 0)
            return err_set(e, "%s:%zu:1: this name stands in line %zu already", file,
                           u->items[i].line, u->items[i - 1].line);
    return 0;
}

/* u->text is len octets and a NUL. */
static int parse_text(struct users *u, const char *name, size_t len, struct err *e)
{
    struct line l = {.file = name, .text = u->text};
    char *end = u->text + len;

    while (l.text < end) {
        char *newline = memchr(l.text, '\n', (size_t)(end - l.text));

        l.number++;
        l.len = (size_t)((newline ? newline : end) - l.text);
        l.text[l.len] = '\0';
        if (parse_line(u, &l, e))
            return -1;
        l.text += l.len + 1;
    }
    u->dummy = u->count > 0 ? u->items[0].hash : dummy_hash;
    return u->count > 0 ? sort_users(u, name, e) : 0;
}

/* Takes text, malloc'ed, len octets and room for one more. */
static int parse_owned(const char *name, char *text, size_t len, struct err *e, struct users **ret)
{
    struct users *u = calloc(1, sizeof(*u));

    if (!u) {
        free(text);
        return err_set(e, "%s: out of memory", name);
    }
    u->references = 1;
    u->text = text;
    u->text_len = len;
    text[len] = '\0';
    if (parse_text(u, name, len, e)) {
        users_unref(u);
        return -1;
    }
    *ret = u;
    return 0;
}

int users_parse(const char *name, const char *text, size_t len, struct err *e, struct users **ret)
{
    char *copy;

    if (len > USERS_FILE_MAX)
        return err_set(e, "%s: larger than %d octets", name, USERS_FILE_MAX);
    copy = malloc(len + 1);
    if (!copy)
        return err_set(e, "%s: out of memory", name);
    if (len > 0)
        memcpy(copy, text, len);
    return parse_owned(name, copy, len, e, ret);
}

/* Reads until the end, or until buf is full. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
    size_t have = 0;

    while (have < size) {
        ssize_t n = read(fd, buf + have, size - have);

        if (n == 0)
            break;
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            return -1;
    }
    return (ssize_t)have;
}

static int load_open(const char *path, int fd, struct err *e, struct users **ret)
{
    struct stat st;
    size_t size;
    ssize_t len;
    char *text;

    if (fstat(fd, &st))
        return err_set(e, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(e, "%s: not a regular file", path);
    if (st.st_size > USERS_FILE_MAX)
        return err_set(e, "%s: larger than %d octets", path, USERS_FILE_MAX);
    /* One more than was there: a file that grows meanwhile shows. */
    size = (size_t)st.st_size + 1;
    text = malloc(size + 1);
    if (!text)
        return err_set(e, "%s: out of memory", path);
    len = read_all(fd, text, size);
    if (len >= 0 && (size_t)len < size)
        return parse_owned(path, text, (size_t)len, e, ret);
    err_set(e, "%s: %s", path, len < 0 ? strerror(errno) : "changed while it was read");
    free(text);
    return -1;
}

int users_load(const char *path, struct err *e, struct users **ret)
{
    /* A FIFO without a writer must not stop the loop here. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int status;

    if (fd < 0)
        return err_set(e, "%s: %s", path, strerror(errno));
    status = load_open(path, fd, e, ret);
    close(fd);
    return status;
}

struct users *users_ref(struct users *u)
{
    u->references++;
    return u;
}

void users_unref(struct users *u)
{
    if (!u || --u->references > 0)
        return;
    secret_wipe(u->text, u->text_len);
    free(u->items);
    free(u->text);
    free(u);
}

size_t users_count(const struct users *u)
{
    return u->count;
}

/* --- checking --- */

static int compare_name(const void *key, const void *item)
{
    return strcmp(key, ((const struct user *)item)->name);
}

static const struct user *find_user(const struct users *u, const char *name)
{
    if (!u || u->count == 0)
        return NULL;
    return bsearch(name, u->items, u->count, sizeof(*u->items), compare_name);
}

/* Copies octets into a string; false if they do not fit or hold a NUL: then as much as is right. */
static bool make_string(const void *octets, size_t len, char *buf, size_t size)
{
    size_t fit = len < size ? len : size - 1;

    if (fit > 0)
        memcpy(buf, octets, fit);
    buf[fit] = '\0';
    return fit == len && strlen(buf) == len;
}

/* True if the password hashes to hash. Costs the same whether it does; and where crypt finds fault
 * with the hash's parameters or salt, which cannot be seen without hashing, it costs the dummy. */
static bool hashes_to(const char *password, const char *hash)
{
    struct crypt_data *data = calloc(1, sizeof(*data)); /* 32 KiB: not for a thread's stack */
    size_t len = strlen(hash);
    const char *got;
    bool equal;

    if (!data)
        return false;
    got = crypt_r(password, hash, data);
    if (!got || got[0] == '*')
        got = crypt_r(password, dummy_hash, data);
    equal = got && strlen(got) == len && secret_equal(got, hash, len);
    secret_wipe(data, sizeof(*data));
    free(data);
    return equal;
}

bool users_check(const struct users *u, const void *name, size_t name_len, const void *password,
                 size_t password_len)
{
    char name_text[USERS_NAME_MAX + 1], password_text[USERS_PASSWORD_MAX + 1];
    bool sound = make_string(name, name_len, name_text, sizeof(name_text));
    const struct user *user = sound ? find_user(u, name_text) : NULL;
    bool right;

    sound &= make_string(password, password_len, password_text, sizeof(password_text));
    right = hashes_to(password_text, user ? user->hash : u ? u->dummy : dummy_hash);
    secret_wipe(password_text, sizeof(password_text));
    return right && sound && user != NULL;
}
