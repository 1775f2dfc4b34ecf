from __future__ import annotations

from strop.contract.pages import HEADINGS, sections, settings_lines, summary


class Documented:
    """Do one thing.

    What it does:
        First line
        and second.

    Why it helps:
        It does. Settings: are not a heading here.

    When it does not:
        Never.

    Settings:
        rate: how fast (per second).
        names: which ones,
            on two lines (names).

    References:
        A book.
    """


class Bare:
    pass


class Child(Documented):
    pass


def test_sections_are_the_five_headings_in_order() -> None:
    found = sections(Documented)
    assert tuple(found) == HEADINGS
    assert found["What it does"] == "First line\nand second."
    assert found["Why it helps"].endswith("not a heading here.")


def test_settings_are_read_by_name_with_continued_lines() -> None:
    assert settings_lines(Documented) == {"rate": "how fast (per second).", "names": "which ones, on two lines (names)."}


def test_the_summary_is_the_first_line_without_its_stop() -> None:
    assert summary(Documented) == "Do one thing"


def test_a_class_without_its_own_docstring_has_no_page() -> None:
    assert summary(Bare) == "" and sections(Bare) == {} and settings_lines(Bare) == {}
    assert summary(Child) == ""
