/* Datagrams in both directions: between whoever is local and a connected UDP socket. */
#pragma once

#include "socksd/cmd/sockscat.h"

/* Where datagrams come from and go to on our side. */
struct local {
    int in;          /* standard input: a datagram is a read, or a line; or a socket */
    int out;         /* standard output; or a UDP socket */
    bool sockets;    /* in and out are sockets */
    struct addr to;  /* sockets: out is told to send there */
    unsigned wait_s; /* see carry */
};

struct carried {
    int relay;                             /* a connected UDP socket */
    int control;                           /* the association lives as long as this connection */
    uint8_t header[SOCKSC_UDP_HEADER_MAX]; /* goes in front of each datagram that is sent; and what
                                            * comes has one, too */
    size_t header_len;                     /* 0: plain datagrams, both ways */
};

/* Until nothing moved for wait_s: counted from the end of input, or, of a socket, which has no end,
 * always. An exit code; the end of the control connection before that is a failure, which is told.
 */
int carry(const struct options *o, const struct local *l, const struct carried *c);
