#include "shared/client/socksc.h"

#include <stdlib.h>
#include <string.h>

#include "shared/client/handshake.h"
#include "shared/socks/socks5_udp.h"

struct socksc {
    struct client_handshake handshake;
    struct socksc_endpoint bound, peer; /* in text, once they are known */
};

_Static_assert(SOCKSC_UDP_HEADER_MAX == SOCKS5_UDP_HEADER_MAX, "one header");

/* False: empty or too long. */
static bool dest_from(const char *host, uint16_t port, struct dest *ret)
{
    size_t len = host != NULL ? strlen(host) : 0;
    struct dest d = {0};

    if (len == 0 || len > DEST_NAME_MAX)
        return false;
    if (!addr_parse_ip(host, &d.addr))
        memcpy(d.name, host, len);
    d.addr.port = port;
    *ret = d;
    return true;
}

static void dest_to(const struct dest *d, struct socksc_endpoint *ret)
{
    if (d->name[0] != '\0')
        memcpy(ret->host, d->name, sizeof(d->name));
    else
        addr_format_ip(&d->addr, ret->host);
    ret->port = d->addr.port;
}

static enum socksc_result start(struct client_handshake *h, const struct socksc_request *r)
{
    struct handshake_request wanted = {
        .version = r->version,
        .command = r->command,
        .user = r->user,
        .password = r->password,
        .protocol = r->protocol,
    };

    if (!dest_from(r->host, r->port, &wanted.dest))
        return SOCKSC_BAD_HOST;
    if (r->command == SOCKSC_TRANSPARENT &&
        !dest_from(r->source_host, r->source_port, &wanted.source))
        return SOCKSC_BAD_SOURCE;
    return handshake_init(h, &wanted);
}

struct socksc *socksc_new(const struct socksc_request *request, enum socksc_result *ret_why)
{
    struct socksc *s = calloc(1, sizeof(*s));
    enum socksc_result result = s != NULL ? start(&s->handshake, request) : SOCKSC_NO_MEMORY;

    if (ret_why != NULL)
        *ret_why = result;
    if (result == SOCKSC_MORE)
        return s;
    free(s);
    return NULL;
}

void socksc_free(struct socksc *s)
{
    if (s == NULL)
        return;
    handshake_fini(&s->handshake);
    free(s);
}

const void *socksc_output(const struct socksc *s, size_t *ret_len)
{
    return handshake_output(&s->handshake, ret_len);
}

void socksc_sent(struct socksc *s, size_t n)
{
    handshake_sent(&s->handshake, n);
}

size_t socksc_take(struct socksc *s, const void *octets, size_t len)
{
    struct client_handshake *h = &s->handshake;
    size_t taken = handshake_take(h, octets, len);

    if (h->result == SOCKSC_LISTENING || h->result == SOCKSC_DONE)
        dest_to(&h->bound, &s->bound);
    if (h->result == SOCKSC_DONE && h->command == SOCKSC_BIND)
        dest_to(&h->peer, &s->peer);
    return taken;
}

void socksc_end(struct socksc *s)
{
    handshake_end(&s->handshake);
}

enum socksc_result socksc_result(const struct socksc *s)
{
    return s->handshake.result;
}

const struct socksc_endpoint *socksc_bound(const struct socksc *s)
{
    return &s->bound;
}

const struct socksc_endpoint *socksc_peer(const struct socksc *s)
{
    return &s->peer;
}

uint8_t socksc_code(const struct socksc *s)
{
    return s->handshake.code;
}

const char *socksc_sentence(const struct socksc *s)
{
    return handshake_sentence(&s->handshake);
}

const char *socksc_result_sentence(enum socksc_result result)
{
    static const char *const sentences[] = {
        [SOCKSC_MORE] = "not answered yet",
        [SOCKSC_LISTENING] = "listening",
        [SOCKSC_DONE] = "granted",
        [SOCKSC_REFUSED] = "refused",
        [SOCKSC_NO_METHOD] = "the proxy accepts no method of authentication that we offer",
        [SOCKSC_BAD_LOGIN] = "the proxy does not accept this user name and password",
        [SOCKSC_NOT_SOCKS] = "the proxy does not speak this version of SOCKS",
        [SOCKSC_MISBEHAVED] = "the proxy broke the rules of SOCKS",
        [SOCKSC_ENDED] = "the proxy closed the connection instead of answering",
        [SOCKSC_BAD_COMMAND] = "this version of SOCKS has no such command",
        [SOCKSC_BAD_HOST] = "this version of SOCKS cannot carry this host",
        [SOCKSC_BAD_SOURCE] = "SOCKS cannot carry this source",
        [SOCKSC_BAD_USER] = "the user name is empty or longer than 255 octets",
        [SOCKSC_BAD_PASSWORD] = "a password is 1 to 255 octets, beside a user name of SOCKS 5",
        [SOCKSC_NO_MEMORY] = "out of memory",
    };

    if ((size_t)result >= sizeof(sentences) / sizeof(sentences[0]))
        return "unknown";
    return sentences[result];
}

size_t socksc_udp_encode(const char *host, uint16_t port, void *buf, size_t size)
{
    struct dest to;

    return dest_from(host, port, &to) ? socks5_udp_encode_to(&to, buf, size) : 0;
}

size_t socksc_udp_decode(const void *datagram, size_t len, struct socksc_endpoint *ret_sender)
{
    struct socks5_udp m;
    int taken = socks5_udp_decode(datagram, len, &m);

    if (taken <= 0 || m.frag != 0)
        return 0;
    if (ret_sender != NULL)
        dest_to(&m.dest, ret_sender);
    return (size_t)taken;
}
