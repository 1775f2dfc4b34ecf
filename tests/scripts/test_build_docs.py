from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import build_docs
from strop import catalogue
from strop.contract.pages import HEADINGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "built"
    build_docs.build(out)
    return out


def test_every_built_entry_has_a_page_with_all_headings(folder: Path) -> None:
    pages = {path.name: path.read_text() for path in (folder / "catalogue").iterdir()}
    assert set(pages) == {f"{row.number:02d}-{row.name}.md" for row in catalogue.built()}
    for text in pages.values():
        assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == list(HEADINGS)


def test_the_index_lists_every_number_and_says_what_is_planned(folder: Path) -> None:
    text = (folder / "index.md").read_text()
    assert len(re.findall(r"^\| \d\d \|", text, flags=re.MULTILINE)) == len(catalogue.all())
    assert f"{len(catalogue.built())} built, {len(catalogue.planned())} planned" in text
    row = catalogue.planned()[0]
    assert f"| {row.number:02d} | {row.name} | {row.family} | planned |" in text


def test_every_link_of_the_index_leads_somewhere(folder: Path) -> None:
    links = re.findall(r"\]\((.+?)\)", (folder / "index.md").read_text())
    assert len(links) == len(catalogue.built())
    assert all((folder / link).is_file() for link in links)


def test_settings_show_their_defaults(folder: Path) -> None:
    row = catalogue.row("static_quantization")
    text = (folder / "catalogue" / f"{build_docs.stem(row)}.md").read_text()
    assert "- `per_channel` (default `True`): " in text


def test_a_page_of_something_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="is planned; it has no page"):
        build_docs.page(catalogue.planned()[0])


def test_what_an_earlier_build_left_is_gone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale.md").write_text("old")
    build_docs.build(tmp_path / "out")
    assert not (tmp_path / "out" / "stale.md").exists()


def test_hand_written_guides_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "guide.md").write_text("# A guide")
    monkeypatch.setattr(build_docs, "ROOT", tmp_path)
    build_docs.build(tmp_path / "out")
    assert (tmp_path / "out" / "guide.md").read_text() == "# A guide"


def test_built_pages_are_kept_out_of_git() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", "docs/_build/index.md"], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_command_needs_exactly_one_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert build_docs.main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert build_docs.main([str(tmp_path / "out")]) == 0
    assert "pages in" in capsys.readouterr().out
