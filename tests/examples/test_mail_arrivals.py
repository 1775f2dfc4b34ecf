from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from examples.data import fetch
from examples.mail_arrivals import MAILS, arrivals, mails, received_time
from strop.load.arrivals import parse_arrivals

TOP = b"Received: from a.example (a [10.0.0.1]) by b.example; Thu, 22 Aug 2002 18:26:25 +0100\n"
LOWER = b"Received: from c.example by a.example; Thu, 22 Aug 2002 12:00:00 +0100\n"


def mail(hour: int, year: int = 2002) -> bytes:
    return f"Received: by b.example; Thu, 22 Aug {year} {hour:02}:00:00 +0000\n\nbody".encode()


def test_the_time_is_that_of_the_server_that_received_the_mail() -> None:
    assert received_time(TOP + LOWER + b"\nbody") == 1030037185.0


@pytest.mark.parametrize(
    "text", [b"", b"Subject: x\n\nbody", b"Received: by b; yesterday\n\n", b"Received: by b; Thu, 22 Aug 2002 18:26:25 -0000\n\n"]
)
def test_a_mail_without_a_usable_time_has_none(text: bytes) -> None:
    assert received_time(text) is None


def test_arrivals_are_ordered_from_zero_without_wrong_clocks() -> None:
    found = arrivals([mail(5), mail(1), mail(3), mail(4), b"nothing", mail(2), mail(2, year=2019)])
    assert found == [0.0, 3600.0, 7200.0, 10800.0, 14400.0]


def test_the_real_mails_are_many_and_bursty(real: Callable[[Callable[[], object]], object], tmp_path: Path) -> None:
    archive = real(lambda: fetch(MAILS))
    assert isinstance(archive, Path)
    times = arrivals(mails(archive))
    gaps = np.diff(times)
    assert len(times) == 5762
    assert gaps.std() / gaps.mean() == pytest.approx(10.6, abs=0.1)
    file = tmp_path / "mail.csv"
    file.write_text("seconds\n" + "\n".join(f"{time:.0f}" for time in times))
    schedule = parse_arrivals(str(file))(200.0, 10.0, 0)
    assert len(schedule) == 2000
    assert np.diff(schedule).std() / np.diff(schedule).mean() > 2
