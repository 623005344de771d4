/* A status endpoint on a loop of its own, on a TCP port and a Unix socket, with pages to read; and
 * HTTP clients for it. All in one thread: the clients' sockets do not block, and waiting for
 * something means turning the loop. What does not come within five seconds fails the test. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "shared/daemon/status.h"

struct status_fixture {
    uv_loop_t loop;
    struct status *status;
    struct addr tcp;
    char dir[32], path[48], spec[64]; /* of the Unix socket */
    struct status_config config;      /* for the next start; one name in hosts */
    uint64_t fds;
    bool ready, closed;
    size_t big; /* octets of padding in /status */
};

/* For cmocka: *state is the fixture, not started. Teardown asserts that no descriptor, no file and
 * no handle is left. */
int status_fixture_setup(void **state);
int status_fixture_teardown(void **state);

void status_fixture_start(struct status_fixture *f);
/* Closes, and turns the loop until it is closed. */
void status_fixture_stop(struct status_fixture *f);
/* One turn of the loop, and a millisecond. */
void status_fixture_breathe(struct status_fixture *f);
/* Until so many connections are open. */
void status_fixture_wait(struct status_fixture *f, uint64_t connections);
/* How often the loop turns by itself in so many milliseconds: thousands of times when it spins. */
unsigned status_fixture_turns(struct status_fixture *f, unsigned ms);

struct http_client {
    int fd;
    char *text; /* what came and was not yet read as a reply */
    size_t len, cap;
    bool ended; /* the other side has closed, */
    bool reset; /* by a reset */
};

struct http_reply {
    int code;
    char head[2048];
    char body[8192]; /* the first of it */
    size_t len;
};

#define GET(path) "GET " path " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

struct http_client http_open(struct status_fixture *f, bool tcp);
void http_close(struct http_client *c);
void http_send(struct http_client *c, const char *text);
/* What is there, without waiting. */
void http_receive(struct http_client *c);
/* Waits for one reply and takes it off c's text. Its code, or 0 when the connection ended instead.
 * head: it answers HEAD, there is no body. */
int http_read(struct status_fixture *f, struct http_client *c, bool head, struct http_reply *ret);
void http_wait_end(struct status_fixture *f, struct http_client *c);
/* One request on a connection of its own. */
int http_ask(struct status_fixture *f, bool tcp, const char *request, struct http_reply *ret);
/* Monotonic. */
uint64_t http_now_ms(void);
