/* A loop run for a while, from a test. */
#pragma once

#include "shared/net/loop.h"

/* Runs until done says so, asked after each iteration; false: ms have passed and it still did not.
 */
bool loop_run_until(struct loop *l, bool (*done)(void *arg), void *arg, unsigned ms);
/* Runs for ms, returns the number of iterations: small when nothing happens. */
uint64_t loop_run_for(struct loop *l, unsigned ms);
