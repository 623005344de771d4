/* N2 structs <-> octets. Pure; nobody else uses the generated messages.
 *
 * Encoders append to a buf and rest on one property of protobuf: the concatenation of two encoded
 * messages is the encoding of their merge. So a request is its head and then its calls, each
 * appended when it arises; nothing is kept until the message is sent. Check buf.failed at the end.
 *
 * Decoders refuse (-1) what is not the message at all. What is wrong with a single call is marked
 * in that call (n2_call.invalid), so that its neighbours are carried out. All that decoding
 * allocates comes from the arena. */
#pragma once

#include "shared/base/buf.h"
#include "shared/n2/n2.h"
#include "shared/n2/n2_arena.h"

void n2_put_request_head(struct buf *b, const struct n2_head *head);
void n2_put_call(struct buf *b, const struct n2_call *call);
void n2_put_reply_head(struct buf *b, uint64_t relay_epoch, const struct n2_refusal *refused);
void n2_put_answer(struct buf *b, const struct n2_answer *answer);
/* Appends the version and then attaches. */
void n2_put_legs_head(struct buf *b);
void n2_put_attach(struct buf *b, const struct n2_attach *attach);

/* 0, or -1: not a Request at all. A head that is out of range is refused here as well; an unknown
 * version is not (look at head.version). */
int n2_request_decode(struct n2_arena *a, const uint8_t *bytes, size_t len, struct n2_request *ret);
int n2_reply_decode(struct n2_arena *a, const uint8_t *bytes, size_t len, struct n2_reply *ret);
/* ret_attaches has room for N2_LEGS_MAX. Returns how many, or -1. */
int n2_legs_decode(struct n2_arena *a, const uint8_t *bytes, size_t len,
                   struct n2_attach *ret_attaches);
