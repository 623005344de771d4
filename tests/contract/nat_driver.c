/* A relay's kernel NAT without the relay: shared/nat driven by lines on stdin, one answer or event
 * per line on stdout. For tests/contract/nat, and to measure with.
 *
 *   nat_driver [--gap MS] [--sample MS] [--capacity N] [--events OCTETS] ID MARK MASK TAGMASK PORTS
 *   nat_driver --probe ID MARK MASK ADDRESS...
 *
 *   hold PTCL ADDR          lease TAG MS        add NAME PTCL SRC BND DST TAG [FROM|-] [IDLE]
 *   unhold PTCL ADDR        remove NAME         counts NAME
 *   fill N PTCL SRC BND DST TAG PER_ITERATION   drain PER_ITERATION      stats     close
 *   churn 1   what was filled is removed and added again, over and over; churn 0: no more */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shared/nat/nat.h"
#include "shared/net/loop.h"
#include "shared/net/sockaddr.h"

struct item {
    struct nat_entry e;
    struct list node;
    char name[16]; /* "": one of many */
};

struct work {
    unsigned left, per_iteration, answered, total;
    struct item example;
    double began_wall, began_cpu;
};

static struct loop loop;
static struct nat *nat;
static struct list items, many; /* many: what fill has made */
static uv_poll_t input;
static char line[1024];
static size_t line_len;
static struct work fill, drain;
static uv_idle_t more;
static bool churning;

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *const end_names[] = {"fin", "reset", "gone", "idle"};

static struct item *find(const char *name)
{
    LIST_FOREACH (it, &items) {
        struct item *i = LIST_ENTRY(it, struct item, node);
        if (strcmp(i->name, name) == 0)
            return i;
    }
    printf("error no entry %s\n", name);
    return NULL;
}

static void forget(struct item *i)
{
    list_remove(&i->node);
    free(i);
}

static void work_done(struct work *w, const char *what)
{
    if (++w->answered != w->total)
        return;
    printf("%s %u wall_us=%.0f cpu_us=%.0f\n", what, w->total,
           (seconds(CLOCK_MONOTONIC) - w->began_wall) * 1e6,
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - w->began_cpu) * 1e6);
}

static void on_added(void *arg, struct nat_entry *e, enum nat_result result)
{
    struct item *i = LIST_ENTRY(e, struct item, e);
    (void)arg;

    if (i->name[0] != '\0')
        printf("added %s %s\n", i->name, nat_result_name(result));
    else if (churning)
        nat_remove(nat, e);
    else
        work_done(&fill, "filled");
    if (result != NAT_OK)
        forget(i);
}

static void on_ended(void *arg, struct nat_entry *e, enum nat_end why)
{
    struct item *i = LIST_ENTRY(e, struct item, e);
    (void)arg;

    if (i->name[0] != '\0')
        printf("ended %s %s\n", i->name, end_names[why]);
}

static void print_counts(const char *what, const struct item *i)
{
    const struct nat_counts *c = &i->e.counts;

    printf("%s %s packets_out=%llu octets_out=%llu packets_in=%llu octets_in=%llu\n", what, i->name,
           (unsigned long long)c->packets_out, (unsigned long long)c->octets_out,
           (unsigned long long)c->packets_in, (unsigned long long)c->octets_in);
}

static void on_removed(void *arg, struct nat_entry *e)
{
    struct item *i = LIST_ENTRY(e, struct item, e);
    (void)arg;

    if (i->name[0] == '\0' && churning) {
        nat_add(nat, e);
        return;
    }
    if (i->name[0] != '\0')
        print_counts("removed", i);
    else
        work_done(&drain, "drained");
    forget(i);
}

static void on_trouble(void *arg, enum nat_trouble what, const char *sentence)
{
    static const char *const names[] = {"guard_lost", "guard_failed", "events_lost",
                                        "packets_stuck"};
    (void)arg;
    printf("trouble %s %s\n", names[what], sentence);
}

/* ---- commands ---- */

static int ptcl_type(unsigned ptcl)
{
    return ptcl == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
}

/* Bound for as long as the driver lives, as a relay would; a PTCL without sockets here goes
 * without. */
static void hold(unsigned ptcl, const char *text, bool on)
{
    struct addr bound;
    struct sockaddr_storage ss;

    if (!addr_parse(text, &bound)) {
        printf("error address %s\n", text);
        return;
    }
    if (!on) {
        nat_unhold(nat, (uint8_t)ptcl, &bound);
        printf("unheld\n");
        return;
    }
    socklen_t len = sockaddr_from(&bound, &ss);
    int fd = socket(ss.ss_family, ptcl_type(ptcl) | SOCK_CLOEXEC, (int)ptcl);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&ss, len) != 0) {
        printf("error bind %s\n", strerror(errno));
        return;
    }
    printf("held %s\n", nat_result_name(nat_hold(nat, (uint8_t)ptcl, &bound)));
}

static struct item *new_item(const char *name)
{
    struct item *i = calloc(1, sizeof(*i));

    if (i == NULL)
        abort();
    snprintf(i->name, sizeof(i->name), "%s", name);
    list_append(name[0] != '\0' ? &items : &many, &i->node);
    return i;
}

static void add(char **word, int words)
{
    struct item *i = new_item(word[1]);
    struct nat_entry *e = &i->e;

    e->ptcl = (uint8_t)atoi(word[2]);
    if (!addr_parse(word[3], &e->source) || !addr_parse(word[4], &e->bound) ||
        !addr_parse(word[5], &e->target)) {
        printf("error address\n");
        forget(i);
        return;
    }
    e->tag = (uint16_t)atoi(word[6]);
    if (words > 7 && strcmp(word[7], "-") != 0)
        addr_parse_ip(word[7], &e->from);
    if (words > 8)
        e->idle_ms = (uint32_t)atoi(word[8]);
    const char *why = nat_suits(nat, e);
    if (why != NULL)
        printf("unsuited %s %s\n", i->name, why);
    nat_add(nat, e);
}

static void next_source(struct addr *a)
{
    size_t last = addr_ip_len(a->family) - 1;

    for (size_t i = last; ++a->ip[i] == 0 && i > last - 3; i--)
        ;
}

/* A part per iteration of the loop, as associations come in. */
static void on_more(uv_idle_t *idle)
{
    for (unsigned i = 0; i < fill.per_iteration && fill.left != 0; i++, fill.left--) {
        struct item *x = new_item("");
        x->e = fill.example.e;
        next_source(&fill.example.e.source);
        nat_add(nat, &x->e);
    }
    for (unsigned i = 0; i < drain.per_iteration && drain.left != 0; i++, drain.left--) {
        struct item *x = LIST_ENTRY(many.next, struct item, node);
        list_remove(&x->node);
        list_append(&items, &x->node);
        nat_remove(nat, &x->e);
    }
    if (fill.left == 0 && drain.left == 0)
        uv_idle_stop(idle);
}

static void begin(struct work *w, unsigned total, unsigned per_iteration)
{
    w->left = w->total = total;
    w->answered = 0;
    w->per_iteration = per_iteration;
    w->began_wall = seconds(CLOCK_MONOTONIC);
    w->began_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    uv_idle_start(&more, on_more);
}

static void begin_fill(char **word)
{
    struct nat_entry *e = &fill.example.e;

    memset(&fill.example, 0, sizeof(fill.example));
    e->ptcl = (uint8_t)atoi(word[2]);
    addr_parse(word[3], &e->source);
    addr_parse(word[4], &e->bound);
    addr_parse(word[5], &e->target);
    e->tag = (uint16_t)atoi(word[6]);
    begin(&fill, (unsigned)atoi(word[1]), (unsigned)atoi(word[7]));
}

static unsigned count(const struct list *l)
{
    unsigned n = 0;

    LIST_FOREACH (it, l)
        n++;
    return n;
}

static void churn(bool on)
{
    churning = on;
    LIST_FOREACH (it, &many)
        nat_remove(nat, &LIST_ENTRY(it, struct item, node)->e);
}

static void print_stats(void)
{
    struct nat_stats s = nat_stats(nat);

#define FIELD(f) printf(" " #f "=%llu", (unsigned long long)s.f)
    printf("stats");
    FIELD(entries), FIELD(live), FIELD(adding), FIELD(removing), FIELD(held);
    FIELD(added), FIELD(refused), FIELD(removed), FIELD(commits), FIELD(elements);
    FIELD(sweeps), FIELD(samples), FIELD(events), FIELD(events_lost), FIELD(guard_rebuilt);
    FIELD(last_errno), FIELD(unmatched), FIELD(lapsed), FIELD(entered), FIELD(left);
    printf(" cpu_us=%.0f\n", seconds(CLOCK_PROCESS_CPUTIME_ID) * 1e6);
}

static void finish(void)
{
    nat_close(nat);
    nat = NULL;
    uv_close((uv_handle_t *)&input, NULL);
    uv_close((uv_handle_t *)&more, NULL);
}

static void obey(char *text)
{
    static const struct {
        const char *name;
        int words; /* at least */
    } commands[] = {{"hold", 3},   {"unhold", 3}, {"lease", 3}, {"add", 7},
                    {"remove", 2}, {"counts", 2}, {"fill", 8},  {"drain", 2},
                    {"stats", 1},  {"close", 1},  {"churn", 2}};
    char *word[16], *rest = text;
    int words = 0, which = -1;
    struct item *i;

    while (words < 16 && (word[words] = strtok_r(rest, " \n", &rest)) != NULL)
        words++;
    for (int c = 0; words != 0 && c < (int)(sizeof(commands) / sizeof(*commands)); c++) {
        if (strcmp(word[0], commands[c].name) == 0 && words >= commands[c].words)
            which = c;
    }
    switch (which) {
    case 0:
    case 1:
        hold((unsigned)atoi(word[1]), word[2], which == 0);
        break;
    case 2:
        printf("lease %s\n",
               nat_result_name(nat_lease(nat, (uint16_t)atoi(word[1]), (uint32_t)atoi(word[2]))));
        break;
    case 3:
        add(word, words);
        break;
    case 4:
    case 5:
        if ((i = find(word[1])) == NULL)
            break;
        if (which == 4)
            nat_remove(nat, &i->e);
        else
            print_counts("counts", i);
        break;
    case 6:
        begin_fill(word);
        break;
    case 7:
        begin(&drain, count(&many), (unsigned)atoi(word[1]));
        break;
    case 8:
        print_stats();
        break;
    case 9:
        finish();
        break;
    case 10:
        churn(word[1][0] == '1');
        break;
    default:
        printf("error command\n");
    }
}

static void on_input(uv_poll_t *p, int status, int events)
{
    char *end;
    (void)p, (void)status, (void)events;

    ssize_t got = read(STDIN_FILENO, line + line_len, sizeof(line) - 1 - line_len);
    if (got <= 0) {
        if (nat != NULL)
            finish();
        return;
    }
    line_len += (size_t)got;
    line[line_len] = '\0';
    while (nat != NULL && (end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        line_len -= (size_t)(end + 1 - line);
        memmove(line, end + 1, line_len + 1);
    }
}

static uint32_t number(const char *text)
{
    return (uint32_t)strtoul(text, NULL, 0);
}

static int probe(char **argv, int argc)
{
    struct addr local[16];
    struct nat_probe_config c = {
        .relay_id = argv[0], .mark = number(argv[1]), .mask = number(argv[2]), .local = local};
    struct nat_probe p;

    for (int i = 3; i < argc && c.local_count < 16; i++)
        c.local_count += addr_parse_ip(argv[i], &local[c.local_count]);
    nat_probe(&c, &p);
    printf("missing");
    for (int i = 0; i < NAT_NEEDS; i++) {
        if (p.missing & UINT32_C(1) << i)
            printf(" %s", nat_need_name(i));
    }
    printf("\nptcls");
    for (int i = 0; i < p.ptcl_count; i++)
        printf(" %u", p.ptcls[i]);
    printf("\nserves%s%s%s\nforeign%s%s\nmax %u\ntext %s\nwarning %s\n", p.ipv4 ? " ipv4" : "",
           p.ipv6 ? " ipv6" : "", p.loopback ? " loopback" : "", p.foreign_drop ? " drop" : "",
           p.legacy_iptables ? " legacy" : "", p.conntrack_max, p.text, p.warning);
    return 0;
}

static void configure(struct nat_config *c, char **argv)
{
    unsigned first, last;

    c->relay_id = argv[0];
    c->mark = number(argv[1]);
    c->mask = number(argv[2]);
    c->tag_mask = number(argv[3]);
    if (sscanf(argv[4], "%u-%u", &first, &last) == 2)
        c->ports = (struct port_span){(uint16_t)first, (uint16_t)last};
    for (uint8_t ptcl = 1; ptcl < 255 && c->ptcl_count < NAT_PTCLS_MAX; ptcl++) {
        if (ptcl == 6 || ptcl == 17 || ptcl == 136 || ptcl == 132 || ptcl == 33)
            c->ptcls[c->ptcl_count++] = ptcl;
    }
}

int main(int argc, char **argv)
{
    struct nat_config c = {.capacity = 200000,
                           .sample_ms = 300,
                           .loopback = true,
                           .on_added = on_added,
                           .on_ended = on_ended,
                           .on_removed = on_removed,
                           .on_trouble = on_trouble};
    struct err e;
    int at = 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 4 && strcmp(argv[1], "--probe") == 0)
        return probe(argv + 2, argc - 2);
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--gap") == 0)
            c.commit_gap_ms = number(argv[at + 1]);
        else if (strcmp(argv[at], "--sample") == 0)
            c.sample_ms = number(argv[at + 1]);
        else if (strcmp(argv[at], "--capacity") == 0)
            c.capacity = number(argv[at + 1]);
        else if (strcmp(argv[at], "--events") == 0)
            c.events_buffer = number(argv[at + 1]);
    }
    if (argc - at < 5) {
        fprintf(stderr, "usage: see the source\n");
        return 2;
    }
    configure(&c, argv + at);
    list_init(&items);
    list_init(&many);
    loop_init(&loop);
    uv_idle_init(&loop.uv, &more);
    if (nat_open(&loop, &c, &nat, &e) != 0) {
        printf("failed %s\n", e.text);
        return 1;
    }
    printf("open\n");
    uv_poll_init(&loop.uv, &input, STDIN_FILENO);
    uv_poll_start(&input, UV_READABLE, on_input);
    loop_run(&loop);
    loop_fini(&loop);
    while (!list_empty(&items))
        forget(LIST_ENTRY(items.next, struct item, node));
    while (!list_empty(&many))
        forget(LIST_ENTRY(many.next, struct item, node));
    return 0;
}
