#include "relayd-udp/reassembly.h"

#include <stdlib.h>
#include <string.h>

#include "relayd-udp/engine.h"

#define LAST       0x80
#define NUMBER_MAX 0x7f

/* One piece of memory. The numbers come in order, so that the highest is how many there are. */
struct reassembly_queue {
    uint64_t until;
    uint32_t size; /* of octets */
    uint32_t len;  /* of the payload */
    uint16_t dest_len;
    uint8_t highest;
    bool whole;       /* has been returned: nothing waits */
    uint8_t octets[]; /* the destination, then the payload */
};

/* Gives r a queue, or the queue it has another size. False: nothing has changed. */
static bool queue_resize(struct reassembly *r, struct reassembly_budget *b, size_t size)
{
    size_t had = r->queue == NULL ? 0 : sizeof(*r->queue) + r->queue->size;
    size_t more = sizeof(*r->queue) + size - had;
    struct reassembly_queue *q;

    if (b->held > b->max || more > b->max - b->held)
        return false;
    q = realloc(r->queue, had + more);
    if (q == NULL)
        return false;
    b->held += more;
    q->size = (uint32_t)size;
    r->queue = q;
    return true;
}

static bool queue_begin(struct reassembly *r, struct reassembly_budget *b, const uint8_t *dest,
                        size_t dest_len, size_t len, uint64_t now)
{
    struct reassembly_queue *q;

    if (!queue_resize(r, b, dest_len + len))
        return false;
    q = r->queue;
    q->until = now + (b->time_ms != 0 ? b->time_ms : REASSEMBLY_TIME_MS);
    q->len = 0;
    q->dest_len = (uint16_t)dest_len;
    q->highest = 0;
    q->whole = false;
    memcpy(q->octets, dest, dest_len);
    return true;
}

/* Room for len octets more: with some to spare for those to come, if the budget has it. */
static bool queue_reserve(struct reassembly *r, struct reassembly_budget *b, size_t len, bool last)
{
    const struct reassembly_queue *q = r->queue;
    size_t needs = q->dest_len + q->len + len;
    size_t likes = 2 * (size_t)q->size, most = (size_t)q->dest_len + ENGINE_PAYLOAD_MAX;

    if (needs <= q->size)
        return true;
    if (likes > most)
        likes = most;
    if (!last && likes > needs && queue_resize(r, b, likes))
        return true;
    return queue_resize(r, b, needs);
}

/* Whether a fragment with this number and destination ends what waits. */
static bool queue_is_ended_by(const struct reassembly_queue *q, unsigned number,
                              const uint8_t *dest, size_t dest_len, uint64_t now)
{
    return now >= q->until || number < q->highest || number > q->highest + 1u ||
           dest_len != q->dest_len || memcmp(dest, q->octets, dest_len) != 0;
}

unsigned reassembly_abandon(struct reassembly *r, struct reassembly_budget *b)
{
    struct reassembly_queue *q = r->queue;
    unsigned lost;

    if (q == NULL)
        return 0;
    lost = q->whole ? 0 : q->highest;
    b->held -= sizeof(*q) + q->size;
    free(q);
    r->queue = NULL;
    return lost;
}

static enum reassembly_result lose(struct reassembly *r, struct reassembly_budget *b,
                                   enum reassembly_result why, unsigned *lost)
{
    *lost += reassembly_abandon(r, b) + 1;
    return why;
}

enum reassembly_result reassembly_add(struct reassembly *r, struct reassembly_budget *b,
                                      uint8_t frag, const uint8_t *dest, size_t dest_len,
                                      const uint8_t *data, size_t len, uint64_t now,
                                      const uint8_t **ret, size_t *ret_len, unsigned *ret_lost)
{
    const unsigned number = frag & NUMBER_MAX;
    const bool last = (frag & LAST) != 0;
    struct reassembly_queue *q;
    size_t waiting;

    *ret_lost = 0;
    if (r->queue != NULL && r->queue->whole)
        reassembly_abandon(r, b);
    if (number == 0) {
        *ret_lost = 1;
        return REASSEMBLY_DUPLICATE;
    }
    if (r->queue != NULL && queue_is_ended_by(r->queue, number, dest, dest_len, now))
        *ret_lost = reassembly_abandon(r, b);
    q = r->queue;
    if (q != NULL && number == q->highest) {
        *ret_lost = 1;
        return REASSEMBLY_DUPLICATE;
    }
    waiting = q == NULL ? 0 : q->len;
    if ((q == NULL && number != 1) || (number == NUMBER_MAX && !last) ||
        len > ENGINE_PAYLOAD_MAX - waiting)
        return lose(r, b, REASSEMBLY_ABANDONED, ret_lost);
    if (!(q == NULL ? queue_begin(r, b, dest, dest_len, len, now) : queue_reserve(r, b, len, last)))
        return lose(r, b, REASSEMBLY_FULL, ret_lost);
    q = r->queue;
    if (len > 0)
        memcpy(q->octets + q->dest_len + q->len, data, len);
    q->len += (uint32_t)len;
    q->highest = (uint8_t)number;
    if (!last)
        return REASSEMBLY_KEPT;
    q->whole = true;
    *ret = q->octets + q->dest_len;
    *ret_len = q->len;
    return REASSEMBLY_WHOLE;
}

bool reassembly_expired(const struct reassembly *r, uint64_t now)
{
    return r->queue != NULL && !r->queue->whole && now >= r->queue->until;
}
