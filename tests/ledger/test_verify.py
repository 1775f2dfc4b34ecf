"""An honest record holds; one edited sample, score or step is found and named."""

from pathlib import Path

import pytest

from strop.errors import RunDirectoryError
from strop.ledger.files import read_json, sha256, write_json
from strop.ledger.guard import record_scores
from strop.ledger.judgement import record_judgement
from strop.ledger.ledger import Ledger
from strop.ledger.verify import verify_ledger
from strop.measure.plan import ConfirmPlan, ScreenPlan
from strop.measure.result import Block, Pair


def pair(index: int, candidate_ns: int, round: int) -> Pair:
    blocks = tuple(
        Block(arm=arm, point="one", calls_ns=(ns + index, ns, ns + 2 * index))
        for arm, ns in (("baseline", 1_000_000), ("candidate", candidate_ns))
    )
    return Pair(index=index, round=round, candidate_first=False, blocks=blocks)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a screening, a claim and a guard."""
    folder = tmp_path / "run"
    with Ledger.create(folder, {"command": "test"}) as ledger:
        screened = [pair(i, 800_000, 0) for i in range(12)]
        claimed = [pair(i, 800_000, i // 8) for i in range(40)]
        guard = [1.0] * 280 + [0.0] * 20, [1.0] * 279 + [0.0] * 21
        ledger.step("screen", lambda: record_judgement(ledger, "screen", ScreenPlan(), screened, ("one",)))
        plan = ConfirmPlan(rounds=5, pairs=8)
        ledger.step("confirm", lambda: {"deep": [record_judgement(ledger, "confirm", plan, claimed, ("one",))]})
        settings = {"metric": "accuracy", "higher_is_better": True, "alpha": 0.05, "margin": 0.02}
        ledger.step("quality", lambda: record_scores(ledger, "guard", *guard, sources=None, **settings))
    relock(folder)
    return folder


def relock(folder: Path) -> None:
    """Write the listing that closes a run."""
    files = [p for p in folder.rglob("*.json*") if p.name not in ("digests.json", ".lock")]
    write_json(folder / "digests.json", {p.relative_to(folder).as_posix(): sha256(p) for p in files})


def problems(folder: Path) -> dict[str, str]:
    return {check.file: check.problem for check in verify_ledger(folder) if check.problem}


def test_an_honest_run_holds_in_every_check(run: Path) -> None:
    checks = verify_ledger(run)
    assert {check.what for check in checks} >= {"digest", "screen verdict follows from the samples"}
    assert sum("follows" in check.what for check in checks) == 3
    assert problems(run) == {}


@pytest.mark.parametrize("name", ["samples/screen.jsonl", "samples/confirm.jsonl"])
def test_one_edited_sample_is_found_and_its_file_named(run: Path, name: str) -> None:
    path = run / name
    text = path.read_text()
    path.write_text(text.replace("800000", "790000", 1))
    assert set(problems(run)) == {name}
    assert "was changed after it was recorded" in problems(run)[name] or "does not follow" in problems(run)[name]


def test_an_edited_score_is_found_even_when_the_listing_was_renewed(run: Path) -> None:
    scores = read_json(run / "scores" / "guard.json")
    scores["candidate"][0] = 0.0
    write_json(run / "scores" / "guard.json", scores)
    relock(run)
    assert set(problems(run)) == {"scores/guard.json"}


def test_an_edited_verdict_does_not_follow_from_its_samples(run: Path) -> None:
    path = next((run / "steps").glob("*confirm*"))
    path.write_text(path.read_text().replace('"faster"', '"slower"', 1))
    relock(run)
    found = problems(run)
    assert set(found) == {"samples/confirm.jsonl"}
    assert path.name in found["samples/confirm.jsonl"]


def test_a_step_that_cannot_be_read_is_named(run: Path) -> None:
    path = next((run / "steps").glob("*quality*"))
    path.write_text("{not json")
    assert f"steps/{path.name}" in problems(run)


def test_a_run_that_was_not_finished_says_so(run: Path) -> None:
    (run / "digests.json").unlink()
    assert "--resume" in problems(run)["digests.json"]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"plan\.json is missing"):
        verify_ledger(tmp_path)
