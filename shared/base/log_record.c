#include "shared/base/log_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const log_level_names[] = {"debug", "info", "warn", "error"};

#define TAIL_ROOM 32 /* what record_end may add */

struct record {
    enum log_format format;
    size_t len;
    bool full;  /* the last thing did not fit; the text ends somewhere inside it */
    char *text; /* LOG_RECORD_MAX octets */
};

static void put_bytes(struct record *r, const char *bytes, size_t n)
{
    if (r->full || n > LOG_RECORD_MAX - TAIL_ROOM - r->len) {
        r->full = true;
        return;
    }
    memcpy(r->text + r->len, bytes, n);
    r->len += n;
}

static void put(struct record *r, const char *text)
{
    put_bytes(r, text, strlen(text));
}

/* The length of the UTF-8 character (RFC 3629) at p, or 0; its code point in *ret. */
static size_t utf8_decode(const uint8_t *p, size_t n, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80       ? 1
                 : p[0] >> 5 == 6  ? 2
                 : p[0] >> 4 == 14 ? 3
                 : p[0] >> 3 == 30 ? 4
                                   : 0;
    uint32_t code;

    if (len == 0 || len > n)
        return 0;
    code = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret = code;
    return len;
}

/* What a terminal, a log viewer or a parser might act upon: controls, our own quoting, line and
 * paragraph separators, and the marks that turn the direction of the text around them. */
static bool is_unsafe(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == '"' || code == '\\' ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* The octets of the next character at p; *ret_plain says that they may stand as they are. */
static size_t next_char(const uint8_t *p, size_t n, bool *ret_plain)
{
    uint32_t code;
    size_t len = utf8_decode(p, n, &code);

    *ret_plain = len > 0 && !is_unsafe(code);
    return len > 0 ? len : 1;
}

static void put_escaped(struct record *r, const uint8_t *p, size_t n)
{
    char text[8];

    for (size_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), r->format == LOG_JSON ? "\\u%04x" : "\\x%02x", p[i]);
        put(r, text);
    }
}

static bool needs_quotes(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] <= ' ' || p[i] == '=' || p[i] == '"' || p[i] == '\\' || p[i] >= 0x7f)
            return true;
    return n == 0;
}

/* The limit is on what is written, so that a record stays within bounds whatever it is fed. */
static void put_value(struct record *r, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    const char *quote = r->format == LOG_JSON || needs_quotes(p, n) ? "\"" : "";
    size_t start, cut_at; /* cut_at: where "..." would still fit */
    bool plain;

    put(r, quote);
    start = cut_at = r->len;
    for (size_t i = 0, len; i < n && !r->full; i += len) {
        len = next_char(p + i, n - i, &plain);
        if (plain)
            put_bytes(r, (const char *)p + i, len);
        else
            put_escaped(r, p + i, len);
        if (r->len - start > LOG_VALUE_MAX) {
            r->len = cut_at;
            put(r, "...");
            break;
        }
        if (r->len - start <= LOG_VALUE_MAX - 3)
            cut_at = r->len;
    }
    put(r, quote);
}

static void put_text(struct record *r, const char *text)
{
    put_value(r, text, strlen(text));
}

static void put_key(struct record *r, const char *key)
{
    if (r->format == LOG_JSON) {
        put(r, r->len == 0 ? "{\"" : ",\"");
        put(r, key);
        put(r, "\":");
    } else {
        put(r, r->len == 0 ? "" : " ");
        put(r, key);
        put(r, "=");
    }
}

static void put_errno(struct record *r, int err)
{
    const char *text = strerrordesc_np(err);
    char number[32];

    if (text == NULL) {
        snprintf(number, sizeof(number), "error %d", err);
        text = number;
    }
    put_text(r, text);
}

static bool field_is_left_out(const struct log_field *f)
{
    return (f->kind == LOG_K_STR && f->v.str == NULL) ||
           (f->kind == LOG_K_ADDR && (f->v.addr == NULL || addr_ip_len(f->v.addr->family) == 0));
}

static void put_field_value(struct record *r, const struct log_field *f)
{
    char text[ADDR_TEXT_MAX];

    switch (f->kind) {
    case LOG_K_STR:
        put_text(r, f->v.str);
        break;
    case LOG_K_BYTES:
        put_value(r, f->v.bytes.ptr, f->v.bytes.len);
        break;
    case LOG_K_U64:
        snprintf(text, sizeof(text), "%" PRIu64, f->v.u64);
        put(r, text);
        break;
    case LOG_K_I64:
        snprintf(text, sizeof(text), "%" PRId64, f->v.i64);
        put(r, text);
        break;
    case LOG_K_BOOL:
        put(r, f->v.boolean ? "true" : "false");
        break;
    case LOG_K_ADDR:
        put_text(r, addr_format(f->v.addr, text));
        break;
    case LOG_K_ERRNO:
        put_errno(r, f->v.err);
        break;
    case LOG_K_END:
        break;
    }
}

static void put_time(struct record *r, const struct timespec *time)
{
    char text[64];
    struct tm tm;
    size_t n;

    gmtime_r(&time->tv_sec, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof(text) - n, ".%03ldZ", time->tv_nsec / 1000000);
    put_text(r, text);
}

static void put_head(struct record *r, const struct log_head *head)
{
    put_key(r, "ts");
    put_time(r, &head->time);
    put_key(r, "level");
    put_text(r, log_level_names[head->level]);
    put_key(r, "prog");
    put_text(r, head->program);
    put_key(r, "event");
    put_text(r, head->event);
}

static void record_end(struct record *r, bool cut)
{
    const char *tail =
        r->format == LOG_JSON ? (cut ? ",\"cut\":true}\n" : "}\n") : (cut ? " cut=true\n" : "\n");

    memcpy(r->text + r->len, tail, strlen(tail)); /* TAIL_ROOM is kept for this */
    r->len += strlen(tail);
}

size_t log_record_format(const struct log_head *head, const struct log_field *fields,
                         char ret_text[LOG_RECORD_MAX])
{
    struct record r = {.format = head->format, .text = ret_text};
    bool cut = false;

    put_head(&r, head);
    for (const struct log_field *f = fields; f->kind != LOG_K_END; f++) {
        size_t before = r.len;
        if (field_is_left_out(f))
            continue;
        put_key(&r, f->key);
        put_field_value(&r, f);
        if (r.full) {
            r.len = before;
            r.full = false;
            cut = true;
        }
    }
    record_end(&r, cut);
    return r.len;
}
