"""What a bundle says about itself; one JSON file beside the artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from strop.contract.device import PROCESSOR
from strop.contract.draft import EngineOptions
from strop.contract.signature import Signature
from strop.errors import ArtefactError, did_you_mean

FORMAT = 1
"""Version of the layout; a bundle of another version is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a bundle comes from.

    Attributes:
        workload: name of the workload.
        reference: what rebuilds it, as a command takes it: ``path.py:function`` or ``hf:FOLDER-OR-ID``; empty for a live object.
        options: of that reference: task, data file and columns of an ``hf:`` workload.
        how: the command or call that made the bundle.
    """

    workload: str = ""
    reference: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    how: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about a bundle but the artefact itself.

    Attributes:
        strop: version of strop that wrote it.
        engine: name of the engine that opens it.
        device: where it answers, as torch writes it.
        options: options it is opened with unless others are given.
        signature: inputs and outputs.
        recipe: instruction name → settings.
        tallies: instruction name → what it changed.
        origin: where it comes from.
        quality: quality measured before and after, filled when it was confirmed.
        latency: operating point → measured figures in seconds, filled when it was confirmed.
        requires: distribution → version that lowered it.
        files: path inside ``artefact/`` → SHA-256 in hexadecimal.
        format: version of the layout.
    """

    strop: str
    engine: str
    options: EngineOptions
    signature: Signature
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tallies: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    quality: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    device: str = PROCESSOR
    requires: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form; :meth:`from_json` inverts it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: object) -> Manifest:
        """Rebuild a manifest from :meth:`to_json`.

        Raises:
            ArtefactError: another format version, or fields that are missing, unknown or of the wrong kind.
        """
        if not isinstance(row, Mapping):
            raise ArtefactError(f"the manifest holds a {type(row).__name__} instead of named fields. Make the bundle again.")
        if row.get("format") != FORMAT:
            raise ArtefactError(
                f"the bundle has format {row.get('format')!r}; this strop reads format {FORMAT}. "
                f"Open it with the strop that wrote it ({row.get('strop', 'unknown')}), or make it again."
            )
        known = {f.name for f in fields(cls)}
        for name in set(row) - known:
            raise ArtefactError(f"the manifest has an unknown field {name!r}.{did_you_mean(str(name), known)}")
        try:
            return cls(
                **{
                    **row,
                    "options": EngineOptions(**row["options"]),
                    "signature": Signature.from_json(row["signature"]),
                    "origin": Origin(**row["origin"]),
                    "files": {str(path): str(digest) for path, digest in row["files"].items()},
                }
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(f"the manifest is incomplete or damaged ({error}). Make the bundle again.") from error
