"""The PROXY protocol: behind a balancer, the client is who the balancer says; nobody else may say so."""

import ipaddress
import json
import select
import socket
import struct
import subprocess
import time

import pytest

import socks
import udp
from daemons import program, wait_until

BALANCER, STRANGER = "127.0.0.1", "127.0.0.2"
CLIENT, CLIENT6 = "198.51.100.7", "2001:db8::7"
FRONT, FRONT6 = "203.0.113.1", "2001:db8:1::1"          # where clients reach the balancer
PORT = 56324

LISTENER = {"listen": "127.0.0.1:0", "insecure": True, "proxy-protocol": {"from": [BALANCER]}}
AT_ONCE = {**LISTENER, "defer-accept": False}           # accepted before the first octet
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def v1(client=CLIENT, destination=FRONT, port=PORT):
    family = "TCP6" if ":" in destination else "TCP4"
    return f"PROXY {family} {client} {destination} {port} 1080\r\n".encode()


def v2(client=CLIENT, destination=FRONT, port=PORT, tlvs=b""):
    ips = [ipaddress.ip_address(text).packed for text in (client, destination)]
    addresses = b"".join(ips) + struct.pack("!HH", port, 1080)
    return v2_block(0x21, 0x11 if len(ips[0]) == 4 else 0x21, addresses + tlvs)


def v2_block(command, family, block=b""):
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


HEADERS = {"v1": v1(), "v2": v2(), "v2 and more": v2(tlvs=b"\5\0\4abcd\x20\0\5\1\0\0\0\0")}
NOBODY = {"v1": b"PROXY UNKNOWN\r\n", "v1 long": b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n",
          "v2": v2_block(0x20, 0), "v2 with a block": v2_block(0x20, 0x11, b"\xff" * 12),
          "v2 unspecified": v2_block(0x21, 0), "v2 Unix": v2_block(0x21, 0x31, b"/".ljust(216, b"\0"))}


@pytest.fixture
def system(start):
    return start(listeners=[LISTENER])


@pytest.fixture
def patient(start):
    """Its deadlines are short, and it accepts who has said nothing."""
    return start(listeners=[{**AT_ONCE, "insecure": True, "proxy-protocol": {"from": [BALANCER], "timeout": "600ms"}}],
                 server={"timeouts": {"handshake": "1500ms"}})


def dial(system, sockets, source=BALANCER):
    sock = sockets.keep(socket.create_connection(system.address, 30, (source, 0)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def opening(target):
    return socks.greeting5(socks.NONE) + socks.request5(socks.CONNECT, *target.getsockname()[:2])


def succeeded(client):
    assert socks.read_exactly(client, 2) == b"\5\0"
    reply = socks.read_reply5(client)
    assert reply.code == socks.SUCCEEDED
    return reply


def ask(system, sockets, octets, source=BALANCER):
    """Says octets and reads the answer to a request."""
    client = dial(system, sockets, source)
    client.sendall(octets)
    assert socks.read_exactly(client, 2) == b"\5\0"
    return client, socks.read_reply5(client)


def outcome(system, word):
    return system.server.metric('socksd_proxy_headers_total{outcome="%s"}' % word)


def ended(client):
    """True when it is over and nothing was said."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def via(client):
    return "%s:%d" % client.getsockname()


# ----------------------------------------------------------------------------- who the client is

@pytest.mark.parametrize("kind", HEADERS)
def test_the_record_shows_the_client_and_the_balancer(system, sockets, target, kind):
    client, reply = ask(system, sockets, HEADERS[kind] + opening(target))
    assert reply.code == socks.SUCCEEDED
    far = sockets.accept(target)
    held, = wait_until(system.server.associations, "the association")
    assert held["client"] == f"{CLIENT}:{PORT}" and held["via"] == via(client)

    client.sendall(b"hello")
    assert socks.read_exactly(far, 5) == b"hello"
    balancer = via(client)
    client.close()
    far.close()
    record = system.access(octets_up=5)
    assert record["client"] == f"{CLIENT}:{PORT}" and record["via"] == balancer
    assert record["listener"] == "127.0.0.1:%d" % system.port
    assert outcome(system, kind[:2]) == 1


@pytest.mark.parametrize("header", [v1(CLIENT6, FRONT6), v2(CLIENT6, FRONT6)], ids=["v1", "v2"])
def test_a_client_by_ipv6_behind_a_balancer_by_ipv4(system, sockets, target, header):
    client, reply = ask(system, sockets, header + opening(target))
    assert reply.code == socks.SUCCEEDED
    balancer = via(client)
    client.close()
    sockets.accept(target).close()
    record = system.access(reason="closed")
    assert record["client"] == f"[{CLIENT6}]:{PORT}" and record["via"] == balancer


@pytest.mark.parametrize("header", [v1(CLIENT6, FRONT6), v2()], ids=["v1", "v2"])
def test_a_balancer_by_ipv6(start, sockets, target, header):
    system = start(listeners=[{"listen": "[::1]:0", "insecure": True, "proxy-protocol": {"from": ["::/64"]}}])
    client = sockets.keep(socks.dial(system.address))
    client.sendall(header + opening(target))
    succeeded(client)
    balancer = "[%s]:%d" % client.getsockname()[:2]
    client.close()
    sockets.accept(target).close()
    assert system.access(reason="closed")["via"] == balancer


@pytest.mark.parametrize("header", [v1(f"::ffff:{CLIENT}", f"::ffff:{FRONT}"),
                                    v2(f"::ffff:{CLIENT}", f"::ffff:{FRONT}")], ids=["v1", "v2"])
def test_a_mapped_client_is_the_ipv4_one(start, sockets, target, header):
    system = start(listeners=[LISTENER], rules=[{"allow": {"from": [CLIENT], "to": ["127.0.0.0/8"]}}])
    client, reply = ask(system, sockets, header + opening(target))
    assert reply.code == socks.SUCCEEDED
    client.close()
    sockets.accept(target).close()
    assert system.access(reason="closed")["client"] == f"{CLIENT}:{PORT}"


@pytest.mark.parametrize("kind", NOBODY)
def test_a_header_that_names_nobody_leaves_the_connection_as_it_is(system, sockets, target, kind):
    client, reply = ask(system, sockets, NOBODY[kind] + opening(target))
    assert reply.code == socks.SUCCEEDED
    balancer = via(client)
    client.close()
    sockets.accept(target).close()
    record = system.access(reason="closed")
    assert record["client"] == balancer and "via" not in record
    assert outcome(system, "local") == 1


# ------------------------------------------------------------------------------ how octets arrive

@pytest.mark.parametrize("kind", HEADERS)
def test_header_and_socks_may_come_in_single_octets(system, sockets, target, kind):
    client = dial(system, sockets)
    socks.send_slowly(client, HEADERS[kind] + opening(target))
    succeeded(client)
    sockets.accept(target)


@pytest.mark.parametrize("header", [v1("192.0.2.1", "192.0.2.2", 1), v2()], ids=["v1", "v2"])
def test_header_and_socks_may_come_in_pieces_of_any_size(system, sockets, header):
    echo = sockets.echo()
    whole = header + socks.request4(socks.CONNECT, *echo.address)
    for size in range(1, len(whole)):
        client = dial(system, sockets)
        socks.send_slowly(client, whole, size)
        assert socks.read_reply4(client).code == socks.GRANTED4, size
        client.close()
    assert outcome(system, "v1") + outcome(system, "v2") == len(whole) - 1


@pytest.mark.parametrize("kind", HEADERS)
def test_header_socks_and_payload_may_come_in_one_segment(system, sockets, target, kind):
    payload = b"payload" * 1000
    client = dial(system, sockets)
    client.sendall(HEADERS[kind] + opening(target) + payload)
    succeeded(client)
    assert socks.read_exactly(sockets.accept(target), len(payload)) == payload


def test_the_longest_header_leaves_room_for_a_handshake(system, sockets, target):
    header = v2(tlvs=b"\2" + struct.pack("!H", 1024 - 15) + b"x" * (1024 - 15))
    assert len(header) == 16 + 1024
    client, reply = ask(system, sockets, header + opening(target) + b"p" * 4000)
    assert reply.code == socks.SUCCEEDED
    assert socks.read_exactly(sockets.accept(target), 4000) == b"p" * 4000


def test_a_second_header_is_a_bad_greeting(system, sockets):
    client = dial(system, sockets)
    client.sendall(v1() + v1())
    assert ended(client)
    record = system.wait_record("handshake_failed")
    assert record["reason"] == "bad_version" and record["client"] == f"{CLIENT}:{PORT}"


# ------------------------------------------------------------------------------- who must, who may not

def test_who_is_not_listed_is_an_ordinary_client(system, sockets, target):
    client, reply = ask(system, sockets, opening(target), STRANGER)
    assert reply.code == socks.SUCCEEDED
    address = via(client)
    client.close()
    sockets.accept(target).close()
    record = system.access(reason="closed")
    assert record["client"] == address and "via" not in record
    assert not any(outcome(system, word) for word in ("v1", "v2", "local", "missing"))


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_from_who_is_not_listed_is_a_bad_greeting(system, sockets, target, kind):
    client = dial(system, sockets, STRANGER)
    client.sendall(HEADERS[kind] + opening(target))
    assert ended(client)
    record = system.wait_record("handshake_failed")
    assert record["reason"] == "bad_version" and record["client"].startswith(STRANGER)
    assert not outcome(system, kind[:2])


def test_a_header_where_none_is_wanted_is_a_bad_greeting(start, sockets):
    system = start()
    client = dial(system, sockets)
    client.sendall(v1())
    assert ended(client)
    assert system.wait_record("handshake_failed")["reason"] == "bad_version"


@pytest.mark.parametrize("said", [b"\5", socks.greeting5(0), b"\4\1", b"GET / HTTP/1.1\r\n", b"PRXY",
                                  SIGNATURE[:-1] + b"x"])
def test_without_a_header_a_listed_source_is_cut_at_once(system, sockets, said):
    client = dial(system, sockets)
    client.sendall(said)
    assert ended(client)
    record = system.wait_record("handshake_failed")
    assert record["reason"] == "proxy_header_missing" and record["client"].startswith(BALANCER)
    assert outcome(system, "missing") == 1
    assert system.server.metric('socksd_sessions_ended_total{end="bad_handshake"}') == 1


@pytest.mark.parametrize("said", [
    b"PROXY TCP5", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r", b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"x" * 93, SIGNATURE + b"\x11", SIGNATURE + b"\x22", SIGNATURE + b"\x21\x12",
    SIGNATURE + b"\x21\x11\4\1", v2(tlvs=b"\3\0\4abcd"), v2(tlvs=b"\1\0"), v2("0.0.0.0")])
def test_with_a_bad_header_a_listed_source_is_cut_at_once(system, sockets, said):
    client = dial(system, sockets)
    client.sendall(said)
    assert ended(client)
    record = system.wait_record("handshake_failed")
    assert record["reason"] == "proxy_header_bad" and record["client"].startswith(BALANCER)
    assert outcome(system, "bad") == 1


def test_a_balancer_that_only_looks_whether_we_listen_is_not_logged(start, sockets):
    system = start(listeners=[AT_ONCE])
    for said in (b"", b"PROXY TC"):
        client = dial(system, sockets)
        client.sendall(said)
        client.close()
    wait_until(lambda: system.server.metric('socksd_sessions_ended_total{end="client_gone"}') == 2,
               "the end of both")
    assert not system.records("handshake_failed")
    assert not any(outcome(system, word) for word in ("missing", "bad", "timeout"))


# ------------------------------------------------------------------------------------- deadlines

@pytest.mark.parametrize("said", [b"", b"PROXY TCP4 ", v2()[:-1]], ids=["nothing", "v1", "v2"])
def test_a_header_that_does_not_come_in_time(patient, sockets, said):
    client = dial(patient, sockets)
    began = time.monotonic()
    client.sendall(said)
    assert ended(client)
    assert time.monotonic() - began >= 0.5
    record = patient.wait_record("handshake_failed")
    assert record["reason"] == "proxy_timeout" and record["client"].startswith(BALANCER)
    assert outcome(patient, "timeout") == 1
    assert patient.server.metric('socksd_sessions_ended_total{end="handshake_timeout"}') == 1


def test_a_header_in_single_octets_has_the_same_deadline(patient, sockets):
    client = dial(patient, sockets)
    with pytest.raises(ConnectionError):
        for octet in v1():
            client.sendall(bytes([octet]))
            time.sleep(0.05)
            if select.select([client], [], [], 0)[0] and not client.recv(1):
                raise ConnectionError("ended")
    assert patient.wait_record("handshake_failed")["reason"] == "proxy_timeout"


def test_a_header_followed_by_silence_has_the_deadline_of_the_handshake(patient, sockets):
    client = dial(patient, sockets)
    began = time.monotonic()
    time.sleep(0.4)
    client.sendall(v1())
    assert ended(client)
    took = time.monotonic() - began
    record = patient.wait_record("handshake_failed")
    assert record["reason"] == "timeout" and record["client"] == f"{CLIENT}:{PORT}"
    assert took >= 1.4, "the header's deadline has nothing to say any more"
    assert outcome(patient, "v1") == 1 and outcome(patient, "timeout") == 0


def test_the_deadline_of_the_handshake_holds_for_the_header_too(start, sockets):
    system = start(listeners=[{**AT_ONCE, "insecure": True, "proxy-protocol": {"from": [BALANCER], "timeout": "60s"}}],
                   server={"timeouts": {"handshake": "400ms"}})
    assert ended(dial(system, sockets))
    assert system.wait_record("handshake_failed")["reason"] == "proxy_timeout"


def test_silent_balancers_stop_nobody(start, sockets, target):
    """CVE-2021-23409: what sends no header must not block the others."""
    system = start(listeners=[AT_ONCE])
    for _ in range(100):
        dial(system, sockets)
    _, reply = ask(system, sockets, v1() + opening(target))
    assert reply.code == socks.SUCCEEDED


# ----------------------------------------------------------------- what the client's address decides

@pytest.mark.parametrize("header", [v1(), v2()], ids=["v1", "v2"])
@pytest.mark.parametrize("source, code", [(CLIENT, socks.SUCCEEDED), (BALANCER, socks.DENIED)])
def test_rules_see_the_client_and_not_the_balancer(start, sockets, target, header, source, code):
    system = start(listeners=[LISTENER], rules=[{"allow": {"from": [source], "to": ["127.0.0.0/8"]}}])
    client, reply = ask(system, sockets, header + opening(target))
    assert reply.code == code
    if code == socks.DENIED:
        record = system.access(reply="denied")
        assert record["client"] == f"{CLIENT}:{PORT}" and record["via"] == via(client)
        assert record["prog"] == "socksd"


def test_a_client_that_is_denied_is_denied_behind_a_balancer(start, sockets, target):
    system = start(listeners=[LISTENER], rules=[{"deny": {"from": ["198.51.100.0/24"]}},
                                                {"allow": {"to": ["127.0.0.0/8"]}}])
    assert ask(system, sockets, v2() + opening(target))[1].code == socks.DENIED
    assert ask(system, sockets, v2("198.51.101.7") + opening(target))[1].code == socks.SUCCEEDED


def test_who_names_nobody_is_judged_as_the_balancer(start, sockets, target):
    system = start(listeners=[LISTENER], rules=[{"allow": {"from": [BALANCER], "to": ["127.0.0.0/8"]}}])
    assert ask(system, sockets, NOBODY["v2"] + opening(target))[1].code == socks.SUCCEEDED
    assert ask(system, sockets, v2() + opening(target))[1].code == socks.DENIED


def test_wrong_passwords_slow_the_client_and_not_the_balancer(start, sockets):
    system = start(users={"alice": "secret"}, listeners=[{**LISTENER, "methods": ["username-password"]}])

    def guess(client):
        sock = dial(system, sockets)
        began = time.monotonic()
        sock.sendall(v2(client) + socks.greeting5(socks.USERPASS) + socks.userpass("alice", "guess"))
        assert socks.read_all(sock) == b"\5\2\1\1"
        return time.monotonic() - began

    guess(CLIENT)
    assert system.wait_record("auth_failed")["client"] == f"{CLIENT}:{PORT}"
    guess(CLIENT)
    neighbour = guess("198.51.100.8")
    third = guess(CLIENT)
    assert third >= 0.98, "each failure of a client doubles its wait"
    assert neighbour < third, "a neighbour behind the same balancer does not pay for it"


@pytest.mark.parametrize("header, host", [(v1(destination="127.0.0.9"), "127.0.0.9"),
                                          (v2(destination="127.0.0.9"), "127.0.0.9"),
                                          (v1(destination="0.0.0.0"), "127.0.0.1"),
                                          (NOBODY["v2"], "127.0.0.1")])
def test_bind_is_told_where_the_client_had_come_to(start, sockets, header, host):
    """The relay listens on all addresses; the one that the client knows is the balancer's."""
    system = start(listeners=[LISTENER], rules=[{"allow": {"to": ["127.0.0.0/8"]}},
                                                {"allow": {"commands": ["bind"]}}])
    client, first = ask(system, sockets, header + socks.greeting5(0)
                        + socks.request5(socks.BIND, "0.0.0.0", 0))
    assert first.code == socks.SUCCEEDED and first.host == host
    sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client).code == socks.SUCCEEDED


@pytest.mark.parametrize("header", [v1("127.0.0.3", "127.0.0.9"), v2("127.0.0.3", "127.0.0.9")],
                         ids=["v1", "v2"])
def test_datagrams_come_from_the_client_and_not_from_the_balancer(start, sockets, header):
    system = start(relays=0, udp=1, listeners=[LISTENER])
    target, balancer, client = [sockets.keep(udp.udp_socket(host))
                                for host in ("127.0.0.1", BALANCER, "127.0.0.3")]
    control, reply = ask(system, sockets, header + socks.greeting5(0)
                         + socks.request5(socks.UDP_ASSOCIATE, "0.0.0.0", 0))
    assert reply.code == socks.SUCCEEDED
    to = udp.header(*target.getsockname())
    balancer.sendto(to + b"not mine", (reply.host, reply.port))
    client.sendto(to + b"mine", (reply.host, reply.port))
    octets, outer = target.recvfrom(100)
    assert octets == b"mine"
    target.sendto(b"back", outer)
    assert udp.parse(client.recv(100))[2] == b"back"
    came_via = via(control)
    control.close()
    record = system.access(command="udp-associate")
    assert record["client"] == f"127.0.0.3:{PORT}" and record["via"] == came_via
    assert record["datagrams_up"] == "1"


# --------------------------------------------------------------------------------- configuration

@pytest.mark.parametrize("keys, about", [
    ({}, "from"), ({"from": []}, "empty"), ({"from": ["balancer.example"]}, "balancer.example"),
    ({"from": ["10.0.0.1/8"]}, "10.0.0.1/8"), ({"from": BALANCER}, "list"),
    ({"from": [BALANCER, "::ffff:10.0.0.0/104"]}, "::ffff:10.0.0.0/104 is IPv4: write it so"),
    ({"from": [BALANCER], "timeout": "0"}, "timeout"), ({"from": [BALANCER], "timeout": "2m"}, "timeout"),
    ({"from": [BALANCER], "versions": [1]}, "versions"), (True, "proxy-protocol")])
def test_a_configuration_that_is_refused(tmp_path, keys, about):
    path = tmp_path / "socksd.yaml"
    path.write_text(json.dumps({"listeners": [{"listen": "127.0.0.1:1080", "proxy-protocol": keys}],
                                "relays": [{"url": "ipc:///x"}]}))
    done = subprocess.run([program("socksd"), "-c", path, "--check"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 2 and about in done.stderr, done.stderr
    assert ":1:" in done.stderr, "the place"


def test_method_none_behind_a_balancer_has_to_be_asked_for(tmp_path):
    path = tmp_path / "socksd.yaml"
    path.write_text(json.dumps({"listeners": [{"listen": "127.0.0.1:1080",
                                               "proxy-protocol": {"from": [BALANCER]}}],
                                "relays": [{"url": "ipc:///x"}]}))
    done = subprocess.run([program("socksd"), "-c", path, "--check"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 2 and "insecure" in done.stderr, done.stderr


def test_several_networks_of_balancers(start, sockets, target):
    system = start(listeners=[{"listen": "127.0.0.1:0", "insecure": True,
                               "proxy-protocol": {"from": ["10.0.0.0/8", "::1", "127.0.0.4/30"]}}])
    assert ask(system, sockets, v2() + opening(target), "127.0.0.7")[1].code == socks.SUCCEEDED
    assert ask(system, sockets, opening(target), "127.0.0.8")[1].code == socks.SUCCEEDED
