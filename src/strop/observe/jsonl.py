"""A sink that appends events to a JSON-lines file."""

from __future__ import annotations

import json
from pathlib import Path

from strop.observe.events import Event


class JsonlSink:
    """Append each event as one JSON line, flushed at once so that a killed run keeps its history.

    Args:
        path: the file to append to; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, event: Event) -> None:
        """Append the event as one line of JSON."""
        row = {"at": event.at, "name": event.name, "level": event.level, "text": event.text, **event.data}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
