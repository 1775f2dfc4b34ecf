"""Write the dashboard and the rules that watch a served model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strop.contract.settings import decode
from strop.deliverables.deployment.i51_performance_dashboard import PerformanceDashboard
from strop.errors import UsageError


@dataclass(frozen=True, slots=True)
class _Stored:
    """A bundle as deliverables take it."""

    folder: Path


def export_dashboard(out: str | Path, *, bundle: str | Path | None = None, force: bool = False, **settings: Any) -> list[Path]:
    """Write ``dashboard.json``, ``rules.yml``, ``rules_test.yml`` and ``prometheus.yml`` into a folder.

    Args:
        out: the folder; made when it is not there.
        bundle: whose model is watched; by default every model that is scraped.
        force: replace files of these names that hold something else.
        settings: of :class:`~strop.deliverables.deployment.i51_performance_dashboard.PerformanceDashboard`, by name.

    Returns:
        The files written.

    Raises:
        ArtefactError: ``bundle`` is not a bundle.
        RecipeError: a setting is unknown or out of bounds.
        UsageError: a file of that name holds something else.
    """
    wanted = decode(PerformanceDashboard, settings)
    files = wanted.render_any() if bundle is None else wanted.render(_Stored(Path(bundle)))
    folder = Path(out)
    others = [name for name, content in files.items() if (folder / name).exists() and (folder / name).read_bytes() != content]
    if others and not force:
        raise UsageError(f"{folder} already holds {', '.join(others)} with other content. Give another --out, or --force.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]
