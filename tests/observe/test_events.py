from strop.observe import Event, Level, silent, tee


def test_an_event_has_a_time_and_is_progress_unless_said_otherwise() -> None:
    event = Event("host.read")
    assert event.level is Level.PROGRESS
    assert event.at > 1.7e9
    assert dict(event.data) == {}


def test_tee_passes_to_all_in_order() -> None:
    seen: list[str] = []
    observe = tee(lambda e: seen.append(f"first {e.name}"), silent, lambda e: seen.append(f"second {e.name}"))
    observe(Event("a"))
    observe(Event("b"))
    assert seen == ["first a", "second a", "first b", "second b"]


def test_tee_of_nothing_is_silent() -> None:
    assert tee()(Event("a")) is None  # type: ignore[func-returns-value]
