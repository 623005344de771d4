/* Unguessable octets, comparison that takes the same time whatever the answer, and wiping. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Fills buf from the kernel's generator (read in blocks, each octet given out once). Never fails:
 * without the generator the process ends. */
void secret_random(void *buf, size_t len);
bool secret_equal(const void *a, const void *b, size_t len);
void secret_wipe(void *buf, size_t len);
