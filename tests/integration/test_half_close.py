"""A half-close is forwarded, in each order, and the other direction goes on."""

import socket

import pytest

import socks
from targets import pattern

UP = pattern(50_000)


def send_and_finish(sock, octets):
    sock.sendall(octets)
    sock.shutdown(socket.SHUT_WR)


def ends(system, connect, first):
    """(who finishes first, who finishes second)"""
    client, target = connect(system)
    return (client, target) if first == "client" else (target, client)


@pytest.fixture(params=["client", "target"])
def first(request):
    return request.param


def expect(system, first, first_octets, second_octets, reason):
    up, down = (first_octets, second_octets) if first == "client" else (second_octets, first_octets)
    record = system.access(reason=reason)
    assert (int(record["octets_up"]), int(record["octets_down"])) == (up, down)


def test_one_side_finishes_and_then_the_other_answers(system, connect, first):
    one, other = ends(system, connect, first)
    send_and_finish(one, b"that is all")
    assert socks.read_all(other) == b"that is all"
    send_and_finish(other, b"the answer")
    assert socks.read_all(one) == b"the answer"
    expect(system, first, 11, 10, "closed")


def test_one_side_finishes_at_once_and_the_other_goes_on(system, connect, first):
    one, other = ends(system, connect, first)
    one.shutdown(socket.SHUT_WR)
    assert socks.read_all(other) == b""
    for _ in range(5):
        other.sendall(b"still here")
        assert socks.read_exactly(one, 10) == b"still here"
    other.close()
    assert socks.read_all(one) == b""
    expect(system, first, 0, 50, "closed")


def test_both_sides_finish_at_once(system, connect, first):
    one, other = ends(system, connect, first)
    one.shutdown(socket.SHUT_WR)
    other.shutdown(socket.SHUT_WR)
    assert socks.read_all(one) == socks.read_all(other) == b""
    expect(system, first, 0, 0, "closed")


def test_what_was_sent_before_the_close_arrives(system, connect, first):
    """The sender is gone altogether before the reader reads."""
    one, other = ends(system, connect, first)
    one.sendall(UP)
    one.close()
    assert socks.read_all(other) == UP
    other.close()
    expect(system, first, len(UP), 0, "closed")


def test_a_side_that_finished_may_still_be_reset(system, connect, first):
    one, other = ends(system, connect, first)
    one.shutdown(socket.SHUT_WR)
    assert socks.read_all(other) == b""
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    other.close()
    with pytest.raises(ConnectionResetError):
        socks.read_all(one)
    expect(system, first, 0, 0, "target_reset" if first == "client" else "client_reset")
