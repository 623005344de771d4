/* A session: one client, from accept until a relay has its socket or it is told why not.
 *
 *   accept ──► PROXY: from a balancer, the header that says who the client is
 *                 │ (wrong, missing, late: gone)
 *                 │    ┌────────── AUTH ◄─┐
 *                 ▼    ▼                  │
 *   accept ──► HANDSHAKE ──────request────┴──► RESOLVING ──► PLACING ◄──┐ ready, retry
 *                 │                                 │           │       │
 *                 │                                 │           ▼       │
 *                 │                                 │        OPENING ───┘
 *                 │                                 │           ├──► LISTENING (BIND: first reply)
 *                 │ dialect says close              │ denied    │         │ peer
 *                 ▼                                 ▼           ▼         ▼
 *              FAILING: reply, shutdown, drain ◄────┴─── HANDING: leg queued ──► gone: the
 *                 └──► gone                                                      association goes on
 *
 * The happy path of CONNECT: greeting, request, rules, names, placement, Open, Attach with the reply;
 * then the relay has the client's socket and the session is freed. What is left is an association
 * (socksd/association.h), which waits for the relay to say that it has ended.
 *
 * What fails: whatever is wrong becomes one reply word; session_fail sends it, and the socket is
 * drained before it is closed so that the client can read it (PROTOCOL 14.2 rule 8). A relay that
 * refuses, or does not answer, is tried elsewhere inside the client's deadline: nothing has moved.
 * Deadlines: one for the header and one for the handshake (absolute, both from accept), one for the
 * request, one for draining.
 *
 * One way out: session_end. */
#pragma once

#include "shared/base/sm.h"
#include "shared/n2/n2_client.h"
#include "socksd/dialect.h"
#include "socksd/relays.h"
#include "socksd/server.h"

enum session_state {
    SESSION_PROXY,
    SESSION_HANDSHAKE,
    SESSION_AUTH,
    SESSION_RESOLVING,
    SESSION_PLACING,
    SESSION_OPENING,
    SESSION_LISTENING,
    SESSION_HANDING,
    SESSION_FAILING,
    SESSION_GONE,
};

struct association;

/* Early payload beyond this stays in the socket, where the relay finds it. */
#define SESSION_IN_MAX (DIALECT_IN_MAX + 1024)
#define SESSION_DESTINATIONS_MAX N2_DESTINATIONS_MAX

struct session {
    struct list node; /* in server.sessions */
    struct loop_grave grave;
    struct hot hot; /* edge-triggered: a client that sends ahead costs nothing while it waits */
    struct sm sm;
    struct server *server;
    const struct listener_keys *keys; /* of its listener */
    struct wheel_timer timer; /* the deadline of the state */
    struct addr client, listener;
    struct addr source; /* TRANSPARENT: where the client's packets come from; port 0: to be learned */
    struct addr via, reached; /* said by a header: the balancer that client came through, and where
                                 client had connected to; no family without */
    uint64_t started, request_until;
    struct dialect dialect;
    char user[DIALECT_USER_MAX + 1]; /* authenticated; "" without */
    bool authenticated;
    struct verify_request verify;
    struct resolve *resolving;
    struct relays_waiter waiter;
    struct association *association; /* OPENING, LISTENING, HANDING */
    struct loop_task handed;         /* HANDING: the leg has left, or the channel has failed */
    struct addr destinations[SESSION_DESTINATIONS_MAX];
    size_t destination_count;
    uint64_t tried; /* relays, by relays_bit */
    unsigned tries;
    unsigned rule; /* that allowed it */
    bool any_port; /* BIND: the wanted port was not to be had, any will do */
    bool said_no; /* a relay that answers did: waiting for others would not help */
    enum reply_word refusal; /* what to say when no relay is left to try */
    uint16_t drained;        /* FAILING: octets read and thrown away, in KiB */
    size_t in_len;
    uint8_t in[SESSION_IN_MAX];
};

/* Takes fd (nonblocking, just accepted). keys must outlive the session. */
void session_start(struct server *s, int fd, const struct addr *peer,
                   const struct listener_keys *keys, const struct addr *listener);
/* The one way out; logs and counts. From anywhere. */
void session_end(struct session *x, enum session_end why);
/* Counts a request by what it was answered. */
void session_count(struct session *x, enum reply_word word);
/* Answers the request with word (and for BIND the second reply), then drains and ends. */
void session_fail(struct session *x, enum reply_word word, const char *why);

/* ---- session_proxy.c: the header of a balancer ---- */

/* Whether what connects from peer must begin with a header. */
bool session_proxy_expected(const struct listener_keys *keys, const struct addr *peer);
/* SESSION_PROXY: looks at x->in. The octets that the header took, the handshake is next; 0: not
 * whole yet; negative: it was refused and the session has ended. */
int session_proxy_header(struct session *x);
/* SESSION_PROXY: the header did not come in time. */
void session_proxy_timeout(struct session *x);
/* Where the client reached us, as it knows it: from the header, or our end of the connection. */
void session_client_local(const struct session *x, struct addr *ret);

/* ---- session_request.c: from the request to the relay ---- */

/* Before anything else is done with x. */
void session_request_init(struct session *x);
/* The request is in x->dialect.request. */
void session_request(struct session *x);
/* The state's timer has fired after the handshake. */
void session_request_timeout(struct session *x);
/* Lets go of what the request holds (query, place in a line, association). */
void session_request_release(struct session *x);

/* A relay is chosen, or waited for, or there is none. */
void session_place(struct session *x);
/* What is asked for, in N2's and in the rules' words. */
enum n2_kind session_kind(const struct session *x);
uint32_t session_ptcl(const struct session *x);
struct rules_subject session_subject(const struct session *x);
/* Of the request's deadline, in milliseconds. */
uint32_t session_time_left(const struct session *x);

/* ---- session_relay.c: from the relay on ---- */

/* Asks it; false without memory. Its answers move x on. */
bool session_open_at(struct session *x, struct n2_client *relay);
/* The leg has left, or the session would have been told: it is over. */
void session_on_handed(struct loop_task *t);

/* ---- session_log.c ---- */

/* One record for a request that no relay took over. */
void session_log_access(const struct session *x, enum reply_word word, const char *why);
void session_log_auth_failed(const struct session *x);
/* Fills audit with what the record says of this request, for the relay's or our own record; text
 * holds the formatted values and must live as long. Returns the number. */
#define SESSION_AUDIT 8
struct session_audit_text {
    char destination[DEST_NAME_MAX + 8];
    char listener[ADDR_TEXT_MAX], via[ADDR_TEXT_MAX];
    char rule[12];
    char version[12];
    char ptcl[4];
};
size_t session_audit(const struct session *x, struct session_audit_text *text,
                     struct n2_audit audit[SESSION_AUDIT]);
