/* What nng 1.5 does that its users would not expect, and where that is dealt with:
 *
 *   a send that waits for a connection while its context receives already: when the send times out
 *   or is cancelled first, nng panics; when receiving times out, the send is left without its
 *   message, and cancelling it is a crash. So only receiving has a time-out, and whenever it fails
 *   the context is closed and a new one opened (n2_dialer.c)
 *
 *   a peer that hangs up before it is greeted: over ipc the error is taken for "closed", and nng
 *   accepts, or dials, nobody ever after. So a listener is replaced when its failures rise, and a
 *   dialer when it has had no connection for a while
 *
 *   nng_close waits for ever when half a message has arrived on a connection in that moment: its
 *   transports forget the reader. So closing is done on a thread of its own, which is left behind
 *   when it does not come back (n2_crossing.c). No other connection is dialled anew from then on:
 *   close a dialer when the process is about to end, or when its relay has nothing to say */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shared/n2/n2_link_impl.h"

bool link_is_url(const char *url)
{
    return strncmp(url, "ipc:///", 7) == 0 || strncmp(url, "tcp://", 6) == 0;
}

int link_errno(int nng)
{
    switch (nng) {
    case 0:
        return 0;
    case NNG_ETIMEDOUT:
        return -ETIMEDOUT;
    case NNG_ENOMEM:
        return -ENOMEM;
    case NNG_ECANCELED:
    case NNG_ECLOSED:
        return -ECANCELED;
    default:
        return -ECONNRESET;
    }
}

bool link_peer_allowed(nng_pipe p, const uint32_t *uids, size_t n)
{
    uint64_t uid;

    if (nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_UID, &uid) != 0)
        return true;
    if (uid == 0 || uid == geteuid())
        return true;
    for (size_t i = 0; i < n; i++) {
        if (uid == uids[i])
            return true;
    }
    return false;
}
