"""Starts of fresh processes: planted import cost, planted order, files in and out of the page cache."""

import contextlib
import os
import statistics
import subprocess
from pathlib import Path

import pytest

from strop.errors import MeasureError
from strop.measure.arm import ArmSpec
from strop.measure.coin import coin
from strop.measure.coldstart import POINT, evict, resident_bytes, start_once, take_start_pair

PLANTED = 0.2


def spec(name: str, **arguments: object) -> ArmSpec:
    return ArmSpec(name=name, target="strop.testing.tiny:tiny", arguments=arguments, environment={"OPENBLAS_NUM_THREADS": "1"})


def test_marks_are_in_order_and_the_answer_is_checked(tmp_path: Path) -> None:
    start = start_once(spec("baseline"), seed=1, log=tmp_path / "a.log")
    assert list(start.marks) == ["interpreter_up", "imported", "loaded", "first_output"]
    assert list(start.marks.values()) == sorted(start.marks.values())
    assert start.seconds == start.marks["first_output"]
    again = start_once(spec("candidate"), seed=2, log=tmp_path / "b.log")
    assert again.answer == start.answer
    assert start_once(spec("candidate", plant="wrong"), seed=2, log=tmp_path / "b.log").answer != start.answer


def test_planted_import_cost_is_found_where_it_is(tmp_path: Path) -> None:
    """The plant is processor time, so on a busy machine it can only take longer, never less."""
    plain, planted = spec("baseline"), spec("candidate", import_seconds=PLANTED)
    differences = []
    for index in range(2):
        _, starts = take_start_pair(plain, planted, seed=1, comparison="cold", index=index, folder=tmp_path)
        building = {name: start.marks["loaded"] - start.marks["imported"] for name, start in starts.items()}
        differences.append(building["candidate"] - building["baseline"])
        assert building["candidate"] >= PLANTED
    assert statistics.median(differences) > PLANTED / 2


def test_a_pair_of_starts_is_a_pair_like_any_other(tmp_path: Path) -> None:
    names = []
    for index in range(2):
        pair, starts = take_start_pair(
            spec("baseline"), spec("candidate"), seed=4, comparison="cold", index=index, folder=tmp_path
        )
        assert pair.candidate_first == coin(4, "cold", index)
        assert [block.arm for block in pair.blocks] == (
            ["candidate", "baseline"] if pair.candidate_first else ["baseline", "candidate"]
        )
        assert all(block.point == POINT for block in pair.blocks)
        assert {b.arm: b.calls_ns[0] for b in pair.blocks} == {n: round(s.seconds * 1e9) for n, s in starts.items()}
        names += [block.arm for block in pair.blocks]
    assert len(list(tmp_path.glob("start-*.log"))) == 4


def test_evicted_files_leave_the_page_cache(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(4 << 20))
    os.sync()
    assert file.read_bytes()
    assert resident_bytes(file) == 4 << 20
    (tmp_path / "empty").touch()
    assert evict([tmp_path]) == resident_bytes(file)
    assert resident_bytes(file) < 1 << 20
    assert resident_bytes(tmp_path / "empty") == 0


def test_cold_files_are_evicted_before_the_arm_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr("strop.measure.coldstart.evict", lambda paths: happened.append(f"evict {[p.name for p in paths]}"))

    def started(spec: ArmSpec, **more: object) -> object:
        happened.append(f"start {spec.name}")
        raise MeasureError("enough")

    monkeypatch.setattr("strop.measure.coldstart.start_once", started)
    with pytest.raises(MeasureError, match="enough"):
        take_start_pair(
            spec("baseline"), spec("candidate"), seed=1, comparison="c", index=0, folder=tmp_path,
            cold_files={"baseline": [tmp_path / "a"], "candidate": [tmp_path / "b"]},
        )  # fmt: skip
    first = "candidate" if coin(1, "c", 0) else "baseline"
    assert happened == [f"evict ['{'b' if first == 'candidate' else 'a'}']", f"start {first}"]


def test_what_does_not_exist_cannot_be_evicted(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="no such file"):
        evict([tmp_path / "missing"])


def test_a_start_leaves_no_process(tmp_path: Path) -> None:
    before = children()
    start_once(spec("baseline"), seed=1, log=tmp_path / "a.log")
    assert children() <= before
    own = subprocess.Popen(["/bin/sleep", "60"])
    assert own.pid in children(), "the check itself sees a child"
    own.kill()
    own.wait()


def children() -> set[int]:
    found = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(folder.name))
    return found
