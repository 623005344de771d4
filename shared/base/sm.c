#include "shared/base/sm.h"

#include <stdlib.h>

#include "shared/base/log.h"

void sm_init(struct sm *m, const struct sm_state *table, uint8_t count, uint8_t initial)
{
    if (count > 32 || initial >= count) {
        log_error("bad_state_table", LOG_U64("states", count), LOG_U64("initial", initial));
        abort();
    }
    *m = (struct sm){.table = table, .count = count, .state = initial};
}

/* Checked in every build, NDEBUG or not: going on in a state nobody thought of is worse. */
void sm_move(struct sm *m, uint8_t to)
{
    if (to >= m->count || (m->table[m->state].next & SM_TO(to)) == 0) {
        log_error("impossible_move", LOG_STR("from", sm_name(m)),
                  LOG_STR("to", to < m->count ? m->table[to].name : "?"), LOG_U64("number", to));
        abort();
    }
    m->state = to;
}
