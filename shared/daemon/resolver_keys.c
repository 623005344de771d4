#include "shared/daemon/resolver_keys.h"

static const struct schema_key keys[] = {
    SCHEMA_LIST("servers", ADDR, struct resolver_keys, servers,
                .help = "Name servers; without them those of the system."),
    SCHEMA_KEY("timeout", DURATION, struct resolver_keys, timeout_ms, .preset = "2s", .min = 50,
               .max = 60000, .help = "How long one try waits for an answer."),
    SCHEMA_KEY("tries", UINT, struct resolver_keys, tries, .preset = "2", .min = 1, .max = 10,
               .help = "Tries per question."),
    SCHEMA_KEY("cache-entries", UINT, struct resolver_keys, cache_entries, .preset = "4096",
               .max = 1000000, .help = "Names remembered; 0: none."),
    SCHEMA_KEY("negative-cache", DURATION, struct resolver_keys, negative_ms, .preset = "5s",
               .max = 300000, .help = "How long a name is remembered that does not exist."),
    {0},
};
const struct schema resolver_schema = {sizeof(struct resolver_keys), keys, NULL};

struct resolver_config resolver_config_of(const struct resolver_keys *k)
{
    return (struct resolver_config){
        .servers = k->servers.items,
        .server_count = k->servers.count,
        .timeout_ms = (uint32_t)k->timeout_ms,
        .tries = (uint32_t)k->tries,
        .cache_entries = (uint32_t)k->cache_entries,
        .negative_ms = (uint32_t)k->negative_ms,
    };
}
