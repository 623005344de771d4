#include "shared/base/log.h"
#include "shared/base/log_record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_LEN 65536
#define CHUNK_MAX  PIPE_BUF /* a write of this size to a pipe that polls writable is whole */

static_assert(LOG_RECORD_MAX <= CHUNK_MAX, "a line fits into one write");

/* The one log of the process, as stderr is the one stderr. */
static struct {
    const char *program;
    enum log_level least;
    enum log_format format;
    int fd;
    bool fd_is_ours, fd_is_socket;
    size_t len;
    uint64_t dropped;
    char buffer[BUFFER_LEN];
} sink = {.program = "-", .least = LOG_DEBUG, .fd = STDERR_FILENO};

static const char *const format_names[] = {"logfmt", "json"};

/* Several processes often share one pipe as stderr. What poll said of it may be over by the time of
 * the write, and O_NONBLOCK on the descriptor itself would change it for the others: so open the
 * pipe once more. A socket needs no such trick, and a file never blocks for a reader. */
static void sink_open(void)
{
    struct stat st;
    int fd;

    if (sink.fd_is_ours)
        close(sink.fd);
    sink.fd = STDERR_FILENO;
    sink.fd_is_ours = sink.fd_is_socket = false;
    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    sink.fd_is_socket = S_ISSOCK(st.st_mode);
    if (!S_ISFIFO(st.st_mode))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        sink.fd = fd;
        sink.fd_is_ours = true;
    }
}

static ssize_t sink_write(const char *text, size_t len)
{
    struct pollfd p = {.fd = sink.fd, .events = POLLOUT};
    int ready = poll(&p, 1, 0);

    if (ready == 0)
        errno = EAGAIN;
    if (ready <= 0)
        return -1;
    if (sink.fd_is_socket)
        return send(sink.fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(sink.fd, text, len);
}

static uint64_t count_lines(const char *text, size_t len)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

/* The first n octets of the buffer are settled. */
static void sink_shift(size_t n)
{
    sink.len -= n;
    memmove(sink.buffer, sink.buffer + n, sink.len);
}

/* As many whole lines as fit into one chunk; every line is shorter than a chunk. */
static size_t next_chunk(const char *text, size_t len)
{
    const char *end;

    if (len <= CHUNK_MAX)
        return len;
    end = memrchr(text, '\n', CHUNK_MAX);
    return end == NULL ? CHUNK_MAX : (size_t)(end - text) + 1;
}

void log_flush(void)
{
    size_t done = 0;

    while (done < sink.len) {
        ssize_t n = sink_write(sink.buffer + done, next_chunk(sink.buffer + done, sink.len - done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno == EAGAIN) {
            break; /* the reader stalls; what waits here goes first next time */
        } else if (errno != EINTR) {
            sink.dropped += count_lines(sink.buffer + done, sink.len - done);
            done = sink.len;
        }
    }
    sink_shift(done);
}

uint64_t log_dropped(void)
{
    return sink.dropped;
}

static void sink_put(const char *line, size_t len)
{
    if (len > BUFFER_LEN - sink.len)
        log_flush();
    if (len > BUFFER_LEN - sink.len) {
        sink.dropped++;
        return;
    }
    memcpy(sink.buffer + sink.len, line, len);
    sink.len += len;
}

void log_emit(enum log_level level, const char *event, const struct log_field *fields)
{
    struct log_head head = {
        .format = sink.format, .level = level, .program = sink.program, .event = event};
    char line[LOG_RECORD_MAX];

    if (level < sink.least)
        return;
    clock_gettime(CLOCK_REALTIME, &head.time);
    sink_put(line, log_record_format(&head, fields, line));
    if (level >= LOG_ERROR)
        log_flush();
}

void log_init(const char *program, enum log_level least, enum log_format format)
{
    sink.program = program;
    log_configure(least, format);
    sink_open();
}

void log_configure(enum log_level least, enum log_format format)
{
    sink.least = least;
    sink.format = format;
}

static int find_word(const char *text, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return -1;
}

bool log_parse_level(const char *text, enum log_level *ret)
{
    int i = find_word(text, log_level_names, LOG_ERROR + 1);

    if (i >= 0)
        *ret = (enum log_level)i;
    return i >= 0;
}

bool log_parse_format(const char *text, enum log_format *ret)
{
    int i = find_word(text, format_names, LOG_JSON + 1);

    if (i >= 0)
        *ret = (enum log_format)i;
    return i >= 0;
}
