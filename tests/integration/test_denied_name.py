"""A name that the rules deny is denied before anybody is asked for its address."""

import pytest

import socks


@pytest.mark.parametrize("name", ["bad.example.net", "www.BAD.example.net", "deep.www.bad.example.net"])
@pytest.mark.parametrize("version", ["4a", "5"])
def test_a_denied_name_causes_no_query(start, sockets, dns, name, version):
    names = dns({"bad.example.net": ["127.0.0.1"], "www.bad.example.net": ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}},
                   rules=[{"deny": {"to": ["bad.example.net", "*.bad.example.net"]}},
                          {"allow": {"to": ["127.0.0.0/8"]}}])
    opener = {"4a": socks.open4a, "5": socks.open5}[version]
    client, reply = opener(system.address, socks.CONNECT, name, 80)
    sockets.keep(client)
    assert reply.code == {"4a": socks.REJECTED4, "5": socks.DENIED}[version]
    record = system.access(destination=f"{name}:80")
    assert (record["reply"], record["reason"], record["rule"]) == ("denied", "rule", "1")
    assert names.asked == []
    assert system.server.metric("socksd_dns_queries_total") == 0
