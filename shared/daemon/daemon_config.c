#include "shared/daemon/daemon_config.h"

static const struct schema_word levels[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR}, {NULL, 0},
};
static const struct schema_word formats[] = {
    {"logfmt", LOG_LOGFMT}, {"json", LOG_JSON}, {NULL, 0},
};

const struct schema_word scheduler_words[] = {
    {"other", SCHEDULER_OTHER}, {"batch", SCHEDULER_BATCH}, {NULL, 0},
};

static const struct schema_key log_keys[] = {
    SCHEMA_KEY("level", WORD, struct log_config, level, .preset = "info", .words = levels,
               .help = "Least level that is written."),
    SCHEMA_KEY("format", WORD, struct log_config, format, .preset = "logfmt", .words = formats,
               .help = "One record per line, as logfmt or as JSON."),
    {0},
};
const struct schema log_schema = {sizeof(struct log_config), log_keys, NULL};

static const struct schema_key status_keys[] = {
    SCHEMA_LIST("listen", STRING, struct status_keys, listen,
                .help = "Addresses of the status endpoint: unix:/path, or address:port."),
    SCHEMA_LIST("hosts", STRING, struct status_keys, hosts,
                .help = "Names that a Host header may have over TCP, beside addresses."),
    SCHEMA_KEY("detail", BOOL, struct status_keys, detail, .preset = "false",
               .help = "Serve /status, /associations and /relays over TCP too."),
    {0},
};

static int check_status(void *object, const struct yaml_node *at, struct err *e)
{
    const struct status_config c = status_config_of(object);
    struct err why;

    if (status_check(&c, &why) != 0)
        return yaml_err(at, e, "%s", why.text);
    return 0;
}
const struct schema status_schema = {sizeof(struct status_keys), status_keys, check_status};

struct status_config status_config_of(const struct status_keys *k)
{
    return (struct status_config){
        .listen = (const char *const *)k->listen.items,
        .listen_count = k->listen.count,
        .hosts = (const char *const *)k->hosts.items,
        .host_count = k->hosts.count,
        .detail = k->detail,
    };
}

int daemon_config_load(const char *file, const struct schema *s, struct err *e, void *ret)
{
    struct yaml_tree tree = {0};

    if (file == NULL)
        return schema_load(s, NULL, e, ret);
    if (yaml_load_file(file, e, &tree) != 0)
        return -1;
    int rc = schema_load(s, tree.root, e, ret);
    yaml_fini(&tree);
    return rc;
}
