/* A configuration with a first line "# user source asked port dialled": the judgements agree. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "socksd/config_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char line[512], user[64] = "", from[64] = "", dialled[64] = "";
    struct rules_subject s = {.user = user, .command = SOCKS_CONNECT};
    struct addr to = {0};
    struct dest dest = {0};
    struct rules *rules;
    struct yaml_tree tree;

    if (yaml_load_text("f", (const char *)data, size, NULL, &tree) != 0)
        return 0;
    snprintf(line, sizeof(line), "%.*s", (int)size, (const char *)data);
    sscanf(line, "# %63s %63s %255s %hu %63s", user, from, dest.name, &dest.addr.port, dialled);
    addr_parse_ip(from, &s.source);
    addr_parse_ip(dialled, &to);
    if (config_rules_load(tree.root, NULL, &rules) == 0) {
        struct rules_result early = rules_judge_request(rules, &s, &dest);
        struct rules_result late = rules_judge_address(rules, &s, &dest, &to);

        assert(late.verdict != RULES_RESOLVE && late.rule <= rules_count(rules));
        assert(early.verdict != RULES_DENY || late.verdict == RULES_DENY);
        assert(early.verdict != RULES_ALLOW || late.rule == early.rule);
        rules_free(rules);
    }
    yaml_fini(&tree);
    return 0;
}
