/* Connected TCP sockets over loopback, and talkers: ends of a connection that live on a loop, say a
 * known sequence of octets and check what they hear.
 *
 * What cannot be had fails the test. */
#pragma once

#include "shared/net/loop.h"

/* Two ends of one TCP connection over 127.0.0.1, both nonblocking. buffer bounds what the kernel
 * keeps at each end and each way; 0: its own. */
void sockpair_tcp(int buffer, int *ret_a, int *ret_b);
/* A listening socket on 127.0.0.1 and its port. */
int sock_listen(int backlog, uint16_t *ret_port);
/* Closes with RST. */
void sock_reset(int fd);
/* Descriptors of this process. */
unsigned descriptors_open(void);

/* The octet at an offset of the sequence that a seed begins; a lost, doubled or swapped octet
 * shows. */
uint8_t pattern_at(uint64_t seed, uint64_t offset);
void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *ret, size_t n);

struct talker {
    struct hot hot;
    struct loop *loop;
    uint64_t to_send, sent; /* raise to_send and call talker_go */
    uint64_t heard;
    uint64_t says, hears; /* seeds */
    bool deaf;            /* does not read */
    bool fin;             /* ends once all is sent; done then */
    bool fin_sent;
    bool eof;     /* heard the end */
    bool garbled; /* heard another octet than expected */
    int error;    /* errno of the connection */
};

/* t owns fd. It says the sequence of seed `says` and expects that of `hears`. */
void talker_init(struct talker *t, struct loop *l, int fd, uint64_t says, uint64_t hears);
/* After a change of deaf, fin or to_send. */
void talker_go(struct talker *t);
void talker_say(struct talker *t, uint64_t more);
/* Takes it from the loop and closes, with RST if so wanted. Harmless when repeated, and
 * on one that is all zero. */
void talker_close(struct talker *t, bool reset);
