/* libsocksc: the client's end of SOCKS 4, 4a and 5, for any program and any event loop.
 *
 * It opens no sockets, reads no clock and never blocks: it is handed octets and hands out octets.
 * The application connects to the proxy and then, until the result is none of the first two:
 *
 *                    +----------- socksc_output / socksc_sent -----------> proxy
 *   socksc_new --> socksc
 *                    +<---------- socksc_take <--------------------------- proxy
 *
 *   SOCKSC_MORE      send what there is to send, wait for octets, take them
 *   SOCKSC_LISTENING the same; the first of the two answers to BIND came, socksc_bound says where
 *                    the proxy listens
 *   SOCKSC_DONE      granted. What follows on the connection is, by command:
 *                      CONNECT, BIND  payload, both ways
 *                      UDP_ASSOCIATE  nothing: it is kept open as long as the association shall
 *                                     live; datagrams go to socksc_bound with a header in front
 *                      TRANSPARENT    nothing: the same; plain packets go to socksc_bound
 *   anything else    it failed for good; socksc_sentence says why, the connection is of no use
 *
 * Different handshakes are independent of each other; each is for one thread at a time. This header
 * uses nothing else of the project. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum socksc_version { SOCKSC_SOCKS5, SOCKSC_SOCKS4, SOCKSC_SOCKS4A };

enum socksc_command {
    SOCKSC_CONNECT = 1,
    SOCKSC_BIND = 2,
    SOCKSC_UDP_ASSOCIATE = 3, /* SOCKS 5 */
    SOCKSC_TRANSPARENT = 4,   /* SOCKS 5: draft-lucioni-a-socks-transparent-proxy-method-00 */
};

enum socksc_result {
    SOCKSC_MORE,
    SOCKSC_LISTENING,
    SOCKSC_DONE,
    /* What the proxy did. */
    SOCKSC_REFUSED,    /* it said no; see socksc_code */
    SOCKSC_NO_METHOD,  /* it accepts none of the methods that we offer */
    SOCKSC_BAD_LOGIN,  /* user name or password are wrong */
    SOCKSC_NOT_SOCKS,  /* it does not speak this version of SOCKS */
    SOCKSC_MISBEHAVED, /* it speaks SOCKS, but said what it must not */
    SOCKSC_ENDED,      /* the connection ended before an answer was whole */
    /* What was asked cannot be said in this version; found by socksc_new, nothing was sent. */
    SOCKSC_BAD_COMMAND,
    SOCKSC_BAD_HOST,     /* empty or longer than 255 octets; SOCKS 4: a name, or not IPv4 */
    SOCKSC_BAD_SOURCE,   /* the same, of the source */
    SOCKSC_BAD_USER,     /* longer than 255 octets; SOCKS 5: empty; user without password */
    SOCKSC_BAD_PASSWORD, /* longer than 255 octets or empty; without user; SOCKS 4 has none */
    SOCKSC_NO_MEMORY,
};

/* A host is an address in text ("192.0.2.1", "2001:db8::1", "[2001:db8::1]") or a name, which is
 * carried as it is and looked up by the proxy. */
struct socksc_endpoint {
    char host[256];
    uint16_t port;
};

struct socksc_request {
    enum socksc_version version;
    enum socksc_command command;
    /* CONNECT, TRANSPARENT: where to. BIND: who may connect (0.0.0.0: anybody), and the port that
     * the proxy should listen on (0: any). UDP_ASSOCIATE: where the datagrams will come from
     * (0.0.0.0 and 0 when that is not known). */
    const char *host;
    uint16_t port;
    /* SOCKS 5: both or neither; offered beside "no authentication" (RFC 1929). SOCKS 4: user is the
     * user id, NULL is an empty one. */
    const char *user, *password;
    /* TRANSPARENT only. protocol: a protocol number of IANA, 6 for TCP. Where the packets will come
     * from: 0.0.0.0 or :: is "the address that you see", 0 is "the port of the first packet". */
    uint8_t protocol;
    const char *source_host;
    uint16_t source_port;
};

struct socksc;

/* Copies what it needs from the request. NULL on failure, *ret_why (may be NULL) says which. */
struct socksc *socksc_new(const struct socksc_request *request, enum socksc_result *ret_why);
/* Wipes and frees; NULL is harmless. */
void socksc_free(struct socksc *s);

/* What is to be sent now; *ret_len is 0 when there is nothing. Valid until the next call of another
 * function. */
const void *socksc_output(const struct socksc *s, size_t *ret_len);
/* The first n octets of it were sent. */
void socksc_sent(struct socksc *s, size_t n);
/* Takes octets that came, in any pieces, up to the end of one answer: look at the result, and call
 * again with what is left. Returns how many it took. After SOCKSC_DONE it takes none: what is left
 * is payload. After a failure it takes all. */
size_t socksc_take(struct socksc *s, const void *octets, size_t len);
/* The connection ended, or failed. Harmless once the result is final. */
void socksc_end(struct socksc *s);

enum socksc_result socksc_result(const struct socksc *s);
/* The bound address that the proxy told, once it is LISTENING or DONE. 0.0.0.0 and :: stand for the
 * address by which the proxy was reached. */
const struct socksc_endpoint *socksc_bound(const struct socksc *s);
/* BIND, when DONE: who connected. */
const struct socksc_endpoint *socksc_peer(const struct socksc *s);
/* When REFUSED: REP of SOCKS 5, or CD of SOCKS 4. */
uint8_t socksc_code(const struct socksc *s);
/* One constant sentence about the result, without a full stop: "connection refused". */
const char *socksc_sentence(const struct socksc *s);
/* The same for the results that need no handshake: those of socksc_new. */
const char *socksc_result_sentence(enum socksc_result result);

/* Datagrams of a UDP association (RFC 1928 section 7): a header, then the payload.
 *
 * Writes the header of a datagram to that host and port. Returns its octets, at most
 * SOCKSC_UDP_HEADER_MAX; 0: it does not fit in size, or the host cannot be said. */
#define SOCKSC_UDP_HEADER_MAX 262
size_t socksc_udp_encode(const char *host, uint16_t port, void *buf, size_t size);
/* Reads the header of a datagram that came. Returns its octets and the sender (may be NULL), or 0:
 * drop it (too short, not such a header, or a fragment: we reassemble none). */
size_t socksc_udp_decode(const void *datagram, size_t len, struct socksc_endpoint *ret_sender);

#ifdef __cplusplus
}
#endif
