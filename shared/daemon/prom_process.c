#include "shared/daemon/prom_process.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/daemon/prom.h"

/* What follows key at the start of a line of a file in /proc. */
static bool proc_field(const char *file, const char *key, char *ret, size_t cap)
{
    char line[256];
    size_t len = strlen(key);
    bool found = false;
    FILE *f = fopen(file, "re");

    if (f == NULL)
        return false;
    /* A line longer than the buffer (the interrupts in /proc/stat) comes in pieces; no piece of a
     * list of numbers looks like a key. */
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        found = strncmp(line, key, len) == 0;
        if (found)
            snprintf(ret, cap, "%s", line + len);
    }
    fclose(f);
    return found;
}

bool open_fds_by_stat(uint64_t *ret)
{
    struct stat st;

    if (stat("/proc/self/fd", &st) != 0 || st.st_size <= 0)
        return false;
    *ret = (uint64_t)st.st_size;
    return true;
}

bool open_fds_by_poll(uint64_t *ret)
{
    struct pollfd block[256];
    struct rlimit limit;
    char text[32];
    int size, step = (int)(sizeof(block) / sizeof(block[0]));

    if (!proc_field("/proc/self/status", "FDSize:", text, sizeof(text)) ||
        getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    size = atoi(text);
    if (limit.rlim_cur < (rlim_t)step) /* poll takes no more at once */
        step = (int)limit.rlim_cur;
    if (step == 0)
        return false;
    *ret = 0;
    for (int start = 0; start < size; start += step) {
        for (int i = 0; i < step; i++)
            block[i] = (struct pollfd){.fd = start + i};
        if (poll(block, (nfds_t)step, 0) < 0)
            return false;
        for (int i = 0; i < step; i++)
            *ret += !(block[i].revents & POLLNVAL);
    }
    return true;
}

static void put_cpu(struct prom *p)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u) != 0)
        return;
    prom_family(p, "process_cpu_seconds_total", PROM_COUNTER,
                "User and system CPU time spent, in seconds.");
    prom_f64(p, NULL,
             (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                 (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
}

static void put_memory(struct prom *p)
{
    unsigned long resident;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return;
    if (fscanf(f, "%*u %lu", &resident) == 1) {
        prom_family(p, "process_resident_memory_bytes", PROM_GAUGE, "Resident memory.");
        prom_u64(p, NULL, (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE));
    }
    fclose(f);
}

static void put_fds(struct prom *p)
{
    struct rlimit limit;
    uint64_t open;

    if (open_fds_by_stat(&open) || open_fds_by_poll(&open)) {
        prom_family(p, "process_open_fds", PROM_GAUGE, "Descriptors open.");
        prom_u64(p, NULL, open);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        prom_family(p, "process_max_fds", PROM_GAUGE, "Descriptors that may be open.");
        if (limit.rlim_cur == RLIM_INFINITY)
            prom_f64(p, NULL, (double)UINT64_MAX);
        else
            prom_u64(p, NULL, limit.rlim_cur);
    }
}

/* proc(5), field 22: clock ticks since boot. The name in field 2 may hold spaces and brackets. */
static bool start_ticks(unsigned long long *ret)
{
    char text[1024];
    size_t len;
    const char *at;
    FILE *f = fopen("/proc/self/stat", "re");

    if (f == NULL)
        return false;
    len = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[len] = '\0';
    at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %llu", ret) == 1;
}

/* From the boot time that the kernel states, not from the difference of two clocks: the value must
 * not waver between scrapes, its change means a restart. */
static void put_start(struct prom *p)
{
    unsigned long long ticks;
    char boot[32];

    if (!start_ticks(&ticks) || !proc_field("/proc/stat", "btime ", boot, sizeof(boot)))
        return;
    prom_family(p, "process_start_time_seconds", PROM_GAUGE,
                "Start of the process, in seconds since 1970-01-01 UTC.");
    prom_f64(p, NULL, strtod(boot, NULL) + (double)ticks / (double)sysconf(_SC_CLK_TCK));
}

void prom_process(struct prom *p)
{
    put_cpu(p);
    put_memory(p);
    put_fds(p);
    put_start(p);
}
