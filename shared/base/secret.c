#include "shared/base/secret.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

/* Random octets in stock, handed out from the end. One page per thread, wiped by the kernel in the
 * child of a fork, so that two processes never hand out the same octets. */
struct stock {
    size_t left;
    uint8_t octets[4096 - sizeof(size_t)];
};

static struct stock *stock_new(void)
{
    void *page = mmap(NULL, sizeof(struct stock), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || madvise(page, sizeof(struct stock), MADV_WIPEONFORK) != 0)
        abort();
    madvise(page, sizeof(struct stock), MADV_DONTDUMP);
    return page;
}

static void stock_refill(struct stock *s)
{
    size_t have = 0;

    while (have < sizeof(s->octets)) {
        ssize_t n = getrandom(s->octets + have, sizeof(s->octets) - have, 0);
        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0)
            have += (size_t)n;
    }
    s->left = have;
}

void secret_random(void *buf, size_t len)
{
    static _Thread_local struct stock *stock;
    uint8_t *to = buf;

    if (stock == NULL)
        stock = stock_new();
    while (len > 0) {
        if (stock->left == 0)
            stock_refill(stock);
        size_t n = len < stock->left ? len : stock->left;
        stock->left -= n;
        memcpy(to, stock->octets + stock->left, n);
        secret_wipe(stock->octets + stock->left, n);
        to += n;
        len -= n;
    }
}

bool secret_equal(const void *a, const void *b, size_t len)
{
    /* volatile: the compiler may not notice that the answer is known half-way. */
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;

    for (size_t i = 0; i < len; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}

void secret_wipe(void *buf, size_t len)
{
    if (len > 0)
        explicit_bzero(buf, len);
}
