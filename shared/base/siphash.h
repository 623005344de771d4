/* SipHash-1-3 (Aumasson, Bernstein; one round per word, three at the end): a hash for tables whose
 * keys somebody else may choose. The key is secret and random, per table. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Words are read in the host's order: the hash never leaves the process. */
uint64_t siphash(const uint64_t key[2], const void *data, size_t len);
