/* A configuration with a first line "# user source asked port dialled": the judgements agree, here
 * and at a relay that got the rules. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/rules/rules_wire.h"
#include "socksd/config_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void relay_agrees(const struct rules *rules, struct rules_subject s, const struct dest *dest,
                         const struct addr *to)
{
    const struct rules_subject anybody = {.command = SOCKS_UDP_ASSOCIATE};
    struct n2_rules out;
    struct rules *there;

    s.command = SOCKS_UDP_ASSOCIATE;
    assert(rules_export(rules, &s, &out) == 0);
    assert(rules_import(&out, NULL, &there) == 0);
    free((void *)(uintptr_t)out.items);
    assert(rules_judge_datagram(rules, &s, dest).verdict ==
           rules_judge_datagram(there, &anybody, dest).verdict);
    assert(rules_judge_address(rules, &s, dest, to).verdict ==
           rules_judge_address(there, &anybody, dest, to).verdict);
    rules_free(there);
}

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
        relay_agrees(rules, s, &dest, &to);
        rules_free(rules);
    }
    yaml_fini(&tree);
    return 0;
}
