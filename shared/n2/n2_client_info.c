/* What a relay says of itself in its answer to Hello. */
#include <string.h>

#include "shared/n2/n2_client_impl.h"

enum { LEASE_MIN_MS = 100 };

static void copy_text(char *to, size_t cap, const char *from)
{
    size_t n = strnlen(from, cap - 1);

    memcpy(to, from, n);
    to[n] = '\0';
}

void n2_client_keep_info(struct n2_client *c, const struct n2_hello_answer *h)
{
    struct n2_relay_info *i = &c->info;

    copy_text(i->id, sizeof(i->id), h->relay_id);
    copy_text(i->software, sizeof(i->software), h->software);
    i->kinds = i->families = 0;
    memset(i->ptcls, 0, sizeof(i->ptcls));
    for (size_t k = 0; k < h->ptcl_count; k++) {
        if (h->ptcls[k] < 256)
            i->ptcls[h->ptcls[k] / 8] |= (uint8_t)(1u << h->ptcls[k] % 8);
    }
    for (size_t k = 0; k < h->kind_count; k++)
        i->kinds |= 1u << h->kinds[k];
    for (size_t k = 0; k < h->family_count; k++)
        i->families |= h->families[k] < 32 ? 1u << h->families[k] : 0;
    i->engines[0] = '\0';
    for (size_t k = 0; k < h->engine_count; k++) {
        size_t at = strlen(i->engines), n = strlen(h->engines[k]);
        if (at + n + 2 > sizeof(i->engines))
            break;
        if (at > 0)
            i->engines[at++] = ' ';
        memcpy(i->engines + at, h->engines[k], n + 1);
    }
    i->lease_ms = h->lease_ms > LEASE_MIN_MS ? h->lease_ms : LEASE_MIN_MS;
    i->capacity = h->capacity;
    c->legs_path[0] = '\0';
    if (strncmp(h->legs, "unix:", 5) == 0)
        copy_text(c->legs_path, sizeof(c->legs_path), h->legs + 5);
}
