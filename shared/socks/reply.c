#include "shared/socks/reply.h"

static const struct row {
    uint8_t socks5, socks4;
    const char *name, *sentence;
} rows[REPLY_COUNT] = {
#define REPLY_ROW(word, name, v5, v4, sentence) [word] = {v5, v4, #name, sentence},
    REPLY_WORDS(REPLY_ROW)
#undef REPLY_ROW
};

static const struct row *row_of(enum reply_word word)
{
    return &rows[(unsigned)word < REPLY_COUNT ? word : REPLY_GENERAL_FAILURE];
}

uint8_t reply_socks5(enum reply_word word)
{
    return row_of(word)->socks5;
}

uint8_t reply_socks4(enum reply_word word)
{
    return row_of(word)->socks4;
}

const char *reply_name(enum reply_word word)
{
    return row_of(word)->name;
}

const char *reply_sentence(enum reply_word word)
{
    return row_of(word)->sentence;
}
