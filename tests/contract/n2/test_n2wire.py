"""The tools of the suite itself: REQ and REP by hand must agree with each other on both transports."""

import socket
import threading

import pytest

import n2wire
from n2wire import RepServer, Req


@pytest.fixture(params=["ipc", "tcp"])
def url(request, tmp_path):
    if request.param == "ipc":
        return f"ipc://{tmp_path}/s"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return "tcp://127.0.0.1:%d" % probe.getsockname()[1]


def echo(request):
    request.reply(request.payload)


def test_a_request_gets_its_reply(url):
    with RepServer(url, echo), Req(url) as req:
        assert req.request(b"hello") == b"hello"
        assert req.request(b"") == b""


def test_a_message_of_almost_a_mebibyte_passes(url):
    body = bytes(range(256)) * 4095
    with RepServer(url, echo), Req(url) as req:
        assert req.request(body) == body


def test_a_message_over_a_mebibyte_closes_the_connection(url):
    with RepServer(url, echo), Req(url) as req:
        req.send_raw(n2wire.length_header(req.scheme, n2wire.MAX_MESSAGE + 1))
        assert req.wait_lost(5)


def test_replies_find_their_requests_in_any_order(url):
    parked = []
    both_there = threading.Event()

    def park(request):
        parked.append(request)
        if len(parked) == 2:
            both_there.set()

    with RepServer(url, park), Req(url) as req:
        first, second = req.send(b"1"), req.send(b"2")
        assert both_there.wait(5)
        for request in reversed(parked):
            request.reply(b"answer to " + request.payload)
        assert req.receive(first) == b"answer to 1"
        assert req.receive(second) == b"answer to 2"


def test_ids_of_hops_come_back_with_the_reply(url):
    with RepServer(url, echo), Req(url) as req:
        sent = req.send(b"x", hops=(1, 2, 3))
        assert req.receive_with_hops(sent) == ((1, 2, 3), b"x")


def test_half_a_message_is_no_request(url):
    received = []
    with RepServer(url, received.append), Req(url) as req:
        req.send_half(b"abc", 10)
        with pytest.raises(n2wire.ReplyTimeout):
            req.receive(n2wire.REQUEST_BIT | 1, 0.2)
    assert not received


def test_a_peer_of_another_protocol_is_closed(url):
    with RepServer(url, echo):
        with pytest.raises((n2wire.ConnectionLost, n2wire.ReplyTimeout)):
            with Req(url, header=n2wire.sp_header(0x10)) as req:
                req.request(b"hello", 1)
