#include "shared/nat/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

/* What the library's own filters cannot ask for: a state within a nested attribute. An event is one
 * message; numbers are read in network order, while types of messages are in the host's.
 *
 *   octets   0 length 4 │ 4 type 2 │ 6 flags 2 │ 8 number 4 │ 12 port 4 │ 16 netfilter's header 4
 *           20 attributes: [length 2 │ type 2 │ payload] ... */
enum { TYPE_AT = 4, ATTRIBUTES_AT = 20, PAYLOAD = 4, PASS = 0x40000 };

#define LOAD_TYPE     BPF_STMT(BPF_LD | BPF_H | BPF_ABS, TYPE_AT)
#define LOAD(value)   BPF_STMT(BPF_LD | BPF_IMM, (value))
#define LOAD_X(value) BPF_STMT(BPF_LDX | BPF_IMM, (value))
#define A_TO_X        BPF_STMT(BPF_MISC | BPF_TAX, 0)
/* The place of the attribute of type X, from place A on (or nested in the one at A); 0: none. */
#define FIND          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR)
#define FIND_NESTED   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR_NEST)
#define LOAD_NUMBER   BPF_STMT(BPF_LD | BPF_W | BPF_IND, PAYLOAD)
#define LOAD_OCTET    BPF_STMT(BPF_LD | BPF_B | BPF_IND, PAYLOAD)
#define AND(value)    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, (value))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))
/* Jumps count the instructions that are passed over. */
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))

int ct_filter_events(int fd, uint32_t mark, uint32_t mask)
{
    struct sock_filter code[] = {
        /*  0 */ LOAD(ATTRIBUTES_AT),
        /*  1 */ LOAD_X(CTA_MARK),
        /*  2 */ FIND,
        /*  3 */ IF_EQUAL(0, 20, 0),
        /*  4 */ A_TO_X,
        /*  5 */ LOAD_NUMBER,
        /*  6 */ AND(mask),
        /*  7 */ IF_EQUAL(mark, 0, 16),
        /*  8 */ LOAD_TYPE,
        /*  9 */ IF_EQUAL(htons(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE), 15, 0),
        /* 10 */ LOAD(ATTRIBUTES_AT),
        /* 11 */ LOAD_X(CTA_PROTOINFO),
        /* 12 */ FIND,
        /* 13 */ IF_EQUAL(0, 10, 0),
        /* 14 */ LOAD_X(CTA_PROTOINFO_TCP),
        /* 15 */ FIND_NESTED,
        /* 16 */ IF_EQUAL(0, 7, 0),
        /* 17 */ LOAD_X(CTA_PROTOINFO_TCP_STATE),
        /* 18 */ FIND_NESTED,
        /* 19 */ IF_EQUAL(0, 4, 0),
        /* 20 */ A_TO_X,
        /* 21 */ LOAD_OCTET,
        /* 22 */ IF_EQUAL(TCP_CONNTRACK_TIME_WAIT, 2, 0),
        /* 23 */ IF_EQUAL(TCP_CONNTRACK_CLOSE, 1, 0),
        /* 24 */ RETURN(0),
        /* 25 */ RETURN(PASS),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(*code), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0 ? 0
                                                                                        : -errno;
}
