"""The enum is the loop: every event is named in its docstring, and what closes something is known."""

from __future__ import annotations

import re

from strop.contract.loop_event import LoopEvent


def test_the_docstring_names_every_event_once_in_order() -> None:
    assert re.findall(r"^ +([A-Z]+_[A-Z]+|BATCH)\b", LoopEvent.__doc__ or "", re.MULTILINE) == [event.name for event in LoopEvent]


def test_values_are_the_names_in_small_letters() -> None:
    assert [event.value for event in LoopEvent] == [event.name.lower() for event in LoopEvent]


def test_what_closes_something_is_known() -> None:
    closing = {event.value for event in LoopEvent if event.closes}
    assert closing == {"after_forward", "after_loss", "after_backward", "after_step", "step_end", "epoch_end", "fit_end"}
