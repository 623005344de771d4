/* Any octets as a file of users: refused with a sentence that says where, or loaded and freed. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "socksd/users.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct users *u = NULL;
    struct err e = {""};

    if (users_parse("f", (const char *)data, size, &e, &u) != 0) {
        assert(strncmp(e.text, "f:", 2) == 0 && u == NULL);
        return 0;
    }
    assert(users_count(u) <= size / 4);
    users_unref(users_ref(u));
    users_unref(u);
    return 0;
}
