#include "shared/socks/socks.h"

const char *socks_command_name(enum socks_command command)
{
    switch (command) {
    case SOCKS_CONNECT:
        return "connect";
    case SOCKS_BIND:
        return "bind";
    case SOCKS_UDP_ASSOCIATE:
        return "udp-associate";
    case SOCKS_TRANSPARENT:
        return "transparent";
    }
    return "unknown";
}
