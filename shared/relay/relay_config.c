#include "shared/relay/relay_config.h"

#include <string.h>

static int check_legs(const char *text, struct err *e)
{
    if (strncmp(text, "unix:/", 6) != 0)
        return err_set(e, "not of the form unix:/path");
    return 0;
}

static const struct schema_key n2_keys[] = {
    SCHEMA_LIST("listen", STRING, struct relay_n2_keys, listen,
                .help = "Where control servers reach this relay: ipc:///path, tcp://address:port."),
    SCHEMA_KEY("insecure", BOOL, struct relay_n2_keys, insecure, .preset = "false",
               .help = "Allow tcp://: nobody is authenticated there and nothing is encrypted."),
    SCHEMA_LIST("uids", UINT, struct relay_n2_keys, uids, .max = UINT32_MAX,
                .help = "User ids that may connect by ipc and send legs, beside our own and 0."),
    SCHEMA_KEY("lease", DURATION, struct relay_n2_keys, lease_ms, .preset = "5s", .min = 300,
               .max = 600000, .help = "How long a silent control server is believed in."),
    SCHEMA_KEY("quota", UINT, struct relay_n2_keys, quota, .preset = "0", .max = 16000000,
               .help = "Associations of one control server at most; 0: as many as of all."),
    SCHEMA_KEY("owner-quota", UINT, struct relay_n2_keys, owner_quota, .preset = "0",
               .max = 16000000,
               .help = "Associations of one user of a control server at most, or without users of one "
                       "client address; 0: no bound."),
    {0},
};

static int check_n2(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay_n2_keys *k = object;

    for (size_t i = 0; i < k->listen.count; i++) {
        const char *url = k->listen.items[i];
        if (strncmp(url, "ipc:///", 7) == 0)
            continue;
        if (strncmp(url, "tcp://", 6) != 0)
            return yaml_err(at, e, "n2: %s is neither ipc:///path nor tcp://address:port", url);
        if (!k->insecure)
            return yaml_err(at, e, "n2: %s needs `insecure: true`", url);
    }
    return 0;
}
const struct schema relay_n2_schema = {sizeof(struct relay_n2_keys), n2_keys, check_n2};

static const struct schema_key legs_keys[] = {
    SCHEMA_LIST("listen", STRING, struct relay_legs_keys, listen, .check = check_legs,
                .help = "Where clients' sockets arrive: unix:/path. One at most."),
    {0},
};

static int check_one_leg(void *object, const struct yaml_node *at, struct err *e)
{
    const struct relay_legs_keys *k = object;

    return k->listen.count <= 1 ? 0 : yaml_err(at, e, "legs: one address at most");
}
const struct schema relay_legs_schema = {sizeof(struct relay_legs_keys), legs_keys, check_one_leg};

int relay_config_check_id(const char *text, struct err *e)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (n == 0 || n > 64 || text[n] != '\0')
        return err_set(e, "1 to 64 letters, digits, '.', '_' and '-'");
    return 0;
}

struct addr relay_config_pick(const struct addr *list, size_t count, enum addr_family family)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].family == family)
            return list[i];
    }
    return (struct addr){0};
}
