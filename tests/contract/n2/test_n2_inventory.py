"""Inventory: what the relay holds, in order, in pages."""

import pytest

from n2wire import new_id, pb

pytestmark = pytest.mark.relays("streams", "udp")


@pytest.fixture
def many(server, silent):
    """A server for which the relay holds 25 associations, and their ids in order."""
    messages = [server.any_message(silent, connect_ms=30000) for _ in range(25)]
    # Ids that differ in the first octet only, in the last octet only, and above and below 128.
    for number, message in enumerate(messages[:8]):
        message.association = bytes([number * 36]) + bytes(15)
    for number, message in enumerate(messages[8:12]):
        message.association = bytes(15) + bytes([1 + number * 80])
    server.exchange(*[server.call(m) for m in messages])
    return server, sorted(m.association for m in messages)


def test_one_page_holds_all_in_ascending_order(many):
    server, ids = many
    page = server.inventory_page(limit=1024)
    assert [held.association for held in page.held] == ids
    assert not page.more


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26])
def test_pages_cover_everything_once(many, limit):
    server, ids = many
    found, after = [], b""
    for _ in range(len(ids) + 1):
        page = server.inventory_page(after, limit)
        found += [held.association for held in page.held]
        assert page.more == (len(found) < len(ids))
        if not page.more:
            break
        assert len(page.held) == limit
        after = page.held[-1].association
    assert found == ids


def test_a_page_may_start_at_an_id_that_is_not_held(many):
    server, ids = many
    after = new_id()
    page = server.inventory_page(after)
    assert [held.association for held in page.held] == [i for i in ids if i > after]


def test_a_page_after_the_last_id_is_empty(many):
    server, ids = many
    page = server.inventory_page(ids[-1])
    assert not page.held
    assert not page.more


def test_the_inventory_of_a_new_server_is_empty(server):
    page = server.inventory_page()
    assert not page.held
    assert not page.more


def test_a_server_sees_only_its_own(many, new_server):
    assert new_server().inventory() == {}


@pytest.mark.relays("streams")
def test_an_entry_tells_kind_state_epoch_and_counters(server, target, stream, silent):
    running = stream(server)
    running.client.sendall(b"12345")
    running.target.recv(5)
    running.target.sendall(b"123")
    running.client.recv(3)
    opened = server.open(server.connect_message(target.getsockname()))
    pending = server.connect_message(silent, connect_ms=30000)
    server.ask(pending)

    held = server.inventory()
    assert held[running.grant.association].state == pb.HELD_ATTACHED
    assert held[opened.association].state == pb.HELD_OPENED
    assert held[pending.association].state == pb.HELD_PENDING
    assert {entry.kind for entry in held.values()} == {pb.KIND_CONNECT}
    assert {entry.server_epoch for entry in held.values()} == {server.epoch}
    counters = held[running.grant.association].counters
    assert (counters.octets_up, counters.octets_down) == (5, 3)


@pytest.mark.relays("streams")
def test_a_bind_is_told_as_such(bind_server):
    grant = bind_server.open(bind_server.bind_message())
    assert bind_server.inventory()[grant.association].kind == pb.KIND_BIND


@pytest.mark.relays("streams")
def test_as_of_seq_is_the_number_of_the_last_event_that_is_reflected(server, stream):
    before = server.inventory_page().as_of_seq
    grant, client, target = stream(server)
    client.close()
    target.close()
    event = server.wait_ended(grant.association)
    page = server.inventory_page()
    assert page.as_of_seq >= event.seq > before
    assert grant.association not in [held.association for held in page.held]


def test_what_was_released_is_not_listed(many):
    server, ids = many
    server.release(ids[3])
    assert list(server.inventory()) == ids[:3] + ids[4:]
