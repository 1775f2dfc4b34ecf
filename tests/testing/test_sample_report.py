from dataclasses import fields

from strop.testing.sample_report import minimal_report, sample_report, samples


def test_the_sample_fills_every_part() -> None:
    report = sample_report()
    empty = [f.name for f in fields(report) if getattr(report, f.name) in (None, (), {}, "")]
    assert empty == []


def test_the_minimal_report_fills_none_but_the_required() -> None:
    report = minimal_report()
    filled = [f.name for f in fields(report) if getattr(report, f.name) not in (None, (), {}, "")]
    assert set(filled) == {"subject", "budget", "outcome", "host", "footprint_before", "footprint_after", "schema"}


def test_samples_are_the_same_every_time() -> None:
    assert samples("a", 2.0) == samples("a", 2.0)
    assert samples("a", 2.0) != samples("b", 2.0)
