/* Any octets as a configuration file: refused with a sentence and nothing held, or loaded and
 * freed. */
#include <assert.h>
#include <stdint.h>

#include "tests/unit/daemon/schema_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    static const struct config zero;
    struct yaml_tree tree;
    struct config c;
    struct err e = {""};

    if (yaml_load_text("f", (const char *)octets, size, &e, &tree) != 0) {
        assert(strncmp(e.text, "f:", 2) == 0);
        return 0;
    }
    if (schema_load(&config, tree.root, &e, &c) == 0)
        schema_fini(&config, &c);
    else
        assert(strncmp(e.text, "f:", 2) == 0);
    assert(memcmp(&c, &zero, sizeof(c)) == 0);
    yaml_fini(&tree);
    return 0;
}
