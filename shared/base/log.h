/* One record per line on stderr, logfmt or JSON, safe whatever octets the values hold.
 *
 *   log_info("relay_up", LOG_STR("relay", id), LOG_U64("epoch", epoch));
 *   ts=2026-11-20T08:00:00.123Z level=info prog=socksd event=relay_up relay=relayd-tcp-0 epoch=7
 *
 * Values are quoted and escaped where needed; control characters, quotes, backslashes and octets
 * that are not UTF-8 become \xNN (logfmt) or \u00NN (JSON): a hostile name can neither start a new
 * line nor forge a field. Values longer than LOG_VALUE_MAX octets as written are cut and end in
 * "..."; a record is at most 4096 octets, fields that do not fit are left out and cut=true says so.
 *
 * Records are collected and written by log_flush (the loop calls it before it sleeps). A reader of
 * stderr that does not read never blocks the process: lines that do not fit are dropped whole and
 * counted. Times are UTC, RFC 3339 with milliseconds. Not thread-safe: loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/base/addr.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

#define LOG_VALUE_MAX 512

enum log_kind {
    LOG_K_END,
    LOG_K_STR,
    LOG_K_BYTES,
    LOG_K_U64,
    LOG_K_I64,
    LOG_K_BOOL,
    LOG_K_ADDR,
    LOG_K_ERRNO,
};

struct log_field {
    enum log_kind kind;
    const char *key; /* a constant of ours: [a-z0-9_]+ */
    union {
        const char *str;
        struct {
            const void *ptr;
            size_t len;
        } bytes;
        uint64_t u64;
        int64_t i64;
        bool boolean;
        const struct addr *addr;
        int err;
    } v;
};

#define LOG_STR(k, s)      {.kind = LOG_K_STR, .key = (k), .v.str = (s)} /* NULL: field left out */
#define LOG_BYTES(k, p, n) {.kind = LOG_K_BYTES, .key = (k), .v.bytes = {(p), (n)}}
#define LOG_U64(k, n)      {.kind = LOG_K_U64, .key = (k), .v.u64 = (n)}
#define LOG_I64(k, n)      {.kind = LOG_K_I64, .key = (k), .v.i64 = (n)}
#define LOG_BOOL(k, b)     {.kind = LOG_K_BOOL, .key = (k), .v.boolean = (b)}
#define LOG_ADDR(k, a)     {.kind = LOG_K_ADDR, .key = (k), .v.addr = (a)} /* NULL or none: left out */
#define LOG_ERRNO(k, e)    {.kind = LOG_K_ERRNO, .key = (k), .v.err = (e)} /* positive errno, as text */

/* program names the process in every record and must outlive it. */
void log_init(const char *program, enum log_level least, enum log_format format);
/* For reload: what log_init set, without the program. */
void log_configure(enum log_level least, enum log_format format);
bool log_parse_level(const char *text, enum log_level *ret);
bool log_parse_format(const char *text, enum log_format *ret);

/* fields ends with a LOG_K_END element. */
void log_emit(enum log_level level, const char *event, const struct log_field *fields);
void log_flush(void);
/* Whole records dropped since start because stderr could not take them. */
uint64_t log_dropped(void);

#define LOG_FIELDS(...) (const struct log_field[]) { __VA_ARGS__ __VA_OPT__(, ) { .kind = LOG_K_END } }
#define log_debug(event, ...) log_emit(LOG_DEBUG, event, LOG_FIELDS(__VA_ARGS__))
#define log_info(event, ...)  log_emit(LOG_INFO, event, LOG_FIELDS(__VA_ARGS__))
#define log_warn(event, ...)  log_emit(LOG_WARN, event, LOG_FIELDS(__VA_ARGS__))
#define log_error(event, ...) log_emit(LOG_ERROR, event, LOG_FIELDS(__VA_ARGS__))
