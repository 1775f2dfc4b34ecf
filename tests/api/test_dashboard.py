from __future__ import annotations

from pathlib import Path

import pytest

from strop.api.dashboard import export_dashboard
from strop.errors import ArtefactError, RecipeError, UsageError

NAMES = ["dashboard.json", "rules.yml", "rules_test.yml", "prometheus.yml"]


def test_files_are_written_and_written_again(tmp_path: Path) -> None:
    out = tmp_path / "new 新" / "folder"
    files = export_dashboard(out)
    assert [path.name for path in files] == NAMES and all(path.parent == out for path in files)
    assert export_dashboard(out) == files, "the same content may lie there already"
    assert "model=" not in (out / "rules.yml").read_text()
    assert 'model="mine"' in export_dashboard(tmp_path / "b", model="mine")[1].read_text()


def test_what_somebody_changed_is_not_overwritten_unasked(tmp_path: Path) -> None:
    export_dashboard(tmp_path)
    (tmp_path / "rules.yml").write_text("groups: []\n")
    with pytest.raises(UsageError, match=r"already holds rules\.yml with other content\. Give another --out, or --force"):
        export_dashboard(tmp_path)
    assert (tmp_path / "rules.yml").read_text() == "groups: []\n"
    export_dashboard(tmp_path, force=True)
    assert "HighInferenceLatency" in (tmp_path / "rules.yml").read_text()


def test_nothing_is_written_when_something_is_wrong(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match="Did you mean 'backlog'"):
        export_dashboard(out, backlogg=3)
    with pytest.raises(RecipeError, match="must be positive"):
        export_dashboard(out, latency=-1.0)
    with pytest.raises(ArtefactError, match="is not a bundle"):
        export_dashboard(out, bundle=tmp_path)
    assert not out.exists()
