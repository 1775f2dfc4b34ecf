from pathlib import Path

from strop.report import STATUSES, Budget, Subject

PLANNED_WORDS = (
    "kept/faster/smaller/better/protected/no worthwhile gain/slower/undecided/invalid/declined/lacks dependency/no effect/"
    "failed to prepare/failed to run/wrong/worse quality/unproven quality/planned"
)


def test_the_statuses_are_the_words_of_the_plan() -> None:
    assert PLANNED_WORDS.split("/") == list(STATUSES)


def test_every_status_has_a_meaning() -> None:
    assert all(STATUSES.values())
    assert len(set(STATUSES.values())) == len(STATUSES)


def test_a_live_object_has_no_reference_and_a_run_may_have_no_limit() -> None:
    assert Subject(name="notebook").reference is None
    assert Budget(limit=None, spent=1.0).steps == {}


def test_the_package_lists_what_it_exports() -> None:
    import strop.report as package

    assert all(hasattr(package, name) for name in package.__all__)
    assert Path(package.__file__ or "").name == "__init__.py"
