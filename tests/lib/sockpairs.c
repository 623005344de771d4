#include "tests/lib/sockpairs.h"

#include <stdarg.h>
#include <setjmp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <cmocka.h>

enum { CHUNK = 48 * 1024 };

int sock_listen(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    *ret_port = ntohs(in.sin_port);
    return fd;
}

/* Before the window is told: a receiver that shrinks it makes TCP crawl. */
static void bound_buffers(int fd, int size)
{
    if (size == 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

void sockpair_tcp(int buffer, int *ret_a, int *ret_b)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t port;
    int one = 1, listening = sock_listen(1, &port);

    in.sin_port = htons(port);
    *ret_a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bound_buffers(listening, buffer);
    bound_buffers(*ret_a, buffer);
    assert_int_equal(connect(*ret_a, (struct sockaddr *)&in, sizeof(in)), 0);
    *ret_b = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*ret_b >= 0);
    close(listening);
    fcntl(*ret_a, F_SETFL, O_NONBLOCK);
    setsockopt(*ret_a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(*ret_b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void sock_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

unsigned descriptors_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 3; /* ".", ".." and the directory itself */
}

/* ---- the sequence: splitmix64, eight octets at a time ---- */

static uint64_t word_at(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed << 40) + i * UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint8_t pattern_at(uint64_t seed, uint64_t offset)
{
    return (uint8_t)(word_at(seed, offset / 8) >> (8 * (offset % 8)));
}

void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *ret, size_t n)
{
    uint64_t word = 0;

    for (size_t i = 0; i < n; i++, offset++) {
        if (i == 0 || offset % 8 == 0)
            word = word_at(seed, offset / 8);
        ret[i] = (uint8_t)(word >> (8 * (offset % 8)));
    }
}

/* ---- talkers ---- */

static void hear(struct talker *t)
{
    uint8_t got[CHUNK], expected[CHUNK];
    ssize_t n = recv(t->hot.fd, got, sizeof(got), MSG_DONTWAIT);

    if (n == 0)
        t->eof = true;
    if (n < 0 && errno != EAGAIN)
        t->error = errno;
    if (n <= 0)
        return;
    pattern_fill(t->hears, t->heard, expected, (size_t)n);
    for (ssize_t i = 0; i < n; i++)
        t->garbled |= got[i] != expected[i];
    t->heard += (uint64_t)n;
}

static void speak(struct talker *t)
{
    uint8_t chunk[CHUNK];
    uint64_t left = t->to_send - t->sent;
    size_t len = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);

    if (len > 0) {
        pattern_fill(t->says, t->sent, chunk, len);
        ssize_t n = send(t->hot.fd, chunk, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            t->error = errno;
        if (n > 0)
            t->sent += (uint64_t)n;
    }
    if (t->fin && t->sent == t->to_send && !t->fin_sent) {
        shutdown(t->hot.fd, SHUT_WR);
        t->fin_sent = true;
    }
}

void talker_go(struct talker *t)
{
    uint32_t mask = 0;

    if (!t->deaf && !t->eof && t->error == 0)
        mask |= EPOLLIN;
    if (t->error == 0 && (t->sent < t->to_send || (t->fin && !t->fin_sent)))
        mask |= EPOLLOUT;
    if (t->hot.fd >= 0)
        hot_mask(t->loop, &t->hot, mask != 0 ? mask : EPOLLET);
}

static void on_talker(struct hot *h, uint32_t events)
{
    struct talker *t = LIST_ENTRY(h, struct talker, hot);

    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && !t->deaf && !t->eof && t->error == 0)
        hear(t);
    if ((events & EPOLLOUT) && t->error == 0)
        speak(t);
    talker_go(t);
}

void talker_init(struct talker *t, struct loop *l, int fd, uint64_t says, uint64_t hears)
{
    *t = (struct talker){.loop = l, .says = says, .hears = hears};
    hot_init(&t->hot, on_talker);
    assert_int_equal(hot_add(l, &t->hot, fd, EPOLLIN), 0);
}

void talker_say(struct talker *t, uint64_t more)
{
    t->to_send += more;
    talker_go(t);
}

void talker_close(struct talker *t, bool reset)
{
    int fd = t->loop != NULL ? hot_remove(t->loop, &t->hot) : -1;

    if (fd >= 0 && reset)
        sock_reset(fd);
    else if (fd >= 0)
        close(fd);
}
