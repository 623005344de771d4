"""--check and friends: 0 done, 2 usage or configuration; errors say file:line:column."""

import json
import subprocess

import pytest

from daemons import crypt_hash, program


RELAYS = ["relayd-tcp", "relayd-udp"]


def run(*arguments, name="socksd"):
    return subprocess.run([program(name), *map(str, arguments)], capture_output=True, text=True, timeout=30)


GOOD = {"listeners": [{"listen": "127.0.0.1:1080"}], "relays": [{"spawn": {"program": "relayd-tcp"}}]}


@pytest.fixture
def check(tmp_path):
    def make(text, name="socksd"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        done = run("-c", path, "--check", name=name)
        return done.returncode, done.stderr.replace(str(path), "FILE")
    return make


def test_a_good_file_is_good(check):
    assert check(GOOD) == (0, "")
    for relay in RELAYS:
        assert check({"n2": {"listen": ["ipc:///run/x"]}}, relay) == (0, "")


def test_checking_opens_nothing(check, sockets):
    taken = "%s:%d" % sockets.listener().getsockname()
    assert check({**GOOD, "listeners": [{"listen": taken}]}) == (0, "")


LISTENER = "listeners:\n- listen: 127.0.0.1:1\n"
RELAY = "relays:\n- url: ipc:///x\n"

BAD = [
    # the file, the place, and what the sentence is about
    ("listeners: {", "2:1", ""),
    ("7", "1:1", "mapping"),
    (LISTENER, "1:1", "relays"),
    (RELAY, "1:1", "listeners"),
    ("listenerz: []\n", "1:1", "listenerz"),
    ("listeners:\n- listen: 127.0.0.1\n", "2:11", "127.0.0.1"),
    ("listeners:\n- listen: localhost:1080\n", "2:11", "localhost:1080"),
    ("listeners:\n- listen: 127.0.0.1:65536\n", "2:11", "65536"),
    ("listeners:\n- listen: 0.0.0.0:1080\n", "2:3", "insecure"),
    (LISTENER + "  methods: [none, magic]\n", "3:19", "magic"),
    (LISTENER + "  methods: none\n", "3:12", "list"),
    (LISTENER + "  listen: 127.0.0.1:2\n", "3:3", "listen"),
    (LISTENER + "  methods: [username-password]\n" + RELAY, "1:1", "users"),
    (LISTENER + "relays: []\n", "3:9", "empty"),
    (LISTENER + "relays:\n- {}\n", "4:3", "spawn"),
    (LISTENER + "relays:\n- url: http://x\n", "4:3", "http://x"),
    (LISTENER + "relays:\n- url: tcp://127.0.0.1:1\n", "4:3", "insecure"),
    ("timeouts:\n  connect: 3 weeks\n", "2:12", "3 weeks"),
    ("timeouts:\n  connect: 1h\n", "2:12", ""),
    ("sessions: -1\n", "1:11", ""),
    (LISTENER + RELAY + "rules:\n- permit: {}\n", "6:3", "permit"),
    (LISTENER + RELAY + "rules:\n- allow: {to: [10.0.0.1/8]}\n", "6:16", "10.0.0.1/8"),
    (LISTENER + RELAY + "rules:\n- allow: {ports: [70000]}\n", "6:19", "70000"),
    (LISTENER + RELAY + "rules:\n- allow: {groups: [staff]}\n", "6:20", "staff"),
    ("status:\n  listen: [nowhere]\n", "2:", "nowhere"),
    ("id: 'with space'\n", "1:5", ""),
    ("log:\n  level: loud\n", "2:10", "loud"),
]


@pytest.mark.parametrize("text, where, about", BAD, ids=range(len(BAD)))
def test_a_bad_file_is_refused_with_its_place(check, text, where, about):
    code, said = check(text)
    assert code == 2
    assert said.startswith(f"socksd: FILE:{where}"), said
    assert about in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize("text, where", [
    ("relay:\n  ports: 5-4\n", "FILE:2:10"),
    ("n2:\n  listen: [tcp://127.0.0.1:1]\n", "FILE:2:3"),
    ("legs:\n  listen: [tcp://x]\n", "FILE:2:12"),
    ("relay:\n  engines: [warp]\n", "FILE:2:13"),
    ("relay:\n  protect: ['::1', '::ffff:127.0.0.0/104']\n", "FILE:2:20: protect: ::ffff:127.0.0.0/104 is IPv4"),
    ("relay:\n  protect: ['::ffff:127.0.0.1']\n", "FILE:2:13: protect: ::ffff:127.0.0.1 is IPv4"),
    ("relays: []\n", "FILE:1:1"),
])
def test_a_bad_file_of_a_relay_is_refused_with_its_place(check, text, where, relay):
    code, said = check(text, relay)
    assert code == 2
    assert said.startswith(f"{relay}: {where}"), said


@pytest.mark.parametrize("relay, others, key", [("relayd-tcp", "relayd-udp", "fragments: true"),
                                                ("relayd-udp", "relayd-tcp", "pipes: 1")])
def test_a_key_of_another_relay_is_refused(check, relay, others, key):
    text = "n2:\n  listen: [ipc:///run/x]\nrelay:\n  %s\n" % key
    assert check(text, others) == (0, "")
    code, said = check(text, relay)
    assert code == 2
    assert said.startswith(f"{relay}: FILE:4:3: unknown key"), said
    name = key.split(":")[0]
    assert f"relay.{name}:" in run("--help-config", name=others).stdout
    assert f"relay.{name}:" not in run("--help-config", name=relay).stdout


def test_a_bad_user_file_is_refused_with_its_place(check, tmp_path):
    users = tmp_path / "users"
    config = {**GOOD, "users": {"file": str(users)},
              "listeners": [{"listen": "127.0.0.1:1", "methods": ["username-password"]}]}
    good = crypt_hash("x")
    for text, where in [("alice\n", ":1:"), (f"alice:{good}\nalice:{good}\n", ":2:1"),
                        ("alice:plain\n", ":1:7"), (f":{good}\n", ":1:1")]:
        users.write_text(text)
        code, said = check(config)
        assert code == 2 and f"{users}{where}" in said, said
    users.unlink()
    code, said = check(config)
    assert code == 2 and str(users) in said and "No such file" in said
    users.write_text(f"alice:{good}\n")
    assert check(config) == (0, "")


@pytest.mark.parametrize("arguments", [
    [], ["--check"], ["-c"], ["--nonsense"], ["-c", "x", "--standalone"], ["--listen", "127.0.0.1:1"],
    ["--standalone", "more"], ["-c", "/nonexistent/file"], ["--standalone", "--listen", "here"],
])
def test_wrong_usage_is_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize("arguments", [["--nonsense"], ["more"], [], ["--n2", "tcp://127.0.0.1:1"],
                                       ["--n2", "ipc:///x", "--parent-fd", "two"]])
def test_wrong_usage_of_a_relay_is_2(arguments, relay):
    done = run(*arguments, name=relay)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("name", ["socksd", *RELAYS])
@pytest.mark.parametrize("option", ["--help", "--version", "--help-config"])
def test_help_is_help(name, option):
    done = run(option, name=name)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_a_port_that_is_taken_is_1(tmp_path, sockets):
    taken = "%s:%d" % sockets.listener().getsockname()
    path = tmp_path / "socksd.yaml"
    path.write_text(json.dumps({**GOOD, "listeners": [{"listen": taken}], "relays": [{"url": "ipc:///x"}]}))
    done = run("-c", path)
    assert done.returncode == 1
    assert taken in done.stderr and "Address already in use" in done.stderr


def test_a_relay_that_cannot_be_spawned_is_1(tmp_path):
    path = tmp_path / "socksd.yaml"
    path.write_text(json.dumps({"listeners": [{"listen": "127.0.0.1:0"}],
                                "relays": [{"spawn": {"program": "/nonexistent/relayd"}}]}))
    done = run("-c", path)
    assert done.returncode == 1
    assert "/nonexistent/relayd" in done.stderr
