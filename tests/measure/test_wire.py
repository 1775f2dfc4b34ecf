"""Frames over pipes: whole or not at all, and never a parent that hangs."""

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest

from strop.measure.wire import HEADER, Channel, DeadlinePassed, PeerGone, receive_frame, send_frame


class Ends:
    """Both ends of a conversation in one process."""

    def __init__(self) -> None:
        self.worker_read, request_write = os.pipe()
        reply_read, self.worker_write = os.pipe()
        self.alive = True
        self.parent = Channel(reply_read, request_write, lambda: self.alive)

    def hang_up(self) -> None:
        for fd in (self.worker_read, self.worker_write):
            os.close(fd)
        self.worker_read = self.worker_write = -1


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    yield both
    both.parent.close()
    if both.worker_read >= 0:
        both.hang_up()


def soon() -> float:
    return time.monotonic() + 5


def test_a_message_arrives_as_it_was_sent(ends: Ends) -> None:
    ends.parent.send({"request": "warm", "text": "größer ≥ 文"}, soon())
    assert json.loads(receive_frame(ends.worker_read) or b"") == {"request": "warm", "text": "größer ≥ 文"}
    send_frame(ends.worker_write, b'{"ok": [1, 2.5, null]}')
    assert ends.parent.receive(soon()) == {"ok": [1, 2.5, None]}


def test_a_message_larger_than_the_pipe_arrives_whole(ends: Ends) -> None:
    text = "x" * 3_000_000
    seen: list[bytes | None] = []
    reader = threading.Thread(target=lambda: seen.append(receive_frame(ends.worker_read)))
    reader.start()
    ends.parent.send(text, soon())
    reader.join()
    assert seen == [json.dumps(text).encode()]
    writer = threading.Thread(target=send_frame, args=(ends.worker_write, json.dumps(text).encode()))
    writer.start()
    assert ends.parent.receive(soon()) == text
    writer.join()


def test_a_worker_that_does_not_read_or_answer_runs_into_the_deadline(ends: Ends) -> None:
    with pytest.raises(DeadlinePassed):
        ends.parent.send("x" * 3_000_000, time.monotonic() + 0.05)
    with pytest.raises(DeadlinePassed):
        ends.parent.receive(time.monotonic() + 0.05)


def test_a_worker_that_hung_up_is_gone(ends: Ends) -> None:
    ends.hang_up()
    with pytest.raises(PeerGone):
        ends.parent.receive(soon())
    with pytest.raises(PeerGone):
        ends.parent.send({}, soon())


def test_a_dead_worker_is_noticed_though_a_descendant_keeps_the_pipe_open(ends: Ends) -> None:
    ends.alive = False
    with pytest.raises(PeerGone):
        ends.parent.receive(time.monotonic() + 60)


def test_what_a_worker_said_before_it_died_is_still_read(ends: Ends) -> None:
    send_frame(ends.worker_write, b'"last words"')
    ends.alive = False
    assert ends.parent.receive(soon()) == "last words"


def test_an_answer_given_in_the_moment_of_dying_is_read() -> None:
    read_end, write_end = os.pipe()
    spare_read, spare_write = os.pipe()

    def answer_and_die() -> bool:
        send_frame(write_end, b'"just in time"')
        return False

    channel = Channel(read_end, spare_write, answer_and_die)
    assert channel.receive(soon()) == "just in time"
    channel.close()
    for fd in (write_end, spare_read):
        os.close(fd)


def test_half_a_frame_is_no_frame(ends: Ends) -> None:
    os.write(ends.worker_write, HEADER.pack(100) + b"only this")
    ends.hang_up()
    with pytest.raises(PeerGone):
        ends.parent.receive(soon())


def test_the_worker_sees_the_end_when_the_parent_closes(ends: Ends) -> None:
    ends.parent.close()
    ends.parent.close()
    assert receive_frame(ends.worker_read) is None
