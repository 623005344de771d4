/* State tables that check themselves.
 *
 * A machine is a constant table of states: its name and the set of states it may move to. sm_move
 * asserts that the move is in the table; an impossible move is a bug and ends the process. At most
 * 32 states. Drawn after dqlite's src/lib/sm.h. */
#pragma once

#include <stdint.h>

struct sm_state {
    const char *name;
    uint32_t next; /* SM_TO(a) | SM_TO(b) ... */
};

#define SM_TO(state) (UINT32_C(1) << (state))

struct sm {
    const struct sm_state *table;
    uint8_t count;
    uint8_t state;
};

void sm_init(struct sm *m, const struct sm_state *table, uint8_t count, uint8_t initial);
void sm_move(struct sm *m, uint8_t to);

static inline const char *sm_name(const struct sm *m)
{
    return m->table[m->state].name;
}
