"""What happens is told as data: everybody emits events, sinks decide what to do with them."""

from strop.observe.events import Event, Level, Observer, silent, tee
from strop.observe.jsonl import JsonlSink

__all__ = ["Event", "JsonlSink", "Level", "Observer", "silent", "tee"]
