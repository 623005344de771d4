/* Runs a fuzz target over files, without a fuzzer: each argument is a file, or a directory whose
 * files are run in the order of their names. Prints how many were run; none is a failure. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void cannot(const char *what, const char *path)
{
    fprintf(stderr, "%s: cannot %s\n", path, what);
    exit(1);
}

/* The target gets a block of exactly the file's size, so that sanitizers see each octet beyond. */
static unsigned run_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size);

    if (f == NULL || (size > 0 && data == NULL) || fread(data, 1, size, f) != size)
        cannot("read", path);
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

static unsigned run_path(const char *path)
{
    struct dirent **entries;
    struct stat st;
    unsigned count = 0;
    int n;

    if (stat(path, &st) != 0)
        cannot("find", path);
    if (!S_ISDIR(st.st_mode))
        return run_file(path, (size_t)st.st_size);
    n = scandir(path, &entries, NULL, alphasort);
    if (n < 0)
        cannot("list", path);
    for (int i = 0; i < n; i++) {
        char inner[4096];

        snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            count += run_path(inner);
        free(entries[i]);
    }
    free(entries);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;

    for (int i = 1; i < argc; i++)
        count += run_path(argv[i]);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1;
}
