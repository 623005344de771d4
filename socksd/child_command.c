#include "socksd/child_command.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_executable(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Where we live ourselves; empty if the kernel does not say. */
static void own_dir(char ret[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);

    ret[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(ret, '/');
    if (slash != NULL)
        *slash = '\0';
}

static char *program_find(const char *program)
{
    char dir[PATH_MAX], *path;

    if (strchr(program, '/') != NULL)
        return strdup(program);
    own_dir(dir);
    if (asprintf(&path, "%s/%s", dir, program) < 0)
        return NULL;
    if (is_executable(path))
        return path;
    free(path);
    return strdup(program);
}

static char **argv_new(const char *program, const char *const *args)
{
    char number[12];
    size_t count = 0, n = 0;
    bool whole = true;

    while (args != NULL && args[count] != NULL)
        count++;
    char **argv = calloc(count + 4, sizeof(argv[0]));
    if (argv == NULL)
        return NULL;
    snprintf(number, sizeof(number), "%d", CHILDREN_PARENT_FD);
    argv[n++] = strdup(program);
    for (size_t i = 0; i < count; i++)
        argv[n++] = strdup(args[i]);
    argv[n++] = strdup("--parent-fd");
    argv[n++] = strdup(number);
    for (size_t i = 0; i < n; i++)
        whole = whole && argv[i] != NULL;
    if (whole)
        return argv;
    for (size_t i = 0; i < n; i++)
        free(argv[i]);
    free(argv);
    return NULL;
}

int child_command_init(struct child_command *ret, const struct child_config *config)
{
    *ret = (struct child_command){.program = program_find(config->program)};
    if (ret->program != NULL)
        ret->argv = argv_new(ret->program, config->args);
    if (ret->argv != NULL)
        return 0;
    child_command_fini(ret);
    return -1;
}

void child_command_fini(struct child_command *c)
{
    for (char **arg = c->argv; arg != NULL && *arg != NULL; arg++)
        free(*arg);
    free(c->argv);
    free(c->program);
    *c = (struct child_command){0};
}

int child_command_error(const struct child_command *c, int error, struct err *e)
{
    char dir[PATH_MAX];

    if (error != ENOENT || strchr(c->program, '/') != NULL)
        return err_set(e, "%s: cannot be executed: %s", c->program, strerror(error));
    own_dir(dir);
    return err_set(e, "%s: neither in %s nor in PATH", c->program, dir);
}
